"""Evaluation artifacts as named records, and what they say in a sentence."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from align.artifacts import Artifact
from align.errors import DataError
from align.report.collect import Run
from align.report.numbers import count, interval, percent

EVALUATION, ANSWERS = "evaluation.json", "answers.jsonl"
SHOWN = 20
"""Prompts shown with every policy's answer."""


class WinRate(BaseModel):
    """Share of prompts won against the baseline, ties as half, with its 95 % interval."""

    rate: float
    low: float
    high: float
    wins: int = 0
    ties: int = 0
    losses: int = 0


class Measure(BaseModel):
    """A judge's measure, averaged over the n prompts that have it."""

    value: float
    n: int = 0


class Policy(BaseModel):
    """How one policy did. `win_rate` is None for the baseline."""

    name: str
    score: float | None = None
    win_rate: WinRate | None = None
    measures: dict[str, Measure] = Field(default_factory=dict)
    mean_words: float | None = None


class Accuracy(BaseModel):
    """Share of held-out pairs in which the reward model prefers the better answer, with its 95 % interval."""

    rate: float
    low: float
    high: float
    pairs: int = 0


class Bin(BaseModel):
    """Held-out pairs of about the same confidence: its mean, how often it was right, and how many there are."""

    confidence: float
    accuracy: float
    pairs: int


class Calibration(BaseModel):
    """Whether a reward model is as sure as it is right: as trained, and with a temperature fitted on other prompts."""

    curve: list[Bin]
    ece: float
    temperature: float | None = None
    curve_tempered: list[Bin] | None = None
    ece_tempered: float | None = None
    reason: str = ""


class Agreement(BaseModel):
    """How well annotators foretell each other; `rate` is None where that is not known, and `reason` says why."""

    rate: float | None = None
    low: float | None = None
    high: float | None = None
    ceiling: float | None = None
    comparisons: int = 0
    annotators: int = 0
    reason: str = ""


class RewardModel(BaseModel):
    """How one reward model did, beside rules that need no training and people's agreement. `ties`: pairs not counted.

    What an evaluation of an older version did not measure is empty or None.
    """

    name: str
    accuracy: Accuracy
    baselines: dict[str, float] = Field(default_factory=dict)
    ties: int = 0
    tags: dict[str, Accuracy] = Field(default_factory=dict)
    lengths: dict[str, Accuracy] = Field(default_factory=dict)
    calibration: Calibration | None = None
    agreement: Agreement | None = None


class Evaluation(BaseModel):
    """One evaluation.json."""

    name: str = ""
    judge: str | None = None
    baseline: str | None = None
    prompts: int = 0
    models: list[Policy] = Field(default_factory=list)
    reward: list[RewardModel] = Field(default_factory=list)

    @property
    def measures(self) -> list[str]:
        """Every measure's name, in the order of first appearance."""
        return list(dict.fromkeys(m for policy in self.models for m in policy.measures))


class GivenAnswer(BaseModel):
    """One policy's answer to a prompt."""

    text: str
    score: float | None = None


class AnsweredPrompt(BaseModel):
    """A held-out prompt with every policy's answer."""

    id: str = ""
    prompt: list[dict[str, Any]]
    tags: list[str] = Field(default_factory=list)
    reference: Any = None
    answers: dict[str, GivenAnswer]


def read_evaluation(artifact: Artifact) -> Evaluation:
    """The figures of an evaluation artifact. Raises DataError if they are missing or of another form."""
    path = artifact.path / EVALUATION
    try:
        return Evaluation.model_validate({**json.loads(path.read_text("utf-8")), "name": artifact.name})
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"the figures of this evaluation cannot be read: {error}",
            where=str(path),
            remedy=f"delete {artifact.path} and run the recipe again",
        ) from None


def read_answers(artifact: Artifact) -> list[AnsweredPrompt]:
    """The answered prompts of an evaluation; none if it compared no policies. Raises DataError with the line."""
    path = artifact.path / ANSWERS
    if not path.exists():
        return []
    rows = []
    with path.open(encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            try:
                rows.append(AnsweredPrompt.model_validate_json(line))
            except ValidationError as error:
                raise DataError(
                    f"this line is no answered prompt: {error.errors()[0]['msg']}",
                    where=f"{path}:{number}",
                    remedy=f"delete {artifact.path} and run the recipe again",
                ) from None
    return rows


def evaluations(run: Run) -> list[Evaluation]:
    """Every finished evaluation of a run, in order."""
    return [read_evaluation(s.artifact) for s in run.steps if s.artifact and s.artifact.kind == "evaluation"]


def winner(evaluation: Evaluation) -> Policy | None:
    """The policy with the highest win rate against the baseline; the first of equals."""
    compared = [p for p in evaluation.models if p.win_rate]
    return max(compared, key=lambda p: p.win_rate.rate if p.win_rate else 0.0, default=None)


def headline(evaluation: Evaluation) -> str:
    """The result in one sentence, with its interval; it says so when the interval leaves the question open."""
    best = winner(evaluation)
    if best and best.win_rate:
        rate = best.win_rate
        text = (
            f"{best.name} wins {percent(rate.rate, 0)} against {evaluation.baseline} on "
            f"{count(evaluation.prompts, 'held-out prompt')} (95 % interval {interval(rate.low, rate.high, 0)})"
        )
        return text + (": no clear difference." if rate.low <= 0.5 <= rate.high else ".")
    if evaluation.reward:
        model = max(evaluation.reward, key=lambda r: r.accuracy.rate)
        right = model.accuracy
        text = (
            f"{model.name} prefers the better answer in {percent(right.rate, 0)} of "
            f"{count(right.pairs, 'held-out pair')} (95 % interval {interval(right.low, right.high, 0)})"
        )
        if right.low > 0.5:
            return text + "."
        return text + (": worse than a coin." if right.high < 0.5 else ": not better than a coin.")
    return f"{evaluation.name} asked {count(evaluation.prompts, 'held-out prompt')} and compared nothing."


def choose(rows: list[AnsweredPrompt], number: int = SHOWN) -> list[AnsweredPrompt]:
    """Prompts to show: taken from each tag in turn; within a tag, first those where the policies' scores differ,
    then those where only the texts do. Chance decides among equals, by a hash, so that nobody picks the cherries.
    """

    def rank(row: AnsweredPrompt) -> tuple[bool, bool, str]:
        given = list(row.answers.values())
        chance = hashlib.sha256(f"{row.id}{row.prompt}".encode()).hexdigest()
        return len({a.score for a in given}) < 2, len({a.text for a in given}) < 2, chance

    groups: dict[tuple[str, ...], list[AnsweredPrompt]] = defaultdict(list)
    for row in sorted(rows, key=rank):
        groups[tuple(row.tags)].append(row)
    turns = [(turn, rank(row), row) for group in groups.values() for turn, row in enumerate(group)]
    chosen = [row for _, _, row in sorted(turns, key=lambda item: item[:2])[:number]]
    return sorted(chosen, key=lambda row: (row.tags, rank(row)))
