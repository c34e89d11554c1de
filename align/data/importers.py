"""Public formats -> records. Nothing is lost: what a record has no field for goes into its `meta`.

    format        a row of it                                                        kinds it can become
    align         the canonical records of align/data/records.py                     all
    alpaca        instruction, input, output (system, history); chosen/rejected      demonstrations, prompts,
                  for output                                                         preferences
    sharegpt      conversations: [{from, value}]; with chosen/rejected or label      as messages
    messages      messages: [{role, content}]; with chosen/rejected or label         demonstrations, prompts,
                                                                                     preferences, feedback
    hh-rlhf       chosen, rejected as text: "\\n\\nHuman: ...\\n\\nAssistant: ..."       preferences, prompts
    trl           prompt, chosen, rejected | chosen, rejected | prompt, completion   preferences, demonstrations,
                  | prompt; each as text or messages. RewardBench's too:             prompts
                  `subset` becomes the tag
    kto           prompt, completion, label                                          feedback, prompts
    ultrafeedback instruction or prompt, completions with scores | responses, scores rankings, prompts
    text          text, or a line of a .txt file                                     corpus, prompts

A file has one format, that of its first readable row. The rows' shapes are read in align/data/dialogues.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from align.data import dialogues
from align.data.fields import SHOWS_ALL, Place, fault, near, validate
from align.data.files import scan_rows
from align.data.records import RECORDS, Record
from align.errors import DataError, counted

CONVERTS: dict[str, tuple[str, ...]] = {
    "align": tuple(RECORDS),
    "alpaca": ("demonstrations", "prompts", "preferences"),
    "sharegpt": ("demonstrations", "prompts", "preferences", "feedback"),
    "messages": ("demonstrations", "prompts", "preferences", "feedback"),
    "hh-rlhf": ("preferences", "prompts"),
    "trl": ("preferences", "demonstrations", "prompts"),
    "kto": ("feedback", "prompts"),
    "ultrafeedback": ("rankings", "prompts"),
    "text": ("corpus", "prompts"),
}
"""Format -> the kinds its rows can become."""

CONVERSATIONS = ("prompt", "messages", "chosen", "rejected", "completion", "answers")


class Imported(NamedTuple):
    """Records with where each stood: lines[i] is the line (Parquet: row) of records[i] in the file `path`."""

    kind: str
    records: list[Record]
    lines: list[int]
    path: str
    format: str

    def place(self, index: int) -> str:
        """`file:line` of a record."""
        return str(Place(self.path, self.lines[index]))

    def take(self, indices: Sequence[int]) -> Imported:
        """The same with only these records, in this order."""
        return self._replace(records=[self.records[i] for i in indices], lines=[self.lines[i] for i in indices])


class Scan(NamedTuple):
    """What could be read of a file, and a DataError for each line that could not."""

    imported: Imported
    broken: list[DataError]


def import_file(path: Path | str, kind: str, format: str = "auto") -> Imported:
    """All records of a file in any format. Raises DataError for the first broken line, and says how many more are."""
    imported, broken = scan_file(path, kind, format)
    if broken:
        raise first_of(broken)
    return imported


def first_of(broken: Sequence[DataError]) -> DataError:
    """The error of the first broken line, with how many more there are."""
    first, more = broken[0], len(broken) - 1
    found = first.found + (f" ({counted(more, 'more broken line')} in this file)" if more else "")
    return DataError(found, where=first.where, allowed=first.allowed, remedy=first.remedy)


def scan_file(path: Path | str, kind: str, format: str = "auto") -> Scan:
    """Every record of a file that can be read, and an error for every line that cannot.

    Raises DataError for what concerns the whole file: missing, empty, a format that cannot become `kind`.
    """
    if kind not in RECORDS:
        raise DataError(
            f"unknown kind `{kind}`{near(kind, RECORDS)}",
            where=str(path),
            allowed=", ".join(RECORDS),
            remedy="leave out --kind: the first row tells it as a rule",
        )
    records: list[Record] = []
    lines: list[int] = []
    broken: list[DataError] = []
    named = "" if format == "auto" else format
    if named:
        _check_format(format, kind, str(path))
    for line, row in scan_rows(path, kind):
        place = Place(str(path), line, kind)
        if isinstance(row, DataError):
            broken.append(_in_format(row, named))
            continue
        if format == "auto":
            format = detect_format(row, kind, place)
        try:
            records.append(record_from(row, kind, format, place))
            lines.append(line)
        except DataError as error:
            told = error if records else _of_another_kind(error, row, kind)
            other = _other_format(row, kind, named, place) if named and not records else ""
            if other:
                remedy = f"leave the format out: the row reads as {other}"
                told = DataError(error.found, where=error.where, allowed=error.allowed, remedy=remedy)
            broken.append(_in_format(told, named))
    return Scan(Imported(kind, records, lines, str(path), format), broken)


def _in_format(error: DataError, format: str) -> DataError:
    """With the format, if one was named, in the command that shows every broken line: without, it reads otherwise."""
    if not format or not error.remedy.endswith(SHOWS_ALL):
        return error
    remedy = f"{error.remedy.removesuffix(SHOWS_ALL)} --format {format}{SHOWS_ALL}"
    return DataError(error.found, where=error.where, allowed=error.allowed, remedy=remedy)


def _other_format(row: dict[str, Any], kind: str, named: str, place: Place) -> str:
    """The format in which a row can be read that is not of the one named; empty if there is none."""
    try:
        format = detect_format(row, kind, place)
        record_from(row, kind, format, place)
    except DataError:
        return ""
    return "" if format == named else format


def record_from(row: dict[str, Any], kind: str, format: str, place: Place) -> Record:
    """One row of a format as a record. Raises DataError naming the place and the field."""
    if format == "align":
        return validate(kind, row, place)
    columns = dict(row)
    fields = dialogues.READERS[format](columns, kind, place)  # Takes what it uses out of `columns`.
    _take_common(columns, kind, fields)
    meta = fields.pop("meta", {}) | columns
    return validate(kind, {**fields, "meta": meta}, place)


def _take_common(columns: dict[str, Any], kind: str, fields: dict[str, Any]) -> None:
    """Columns that mean the same in every format, where they have the type that the record wants."""
    known = RECORDS[kind].model_fields
    value, tags = columns.get("id"), columns.get("tags")
    if isinstance(value, str | int) and not isinstance(value, bool):
        fields["id"] = str(columns.pop("id"))
    if "tags" in known and isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        fields["tags"] = columns.pop("tags")
    elif kind == "preferences" and "tags" not in columns and isinstance(columns.get("subset"), str):
        fields["tags"] = [columns.pop("subset")]
    if "source" in known and isinstance(columns.get("source"), str):
        fields["source"] = columns.pop("source")
    if "reference" in known and "reference" in columns and "reference" not in fields:
        fields["reference"] = columns.pop("reference")
    margin = columns.get("margin")
    if "margin" in known and isinstance(margin, int | float) and not isinstance(margin, bool):
        fields["margin"] = columns.pop("margin")


def detect_format(row: dict[str, Any], kind: str, place: Place) -> str:
    """The format of a file by its first row and the kind wanted. Raises DataError if no format fits."""
    keys = set(row)
    fields = RECORDS[kind].model_fields
    required = {name for name, field in fields.items() if field.is_required()}
    if required <= keys <= set(fields) and all(isinstance(row[k], list) for k in keys & set(CONVERSATIONS)):
        return "align"
    shape = _shape(row)
    if shape and kind in CONVERTS[shape]:
        return shape
    if keys & (set(fields) - {"id", "meta", "tags"}) or any(near(name, keys) for name in required):
        return "align"  # Not quite: its errors name the field that is wrong.
    error = fault(
        place,
        f"no {kind} can be read from a row with the fields {', '.join(row) or '(none)'}"
        + (f"; it looks like {shape}" if shape else ""),
        allowed=_allowed(kind),
        remedy="rename the fields, or name the kind that the rows are of",
    )
    raise _of_another_kind(error, row, kind)


def _of_another_kind(error: DataError, row: dict[str, Any], kind: str) -> DataError:
    """The error of a row that has nothing of the kind wanted and is obviously of another says so; others as they are.

    Prompts and texts are little enough to be seen in a broken row of any kind: there no other column may stand.
    """
    other, keys = _obvious_kind(row), set(row)
    fields = set(RECORDS[other].model_fields) if other else set()
    mixed = keys & (set(RECORDS[kind].model_fields) - fields - {"prompt"})
    if other in ("prompts", "corpus"):
        mixed |= keys - fields
    if other in ("", kind) or kind in ("prompts", "corpus") or mixed:
        return error
    found = f"{error.found}; the row looks like one of {other}"
    remedy = f"leave out --kind, or --kind {other}; in a recipe, name a file of {kind}, or write kind: {other}"
    return DataError(found, where=error.where, allowed=error.allowed, remedy=remedy)


def _shape(row: dict[str, Any]) -> str:
    """The public format a row looks like, whatever kind is wanted; empty if none."""
    keys = set(row)
    pair = {"chosen", "rejected"} <= keys
    if "conversations" in keys:
        return "sharegpt"
    if "messages" in keys and not (pair and "prompt" in keys):
        return "messages"
    if isinstance(row.get("completions"), list) or {"responses", "scores"} <= keys:
        return "ultrafeedback"
    if "instruction" in keys and (pair or "output" in keys):
        return "alpaca"
    if pair:
        texts = [row["chosen"], row["rejected"]]
        dialogue = "prompt" not in keys and all(isinstance(t, str) and dialogues.HH_TURN.search(t) for t in texts)
        return "hh-rlhf" if dialogue else "trl"
    if {"prompt", "completion", "label"} <= keys:
        return "kto"
    if "text" in keys and "prompt" not in keys:
        return "text"
    return "trl" if keys & set(dialogues.QUESTIONS) else ""


def detect_kind(row: dict[str, Any], place: Place) -> str:
    """The kind a row is obviously of, for commands without `--kind`. Raises DataError if it is not obvious."""
    if kind := _obvious_kind(row):
        return kind
    raise DataError(
        f"the kind cannot be told from the fields {', '.join(row) or '(none)'}",
        where=str(place),
        allowed=", ".join(RECORDS),
        remedy=f"say it: align data check {shlex.quote(place.path)} --kind KIND",
    )


def _obvious_kind(row: dict[str, Any]) -> str:
    keys = set(row)
    rules: list[tuple[str, bool]] = [
        ("preferences", {"chosen", "rejected"} <= keys),
        ("feedback", bool(keys & {"label", "kto_tag"}) and bool(keys & {"messages", "conversations", "completion"})),
        ("demonstrations", bool(keys & {"messages", "conversations"}) or {"instruction", "output"} <= keys),
        ("rankings", bool(keys & {"completions", "ranks"}) or {"responses", "scores"} <= keys),
        ("answers", "answers" in keys),
        ("demonstrations", {"prompt", "completion"} <= keys),
        ("prompts", "prompt" in keys),
        ("corpus", "text" in keys),
    ]
    return next((kind for kind, holds in rules if holds), "")


def _check_format(format: str, kind: str, path: str) -> None:
    if format not in CONVERTS:
        raise DataError(
            f"unknown format `{format}`{near(format, CONVERTS)}",
            where=path,
            allowed=", ".join(("auto", *CONVERTS)),
            remedy="leave the format out: auto looks at the first record",
        )
    if kind not in CONVERTS[format]:
        raise DataError(
            f"rows of the format {format} cannot become {kind}",
            where=path,
            allowed=_allowed(kind),
            remedy=f"ask for one of the kinds this format has: {', '.join(CONVERTS[format])}",
        )


def _allowed(kind: str) -> str:
    return f"{kind} come from the formats {', '.join(f for f, kinds in CONVERTS.items() if kind in kinds)}"
