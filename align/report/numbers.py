"""Numbers as people read them. All functions are pure, and give the same text on every machine."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

NONE = "–"
"""Stands where there is no number."""


def figure(value: Any) -> str:
    """A number in three significant digits, whole numbers with thousands separated; other values as text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NONE}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("−∞" if value < 0 else "∞")
    sign, size = "−" if value < 0 else "", abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e6:
        return f"{sign}{size:.1e}"
    return f"{sign}{size:,.{max(0, 2 - math.floor(math.log10(size)))}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one as `81.2 %`."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def interval(low: float, high: float, digits: int = 1) -> str:
    """Two shares of one as `76.1–86.0 %`."""
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f} %"


def duration(seconds: float) -> str:
    """Seconds as `0.8 s`, `42 s`, `3 min 12 s` or `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(megabytes: float) -> str:
    """Mebibytes as `812 MB` or `3.1 GB`; a dash for 0, which means nothing was measured."""
    if megabytes <= 0:
        return NONE
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1024:.1f} GB"


def file_size(count: int) -> str:
    """Bytes as `340 B`, `12.1 kB`, `5.2 MB` or `1.4 GB`, in powers of 1000."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def moment(stamp: str) -> str:
    """An ISO 8601 time as `2025-11-21 19:25 UTC`; a text that is none stays as it is."""
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    if when.tzinfo is None:
        return when.strftime("%Y-%m-%d %H:%M")
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def count(number: int, noun: str) -> str:
    """`1 row`, `1,200 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
