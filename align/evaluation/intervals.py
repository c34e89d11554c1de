"""Bootstrap intervals (Efron 1979): resample prompts, not answers, because answers to one prompt go together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_mean(values: Sequence[float], seed: int = 0, draws: int = 2000) -> tuple[float, float, float]:
    """Mean and 95 % percentile interval of `values`: (mean, low, high). Raises ValueError if there are none."""
    return bootstrap_ratio(values, [1.0] * len(values), seed, draws)


def bootstrap_ratio(
    tops: Sequence[float], bottoms: Sequence[float], seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """sum(tops) / sum(bottoms) with its 95 % percentile interval, resampling the entries (one per prompt) together.

    With tops the right comparisons of a prompt and bottoms all of them, this is an accuracy over comparisons whose
    interval knows that comparisons of one prompt are not independent. Raises ValueError if there are no entries.
    """
    if not tops:
        raise ValueError("no values to average")
    top, bottom = np.asarray(tops, float), np.asarray(bottoms, float)
    index = np.random.default_rng(seed).integers(0, len(top), size=(draws, len(top)))
    ratios = top[index].sum(axis=1) / bottom[index].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(top.sum() / bottom.sum()), float(low), float(high)
