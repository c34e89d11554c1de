"""How sure a reward model is beside how right it is, and where it is right: a curve, tables and sentences."""

from __future__ import annotations

from dataclasses import dataclass

from align.report.curves import Chart, Series, draw
from align.report.evaluation import Accuracy, Agreement, Bin, RewardModel
from align.report.numbers import count, figure, interval, percent


@dataclass(frozen=True)
class Honesty:
    """What the page shows of one reward model beside its accuracy."""

    sentences: list[str]
    chart: Chart | None
    bins: list[Bin]
    """As trained: how many pairs stand behind each point."""
    parts: list[tuple[str, dict[str, Accuracy]]]
    """Heading -> accuracy by part of the held-out pairs."""


def honesty(model: RewardModel) -> Honesty:
    """Calibration, agreement of annotators, and accuracy by length and by tag, as far as they were measured."""
    tags = _merged(model.tags)
    equal = " (equal figures together)" if len(tags) < len(model.tags) else ""
    parts = [("By difference in length", model.lengths), (f"By tag{equal}", tags)]
    return Honesty(
        sentences=[text for text in (_calibrated(model), agreed(model.agreement), _tied(model)) if text],
        chart=_chart(model),
        bins=model.calibration.curve if model.calibration else [],
        parts=[(title, rows) for title, rows in parts if rows],
    )


def _merged(tags: dict[str, Accuracy]) -> dict[str, Accuracy]:
    """Tags whose figures are the same share a line: mostly they stand on the same prompts."""
    names: dict[str, list[str]] = {}
    for name, right in tags.items():
        names.setdefault(right.model_dump_json(), []).append(name)
    return {", ".join(equal): tags[equal[0]] for equal in names.values()}


def agreed(agreement: Agreement | None) -> str:
    """What annotators agree on, in a sentence; empty if it was not looked for."""
    if agreement is None:
        return ""
    if agreement.rate is None or agreement.low is None or agreement.high is None:
        return f"How far annotators agree is not known: {agreement.reason}."
    text = (
        f"{count(agreement.annotators, 'annotator')} agree in {percent(agreement.rate, 0)} of "
        f"{count(agreement.comparisons, 'comparison')} that several judged "
        f"(95 % interval {interval(agreement.low, agreement.high, 0)})"
    )
    if agreement.ceiling is None:
        return text + ": less than chance, so there is nothing in common to learn."
    return text + (
        f"; if all err equally often, a model that always sides with the truth would be right in "
        f"{percent(agreement.ceiling, 0)}."
    )


def _calibrated(model: RewardModel) -> str:
    found = model.calibration
    if found is None:
        return ""
    text = f"Its confidence is off by {percent(found.ece)} on average (ECE)"
    if found.temperature is None or found.ece_tempered is None:
        return f"{text}; no temperature was fitted: {found.reason}."
    return (
        f"{text}, and by {percent(found.ece_tempered)} with margins divided by a temperature fitted on other prompts; "
        f"on all held-out pairs it is {figure(found.temperature)}."
    )


def _tied(model: RewardModel) -> str:
    return f"{count(model.ties, 'held-out pair')} tied and counted nowhere." if model.ties else ""


def _chart(model: RewardModel) -> Chart | None:
    found = model.calibration
    if found is None or not found.curve:
        return None
    series = [Series("as trained", [(b.confidence, b.accuracy) for b in found.curve])]
    if found.curve_tempered:
        series.append(Series("with temperature", [(b.confidence, b.accuracy) for b in found.curve_tempered]))
    series.append(Series("as sure as right", [(0.5, 0.5), (1.0, 1.0)]))
    spoken = "; ".join(f"{percent(b.accuracy, 0)} right where {percent(b.confidence, 0)} sure" for b in found.curve)
    alt = f"Reliability curve of {model.name}: {spoken}"
    return Chart("Share right, by confidence", series, draw(series, "confidence"), alt)
