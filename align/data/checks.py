"""The data doctor: what in a set of records would be wasted, or would teach the wrong thing.

Errors stop a run; warnings are told and the run goes on. Prompts longer than the context are not seen here: that
takes a tokenizer. One finding stands for all rows of a file that share the fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from align.data.fields import Place, near
from align.data.importers import Imported
from align.data.records import (
    Answers,
    Demonstration,
    Feedback,
    Message,
    Preference,
    Ranking,
    Record,
    Text,
    canonical,
    pairs_of,
    prompt_key,
    prompt_of,
)
from align.errors import DataError

Severity = Literal["error", "warning"]

FEWEST_PAIRS = 50
"""Below so many pairs, nothing is said about length."""
LENGTH_SHARE = (0.35, 0.65)
"""Share of pairs won by the longer text that is taken as no hint of the choice."""


@dataclass(frozen=True)
class Finding:
    """One fault and every row that has it.

    where: `file:line` of the first; count: rows that have it; examples: `file:line` of each; rows: their positions
    among the records (from 0). A finding about the whole file has no rows.
    """

    severity: Severity
    code: str
    message: str
    where: str
    count: int
    examples: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()


def check_records(
    kind: str, records: Sequence[Record], where: str = "", lines: Sequence[int] | None = None
) -> list[Finding]:
    """Every fault of the records, errors first.

    where: the file they come from.  lines: the line of each in that file; without it they are counted from 1.
    """
    lines = lines if lines is not None else range(1, len(records) + 1)

    def place(row: int) -> str:
        return str(Place(where or kind, lines[row]))

    rows: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(records):
        for code in _codes(record):
            rows[code].append(row)
    rows["duplicate-id"], rows["duplicate"] = _repeated(records)
    rows["contradiction"] = _contradictions(records)
    found = [_finding(code, rows[code], place) for code in MESSAGES if rows[code]]
    found += _whole_file(records, where or kind)
    return sorted(found, key=lambda f: f.severity)


def check_imported(imported: Imported) -> list[Finding]:
    """`check_records` for an imported file."""
    return check_records(imported.kind, imported.records, imported.path, imported.lines)


def leakage(
    train: Mapping[str, Imported | Sequence[Record]], heldout: Mapping[str, Imported | Sequence[Record]]
) -> list[Finding]:
    """An error for each pair of a held-out and a training set (by name) that share a prompt.

    Plain sequences are counted from row 1 under their name; imported files are named by file and line. Plain texts
    have no prompt and are not compared.
    """
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for name, records in train.items():
        for place, _, key in _placed_keys(name, records):
            seen[key].setdefault(name, place)
    found = []
    for name, records in heldout.items():
        hits: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        for place, row, key in _placed_keys(name, records):
            for source, first in seen.get(key, {}).items():
                hits[source].append((row, place, first))
        for source, rows in hits.items():
            _, place, first = rows[0]
            message = f"held-out prompts of {name} are also in the training rows of {source}, first at {first}"
            places = tuple(p for _, p, _ in rows)
            found.append(Finding("error", "leakage", message, place, len(rows), places, tuple(r for r, _, _ in rows)))
    return found


def raise_on_errors(findings: Iterable[Finding], remedy: str = "") -> None:
    """Raise DataError for the first error among the findings, and say how many more there are. Warnings pass.

    remedy: what to do; without it, what fits the error.
    """
    errors = [f for f in findings if f.severity == "error"]
    if not errors:
        return
    first = errors[0]
    found = first.message
    if first.count > 1:
        found += f" ({first.count - 1} more rows have this fault)"
    if len(errors) > 1:
        found += "; further faults: " + ", ".join(f"{f.code} at {f.where}" for f in errors[1:4])
    allowed, advice = "", "name another file, or mend this one"
    if first.code == "leakage":
        allowed = "a prompt either in training or held out"
        advice = "remove the rows from one of the two files, or give both sources the same holdout"
    elif first.examples:
        file = first.where.rsplit(" row ", 1)[0] if " row " in first.where else first.where.rsplit(":", 1)[0]
        advice = f"to see them: align data check {file}; to leave them out: align data convert {file} OUT --drop-broken"
    raise DataError(found, where=first.where, allowed=allowed, remedy=remedy or advice)


def drop_broken(imported: Imported) -> tuple[Imported, list[Finding]]:
    """The file without the rows that have an error, and the errors that took them out. Nothing else is dropped."""
    errors = [f for f in check_imported(imported) if f.severity == "error" and f.rows]
    gone = {row for finding in errors for row in finding.rows}
    return imported.take([row for row in range(len(imported.records)) if row not in gone]), errors


MESSAGES: dict[str, tuple[Severity, str]] = {
    "empty-answer": ("error", "the answer is empty"),
    "same-answers": ("error", "chosen and rejected are equal"),
    "not-the-assistant": ("error", "the last message is not the assistant's"),
    "no-ranks": ("error", "fewer than two answers have a rank"),
    "answer-ids": ("error", "two answers of one record have the same id"),
    "duplicate-id": ("error", "the id belongs to another record of this file too"),
    "empty-text": ("error", "the text holds nothing but white space"),
    "empty-sample": ("warning", "an answer is empty"),
    "all-tied": ("warning", "all answers tie, so the row compares nothing"),
    "empty-prompt": ("warning", "the prompt is empty"),
    "empty-turn": ("warning", "a message of the prompt is empty"),
    "same-role": ("warning", "two messages in a row have the same role, which some chat templates refuse"),
    "duplicate": ("warning", "the record stands in the file more than once"),
    "contradiction": ("warning", "the same two answers are preferred once this way and once the other"),
}
"""Code -> severity and what is wrong with one row, in the order in which findings are told."""


def _codes(record: Record) -> Iterable[str]:
    """The faults that one record has by itself."""
    if isinstance(record, Text):
        if not record.text.strip():
            yield "empty-text"
        return
    turns = [_prompt_and(record, answer) for answer in _answered(record)] or [prompt_of(record) or []]
    if any(a.role == b.role != "tool" for t in turns for a, b in zip(t, t[1:], strict=False)):
        yield "same-role"
    yield from _prompt_codes(prompt_of(record) or [])
    yield from _answer_codes(record)
    if isinstance(record, Preference) and _said(record.chosen) == _said(record.rejected):
        yield "same-answers"
    if isinstance(record, Answers | Ranking) and len({a.id for a in record.answers}) < len(record.answers):
        yield "answer-ids"
    if isinstance(record, Ranking):
        ranks = [rank for rank in record.ranks if rank is not None]
        if len(ranks) < 2:
            yield "no-ranks"
        elif len(set(ranks)) == 1:
            yield "all-tied"


def _answered(record: Record) -> list[list[Message]]:
    """The messages that a record teaches, one list an answer; none where answers are plain texts."""
    if isinstance(record, Demonstration):
        return [record.messages[-1:]]
    if isinstance(record, Preference):
        return [record.chosen, record.rejected]
    return [record.completion] if isinstance(record, Feedback) else []


def _prompt_and(record: Record, answer: list[Message]) -> list[Message]:
    whole = isinstance(record, Demonstration)
    return list(record.messages) if whole else [*(prompt_of(record) or []), *answer]  # type: ignore[attr-defined]


def _prompt_codes(prompt: list[Message]) -> Iterable[str]:
    asked = [m for m in prompt if m.role != "system"]
    if not asked or not asked[-1].content.strip():
        yield "empty-prompt"
    elif any(not m.content.strip() for m in asked):
        yield "empty-turn"


def _answer_codes(record: Record) -> Iterable[str]:
    if isinstance(record, Answers | Ranking):
        empty = [i for i, answer in enumerate(record.answers) if not answer.text.strip()]
        # A model may sample an empty answer and have it ranked low; taught as the best one, it is an error.
        best = isinstance(record, Ranking) and any(record.ranks[i] == 1 for i in empty) and bool(pairs_of(record))
        if empty:
            yield "empty-answer" if best else "empty-sample"
        return
    answers = _answered(record)
    taught = record.messages if isinstance(record, Demonstration) else [m for answer in answers for m in answer]
    if any(m.role == "assistant" and not m.content.strip() for m in taught):
        yield "empty-answer"
    if any(answer[-1].role != "assistant" for answer in answers):
        yield "not-the-assistant"


def _said(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(m.role, m.content.strip()) for m in messages]


def _repeated(records: Sequence[Record]) -> tuple[list[int], list[int]]:
    """Rows whose id an earlier row of other content has, and rows whose content an earlier row has."""
    ids: dict[str, str] = {}
    contents: set[str] = set()
    same_id, same_content = [], []
    for row, record in enumerate(records):
        content = canonical(record.model_dump(exclude={"id", "meta"}))
        if ids.setdefault(record.id, content) != content:
            same_id.append(row)
        if content in contents:
            same_content.append(row)
        contents.add(content)
    return same_id, same_content


def _contradictions(records: Sequence[Record]) -> list[int]:
    """Rows that prefer what an earlier row of the same prompt rejects in its favour."""
    seen: set[tuple[str, str, str]] = set()
    rows = []
    for row, record in enumerate(records):
        pairs = [(a, b) for a, b in _pairs(record) if a != b]
        key = prompt_key(prompt_of(record) or []) if pairs else ""
        if any((key, worse, better) in seen for better, worse in pairs):
            rows.append(row)
        seen.update((key, better, worse) for better, worse in pairs)
    return rows


def _pairs(record: Record) -> list[tuple[str, str]]:
    """The comparisons in a record as (better, worse) texts."""
    if isinstance(record, Preference):
        return [("\n\n".join(m.content for m in record.chosen), "\n\n".join(m.content for m in record.rejected))]
    if isinstance(record, Ranking):
        return [(better.text, worse.text) for better, worse, _ in pairs_of(record)]
    return []


def longer_wins(records: Sequence[Record]) -> tuple[float, int]:
    """How often the better text of a pair has more characters (equal lengths count half), and the number of pairs.

    The share is 0.5 where there are no pairs.
    """
    pairs = [pair for record in records for pair in _pairs(record)]
    won = sum((len(a) > len(b)) + 0.5 * (len(a) == len(b)) for a, b in pairs)
    return (won / len(pairs) if pairs else 0.5), len(pairs)


def _finding(code: str, rows: list[int], place: Callable[[int], str]) -> Finding:
    severity, message = MESSAGES[code]
    places = tuple(place(row) for row in rows)
    return Finding(severity, code, message, places[0], len(rows), places, tuple(rows))


def _whole_file(records: Sequence[Record], where: str) -> list[Finding]:
    found = []
    share, pairs = longer_wins(records)
    if records and all(isinstance(record, Ranking) for record in records) and not pairs:
        found.append(Finding("error", "no-comparison", "no row prefers one answer to another", where, len(records)))
    if pairs >= FEWEST_PAIRS and not LENGTH_SHARE[0] <= share <= LENGTH_SHARE[1]:
        side = "longer" if share > 0.5 else "shorter"
        text = f"length alone predicts the choice: the {side} answer wins {max(share, 1 - share):.0%} of {pairs} pairs"
        found.append(Finding("warning", "length", text, where, pairs))
    columns = Counter(name for record in records for name in record.meta)
    for name, count in columns.items():
        hint = near(name, set(type(records[0]).model_fields) - {"meta", "id"}) if records else ""
        if hint and name not in type(records[0]).model_fields:
            text = f"the column `{name}` is kept in meta and not used{hint}"
            found.append(Finding("warning", "unused-column", text, where, count))
    return found


def _placed_keys(name: str, records: Imported | Sequence[Record]) -> Iterable[tuple[str, int, str]]:
    """(place, row, prompt key) of every record that has a prompt."""
    rows = records.records if isinstance(records, Imported) else records
    for row, record in enumerate(rows):
        prompt = prompt_of(record)
        if prompt:
            place = records.place(row) if isinstance(records, Imported) else f"{name}:{row + 1}"
            yield place, row, prompt_key(prompt)
