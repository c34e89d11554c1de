"""Numbers as text."""

from __future__ import annotations

import math
from typing import Any

import pytest

from align.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1213952, "1,213,952"), (0.0, "0"), (2.0, "2.00"), (0.8734, "0.873"), (-2.1, "−2.10"),
        (98.76, "98.8"), (12345.6, "12,346"), (2e-05, "2.0e-05"), (-2e-05, "−2.0e-05"), (3.5e7, "3.5e+07"),
        (math.nan, "not a number"), (math.inf, "∞"), (-math.inf, "−∞"), (True, "yes"), (None, "–"), ("fp32", "fp32"),
        (0.00999, "0.00999"),
    ],
)  # fmt: skip
def test_figure(value: Any, text: str) -> None:
    assert numbers.figure(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (192.4, "3 min 12 s"), (7500, "2 h 05 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


def test_other_units() -> None:
    assert [numbers.percent(0.8125), numbers.percent(1.0, 0), numbers.percent(None)] == ["81.2 %", "100 %", "–"]
    assert numbers.interval(0.7604, 0.8604, 0) == "76–86 %"
    assert [numbers.memory(0), numbers.memory(812.3), numbers.memory(3174)] == ["–", "812 MB", "3.1 GB"]
    assert [numbers.file_size(n) for n in (340, 12_100, 5_200_000)] == ["340 B", "12.1 kB", "5.2 MB"]
    assert numbers.count(1, "row") == "1 row"
    assert numbers.count(1200, "row") == "1,200 rows"


def test_moment() -> None:
    assert numbers.moment("2025-11-21T20:25:10+01:00") == "2025-11-21 19:25 UTC"
    assert numbers.moment("2025-11-21T20:25:10") == "2025-11-21 20:25"
    assert numbers.moment("yesterday") == "yesterday"
