"""Types, values and names in plain words, for the messages about a recipe."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

SIMPLE = {
    str: ("a text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    Any: ("any value", "any values"),
}
LONGEST = 60


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known name closest to a misspelt one as `did you mean ...?`, or nothing if none is close."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return meant(names[close[0]]) if close else ""


def closest(word: str, known: Iterable[str], count: int = 5) -> list[str]:
    """The few known names that are most like this one, the closest first."""
    return difflib.get_close_matches(word.lower(), list(known), n=count, cutoff=0)


def meant(name: str) -> str:
    """The question itself."""
    return f"did you mean `{name}`?"


def show(value: Any) -> str:
    """A value as it might stand in YAML, short enough for a message."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            return f'the text "{value[:LONGEST]}{"..." if len(value) > LONGEST else ""}"'
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list():
            return "a list" if value else "an empty list"
        case _:
            return str(value)


def listing(names: Iterable[str]) -> str:
    """`a, b, c`, or `none`."""
    return ", ".join(names) or "none"


def allowed_in(field: FieldInfo) -> str:
    """What a field accepts, with its docstring: `a number above 0 (Peak learning rate of AdamW.)`."""
    text = describe(field.annotation, field.metadata)
    return f"{text} ({' '.join(field.description.split())})" if field.description else text


def describe(annotation: Any, limits: Sequence[Any] = ()) -> str:
    """A type annotation with its limits in words: `a whole number, 1 or more`."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return describe(inner, [*limits, *(m for item in more for m in getattr(item, "metadata", [item]))])
    if any(getattr(limit, "pattern", None) for limit in limits):
        return "a name: a lower-case letter, then up to 40 lower-case letters, digits, `-` or `_`"
    bounds = " and ".join(filter(None, map(_bound, limits)))
    return _kind(annotation) + (f", {bounds}" if bounds else "")


def members(annotation: Any) -> list[Any]:
    """The alternatives of a union without None, looking through Annotated; a list of one for anything else."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for part in get_args(annotation) if part is not type(None) for m in members(part)]
    return [annotation]


def choices(annotation: Any) -> list[str]:
    """The texts a field may hold, if it has a closed list of them."""
    return [str(c) for part in members(annotation) if get_origin(part) is Literal for c in get_args(part)]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that may stand in a field."""
    return [part for part in members(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]


def _kind(annotation: Any) -> str:
    parts = members(annotation)
    if float in parts:  # a whole number is a number
        parts = [p for p in parts if p is not int]
    models = models_in(annotation)
    if len(models) > 1 and all("kind" in model.model_fields for model in models):
        return "a mapping with `name` and `kind`"
    return " or ".join(_one(part) for part in parts)


def _one(part: Any) -> str:
    origin = get_origin(part)
    if part in SIMPLE:
        return SIMPLE[part][0]
    if origin is Literal:
        words = get_args(part)
        return f"`{words[0]}`" if len(words) == 1 else "one of " + ", ".join(map(str, words))
    if origin is list:
        (item,) = get_args(part)
        return f"a list of {SIMPLE[item][1]}" if item in SIMPLE else f"a list, each entry {describe(item)}"
    if origin is dict:
        item = get_args(part)[1]
        return "a mapping" if item is Any else f"a mapping from names to {describe(item)}"
    if isinstance(part, type) and issubclass(part, BaseModel):
        keys = [f"`{key}`" for key in part.model_fields]
        return "a mapping with " + ", ".join(keys)
    return str(part)


def _bound(limit: Any) -> str:
    for name, words in (("gt", "above {}"), ("ge", "{} or more"), ("lt", "below {}"), ("le", "at most {}")):
        if (value := getattr(limit, name, None)) is not None:
            return words.format(value)
    if (least := getattr(limit, "min_length", None)) is not None:
        return f"{least} or more of them"
    return ""
