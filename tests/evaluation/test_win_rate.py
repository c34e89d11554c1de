"""Win rates by hand."""

from __future__ import annotations

import pytest

from align.evaluation.win_rate import win_rate


def test_a_tie_is_half_a_win() -> None:
    """Won 2, tied 1, lost 1 of 4: (2 + 0.5) / 4."""
    found = win_rate([1.0, 2.0, 3.0, 0.0], [0.0, 1.0, 3.0, 1.0])
    assert (found["rate"], found["wins"], found["ties"], found["losses"]) == (0.625, 2, 1, 1)
    assert 0 <= found["low"] <= 0.625 <= found["high"] <= 1


def test_rounding_is_no_win() -> None:
    assert win_rate([0.1 + 0.2], [0.3])["ties"] == 1
    assert win_rate([0.3 + 1e-5], [0.3])["wins"] == 1


def test_turned_round_it_is_the_rest() -> None:
    ours, theirs = [1.0, 2.0, 3.0, 0.0, 5.0], [0.0, 1.0, 3.0, 1.0, 7.0]
    assert win_rate(ours, theirs)["rate"] + win_rate(theirs, ours)["rate"] == pytest.approx(1)


def test_one_score_a_prompt_for_both() -> None:
    with pytest.raises(ValueError):
        win_rate([1.0], [1.0, 2.0])
