"""Reliability, ECE and temperature against numbers worked out by hand."""

from __future__ import annotations

from math import log

import pytest

from align.evaluation.calibration import _fold, calibration, expected_error, fit_temperature, reliability_curve


def logit(p: float) -> float:
    return log(p / (1 - p))


def sides(right: int, wrong: int, size: float) -> list[float]:
    """Margins of one size: so many on the right side, so many on the wrong one."""
    return [size] * right + [-size] * wrong


IN_FOLD: dict[int, list[str]] = {0: [], 1: []}
for number in range(200):
    IN_FOLD[_fold(f"q{number}")].append(f"q{number}")


def test_bins_hold_confidence_accuracy_and_count() -> None:
    """72 % sure and 60 % right: off by 12 points. 97 % sure and always right: off by 3."""
    curve = reliability_curve(sides(6, 4, logit(0.72)) + sides(5, 0, logit(0.97)))
    assert [(b["low"], b["high"], b["pairs"]) for b in curve] == [(0.7, 0.75, 10), (0.95, 1.0, 5)]
    assert [b["confidence"] for b in curve] == pytest.approx([0.72, 0.97])
    assert [b["accuracy"] for b in curve] == pytest.approx([0.6, 1.0])
    assert expected_error(curve) == pytest.approx((10 * 0.12 + 5 * 0.03) / 15)


def test_the_ends_of_the_scale_are_in_bins() -> None:
    curve = reliability_curve([0.0, 0.0, 1000.0])
    assert [(b["low"], b["confidence"], b["accuracy"], b["pairs"]) for b in curve] == [
        (0.5, 0.5, 0.5, 2),
        (0.95, 1.0, 1.0, 1),
    ]
    assert expected_error(curve) == 0


@pytest.mark.parametrize("size", [0.01, 1.0, 300.0])
def test_temperature_of_margins_of_one_size(size: float) -> None:
    """80 of 100 right, target t = 101/102: the slope is 0 where σ(size / T) = 0.6 t + 0.2."""
    temperature = fit_temperature(sides(80, 20, size))
    assert temperature == pytest.approx(size / logit(0.6 * 101 / 102 + 0.2), rel=1e-6)


def test_always_right_has_a_temperature_too() -> None:
    """σ(1 / T) = t = 31/32, so T = 1 / log 31."""
    assert fit_temperature([1.0] * 30) == pytest.approx(1 / log(31), rel=1e-6)


@pytest.mark.parametrize("margins", [[], [1.0] * 19, sides(10, 10, 1.0), sides(5, 25, 1.0), [0.0] * 40])
def test_where_no_temperature_is_a_minimum(margins: list[float]) -> None:
    assert fit_temperature(margins) is None


def test_no_comparison_is_measured_where_its_temperature_was_fitted() -> None:
    """One half of the prompts has margins twice as large: under the other half's temperature it is too sure."""
    small, large = sides(80, 20, 1.0), sides(80, 20, 2.0)
    groups = [*IN_FOLD[0][:50] * 2, *IN_FOLD[1][:50] * 2]
    found = calibration(groups, small + large)
    fitted = logit(0.6 * 101 / 102 + 0.2)
    sure = sorted(b["confidence"] for b in found["curve_tempered"])
    assert sure == pytest.approx([1 / (1 + 2.718281828459045 ** (-fitted * k)) for k in (0.5, 2)], rel=1e-5)
    assert found["ece_tempered"] == pytest.approx(sum(abs(0.8 - s) for s in sure) / 2)
    assert found["ece"] == expected_error(reliability_curve(small + large))
    assert found["temperature"] == fit_temperature(small + large)


def test_what_cannot_be_fitted_says_why() -> None:
    groups = [*IN_FOLD[0][:30], *IN_FOLD[1][:30]]
    few = calibration(groups[:35], [1.0] * 35)
    assert (few["temperature"], few["ece_tempered"]) == (None, None) and "fewer than 20" in few["reason"]
    wrong = calibration(groups, [1.0] * 30 + [-0.5] * 30)
    assert wrong["temperature"] is None and "wrong side" in wrong["reason"]
    assert wrong["ece"] > 0
