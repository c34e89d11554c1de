"""95 % intervals of means and ratios over prompts, because answers to one prompt go together.

The percentile bootstrap (Efron 1979) resamples prompts. It shows only what differs between the prompts there are: of
two, or of any number that came out the same, it makes an interval without width, as if nothing could be otherwise.
There, each prompt is counted as one throw of a coin (`of_few`), which is never too sure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEWEST = 5
"""Prompts with something right, and prompts with something wrong, below which nothing is bootstrapped."""


def bootstrap_mean(values: Sequence[float], seed: int = 0, draws: int = 2000) -> tuple[float, float, float]:
    """Mean and 95 % interval of `values`, shares of one: (mean, low, high). Raises ValueError if there are none."""
    return bootstrap_ratio(values, [1.0] * len(values), seed, draws)


def bootstrap_ratio(
    tops: Sequence[float], bottoms: Sequence[float], seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """sum(tops) / sum(bottoms) with its 95 % interval, resampling the entries (one per prompt) together.

    With tops the right comparisons of a prompt and bottoms all of them, this is an accuracy over comparisons whose
    interval knows that comparisons of one prompt are not independent. 0 <= top <= bottom, 0 < bottom.
    Raises ValueError if there are no entries.
    """
    if not tops:
        raise ValueError("no values to average")
    top, bottom = np.asarray(tops, float), np.asarray(bottoms, float)
    rate = float(top.sum() / bottom.sum())
    if min((top > 0).sum(), (top < bottom).sum()) < FEWEST or np.ptp(top / bottom) < 1e-12:
        low, high = of_few(rate, float(bottom.sum() ** 2 / (bottom**2).sum()))
        return rate, low, high
    index = np.random.default_rng(seed).integers(0, len(top), size=(draws, len(top)))
    ratios = top[index].sum(axis=1) / bottom[index].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return rate, float(low), float(high)


def of_few(rate: float, prompts: float) -> tuple[float, float]:
    """95 % interval (Clopper and Pearson 1934) of a share among so many prompts, each wholly right or wholly wrong.

    prompts: where they weigh unequally, the effective number (Σw)² / Σw² (Kish 1965, §11.7). Neither it nor the prompts
    that are right need be whole: Clopper and Pearson's limits are quantiles of Beta distributions, which take any (Korn
    and Graubard 1998). Of all shares with this mean, those that are 0 or 1 vary most, so it is rather too wide.
    """
    from scipy.special import betaincinv

    right, wrong = rate * prompts, (1 - rate) * prompts
    low = float(betaincinv(right, wrong + 1, 0.025)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, wrong, 0.975)) if wrong > 0 else 1.0
    return low, high
