"""Intervals: what they must be whatever the draws, and where there is too little to draw from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from align.evaluation.intervals import bootstrap_mean, bootstrap_ratio, of_few


def test_the_mean_lies_inside_and_the_width_is_that_of_theory() -> None:
    """100 coin throws, half heads: 0.5 +- 1.96 * 0.5 / 10."""
    mean, low, high = bootstrap_mean([0.0, 1.0] * 50)
    assert mean == 0.5
    assert (low, high) == (pytest.approx(0.402, abs=0.02), pytest.approx(0.598, abs=0.02))


def test_four_times_the_prompts_half_the_width() -> None:
    def width(n: int) -> float:
        _, low, high = bootstrap_mean([0.0, 1.0] * n, draws=4000)
        return high - low

    assert width(50) / width(200) == pytest.approx(2, rel=0.1)


def test_what_came_out_the_same_everywhere_is_not_certain() -> None:
    """All right on n prompts: the truth is 1 - x with chance (1 - x)^n, which is 2.5 % at 0.025^(1/n)."""
    for n in (1, 7, 40):
        assert bootstrap_mean([1.0] * n) == (1.0, pytest.approx(0.025 ** (1 / n)), 1.0)
        assert bootstrap_mean([0.0] * n) == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / n)))
    mean, low, high = bootstrap_mean([0.75] * 40)
    assert mean == 0.75 and (low, high) == (pytest.approx(0.588, abs=1e-3), pytest.approx(0.873, abs=1e-3))


def test_of_a_whole_number_of_prompts_it_is_clopper_and_pearsons() -> None:
    from scipy.stats import binomtest

    for right, n in ((0, 3), (2, 9), (9, 12), (230, 231)):
        exact = binomtest(right, n).proportion_ci(0.95, method="exact")
        assert of_few(right / n, n) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_twelve_pairs_of_two_prompts_say_next_to_nothing() -> None:
    """Each with 4.5 of its 6 right: resampled, they are 75.0 % to 75.0 %."""
    rate, low, high = bootstrap_ratio([4.5, 4.5], [6.0, 6.0])
    assert rate == 0.75 and low < 0.1 and high > 0.99
    assert bootstrap_ratio([9.0, 0.0], [9.0, 3.0]) == (0.75, *of_few(0.75, 144 / 90))


def test_few_wrong_ones_are_not_resampled() -> None:
    """One wrong of 40 is drawn never in 36 % of draws: the bootstrap ends at 100 %, and the truth may well be 90 %."""
    _, low, high = bootstrap_mean([1.0] * 39 + [0.0])
    assert (low, high) == (pytest.approx(0.868, abs=1e-3), pytest.approx(0.9994, abs=1e-4))
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        _, low, high = bootstrap_mean(list((generator.random(40) < 0.97).astype(float)), draws=200)
        hits += low <= 0.97 <= high
    assert hits >= 190


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [0.0, 0.5, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert bootstrap_mean(values, seed=4) == bootstrap_mean(values, seed=4)
    assert bootstrap_mean(values, seed=4, draws=50) != bootstrap_mean(values, seed=5, draws=50)


def test_comparisons_of_one_prompt_go_together() -> None:
    """10 prompts with 10 comparisons each, all right or all wrong: the width is that of 10 throws, not of 100."""
    rights, counts = [10.0, 0.0] * 5, [10.0] * 10
    rate, low, high = bootstrap_ratio(rights, counts)
    assert rate == 0.5
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(10), abs=0.1)
    _, naive_low, naive_high = bootstrap_mean([0.0, 1.0] * 50)
    assert high - low > 2.5 * (naive_high - naive_low)


def test_a_ratio_weighs_prompts_by_their_comparisons() -> None:
    assert bootstrap_ratio([1.0, 0.0], [3.0, 1.0])[0] == 0.25


def test_95_of_100_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        _, low, high = bootstrap_mean(list((generator.random(80) < 0.7).astype(float)), draws=400)
        hits += low <= 0.7 <= high
    assert 180 <= hits <= 199


def test_nothing_to_average() -> None:
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean([])
