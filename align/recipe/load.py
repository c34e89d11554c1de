"""YAML -> Recipe. Every mistake becomes a RecipeError with file:line, finding, what is allowed, and "did you mean".

pydantic finds the mistakes; this file says them in the words of a recipe. Left out on purpose: whether names, order
and artifact kinds fit together, which is `align/recipe/check.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from align.recipe import words
from align.recipe.document import Document, Place, Problem, field_path, lookup, raise_problems, read_document
from align.recipe.find import expanded, missing_recipe
from align.recipe.schema import Recipe, Source
from align.recipe.wiring import STAGES

SCHEMA = "`align schema` prints every field with its type, unit and default"

SHORT = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "steps": "max_steps",
    "k": "per_prompt",
    "template": "chat_template",
}
"""Short names that people type, too far from the field's name to be found by spelling."""


@dataclass(frozen=True)
class Loaded:
    """A recipe that is well-formed, and the file it came from."""

    recipe: Recipe
    document: Document

    @property
    def path(self) -> Path:
        """The recipe's file."""
        return self.document.path

    @property
    def text(self) -> str:
        """The file as written."""
        return self.document.text

    @property
    def lines(self) -> Mapping[Place, int]:
        """Field -> its line in the file, from 1."""
        return self.document.lines

    def where(self, place: Place) -> str:
        """`recipes/x.yaml:12 stages[2].data (stage "dpo")`, for errors found later on."""
        return self.document.where(place)

    def resolve(self, path: str) -> Path:
        """A path written in the recipe: relative ones start at the recipe's folder, `~` is the home folder."""
        return self.path.parent / expanded(path)


def load_recipe(path: Path) -> Loaded:
    """Read and validate a recipe file. Raises RecipeError for everything that is wrong with it, all at once."""
    if not path.is_file():
        raise missing_recipe(str(path))
    document = read_document(path)
    try:
        return Loaded(Recipe.model_validate(document.values), document)
    except ValidationError as error:
        raise_problems(document, _problems(error.errors(include_url=False), document.values))
        raise  # unreachable: a ValidationError holds at least one error


@dataclass(frozen=True)
class _Located:
    """A pydantic error with its place in the recipe, and the union field it belongs to, if any."""

    place: Place
    union: Place | None
    tag: str
    error: ErrorDetails


def _problems(errors: list[ErrorDetails], values: Any) -> list[Problem]:
    located = [_locate(error, values) for error in errors]
    problems = [_problem(item, values) for item in located if item.union is None]
    unions: dict[Place, list[_Located]] = {}
    for item in located:
        if item.union is not None:
            unions.setdefault(item.union, []).append(item)
    for place, group in unions.items():
        problems += _union_problems(place, group, values)
    meant = {(p.place[:-1], p.remedy) for p in problems}  # a misspelt key explains the missing one
    return [p for p in problems if (p.place, words.meant(p.missing)) not in meant or not p.missing]


def _locate(error: ErrorDetails, values: Any) -> _Located:
    """Drop from pydantic's path what is not in the file: the stage's kind and the names of a union's members."""
    loc = list(error["loc"])
    if loc[:1] == ["stages"] and len(loc) > 2:
        del loc[2]
    place: Place = ()
    union, tag = None, ""
    for number, part in enumerate(loc, start=1):
        here = lookup(values, place)
        inside = part in here if isinstance(here, dict) else isinstance(here, list) and isinstance(part, int)
        absent = error["type"] == "missing" and number == len(loc)
        if inside or absent:
            place = (*place, part)
        elif part != "[key]" and union is None:
            union, tag = place, str(part)
    return _Located(place, union, tag, error)


def _union_problems(place: Place, group: list[_Located], values: Any) -> list[Problem]:
    """pydantic reports every member of a union; say only what concerns the member that was meant."""
    value, field = lookup(values, place), field_at(place, values)
    models = words.models_in(field.annotation) if field else []
    if isinstance(value, dict) and models:
        if len(models) > 1:
            keys = [key for model in models for key in model.model_fields]
            given = [key for key in value if key in keys]
            if len(given) != 1 or len(value) != 1:
                return [_exactly_one(place, value, keys)]
            models = [model for model in models if given[0] in model.model_fields]
        return [_problem(item, values) for item in group if item.tag == models[0].__name__]
    if isinstance(value, list):
        items = [item for item in group if item.tag.startswith("list[") and len(item.place) > len(place)]
        if items:
            return [_problem(item, values) for item in items]
    return [_mismatch(place, value, field)]


def _exactly_one(place: Place, value: dict[str, Any], keys: list[str]) -> Problem:
    unknown = [key for key in value if key not in keys]
    name = field_path(place[-1:])
    if unknown:
        found = f"unknown key `{unknown[0]}` in `{name}`"
    else:
        found = f"`{name}` has {len(value)} keys ({words.listing(value)})"
    remedy = words.did_you_mean(unknown[0], keys) if unknown else ""
    return Problem(place, found, f"exactly one of {words.listing(keys)}", remedy or SCHEMA)


def _problem(item: _Located, values: Any) -> Problem:
    """One pydantic error in words."""
    error, place = item.error, item.place
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(place, values)
        case "missing":
            field = field_at(place, values)
            name = str(place[-1])
            return Problem(
                place[:-1],
                f"`{name}` is missing",
                words.allowed_in(field) if field else "",
                f"add `{name}: ...` here; {SCHEMA}",
                missing=name,
            )
        case "union_tag_not_found":
            return Problem(place, "the stage has no `kind`", _kinds(), "add `kind: ...`")
        case "union_tag_invalid":
            kind = lookup(values, (*place, "kind"))
            hint = words.did_you_mean(str(kind), STAGES)
            return Problem(
                (*place, "kind"), f"`kind` is {words.show(kind)}, no kind of stage", _kinds(), hint or SCHEMA
            )
        case "value_error":
            return Problem(place, error["msg"].removeprefix("Value error, "), "", "change one of these fields")
        case "string_pattern_mismatch" if item.error["loc"][-1] == "[key]":
            allowed = words.describe(str, [_NamePattern()])
            return Problem(place, f"`{place[-1]}` cannot be a source's name", allowed, "rename it")
        case _:
            return _mismatch(place, lookup(values, place), field_at(place, values))


class _NamePattern:
    pattern = "name"


def _kinds() -> str:
    return "one of " + words.listing(STAGES)


def _mismatch(place: Place, value: Any, field: FieldInfo | None) -> Problem:
    """A value of the wrong type, out of range, or not among the choices."""
    name = field_path(place[-2:] if isinstance(place[-1], int) else place[-1:])
    found = f"`{name}` is {words.show(value)}"
    if field is None:
        return Problem(place, found, *_entry_words(place, value))
    remedy = ""
    if isinstance(value, str):
        remedy = words.did_you_mean(value, words.choices(field.annotation))
    elif isinstance(value, int | float) and {str, list[str]} & set(words.members(field.annotation)):
        remedy = f'put it in quotes: "{value}"'
    if isinstance(value, str) and value and any(get_origin(part) is list for part in words.members(field.annotation)):
        remedy = f"write `{name}: [{value}]`"
    default = field.get_default(call_default_factory=False)
    if not remedy and isinstance(default, str | int | float) and not isinstance(default, bool):
        remedy = f"for example `{name}: {default}`, the default"
    return Problem(place, found, words.allowed_in(field), remedy or SCHEMA)


def _entry_words(place: Place, value: Any) -> tuple[str, str]:
    """Allowed and remedy for an entry of `sources:` or `stages:` that is no mapping."""
    if place[0] == "sources":
        line = f"{place[-1]}: {{kind: policy, path: {value if isinstance(value, str) else '...'}}}"
        return words.describe(Source), f"write for example `{line}`"
    return "a mapping with `name`, `kind` and the fields of its kind", "write `- {name: ..., kind: ..., ...}`"


def _unknown_key(place: Place, values: Any) -> Problem:
    key = str(place[-1])
    known = [name for model in models_at(place[:-1], values) for name in model.model_fields]
    allowed = words.listing(known)
    return Problem(place, f"unknown key `{key}`", allowed, _key_remedy(key, known, place, values))


def _key_remedy(key: str, known: Iterable[str], place: Place, values: Any) -> str:
    """Where a key that is unknown here belongs: the trainer's own name of a field, `trainer:`, or a close spelling."""
    from align.recipe.trainer_arguments import OURS, fields_of

    known = list(known)
    kind = lookup(values, (*place[:2], "kind")) if place[0] == "stages" and len(place) == 3 else None
    hint = words.meant(SHORT[key]) if SHORT.get(key) in known else ""
    hint = hint or (_only_in(key, kind) if kind else "") or words.did_you_mean(key, known)
    if hint:
        return hint
    if "trainer" in known and key in OURS:
        return OURS[key]
    if isinstance(kind, str) and "trainer" in known and key in fields_of(kind):
        return f"it is an argument of the trainer: write `trainer: {{{key}: ...}}`"
    return SCHEMA


def _only_in(key: str, kind: Any) -> str:
    """That other kinds of stage have a key, and this one has not; empty if none has."""
    having = [f"`{name}`" for name, model in STAGES.items() if key in model.model_fields]
    if not having:
        return ""
    return f"only {' and '.join(having)} {'has' if len(having) == 1 else 'have'} it: delete it from `{kind}`"


def models_at(place: Place, values: Any) -> list[type[BaseModel]]:
    """The settings classes that describe the mapping at a place (several where a field is a union)."""
    match place:
        case ():
            return [Recipe]
        case ("stages", int()):
            kind = lookup(values, (*place, "kind"))
            return [STAGES[kind]] if isinstance(kind, str) and kind in STAGES else []
        case ("sources", str()):
            return [Source]
        case _:
            field = field_at(place, values)
            return words.models_in(field.annotation) if field else []


def field_at(place: Place, values: Any) -> FieldInfo | None:
    """The schema's field at a place; for an entry of a list, the list's. None for a whole stage or source."""
    if not place or len(place) == 2 and place[0] in ("stages", "sources"):
        return None
    if isinstance(place[-1], int):
        return field_at(place[:-1], values)
    return next((m.model_fields[place[-1]] for m in models_at(place[:-1], values) if place[-1] in m.model_fields), None)
