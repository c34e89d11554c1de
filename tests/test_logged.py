"""What logged rows come to, by figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from align.logged import last_tenth, step_tokens


def test_the_last_tenth() -> None:
    logged: list[dict[str, Any]] = [{"loss": float(i)} if i % 2 else {"other": 1.0} for i in range(40)]
    assert last_tenth(logged, "loss") == 38.0  # of 1, 3 ... 39 the last two
    assert last_tenth(logged[:4], "loss") == 3.0
    assert last_tenth(logged, "nothing") is None


def test_a_small_last_batch_weighs_little() -> None:
    logged = [{"margin": 5.0, "num_tokens": 99.0 * i} for i in range(1, 20)]
    logged += [{"margin": 105.0, "num_tokens": 99.0 * 19 + 1}, {"eval_margin": 3.0}]
    assert last_tenth(logged, "margin") == pytest.approx(6.0)  # (99 · 5 + 1 · 105) / 100
    assert last_tenth(logged, "eval_margin") == 3.0


def test_the_tokens_of_each_step() -> None:
    counted = [{"num_tokens": 10.0}, {"num_tokens": 25.0}, {"eval_loss": 1.0}, {"num_tokens": 25.0}]
    assert step_tokens(counted) == [10.0, 15.0, None, None]
    assert step_tokens([*counted, {"num_tokens": 4.0}]) == [10.0, 15.0, None, None, 4.0]
