"""Several annotators on the same answers: how far each is to be trusted, what they prefer together, how they agree.

A judgement is one annotator's word on two answers of a prompt: the first is better, the second is, or they tie.
Rankings are read as all their judgements; answers without a rank, and answers of equal text, give none.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import fmean

from align.data.records import Ranking, prompt_key

Two = tuple[str, str, str]
"""Two answers to a prompt: (prompt_key, text a, text b)."""

RIGHT, WRONG = 9.0, 1.0
"""What is believed of an annotator before anything is seen: 9 right judgements of 10. So the first ten count half."""
LEAST = 0.05
"""Weight of an annotator whose judgements are worse than a coin's: heard, but hardly."""
ROUNDS, CLOSE = 200, 1e-9
"""EM ends after so many rounds, or when no annotator's share of right judgements moves further."""


@dataclass(frozen=True)
class Agreement:
    """How well one annotator's judgements foretell another's strict ones on the same two answers.

    rate: share in [0, 1], a tie of the foretelling one counting half; None where it is not defined, and `reason` says
    why. comparisons: pairs of answers that two or more annotators judged. annotators: how many of them overlap.
    agreed, judged: by prompt, what `rate` is the ratio of (for intervals that resample prompts).
    """

    rate: float | None
    comparisons: int
    annotators: int
    agreed: tuple[float, ...] = ()
    judged: tuple[float, ...] = ()
    reason: str = ""

    @property
    def ceiling(self) -> float | None:
        """Accuracy of a model that always sides with the truth, if all annotators are right equally often.

        With a share p of right judgements, two annotators agree with probability a = p² + (1-p)², so
        p = (1 + √(2a-1)) / 2. A model may thus be above `rate`, but not above p. None where a < 1/2.
        """
        if self.rate is None or self.rate < 0.5:
            return None
        return (1 + math.sqrt(2 * self.rate - 1)) / 2


def judgements(rankings: Sequence[Ranking]) -> dict[Two, dict[str, list[float]]]:
    """Every judgement: (prompt_key, a, b) with a < b → annotator → 1 if a is better, 0 if b is, 0.5 for a tie.

    An annotator who ranked the same two answers several times has several entries.
    """
    found: dict[Two, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for ranking in rankings:
        key = prompt_key(ranking.prompt)
        placed = [(answer.text, rank) for answer, rank in zip(ranking.answers, ranking.ranks, strict=True) if rank]
        for (a, rank_a), (b, rank_b) in combinations(sorted(placed), 2):
            if a != b:
                said = 0.5 if rank_a == rank_b else float(rank_a < rank_b)
                found[key, a, b][ranking.annotator].append(said)
    return {two: dict(by) for two, by in found.items()}


def reliability(rankings: Sequence[Ranking]) -> dict[str, float]:
    """The weight of each annotator, in (0, 1], from how they judge what others judged too; 1.0 without overlap.

    One-coin Dawid-Skene (Dawid and Skene 1979; a Beta prior as in Raykar et al. 2010, §2.4) on pairs of answers: of
    each pair one answer is truly better, and an annotator finds it with probability p. EM from p = 0.9:

        E  P(a better) = σ(Σ ±logit p)  over the pair's judgements, + where a was preferred
        M  p = (9 + judgements expected right) / (10 + judgements)

    weight = min(1, (2p-1) / (2·0.9-1)), at least 0.05: 2p-1 is what noise of this size leaves of a preference, measured
    against an annotator of whom nothing is known. Ties name no better answer and are left out. The pairs of one
    ranking are taken as independent, which they are not quite: weights are a little too sure.
    """
    overlapping = [by for by in judgements(rankings).values() if len(by) > 1]
    names = sorted({ranking.annotator for ranking in rankings})
    votes = [
        (item, name, said)
        for item, by in enumerate(overlapping)
        for name, values in by.items()
        for said in values
        if said != 0.5
    ]
    if not votes:
        return dict.fromkeys(names, 1.0)
    share = _right_shares(votes, names, len(overlapping))
    prior = RIGHT / (RIGHT + WRONG)
    return {name: min(1.0, max(LEAST, (2 * p - 1) / (2 * prior - 1))) for name, p in share.items()}


def _right_shares(votes: list[tuple[int, str, float]], names: list[str], items: int) -> dict[str, float]:
    """EM over votes (item, annotator, 1 or 0): the probability of each annotator to be right."""
    import numpy as np

    number = {name: i for i, name in enumerate(names)}
    item_V = np.array([item for item, _, _ in votes])
    name_V = np.array([number[name] for _, name, _ in votes])
    sign_V = np.array([2 * said - 1 for _, _, said in votes])
    count = np.bincount(name_V, minlength=len(names))
    prior = RIGHT / (RIGHT + WRONG)
    # Nobody's word on anything: their share stays at the prior to the last digit.
    p = np.full(len(names), prior)
    for _ in range(ROUNDS):
        voice = np.log(p) - np.log1p(-p)
        first = 1 / (1 + np.exp(-np.bincount(item_V, sign_V * voice[name_V], minlength=items)))
        right_V = np.where(sign_V > 0, first[item_V], 1 - first[item_V])
        new = (RIGHT + np.bincount(name_V, right_V, minlength=len(names))) / (RIGHT + WRONG + count)
        moved, p = float(np.abs(new - p).max()), new
        if moved < CLOSE:
            break
    return {name: prior if count[number[name]] == 0 else float(p[number[name]]) for name in names}


def preferred_share(rankings: Sequence[Ranking]) -> dict[Two, float]:
    """(prompt_key, a, b) → share of the annotators of these two answers who prefer a, weighted by `reliability`.

    Ties count half. Both orders are there, and add up to 1. Of an annotator who judged the two several times, the mean
    counts once.
    """
    weights = reliability(rankings)
    shares: dict[Two, float] = {}
    for (key, a, b), by in judgements(rankings).items():
        total = sum(weights[name] for name in by)
        share = sum(weights[name] * fmean(values) for name, values in by.items()) / total
        shares[key, a, b], shares[key, b, a] = share, 1 - share
    return shares


def agreement(rankings: Sequence[Ranking]) -> Agreement:
    """Percent agreement between annotators, pair by pair, in the terms in which a reward model's accuracy is measured.

    Each strict judgement of one annotator is held against each other annotator's judgement of the same two answers:
    1 if it is the same, 0.5 if theirs is a tie, 0 if it is the opposite. Where both tie there is nothing to foretell.
    """
    agreed: dict[str, float] = defaultdict(float)
    count: dict[str, float] = defaultdict(float)
    pairs = 0
    people: set[str] = set()
    everyone: set[str] = set()
    for (key, _, _), by in judgements(rankings).items():
        everyone.update(by)
        if len(by) < 2:
            continue
        pairs += 1
        people.update(by)
        for name, other in permutations(by, 2):
            for said in by[name]:
                if said != 0.5:
                    agreed[key] += fmean(1 - abs(said - theirs) for theirs in by[other])
                    count[key] += 1
    if not count:
        if len(everyone) < 2:
            reason = "one annotator only" if everyone else "no comparisons"
        else:
            reason = "only ties where annotators overlap" if pairs else "no two annotators judged the same answers"
        return Agreement(None, pairs, len(people), reason=reason)
    rate = sum(agreed.values()) / sum(count.values())
    return Agreement(rate, pairs, len(people), tuple(agreed[k] for k in count), tuple(count.values()))
