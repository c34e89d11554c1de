"""Records become what the trainer learns from: a prompt, its distinct answers, and what annotators said of them.

All rankings of a prompt stand together, so that an answer goes through the model once however often it was compared.
What the trainer does with rankings that say little, or contradict themselves:

    no rank                    the answer is scored with the others and compared with none
    fewer than two ranks       the ranking is left out, and counted
    all tied                   evidence that the answers are worth the same; left out where ties do not count
    the same answer twice      put through once, at the mean of its ranks
    the same rankings twice    by one annotator: each counts half (a third ...), however they differ
    annotators who disagree    each counts by reliability (`align.data.annotators`); scores meet in between
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from align.data.annotators import reliability
from align.data.chat import encode_answers
from align.data.records import Message, Preference, Ranking, Record, prompt_key
from align.errors import DataError, counted

MOST_ANSWERS = 64
"""Answers that stand together; a prompt with more is divided."""

Said = tuple[tuple[str, str], ...]
"""An answer as (role, content) of its messages, usually one."""


@dataclass(frozen=True)
class Judgement:
    """One ranking. ranks: of the prompt's answers in order, None where it has none. margin: in the label's unit."""

    ranks: tuple[float | None, ...]
    weight: float = 1.0
    margin: float = 0.0

    def says_anything(self, ties: bool) -> bool:
        """Whether two answers are ranked, and, unless ties count, differently."""
        given = [rank for rank in self.ranks if rank is not None]
        return len(given) > 1 and (ties or len(set(given)) > 1)


@dataclass(frozen=True)
class RankedPrompt:
    """A prompt with its distinct answers as tokens, each with its closing token, and all rankings of them."""

    prompt_ids: list[int]
    answer_ids: list[list[int]]
    judgements: list[Judgement]
    cut: bool = False


@dataclass
class _Group:
    """A prompt's answers, numbered, and the rankings of them as (answers' numbers, ranks, annotator, margin)."""

    prompt: list[Message]
    answers: dict[Said, int] = field(default_factory=dict)
    rankings: list[tuple[list[int], Sequence[int | None], str, float]] = field(default_factory=list)


def read_rankings(
    rows: Sequence[Any], tokenizer: Any, max_length: int, ties: bool, where: str = "train_dataset"
) -> tuple[list[RankedPrompt], list[str]]:
    """Rankings and preferences (records, or mappings of the same fields) as tokens, with notes on what was left out.

    A mapping may have a text as `prompt`, and texts as `answers`. ties: whether equal ranks count. Raises DataError
    for a row that is no ranking, naming it, and where nothing is left that compares.
    """
    records = [_record(row, f"{where} row {number}") for number, row in enumerate(rows, 1)]
    weights = reliability([r for r in records if isinstance(r, Ranking)])
    found, lost, cut = [], 0, 0
    for group in _groups(records):
        one = _encode(group, weights, tokenizer, max_length)
        kept = [j for j in one.judgements if j.says_anything(ties)]
        lost += len(one.judgements) - len(kept)
        cut += one.cut
        if kept:
            found.append(RankedPrompt(one.prompt_ids, one.answer_ids, kept, one.cut))
    if not any(judgement.says_anything(False) for one in found for judgement in one.judgements):
        raise DataError(
            "no comparison is left to train on"
            + (": cutting removes every difference" if cut else ": the rankings hold only ties"),
            where=where,
            remedy="raise max_length" if cut else "rank answers that differ; per_prompt: or temperature: may help",
        )
    notes = [f"{counted(lost, 'ranking')} left out: no two answers compared"] if lost else []
    notes += [f"{counted(cut, 'prompt')} with answers cut to max_length {max_length}"] if cut else []
    return found, notes


def _record(row: Any, where: str) -> Ranking | Preference:
    if isinstance(row, Ranking | Preference):
        return row
    allowed = "prompt, answers and ranks; or prompt, chosen and rejected"
    if not isinstance(row, Mapping):
        raise DataError(f"the row is a {type(row).__name__}", where=where, allowed=allowed)
    fields = {name: _as_messages(name, value) for name, value in row.items()}
    kind: type[Record] = Preference
    if "ranks" in fields or "answers" in fields:
        kind = Ranking
        answers = fields.get("answers") or []
        fields["answers"] = [{"id": str(i), "text": a} if isinstance(a, str) else a for i, a in enumerate(answers)]
        fields.setdefault("annotator", "")
    try:
        return kind.model_validate(fields)  # type: ignore[return-value]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{place}: {first['msg']}" if place else first["msg"], where=where, allowed=allowed) from None


def _as_messages(name: str, value: Any) -> Any:
    if isinstance(value, str) and name in ("prompt", "chosen", "rejected"):
        return [{"role": "user" if name == "prompt" else "assistant", "content": value}]
    return value


def _groups(records: Sequence[Ranking | Preference]) -> Iterator[_Group]:
    """The records by prompt, in the order in which prompts first appear."""
    groups: dict[str, list[_Group]] = defaultdict(list)
    for record in records:
        if isinstance(record, Preference):
            said = [_said(record.chosen), _said(record.rejected)]
            ranks: list[int | None] = [1, 2]
            annotator = ""
        else:
            said = [(("assistant", answer.text),) for answer in record.answers]
            ranks, annotator = record.ranks, record.annotator
        mine = groups[prompt_key(record.prompt)]
        if not mine or len(mine[-1].answers.keys() | set(said)) > MOST_ANSWERS:
            mine.append(_Group(list(record.prompt)))
        answers = mine[-1].answers
        numbers = [answers.setdefault(one, len(answers)) for one in said]
        mine[-1].rankings.append((numbers, ranks, annotator, record.margin or 0.0))
    for same in groups.values():
        yield from same


def _said(messages: Sequence[Message]) -> Said:
    return tuple((m.role, m.content) for m in messages)


def _encode(group: _Group, weights: Mapping[str, float], tokenizer: Any, max_length: int) -> RankedPrompt:
    answers = [[Message(role=role, content=text) for role, text in said] for said in group.answers]
    encoded = encode_answers(tokenizer, group.prompt, answers, max_length)
    places: dict[tuple[int, ...], int] = {}  # answers whose tokens are equal, cutting included, are one
    place_of = [places.setdefault(tuple(ids), len(places)) for ids in encoded.answer_ids]
    times = Counter((annotator, frozenset(numbers)) for numbers, _, annotator, _ in group.rankings if annotator)
    judgements = []
    for numbers, ranks, annotator, margin in group.rankings:
        given = defaultdict(list)
        for number, rank in zip(numbers, ranks, strict=True):
            if rank is not None:
                given[place_of[number]].append(rank)
        means = tuple(fmean(given[place]) if place in given else None for place in range(len(places)))
        share = times[annotator, frozenset(numbers)] or 1
        judgements.append(Judgement(means, weights.get(annotator, 1.0) / share, margin))
    return RankedPrompt(encoded.prompt_ids, [list(ids) for ids in places], judgements, encoded.cut)
