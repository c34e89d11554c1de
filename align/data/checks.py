"""The data doctor: what in a set of records would be wasted, or would teach the wrong thing.

Errors stop a run; warnings are told and the run goes on. Prompts longer than the context are not seen here: that
takes a tokenizer. One finding stands for all rows of a file that share the fault.
"""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from align.data.fields import Place, near
from align.data.importers import Imported
from align.data.preference_checks import conflicts, length_bias, pairs, place_bias, ranking_codes
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
from align.errors import DataError, counted

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault and every row that has it.

    where: `file:line` of the first; count: rows that have it; examples: `file:line` of each, of a leak with
    where the prompt is in training; rows: their positions among the records (from 0). A finding about the whole file
    has no rows.
    """

    severity: Severity
    code: str
    message: str
    where: str
    count: int
    examples: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()

    @property
    def remedy(self) -> str:
        """What to do about it."""
        default = "leave the rows out, or mend them" if self.severity == "error" else "look at the rows"
        return REMEDIES.get(self.code, default)


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
    rows |= _repeated(records)
    rows |= conflicts(records)
    found = [_finding(code, rows[code], place) for code in MESSAGES if rows[code]]
    found += _whole_file(records, where or kind)
    return sorted(found, key=lambda f: f.severity)


def check_imported(imported: Imported) -> list[Finding]:
    """`check_records` for an imported file."""
    return check_records(imported.kind, imported.records, imported.path, imported.lines)


def leakage(
    train: Mapping[str, Imported | Sequence[Record]], heldout: Mapping[str, Imported | Sequence[Record]]
) -> list[Finding]:
    """An error for each pair of a held-out and a training set (by name) that share a prompt, and a warning for each
    that shares one but for spaces and capitals.

    Plain sequences are counted from row 1 under their name; imported files are named by file and line. Plain texts
    have no prompt and are not compared.
    """
    if not any(len(r.records if isinstance(r, Imported) else r) for r in heldout.values()):
        return []
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for name, records in train.items():
        for place, _, key, folded in _placed_keys(name, records):
            seen[key].setdefault(name, place)
            seen[folded].setdefault(name, place)
    found = []
    for name, records in heldout.items():
        hits: dict[tuple[str, str], list[tuple[int, str, str]]] = defaultdict(list)
        for place, row, key, folded in _placed_keys(name, records):
            exact, near_by = seen.get(key, {}), seen.get(folded, {})
            for source in exact:
                hits["leakage", source].append((row, place, exact[source]))
            for source in near_by.keys() - exact.keys():
                hits["near-leakage", source].append((row, place, near_by[source]))
        for (code, source), rows in hits.items():
            place = rows[0][1]
            but = " but for spaces and capitals" if code == "near-leakage" else ""
            message = f"held-out prompts of {name} are also in the training rows of {source}{but}"
            severity: Severity = "warning" if but else "error"
            places = tuple(f"{p}, in training at {other}" for _, p, other in rows)
            found.append(Finding(severity, code, message, place, len(rows), places, tuple(r for r, _, _ in rows)))
    return found


def raise_on_errors(findings: Iterable[Finding], remedy: str = "", options: str = "", leave_out: str = "") -> None:
    """Raise DataError for the first error among the findings, and say how many more there are. Warnings pass.

    remedy: what to do; without it, what fits the error.  options: of the commands in it, how the file was read.
    leave_out: another way to leave the rows out.
    """
    errors = [f for f in findings if f.severity == "error"]
    if not errors:
        return
    first = errors[0]
    found = first.message
    if first.count > 1:
        found += f" (so in {counted(first.count - 1, 'more row')})"
    if len(errors) > 1:
        found += "; further faults: " + "; ".join(f"{f.message} ({f.where})" for f in errors[1:4])
    allowed, advice = "", "name another file, or mend this one"
    if first.code == "leakage":
        found += f": {first.examples[0]}"
        allowed, advice = "a prompt either in training or held out", first.remedy
    elif first.examples:
        file = first.where.rsplit(" row ", 1)[0] if " row " in first.where else first.where.rsplit(":", 1)[0]
        file = shlex.quote(file)
        copied = f"align data convert {file} OUT.jsonl{options} --drop-broken"
        other = f"{leave_out}, or " if leave_out else ""
        advice = f"to see them: align data check {file}{options}; to leave them out: {other}{copied}"
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
    "all-tied": (
        "warning",
        "all answers tie: a reward model learns that they are alike; DPO and others on pairs get nothing from the row",
    ),
    "rank-gap": ("warning", "the ranks leave a gap, as if an answer were missing; only their order is used"),
    "same-answer": ("warning", "equal answers stand at different ranks; the two are not compared"),
    "empty-prompt": ("warning", "the prompt is empty"),
    "empty-turn": ("warning", "a message of the prompt is empty"),
    "same-role": ("warning", "two messages in a row have the same role, which some chat templates refuse"),
    "duplicate": ("warning", "the record stands in the file more than once"),
    "near-duplicate": ("warning", "the record stands in the file already but for spaces and capitals"),
    "contradiction": ("warning", "the same two answers are preferred once this way and once the other"),
    "disagreement": ("warning", "another annotator prefers one of these answers the other way round"),
    "cycle": ("warning", "the comparisons of this prompt go round in a circle"),
}
"""Code -> severity and what is wrong with one row, in the order in which findings are told."""


REMEDIES = {
    "duplicate": "keep one of each, or take it that they count that much more",
    "near-duplicate": "keep one of each, or take it that they count that much more",
    "contradiction": "ask the annotator again, or leave the rows out: they cancel each other",
    "disagreement": "nothing, if people may differ: `evaluate` says how far they agree",
    "cycle": "have these answers ranked together, or leave the rows out",
    "rank-gap": "look whether an answer was lost; ties may share a rank",
    "same-answer": "give equal answers one rank, or show each text once",
    "all-tied": "nothing, if a reward stage reads them without `ties: drop`; for pairs, show answers that differ more",
    "length": "compare a reward model with `longer wins`, and see its accuracy by length in `evaluate`",
    "place": "shuffle the answers for each annotator, and write the order into meta.shown_order",
    "leakage": "remove the rows from one of the two files, or give both sources the same holdout",
    "near-leakage": "remove the rows from one of the two files",
    "cut": "raise max_length, if what is cut matters",
    "cut-away": "raise max_length",
    "unused-column": "rename the column, if it was meant to be read",
}
"""Code -> what to do, where it is not the same for every row at fault."""


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Code -> rows that have it (pairs or rankings, where the finding is about the whole file), for a manifest."""
    found: Counter[str] = Counter()
    for finding in findings:
        found[finding.code] += finding.count
    return dict(found)


def told(finding: Finding) -> str:
    """A finding in one line, for a run that goes on."""
    return f"{finding.where}: {finding.message}" + (f" ({finding.count} rows)" if finding.count > 1 else "")


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
        yield from ranking_codes(record)


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


def _repeated(records: Sequence[Record]) -> dict[str, list[int]]:
    """Rows whose id an earlier row of other content has, and rows whose content an earlier row has, to the letter or
    but for spaces and capitals."""
    ids: dict[str, str] = {}
    contents: set[str] = set()
    folded: set[str] = set()
    found: dict[str, list[int]] = {"duplicate-id": [], "duplicate": [], "near-duplicate": []}
    for row, record in enumerate(records):
        content = canonical(record.model_dump(exclude={"id", "meta"}))
        plain = _fold(content)
        if ids.setdefault(record.id, content) != content:
            found["duplicate-id"].append(row)
        if content in contents:
            found["duplicate"].append(row)
        elif plain in folded:
            found["near-duplicate"].append(row)
        contents.add(content)
        folded.add(plain)
    return found


def _fold(content: str) -> str:
    """Canonical JSON without what spaces, line breaks and capitals tell apart."""
    return "".join(content.replace("\\n", "").replace("\\t", "").split()).casefold()


def _finding(code: str, rows: list[int], place: Callable[[int], str]) -> Finding:
    severity, message = MESSAGES[code]
    places = tuple(place(row) for row in rows)
    return Finding(severity, code, message, places[0], len(rows), places, tuple(rows))


KNOWN_META = frozenset({"shown_order", "task", "guidelines", "moves", "flags", "chosen_model", "rejected_model"})
"""No misspelt columns: what labeling_app keeps in `meta` of a ranking (`task` is near to `tags`), and RewardBench's
two that say who answered."""


def _whole_file(records: Sequence[Record], where: str) -> list[Finding]:
    found = []
    for code, (text, count) in (("length", length_bias(records)), ("place", place_bias(records))):
        if text:
            found.append(Finding("warning", code, text, where, count))
    if records and all(isinstance(record, Ranking) for record in records) and not any(pairs(r) for r in records):
        found.append(Finding("error", "no-comparison", "no row prefers one answer to another", where, len(records)))
    columns = Counter(name for record in records for name in record.meta if name not in KNOWN_META)
    for name, count in columns.items():
        hint = near(name, set(type(records[0]).model_fields) - {"meta", "id"}) if records else ""
        if hint and name not in type(records[0]).model_fields:
            text = f"the column `{name}` is kept in meta and not used{hint}"
            found.append(Finding("warning", "unused-column", text, where, count))
    return found


def _placed_keys(name: str, records: Imported | Sequence[Record]) -> Iterable[tuple[str, int, str, str]]:
    """(place, row, prompt key, the prompt without spaces and capitals) of every record that has a prompt."""
    rows = records.records if isinstance(records, Imported) else records
    for row, record in enumerate(rows):
        prompt = prompt_of(record)
        if prompt:
            place = records.place(row) if isinstance(records, Imported) else f"{name}:{row + 1}"
            yield place, row, prompt_key(prompt), _fold(canonical([[m.role, m.content] for m in prompt]))
