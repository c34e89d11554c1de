"""PPO as a stage: every family and hand-over, rewards of any kind, what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from align.artifacts import Artifact
from align.errors import DataError
from align.models.load import load_causal, load_tokenizer, resolve
from align.recipe.schema import PPO, SFT, ByRules, Reward
from tests import tiny
from tests.stages.test_chain import last_logits

pytestmark = tiny.THIRD_PARTY

JUDGE = "def score(prompt, answer, reference=None, tags=()):\n    return float(answer.count('e'))\n"


def settings(**changes: Any) -> PPO:
    values: dict[str, Any] = {"name": "ppo", "kind": "ppo", "model": "sft", "prompts": "prompts", "reward": "reward",
                              "batch_size": 4, "max_steps": 4, "ppo_epochs": 2, "max_new_tokens": 6,
                              "learning_rate": 1e-2, "evaluate_every": 1}  # fmt: skip
    return PPO(**(values | changes))


def sft_of(runs: Path, family: str, **changes: Any) -> Artifact:
    demos = tiny.data_artifact(runs, "demos", "demonstrations", tiny.demonstrations())
    values: dict[str, Any] = {"name": "sft", "kind": "sft", "model": "base", "data": "demos", "batch_size": 4,
                              "max_steps": 2, "max_length": 128, "learning_rate": 5e-2}  # fmt: skip
    return tiny.run_in(runs, SFT(**(values | changes)), {"model": [tiny.base_of(runs, family)], "data": [demos]})


def reward_of(runs: Path, model: Artifact, name: str = "reward", **changes: Any) -> Artifact:
    pairs = tiny.data_artifact(runs, f"{name}-pairs", "preferences", tiny.preferences())
    made = Reward(name=name, kind="reward", model=model.name, data="pairs", batch_size=4, max_steps=2, max_length=128,
                  learning_rate=2e-2, **changes)  # fmt: skip
    return tiny.run_in(runs, made, {"model": [model], "data": [pairs]})


def prompts_in(runs: Path, held_out: int = 2) -> Artifact:
    records = tiny.prompts()
    cut = len(records) - held_out
    return tiny.data_artifact(runs, "prompts", "prompts", records[:cut], records[cut:])


def logged(artifact: Artifact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (artifact.path / "logs/metrics.jsonl").read_text().splitlines()]


def check_saved(before: Artifact, made: Artifact) -> None:
    """What is saved was trained, unless the policy did best on held-out prompts before its first step."""
    same = torch.allclose(last_logits(before), last_logits(made), atol=1e-3)
    assert same == (made.manifest.metrics["heldout_step"] == 0)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_over_a_shared_base(family: str, tmp_path: Path) -> None:
    """SFT, reward model and PPO with LoRA: the reward model, trained over the merged SFT adapter, shares the base."""
    sft = sft_of(tmp_path, family)
    inputs = {"model": [sft], "prompts": [prompts_in(tmp_path)], "reward": [reward_of(tmp_path, sft)]}
    made = tiny.run_in(tmp_path, settings(), inputs)
    figures = made.manifest.metrics
    assert figures["lora"] == "the adapter of sft continued, r 4"
    assert figures["value_model"] == "weights of its own, from the reward model reward"
    assert (figures["steps"], figures["episodes"]) == (4, 8)
    rows = [r for r in logged(made) if "loss" in r]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert rows[0]["ratio"] == pytest.approx(1, abs=1e-4)
    ref = resolve(made)
    assert all(torch.isfinite(p).all() for p in load_causal(ref, torch.float32).parameters())
    check_saved(sft, made)
    assert load_tokenizer(ref).chat_template
    assert {p.name for p in made.path.iterdir()} >= {"adapter_model.safetensors", "samples.jsonl", "policy.json"}
    samples = [json.loads(line) for line in (made.path / "samples.jsonl").read_text("utf-8").splitlines()]
    assert [s["step"] for s in samples] == [0, 0, 2, 2, 4, 4]


@pytest.mark.parametrize("made_with", ["lora", "none"])
@pytest.mark.parametrize("trained_with", ["lora", "none"])
def test_every_hand_over_starts_at_its_reference(made_with: str, trained_with: str, tmp_path: Path) -> None:
    sft = sft_of(tmp_path, "llama", **({"lora": "none"} if made_with == "none" else {}))
    reward = reward_of(tmp_path, sft, **({"lora": "none"} if trained_with == "none" else {}))
    chosen: dict[str, Any] = {"lora": "none"} if trained_with == "none" else {}
    inputs = {"model": [sft], "prompts": [prompts_in(tmp_path)], "reward": [reward]}
    made = tiny.run_in(tmp_path, settings(**chosen), inputs)
    assert logged(made)[1]["kl"] == pytest.approx(0, abs=1e-4)
    assert "from the reward model reward" in made.manifest.metrics["value_model"]
    weights = "model.safetensors" if trained_with == "none" else "adapter_model.safetensors"
    assert weights in {f.path for f in made.manifest.files}
    check_saved(sft, made)


def test_rules_and_reward_models_together(tmp_path: Path) -> None:
    """A reward model of another family and a rules file, weighted; demonstrations kept up meanwhile."""
    (tmp_path / "judge.py").write_text(JUDGE, "utf-8")
    base = tiny.base_of(tmp_path, "llama")
    other = reward_of(tmp_path, tiny.base_of(tmp_path, "gpt2", "other-base"), "other")
    demos = tiny.data_artifact(tmp_path, "demos", "demonstrations", tiny.demonstrations())
    stage = settings(
        reward=["other", ByRules(rules="judge.py")], reward_weights=[0.5, 1.0], demonstrations="demos", model="base"
    )
    inputs = {"model": [base], "prompts": [prompts_in(tmp_path)], "reward": [other], "demonstrations": [demos]}
    made = tiny.run_in(tmp_path, stage, inputs)
    row = next(r for r in logged(made) if "loss" in r)
    assert {"score/other", "score/judge", "loss/ptx"} <= set(row)
    assert made.manifest.metrics["value_model"] == "a head on the policy's trunk"
    assert made.manifest.metrics["lora"] == "new adapter, r 4"


def test_without_held_out_prompts(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(JUDGE, "utf-8")
    stage = settings(reward=ByRules(rules="judge.py"), model="base")
    inputs = {"model": [tiny.base_of(tmp_path, "llama")], "prompts": [prompts_in(tmp_path, 0)]}
    made = tiny.run_in(tmp_path, stage, inputs)
    assert not (made.path / "samples.jsonl").exists()
    assert "heldout_score" not in made.manifest.metrics


def test_rules_that_fail_are_named(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text("def score(prompt, answer, reference=None, tags=()):\n    return 1 / 0\n")
    stage = settings(reward=ByRules(rules="judge.py"), model="base")
    inputs = {"model": [tiny.base_of(tmp_path, "llama")], "prompts": [prompts_in(tmp_path)]}
    with pytest.raises(DataError, match="ZeroDivisionError") as caught:
        tiny.run_in(tmp_path, stage, inputs)
    assert "judge.py:2" in caught.value.where


def test_a_prompt_that_leaves_no_room(tmp_path: Path) -> None:
    stage = settings(max_new_tokens=250, reward=ByRules(rules="judge.py"), model="base")
    (tmp_path / "judge.py").write_text(JUDGE, "utf-8")
    inputs = {"model": [tiny.base_of(tmp_path, "llama")], "prompts": [prompts_in(tmp_path)]}
    with pytest.raises(DataError, match="the answer needs room as well"):
        tiny.run_in(tmp_path, stage, inputs)
