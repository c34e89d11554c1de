"""GRPO and RLOO: the same words as PPO, by TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from align.models.load import load_causal, load_merged, resolve
from align.recipe.schema import GRPO, RLOO, ByRules, StageBase
from tests import tiny
from tests.stages.test_chain import last_logits
from tests.stages.test_ppo import JUDGE, logged, prompts_in, reward_of, sft_of

pytestmark = [*tiny.THIRD_PARTY, pytest.mark.filterwarnings("ignore::FutureWarning")]

VALUES: dict[str, Any] = {"model": "sft", "prompts": "prompts", "reward": "reward", "batch_size": 4, "per_prompt": 2,
                          "max_steps": 3, "max_new_tokens": 6, "learning_rate": 1e-2}  # fmt: skip


def stage(kind: str, **changes: Any) -> StageBase:
    made = {"grpo": GRPO, "rloo": RLOO}[kind]
    return made(**(VALUES | {"name": kind, "kind": kind} | changes))


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
@pytest.mark.parametrize("lora", ["continued", "none"])
def test_one_word_swaps_the_trainer(kind: str, lora: str, tmp_path: Path) -> None:
    """A LoRA SFT policy: its adapter continued, or merged and all weights trained, with a reward model and a KL."""
    sft = sft_of(tmp_path, "llama")
    inputs = {"model": [sft], "prompts": [prompts_in(tmp_path)], "reward": [reward_of(tmp_path, sft)]}
    chosen: dict[str, Any] = {"lora": "none"} if lora == "none" else {}
    made = tiny.run_in(tmp_path, stage(kind, kl_coef=0.1, **chosen), inputs)
    rows = [r for r in logged(made) if "loss" in r]
    assert len(rows) == 3
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4), "the reference is not the policy it starts from"
    assert {"reward", "steps", "lora"} <= set(made.manifest.metrics)
    loaded = (load_causal if lora == "continued" else load_merged)(resolve(made), torch.float32)
    assert all(torch.isfinite(p).all() for p in loaded.parameters())
    assert not torch.allclose(last_logits(sft), last_logits(made), atol=1e-3), "what is saved was not trained"


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_rules_get_reference_and_tags(kind: str, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        "def score(prompt, answer, reference=None, tags=()):\n"
        "    assert isinstance(reference, str) and tags == ('short',) and prompt[-1]['role'] == 'user'\n"
        "    return float(len(answer))\n",
        "utf-8",
    )
    inputs = {"model": [tiny.base_of(tmp_path, "llama")], "prompts": [prompts_in(tmp_path)]}
    made = tiny.run_in(tmp_path, stage(kind, model="base", reward=ByRules(rules="judge.py")), inputs)
    assert made.manifest.metrics["steps"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_the_score_rises(kind: str, tmp_path: Path) -> None:
    """A small CPU run: answers that hold more of the letter e, on prompts it was not trained on."""
    (tmp_path / "judge.py").write_text(JUDGE, "utf-8")
    inputs = {"model": [tiny.base_of(tmp_path, "llama")], "prompts": [prompts_in(tmp_path)]}
    made = tiny.run_in(
        tmp_path,
        stage(kind, model="base", reward=ByRules(rules="judge.py"), lora="none", batch_size=32, per_prompt=8,
              max_steps=40, epochs=100, max_new_tokens=8, learning_rate=3e-3, trainer={"warmup_steps": 0}),
        inputs,
    )  # fmt: skip
    rewards = [r["reward"] for r in logged(made) if "reward" in r]
    assert sum(rewards[-5:]) > sum(rewards[:5]) + 1


def test_a_group_must_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="per_prompt 3 does not divide batch_size 4"):
        stage("grpo", per_prompt=3)
