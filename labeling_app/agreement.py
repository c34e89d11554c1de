"""How far annotators agree: Krippendorff's alpha, Kendall's tau-b and percent of comparisons, with intervals.

Ranks are lists with 1 for the best, equal for ties and None for what was not ranked, in one order of answers per item.
Intervals are 95 % percentile bootstrap (Efron 1979) over items: what one item's annotators say goes together. Where
there are few items, or all came out the same, resampling them shows no doubt, and no interval is given. A figure that
is not defined is None, with the reason.

Items whose annotators said the same are counted, not repeated: with four answers there are few ways to rank them, and
a bootstrap over a hundred thousand items becomes one over a few hundred kinds of item, with the same distribution.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Ranks = Sequence[int | None]
Kind = tuple[tuple[int | None, ...], ...]
"""The rankings of an item, in an order of their own."""

DRAWS = 1000
FEWEST_ITEMS = 10
"""Items below which no interval is given."""
BLOCK = 4_000_000
"""Random counts drawn at a time, so that memory does not grow with the number of items."""


@dataclass(frozen=True)
class Figure:
    """A measure and its interval. items: how many it rests on. value is None where it is not defined; `reason` why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    items: int = 0
    reason: str = ""


@dataclass(frozen=True)
class AgreementFigures:
    """alpha in [-1, 1], ordinal on ranks; tau_b in [-1, 1], mean over items; percent in [0, 1], ties of the other half.

    overlapping: items that two or more people ranked.
    """

    alpha: Figure
    tau_b: Figure
    percent: Figure
    overlapping: int


def agreement_of(items: Sequence[Sequence[tuple[str, Ranks]]], seed: int = 0) -> AgreementFigures:
    """The figures of a project. items: for each, (annotator, ranks) of everyone who ranked it; of someone who is named
    more than once, what they said last."""
    people = {name for item in items for name, _ in item}
    shared = Counter(_kind(last.values()) for item in items if len(last := dict(item)) > 1)
    if not shared:
        reason = "one annotator only" if len(people) == 1 else "no two annotators ranked the same answers"
        none = Figure(None, reason=reason if people else "no rankings")
        return AgreementFigures(none, none, none, 0)
    return AgreementFigures(_alpha(shared, seed), _tau(shared, seed), _percent(shared, seed), shared.total())


def _kind(rankings: Iterable[Ranks]) -> Kind:
    """What an item's annotators said, whoever said it."""
    return tuple(sorted((tuple(ranks) for ranks in rankings), key=str))


def pair_agreement(rankings: Sequence[Ranks]) -> float | None:
    """Share of strict judgements on one item that another annotator's judgement of the same two answers repeats.

    A tie of the other counts half. None if nobody prefers anything that another judged. The definition is that of
    `align.data.annotators.agreement`, which measures reward models' ceilings.
    """
    agreed, judged = _agreed(rankings)
    return agreed / judged if judged else None


def krippendorff_alpha(
    items: Sequence[Sequence[Ranks]], counts: Sequence[int] | None = None
) -> tuple[float | None, str]:
    """Ordinal alpha (Krippendorff 2011) with every answer a unit, every person a coder, every rank a value.

    items: the rankings of each item, at least two; counts: how often each stands, once if left out. None and the
    reason where everybody gave one and the same rank.
    """
    import krippendorff

    values = _value_counts(_dense(items), counts or [1] * len(items))
    if not len(values) or (values.sum(axis=0) > 0).sum() < 2:
        return None, "every answer was given the same rank, so there is nothing to agree or disagree about"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        alpha = krippendorff.alpha(value_counts=values, level_of_measurement="ordinal")
    return float(alpha), ""


def kendall_tau_b(a: Ranks, b: Ranks) -> float | None:
    """Kendall's tau-b of two rankings over what both ranked; None where one of them ties everything."""
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if len({x for x, _ in both}) < 2 or len({y for _, y in both}) < 2:
        return None
    return _tau_b(tuple(x for x, _ in both), tuple(y for _, y in both))


@functools.lru_cache(maxsize=100_000)
def _tau_b(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(a, b, variant="b").statistic)


def _tau(kinds: Counter[Kind], seed: int) -> Figure:
    means: list[tuple[float, float]] = []
    counts = []
    for rankings, count in kinds.items():
        found = [t for a, b in combinations(rankings, 2) if (t := kendall_tau_b(a, b)) is not None]
        if found:
            means.append((math.fsum(found) / len(found), 1.0))
            counts.append(count)
    if not means:
        return Figure(None, reason="in each pair of rankings one ties all that both ranked")
    return _bootstrapped(means, counts, seed)


def _percent(kinds: Counter[Kind], seed: int) -> Figure:
    found = [(_agreed(rankings), count) for rankings, count in kinds.items()]
    found = [(of, count) for of, count in found if of[1]]
    if not found:
        return Figure(None, reason="only ties where annotators overlap")
    return _bootstrapped([of for of, _ in found], [count for _, count in found], seed)


def _agreed(rankings: Sequence[Ranks]) -> tuple[float, float]:
    agreed = judged = 0.0
    for a, b in permutations([tuple(ranks) for ranks in rankings], 2):
        more = _agreed_two(a, b)
        agreed, judged = agreed + more[0], judged + more[1]
    return agreed, judged


@functools.lru_cache(maxsize=100_000)
def _agreed_two(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> tuple[float, float]:
    """How many strict judgements of `a` are those of `b`, and how many of them `b` judged."""
    agreed = judged = 0.0
    for i, j in combinations(range(len(a)), 2):
        ai, aj, bi, bj = a[i], a[j], b[i], b[j]
        if ai is None or aj is None or bi is None or bj is None or ai == aj:
            continue
        judged += 1
        agreed += 0.5 if bi == bj else float((ai < aj) == (bi < bj))
    return agreed, judged


def _bootstrapped(parts: Sequence[tuple[float, float]], counts: Sequence[int], seed: int) -> Figure:
    """Sum of the first parts over sum of the second, items resampled together."""
    import numpy as np

    table = np.asarray(parts, float)
    above, below = np.asarray(counts) @ table
    low, high = _interval(table, counts, lambda sums: sums[:, 0] / sums[:, 1], seed)
    return Figure(float(above / below), low, high, sum(counts))


def _interval(
    table: Floats, counts: Sequence[int], statistic: Callable[[Floats], Floats], seed: int
) -> tuple[float | None, float | None]:
    """95 % percentile interval of a statistic of the column sums of resampled items.

    table: (kinds of item, columns); counts: how many items there are of each kind.
    """
    import numpy as np

    total = sum(counts)
    if total < FEWEST_ITEMS:
        return None, None
    shares = np.asarray(counts) / total
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // len(table))
    found: list[Any] = []
    for start in range(0, DRAWS, block):
        draws = min(block, DRAWS - start)
        weights = rng.multinomial(total, shares, size=draws)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(statistic(weights @ table))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return (float(low), float(high)) if high - low > 1e-12 else (None, None)


def _alpha(kinds: Counter[Kind], seed: int) -> Figure:
    items, counts = _dense(list(kinds)), list(kinds.values())
    value, reason = krippendorff_alpha(items, counts)
    if value is None:
        return Figure(None, reason=reason)
    table, size = _coincidences(items)
    low, high = _interval(table, counts, lambda sums: alpha_of(sums, size), seed)
    return Figure(value, low, high, sum(counts))


def _dense(items: Sequence[Sequence[Ranks]]) -> list[list[Ranks]]:
    """The same with ranks 1, 2, 3 ... for those that are given: which numbers stand for an order is nothing to an
    ordinal measure, and imported ones may be in the thousands."""
    given = {rank for item in items for ranks in item for rank in ranks if rank is not None}
    place: dict[int | None, int | None] = {rank: number for number, rank in enumerate(sorted(given), start=1)}
    return [[[place.get(rank) for rank in ranks] for ranks in item] for item in items]


def alpha_of(sums: Floats, size: int) -> Floats:
    """Ordinal alpha of coincidence matrices, flattened: (draws, size · size) → (draws,). The library takes one matrix
    of data at a time, too slow for a thousand resamplings of many items."""
    import numpy as np

    o_DVV = sums.reshape(-1, size, size)
    n_DV = o_DVV.sum(axis=2)
    n_D = n_DV.sum(axis=1)
    # Ordinal distance of values c < k: (sum of n from c to k, the ends counting half) squared.
    middle_DV = n_DV.cumsum(axis=1) - n_DV / 2
    distance = (middle_DV[:, :, None] - middle_DV[:, None, :]) ** 2
    observed = (o_DVV * distance).sum(axis=(1, 2)) / n_D
    expected = (n_DV[:, :, None] * n_DV[:, None, :] * distance).sum(axis=(1, 2)) / (n_D * (n_D - 1))
    return np.asarray(1 - observed / expected)


def _coincidences(items: Sequence[Sequence[Ranks]]) -> tuple[Floats, int]:
    """The coincidence matrix of each item, flattened: (items, size · size), and `size`, the highest rank."""
    import numpy as np

    size = max(rank for item in items for ranks in item for rank in ranks if rank is not None)
    table = np.zeros((len(items), size, size))
    for number, item in enumerate(items):
        for given in zip(*item, strict=True):
            values = [rank - 1 for rank in given if rank is not None]
            for a, b in permutations(values, 2):
                table[number, a, b] += 1 / (len(values) - 1)
    return table.reshape(len(items), -1), size


def _value_counts(items: Sequence[Sequence[Ranks]], counts: Sequence[int]) -> Any:
    """(units, values): how many people gave each answer each rank; answers that one person ranked are no unit."""
    import numpy as np

    size = max((rank for item in items for ranks in item for rank in ranks if rank is not None), default=1)
    rows = []
    for item, count in zip(items, counts, strict=True):
        for given in zip(*item, strict=True):
            values = [rank - 1 for rank in given if rank is not None]
            if len(values) > 1:
                rows += [np.bincount(values, minlength=size)] * count
    return np.array(rows, dtype=np.int64).reshape(-1, size)
