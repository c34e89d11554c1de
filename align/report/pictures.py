"""Held-out results as bars: positions in percent, which the page turns into boxes, so that text stays text."""

from __future__ import annotations

from dataclasses import dataclass

from align.report.evaluation import Evaluation, Policy
from align.report.numbers import count, figure, interval, percent


@dataclass(frozen=True)
class Bar:
    """One bar of a picture. Positions are percents of the picture's width; None where there is nothing to draw."""

    label: str
    text: str
    """The figure beside the bar."""
    note: str = ""
    width: float | None = None
    low: float | None = None
    high: float | None = None
    colour: int | None = None
    """Number of the policy's colour; None is grey, for what stands beside for comparison."""


@dataclass(frozen=True)
class Group:
    """Bars that belong together, with a heading of their own."""

    title: str
    bars: list[Bar]


def colours(evaluation: Evaluation) -> dict[str, int]:
    """Policy -> number of its colour, the same in every picture of the page."""
    return {policy.name: number % 6 for number, policy in enumerate(evaluation.models)}


def win_rates(evaluation: Evaluation) -> list[Bar]:
    """Win rate of each policy against the baseline with its interval."""
    palette = colours(evaluation)
    return [
        Bar(
            label=p.name,
            text=percent(rate.rate),
            note=interval(rate.low, rate.high),
            width=_place(rate.rate),
            low=_place(rate.low),
            high=_place(rate.high),
            colour=palette[p.name],
        )
        for p in evaluation.models
        if (rate := p.win_rate)
    ]


def measures(evaluation: Evaluation) -> list[Group]:
    """Each measure as a group of bars, one a policy. Shares of one are shown as percents."""
    palette, groups = colours(evaluation), []
    for name in evaluation.measures:
        having = [(p, p.measures[name]) for p in evaluation.models if name in p.measures]
        values = [m.value for _, m in having]
        top = 1.0 if is_share(evaluation, name) else max(values)
        drawable = min(values) >= 0 and top > 0
        asked = sorted({m.n for _, m in having})
        bars = [
            Bar(
                p.name,
                measure(evaluation, p, name),
                width=_place(m.value / top) if drawable else None,
                colour=palette[p.name],
            )
            for p, m in having
        ]
        groups.append(Group(f"{name} ({'–'.join(f'{n:,}' for n in asked)} prompts)", bars))
    return groups


def rewards(evaluation: Evaluation) -> list[Group]:
    """Accuracy of each reward model with its interval, beside rules that need no training."""
    groups = []
    for model in evaluation.reward:
        right = model.accuracy
        own = Bar(
            label=model.name,
            text=percent(right.rate),
            note=interval(right.low, right.high),
            width=_place(right.rate),
            low=_place(right.low),
            high=_place(right.high),
            colour=0,
        )
        others = [Bar(name, percent(rate), width=_place(rate)) for name, rate in model.baselines.items()]
        groups.append(Group(f"{model.name} on {count(right.pairs, 'held-out pair')}", [own, *others]))
    return groups


def measure(evaluation: Evaluation, policy: Policy, name: str) -> str:
    """A policy's measure as text; a dash where it has none."""
    found = policy.measures.get(name)
    if found is None:
        return "–"
    return percent(found.value) if is_share(evaluation, name) else figure(float(found.value))


def is_share(evaluation: Evaluation, name: str) -> bool:
    """Whether a measure is a share of one for every policy."""
    return all(0 <= p.measures[name].value <= 1 for p in evaluation.models if name in p.measures)


def _place(share: float) -> float:
    """A share of one as a percent of the width, kept inside the picture."""
    return round(100 * min(1.0, max(0.0, share)), 2)
