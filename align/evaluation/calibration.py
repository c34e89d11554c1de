"""Whether a reward model is as sure as it is right: reliability curve, expected calibration error, temperature.

Under Bradley-Terry a margin m (score of one answer less that of the other) says P(the first is better) = σ(m / T),
with T = 1 as trained. A comparison's confidence is that of the side it takes, σ(|m| / T), in [1/2, 1]; it is right if
the chosen answer has the higher score. A margin of 0 is half right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 10
"""Bins of equal width between 1/2 and 1."""
FOLDS = 2
FEWEST = 20
"""Comparisons below which no temperature is fitted."""


def calibration(groups: Sequence[str], margins: Sequence[float]) -> dict[str, Any]:
    """Reliability of margins (chosen less rejected) of held-out comparisons; groups[i] names the prompt of the i-th.

    curve, ece: with T = 1. temperature: fitted on all of them, for use. curve_tempered, ece_tempered: each comparison
    under the temperature of the other half of the prompts, so that none is measured where it was fitted
    (cross-fitting).
    Where no temperature can be fitted the three are None, and `reason` says why.
    """
    margin = np.asarray(margins, float)
    curve = reliability_curve(margin)
    found: dict[str, Any] = {"curve": curve, "ece": expected_error(curve)}
    found |= {"temperature": fit_temperature(margin), "curve_tempered": None, "ece_tempered": None, "reason": ""}
    fold = np.array([_fold(group) for group in groups])
    fitted = [fit_temperature(margin[fold != k]) for k in range(FOLDS)]
    if found["temperature"] is None or None in fitted:
        found["temperature"] = None
        few = any((fold != k).sum() < FEWEST for k in range(FOLDS))
        found["reason"] = (
            f"fewer than {FEWEST} comparisons in one half of the prompts"
            if few
            else "in one half of the prompts the scores favour the wrong side"
        )
        return found
    tempered = margin / np.array(fitted, float)[fold]
    found["curve_tempered"] = reliability_curve(tempered)
    found["ece_tempered"] = expected_error(found["curve_tempered"])
    return found


def reliability_curve(margins: Sequence[float] | np.ndarray) -> list[dict[str, Any]]:
    """Bins of equal width over confidence in [1/2, 1] (Guo et al. 2017, §2), the empty ones left out.

    Each has low and high (its borders; the last holds 1 itself), confidence and accuracy (means) and pairs (count).
    """
    margin = np.asarray(margins, float)
    sure = _sigmoid(np.abs(margin))
    right = np.where(margin == 0, 0.5, margin > 0)
    number = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return [
        {
            "low": 0.5 + k / (2 * BINS),
            "high": 0.5 + (k + 1) / (2 * BINS),
            "confidence": float(sure[number == k].mean()),
            "accuracy": float(right[number == k].mean()),
            "pairs": int((number == k).sum()),
        }
        for k in range(BINS)
        if (number == k).any()
    ]


def expected_error(curve: Sequence[dict[str, Any]]) -> float:
    """ECE (Guo et al. 2017, eq. 3): mean over comparisons of |accuracy - confidence| of their bin. 0 is perfect."""
    total = sum(b["pairs"] for b in curve)
    return float(sum(b["pairs"] * abs(b["accuracy"] - b["confidence"]) for b in curve) / total)


def fit_temperature(margins: Sequence[float] | np.ndarray) -> float | None:
    """T > 0 that minimises the log loss of σ(m / T) (Guo et al. 2017, §4.2).

    The target is (n+1) / (n+2) in place of 1 (Platt 1999, §2.2), without which T would be 0 where every comparison is
    right. None below FEWEST comparisons, and where no T > 0 is a minimum: the mean margin is not above 0.
    """
    margin = np.asarray(margins, float)
    count = len(margin)
    if count < FEWEST or margin.mean() <= 0:
        return None
    target = (count + 1) / (count + 2)

    def slope(inverse: float) -> float:
        return float((margin * (target - _sigmoid(inverse * margin))).sum())

    # The loss is convex in 1/T and its slope changes sign once: bisection, on a scale of margins.
    size = float(np.abs(margin).mean())
    low, high = 1e-6 / size, 1e6 / size
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return 1 / low


def _fold(group: str) -> int:
    """The half a prompt belongs to: by a hash, so that it is the same on every machine."""
    return hashlib.sha256(group.encode()).digest()[0] % FOLDS


def _sigmoid(value: np.ndarray) -> np.ndarray:
    # Through tanh: no overflow on either side.
    return 0.5 * (1 + np.tanh(0.5 * value))
