"""A recipe's YAML as plain values, with the line of every field, and problems in it turned into one RecipeError.

YAML 1.2: `1e-5` is a number, `yes` and `on` are texts. Comments are ignored. Nothing here knows what a recipe means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from align.errors import RecipeError, unreadable

Place = tuple[str | int, ...]
"""The way to a field from the top of the recipe: ("stages", 2, "learning_rate")."""

DEEPEST = 40


@dataclass(frozen=True)
class Document:
    """A YAML file: where it is, its text, its values as plain Python, and the line (from 1) of every field."""

    path: Path
    text: str
    values: Any
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """The line of a field, or of the nearest thing around it that is written down."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def where(self, place: Place) -> str:
        """`recipes/x.yaml:12 stages[2].learning_rate (stage "dpo")`."""
        text = f"{self.path}:{self.line(place)}"
        if place:
            text += " " + field_path(place)
        if place[:1] == ("stages",) and len(place) > 1:
            entry = lookup(self.values, place[:2])
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str):
                text += f' (stage "{name}")'
        return text


@dataclass(frozen=True)
class Problem:
    """One mistake in a recipe; the fields of an AlignError with the place in place of `where`."""

    place: Place
    found: str
    allowed: str = ""
    remedy: str = ""
    missing: str = ""
    """The key that is missing at the place, if that is the mistake."""


def raise_problems(document: Document, problems: Iterable[Problem]) -> None:
    """Raise one RecipeError for all problems, in the order of their lines; nothing if there are none.

    The first is told in full, the others by place and finding, so that one run of `align check` shows them all.
    """
    unique = {(p.place, p.found): p for p in problems}
    ordered = sorted(unique.values(), key=lambda p: document.line(p.place))
    if not ordered:
        return
    first, *others = ordered
    found, allowed = first.found, first.allowed
    if others:
        allowed = allowed and f"{allowed} (line {document.line(first.place)})"
        rows = [f"  line {document.line(p.place)}: {field_path(p.place) or 'recipe'}: {p.found}" for p in others]
        found += f"\nand {len(others)} more:\n" + "\n".join(rows)
    raise RecipeError(found, where=document.where(first.place), allowed=allowed, remedy=first.remedy)


def field_path(place: Sequence[str | int]) -> str:
    """("stages", 2, "by", "rules") -> `stages[2].by.rules`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def lookup(values: Any, place: Place) -> Any:
    """What stands at a place, or None if nothing does."""
    for part in place:
        inside = part in values if isinstance(values, dict) else _has_index(values, part)
        if not inside:
            return None
        values = values[part]
    return values


def _has_index(values: Any, part: str | int) -> bool:
    return isinstance(values, list) and isinstance(part, int) and part < len(values)


def read_document(path: Path) -> Document:
    """Read a YAML file. Raises RecipeError if it is no YAML, is empty, or is not a mapping; SystemLimit if it is
    forbidden."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"the file is not UTF-8 text: {error}", where=str(path), remedy="save it as UTF-8") from None
    except PermissionError:
        raise unreadable(path) from None
    except OSError as error:
        raise RecipeError(f"the file cannot be read: {error.strerror}", where=str(path)) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    """The document in `text`. Raises RecipeError as `read_document` does; `path` is for its messages."""
    # Imported here, since a finished run that is skipped from its cached plan need not parse YAML.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="rt").load(text)
    except (YAMLError, ValueError) as error:
        _raise_syntax(error, path)
    start = "start from a shipped recipe: align new quickstart"
    if tree is None:
        raise RecipeError("the file is empty", where=str(path), allowed="name:, sources: and stages:", remedy=start)
    walk = _Walk(path)
    values = walk.plain(tree, (), 1)
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else f"the single value {values!r}"
        raise RecipeError(
            f"the file holds {kind}, not a recipe",
            where=f"{path}:1",
            allowed="a mapping with name:, sources: and stages: at the left margin",
            remedy=start,
        )
    return Document(path, text, values, walk.lines)


@dataclass
class _Walk:
    """Turns ruamel's commented values into plain ones and notes the line of each."""

    path: Path
    lines: dict[Place, int] = field(default_factory=dict)

    def plain(self, value: Any, place: Place, line: int) -> Any:
        self.lines[place] = line
        if len(place) > DEEPEST:
            self._refuse("the values are nested without end (an alias holds itself?)", line, "write the values out")
        if isinstance(value, dict):
            return self._mapping(value, place, line)
        if isinstance(value, list):
            rows = value.lc.data if hasattr(value, "lc") and value.lc.data else {}
            return [
                self.plain(item, (*place, index), rows[index][0] + 1 if index in rows else line)
                for index, item in enumerate(value)
            ]
        return self._scalar(value, line)

    def _mapping(self, value: dict[Any, Any], place: Place, line: int) -> dict[str, Any]:
        rows = value.lc.data or {} if hasattr(value, "lc") else {}
        made = {}
        for key, item in value.items():
            at = rows[key][0] + 1 if key in rows else line
            if not isinstance(key, str):
                self._refuse(f"the key {key!r} is not a text", at, f'put it in quotes if it is meant: "{key}"')
            made[str(key)] = self.plain(item, (*place, str(key)), at)
        return made

    def _scalar(self, value: Any, line: int) -> Any:
        kind = type(value).__name__
        if value is None or isinstance(value, bool):
            return value
        if kind == "ScalarBoolean":
            return bool(value)
        for plain in (str, int, float):
            if isinstance(value, plain):
                return plain(value)
        if isinstance(value, date):
            return value.isoformat()  # YAML 1.2's core schema has no dates: they are texts
        return self._refuse("a YAML tag (`!...`) cannot be used in a recipe", line, "delete the tag")

    def _refuse(self, found: str, line: int, remedy: str) -> NoReturn:
        allowed = "texts, numbers, true, false, lists and mappings"
        raise RecipeError(found, where=f"{self.path}:{line}", allowed=allowed, remedy=remedy)


def _raise_syntax(error: Exception, path: Path) -> NoReturn:
    """A YAML error as a RecipeError with its line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    if double := re.match(r"found duplicate key \"(.*?)\" with value", problem):
        first = getattr(error, "context_mark", None)
        since = f" (the mapping begins on line {first.line + 1})" if first is not None else ""
        raise RecipeError(
            f"the key `{double[1]}` is given twice in one mapping{since}",
            where=where,
            allowed="each key once; each source and stage has a name of its own",
            remedy="delete or rename one of the two",
        ) from None
    if "another document" in problem:
        raise RecipeError(
            "a second document begins here", where=where, allowed="one recipe a file", remedy="delete the line `---`"
        ) from None
    raise RecipeError(
        f"this is not valid YAML: {problem}",
        where=where,
        remedy="mend this line or the one before it: a bracket, quote, colon or tab (indent with spaces)",
    ) from None
