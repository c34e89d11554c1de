"""One row of a file, field by field: errors that say where, what was found, what is allowed and what to type next.

Everything that reads rows goes through here, so that a missing field, a wrong type or a misspelt name reads the same
in every format.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import ValidationError

from align.data.records import RECORDS, Answer, Message, Record
from align.errors import DataError

TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "true or false": (bool,),
    "list": (list,),
    "object": (dict,),
}
"""What we call a JSON type -> its Python types."""


SHOWS_ALL = "   (shows every broken line)"


class Place(NamedTuple):
    """Where a row stands: the file as the user typed it, its line (Parquet: row, from 1), and the kind read as."""

    path: str
    line: int
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.path} row {self.line}" if self.path.endswith(".parquet") else f"{self.path}:{self.line}"


def fault(place: Place, found: str, *, field: str = "", allowed: str = "", remedy: str = "") -> DataError:
    """A DataError for one row. remedy: without it, the command that shows every broken row."""
    where = f"{place}, field {field}" if field else str(place)
    return DataError(found, where=where, allowed=allowed, remedy=remedy or check_command(place.path, place.kind))


def check_command(path: str, kind: str = "") -> str:
    """The command that shows every broken line of a file."""
    return f"align data check {shlex.quote(path)}" + (f" --kind {kind}" if kind else "") + SHOWS_ALL


def near(word: str, options: Iterable[str]) -> str:
    """` did you mean ...?` for the option closest to `word`, or nothing."""
    options = list(options)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.7)
    close = close or [option for option in options if len(word) > 3 and option.startswith(word[:4])]
    return f"; did you mean `{close[0]}`?" if close else ""


def show(value: Any) -> str:
    """A value and its JSON type in few characters, for `found`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    name = next((name for name, types in TYPES.items() if isinstance(value, types)), type(value).__name__)
    if isinstance(value, list | dict) and not value:
        return f"an empty {name}"
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else f"an object with {', '.join(value)}"
    text = str(value)
    return f'the {name} "{text if len(text) <= 40 else text[:37] + "..."}"'


def need(row: dict[str, Any], field: str, wanted: str, place: Place, inside: str = "") -> Any:
    """`row[field]`, of one of the types in `wanted` (words of TYPES joined by " | ").

    inside: the path of `row` itself, where it is an object inside a record.

    Raises DataError if the field is missing or of another type.
    """
    path = f"{inside}.{field}" if inside else field
    if field not in row:
        raise fault(
            place,
            f"the field `{path}` is missing{near(field, row)}",
            field=path,
            allowed=f"{field}: {wanted}; here are {', '.join(row) or 'no fields'}",
        )
    value = row[field]
    names = wanted.split(" | ")
    types = tuple(t for name in names for t in TYPES[name])
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise fault(place, f"`{path}` is {show(value)}", field=path, allowed=f"{field}: {wanted}")
    return value


def validate(kind: str, row: dict[str, Any], place: Place) -> Record:
    """The record of `kind` in `row`. Raises DataError for the first field that does not fit; nothing is coerced."""
    try:
        return RECORDS[kind].model_validate(row, strict=True)
    except ValidationError as error:
        faults = error.errors()
        # A misspelt field shows up twice, as unknown and as missing; the unknown one has the "did you mean".
        # Where no field is like it, the missing one says more.
        faults.sort(key=lambda e: (not _misspelt(kind, e), e["type"] != "missing", e["type"] != "extra_forbidden"))
        raise _explain(kind, dict(faults[0]), place) from None


def _misspelt(kind: str, error: Any) -> bool:
    fields = _fields_at(kind, error["loc"])
    return error["type"] == "extra_forbidden" and bool(near(str(error["loc"][-1]), fields))


_TURNS = 'a list of messages: [{"role": "user", "content": "..."}, ...]'
_LISTS = {
    **dict.fromkeys(("prompt", "messages", "chosen", "rejected", "completion"), _TURNS),
    "answers": 'a list of answers: [{"id": "...", "text": "..."}, ...]',
    "ranks": "a list of ranks, one for each answer: [1, 2, ...]",
    "tags": 'a list of texts: ["...", ...]',
}
"""What each list holds."""
_OBJECTS = {
    **dict.fromkeys(
        ("prompt", "messages", "chosen", "rejected", "completion"), 'an object: {"role": "user", "content": "..."}'
    ),
    "answers": 'an object: {"id": "...", "text": "..."}',
}
"""What each entry of those lists is."""
_WANTED = {
    "string_type": "text",
    "string_unicode": "text that is valid Unicode",
    "list_type": "a list",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dict_type": "an object",
    "model_type": "an object",
}


def _explain(kind: str, error: dict[str, Any], place: Place) -> DataError:
    loc: tuple[str | int, ...] = error["loc"]
    field = _path(loc)
    fields = _fields_at(kind, loc)
    code, value = error["type"], error["input"]
    if code == "extra_forbidden":
        found, allowed = f"unknown field `{field}`{near(str(loc[-1]), fields)}", f"fields: {', '.join(fields)}"
    elif code == "missing":
        found, allowed = f"the field `{field}` is missing", f"fields: {', '.join(fields)}"
    elif code == "literal_error":
        found, allowed = f"`{field}` is {show(value)}", str(error["ctx"]["expected"])
    elif code == "value_error":
        found, allowed = str(error["ctx"]["error"]), ""
    elif code == "too_short":
        found, allowed = f"`{field}` is {show(value)}", f"at least {error['ctx']['min_length']} entries"
    elif code == "string_too_short":
        found, allowed = f"`{field}` is empty", "text of at least one character"
    else:
        found, allowed = f"`{field}` is {show(value)}", _WANTED.get(code, error["msg"])
        if code == "list_type":
            allowed = _LISTS.get(field, allowed)
        elif code == "model_type" and len(loc) == 2:
            allowed = _OBJECTS.get(str(loc[0]), allowed)
    return fault(place, found, field=field, allowed=allowed)


def _path(loc: tuple[str | int, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _fields_at(kind: str, loc: tuple[str | int, ...]) -> list[str]:
    """Names of the fields beside the one that failed: of the record, or of the message or answer inside it."""
    if len(loc) < 3:
        return list(RECORDS[kind].model_fields)
    return list((Answer if loc[0] == "answers" else Message).model_fields)
