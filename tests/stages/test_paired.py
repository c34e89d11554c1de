"""ORPO and SimPO: the same words as DPO, without a reference."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from align.recipe.schema import ORPO, SimPO
from tests import tiny
from tests.stages.test_dpo import gain, logged, sft_of

pytestmark = tiny.THIRD_PARTY

VALUES: dict[str, Any] = {"model": "sft", "data": "pairs", "batch_size": 4, "max_steps": 4, "max_length": 128,
                          "learning_rate": 1e-2}  # fmt: skip


def stage(kind: str, **changes: Any) -> ORPO | SimPO:
    made: Any = {"orpo": ORPO, "simpo": SimPO}[kind]
    return made(**(VALUES | {"name": kind, "kind": kind} | changes))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["orpo", "simpo"])
@pytest.mark.parametrize("lora", ["continued", "none"])
def test_one_word_swaps_the_trainer(kind: str, lora: str, tmp_path: Path) -> None:
    sft = sft_of(tmp_path)
    data = tiny.data_artifact(tmp_path, "pairs", "rankings", tiny.rankings(), tiny.rankings()[:2])
    chosen: dict[str, Any] = {"lora": "none"} if lora == "none" else {}
    made = tiny.run_in(tmp_path, stage(kind, weigh="rankings", **chosen), {"model": [sft], "data": [data]})
    figures = made.manifest.metrics
    assert figures["pairs"] == 16 and figures["steps"] == 4
    assert {"train_accuracy", "train_margin", "heldout_accuracy", "heldout_margin"} <= set(figures)
    wanted = "the adapter of sft continued, r 4" if lora == "continued" else "full fine-tuning, adapter merged first"
    assert figures["lora"] == wanted
    assert gain(sft, made) > 0.1, "the chosen side has gained on the rejected one"


def test_simpos_first_loss_by_hand(tmp_path: Path) -> None:
    """-log sigmoid(beta (mean log p(chosen) - mean log p(rejected)) - gamma), from the margin that is logged."""
    data = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences()[:1])
    base = tiny.base_of(tmp_path, "llama")
    values = {"beta": 2.0, "gamma": 0.6, "batch_size": 1, "max_steps": 1}
    made = tiny.run_in(tmp_path, stage("simpo", **values), {"model": [base], "data": [data]})
    row = logged(made)[0]
    assert row["loss"] == pytest.approx(math.log1p(math.exp(0.6 - row["rewards/margins"])), abs=1e-4)
    assert row["rewards/margins"] == pytest.approx(2 * (row["logps/chosen"] - row["logps/rejected"]), abs=1e-4)


def test_orpos_first_loss_by_hand(tmp_path: Path) -> None:
    """Imitation plus beta times -log sigmoid of the log odds ratio, from what is logged."""
    data = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences()[:1])
    base = tiny.base_of(tmp_path, "llama")
    made = tiny.run_in(tmp_path, stage("orpo", beta=0.3, batch_size=1, max_steps=1), {"model": [base], "data": [data]})
    row = logged(made)[0]
    odds = [log - math.log1p(-math.exp(log)) for log in (row["logps/chosen"], row["logps/rejected"])]
    assert row["log_odds_chosen"] == pytest.approx(odds[0] - odds[1], abs=1e-3)
    assert row["loss"] == pytest.approx(row["nll_loss"] + 0.3 * math.log1p(math.exp(odds[1] - odds[0])), abs=1e-3)
