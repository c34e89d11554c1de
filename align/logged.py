"""What the rows of metrics.jsonl come to: how much each step weighs, and where a figure ends.

Trainers close with these figures and the report writes them beside its curves, so that the two say the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

TOKENS = "num_tokens"
"""TRL's trainers log under this name how many tokens they have seen so far."""


def step_tokens(logged: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """The tokens of each row's step; None where they were not logged or did not grow."""
    found: list[float | None] = []
    before = 0.0
    for row in logged:
        seen = row.get(TOKENS)
        if seen is not None and seen < before:  # a run that was continued counts anew
            before = 0.0
        found.append(seen - before if seen is not None and seen > before else None)
        before = before if seen is None else float(seen)
    return found


def mean_by(values: Sequence[float], weights: Sequence[float | None]) -> float:
    """The weighted mean; the plain one if a weight is not known."""
    known = [weight for weight in weights if weight is not None]
    if len(known) < len(values):
        known = [1.0] * len(values)
    return math.fsum(v * w for v, w in zip(values, known, strict=True)) / math.fsum(known)


def last_tenth(logged: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The mean of `key` over the last tenth of the rows with a finite value of it (one at least); None without any.

    Steps weigh as many tokens as they have, where these are logged: the last batch of a pass may be one example.
    """
    sized = zip(logged, step_tokens(logged), strict=True)
    rows = [(row[key], tokens) for row, tokens in sized if key in row and math.isfinite(row[key])]
    tail = rows[-max(1, len(rows) // 10) :]
    return mean_by([value for value, _ in tail], [tokens for _, tokens in tail]) if tail else None
