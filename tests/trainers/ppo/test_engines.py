"""Engines: each samples from the policy's distribution, and training does not depend on which it was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from align.errors import RecipeError, TrainingError
from align.models.generate import Sampling
from align.trainers.ppo.config import PPOConfig
from align.trainers.ppo.engines import sample_continuously
from tests import tiny
from tests.trainers.ppo import worlds

pytestmark = tiny.THIRD_PARTY


def test_continuous_batching_samples_from_the_policy() -> None:
    """800 answers of a policy whose distribution is known: total variation as chance alone would have it."""
    policy, draws = worlds.model(), 800
    wanted = worlds.distribution(policy)
    policy.generation_config.repetition_penalty = 5.0  # a setting of the model's own, which must have no effect
    found = sample_continuously(policy, worlds.tokenizer(), [worlds.prompt_ids()] * draws, 3, Sampling(1.0, 1.0, 2))
    counts = Counter(tuple(one.ids) for one in found)
    assert set(counts) <= set(worlds.answers())
    shares = wanted.new_tensor([counts[a] / draws for a in worlds.answers()])
    by_chance = (wanted * (1 - wanted) / draws).sqrt().sum() * 0.4  # E|x| of a normal is 0.8 sigma; halved for TV
    assert worlds.total_variation(shares, wanted) < 1.3 * float(by_chance)
    again = sample_continuously(policy, worlds.tokenizer(), [worlds.prompt_ids()] * 4, 3, Sampling(1.0, 1.0, 2))
    assert len(again) == 4


@pytest.mark.parametrize("how", ["full", "lora"])
def test_training_with_continuous_batching(how: str, tmp_path: Path) -> None:
    made = worlds.model()
    start = worlds.distribution(made)
    extra = {"peft_config": worlds.lora()} if how == "lora" else {}
    trainer = worlds.trainer(
        tmp_path, made, engine="continuous", max_steps=30, rollout_batch_size=64, kl_coef=1.0, **extra
    )
    trainer.train()
    moved = worlds.distribution(trainer.model.policy)
    wanted = worlds.best(start, 1.0)
    assert worlds.total_variation(moved, wanted) < worlds.total_variation(start, wanted)
    assert trainer.model.policy.config._attn_implementation == "sdpa", "put back for training"


def test_vllm_that_is_not_installed(tmp_path: Path) -> None:
    import importlib.util

    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    with pytest.raises(TrainingError) as caught:
        worlds.trainer(tmp_path, worlds.model(), engine="vllm_colocate")
    assert "vLLM is not installed" in caught.value.found and "rlhf-align[vllm]" in caught.value.remedy


def test_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="engine is vlm"):
        PPOConfig(output_dir=str(tmp_path), use_cpu=True, engine="vlm")
