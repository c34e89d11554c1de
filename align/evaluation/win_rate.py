"""Win rate of a policy against a baseline on the same prompts; a tie counts as half a win."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from align.evaluation.intervals import bootstrap_mean

TIE = 1e-6
"""Scores closer than this are a tie."""


def win_rate(scores: Sequence[float], baseline: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Rate with its 95 % interval, and the counts of wins, ties and losses. One score per prompt, in the same order."""
    outcomes = [
        0.5 if abs(ours - theirs) < TIE else float(ours > theirs) for ours, theirs in zip(scores, baseline, strict=True)
    ]
    rate, low, high = bootstrap_mean(outcomes, seed)
    return {
        "rate": rate,
        "low": low,
        "high": high,
        "wins": outcomes.count(1.0),
        "ties": outcomes.count(0.5),
        "losses": outcomes.count(0.0),
    }
