"""The real proof: training ends at the policy that mathematics says is best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.trainers.ppo import worlds

pytestmark = tiny.THIRD_PARTY

LONG = {"rollout_batch_size": 256, "max_steps": 600, "lam": 1.0, "value_model": "shared"}


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("how", ["full", "lora"])
def test_ppo_reaches_the_best_policy(how: str, beta: float, tmp_path: Path) -> None:
    """Within 0.05 total variation of pi*, having started at least four times as far away."""
    made = worlds.model()
    start = worlds.distribution(made)
    wanted = worlds.best(start, beta)
    extra: dict[str, Any] = {"peft_config": worlds.lora(), "learning_rate": 4e-3} if how == "lora" else {}
    trainer = worlds.trainer(tmp_path, made, kl_coef=beta, **LONG, **extra)
    trainer.train()
    found = worlds.distribution(trainer.model.policy)
    assert worlds.total_variation(start, wanted) > 0.2
    assert worlds.total_variation(found, wanted) < 0.05


def test_ppo_comes_closer_soon(tmp_path: Path) -> None:
    """The same in small, so that a plain test run knows: half the way in 60 updates."""
    made = worlds.model()
    start = worlds.distribution(made)
    wanted = worlds.best(start, 1.0)
    trainer = worlds.trainer(tmp_path, made, kl_coef=1.0, max_steps=80, rollout_batch_size=128, lam=1.0)
    trainer.train()
    found = worlds.total_variation(worlds.distribution(trainer.model.policy), wanted)
    assert found < 0.5 * worlds.total_variation(start, wanted)
