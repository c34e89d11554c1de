"""What openapi.json says of the bodies that the API takes and of its answers, so that a script can be written from it.

Nothing here runs when a request is answered: bodies are checked by submission.py and answers are written as they are.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from labeling_app.labels import Receipt
from labeling_app.people import Role
from labeling_app.quality import Quality
from labeling_app.queue import Nothing
from labeling_app.views import AnswerView, ItemView, TurnView


@dataclass(frozen=True)
class Described:
    """Marks a body that is taken as any JSON object, and checked later, with the record that it becomes."""

    kind: type[BaseModel]

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The record's schema in place of an object's; how the body is parsed stays the same."""
        return handler(self.kind.__pydantic_core_schema__)


@dataclass(frozen=True)
class ShownTurn(TurnView):
    """One message of the conversation before the answers; html: the same to be read, and safe."""

    html: str


@dataclass(frozen=True)
class ShownAnswer(AnswerView):
    """One answer. key: what ranks, ratings, flags and edit call it by; `a1` is shown first. html: safe to show."""

    html: str


@dataclass(frozen=True)
class ShownItem(ItemView):
    """An ItemView as the API tells it."""

    __pydantic_config__ = ConfigDict(json_schema_extra={"description": inspect.getdoc(ItemView) or ""})

    prompt: tuple[ShownTurn, ...]
    answers: tuple[ShownAnswer, ...]


@dataclass(frozen=True)
class Offer:
    """An item that is now open for this person: rank it, skip it or leave it, before its lease expires."""

    item: ShownItem


@dataclass(frozen=True, kw_only=True)
class NoOffer(Nothing):
    """There is no item for this person now; reason says why. waiting: items at others, which may come back."""

    item: None


@dataclass(frozen=True, kw_only=True)
class SavedAndOffer(Offer):
    """What was saved, and the next item."""

    saved: Receipt


@dataclass(frozen=True, kw_only=True)
class SavedAndNoOffer(NoOffer):
    """What was saved, and why there is no next item."""

    saved: Receipt


@dataclass(frozen=True)
class Kept:
    """A draft that is kept until its item is ranked, skipped or left."""

    saved: bool


@dataclass(frozen=True)
class Renewed:
    """A lease that holds until then, in UTC."""

    expires: str


@dataclass(frozen=True)
class GivenBack:
    """An item that others may get now, and its person again."""

    left: bool


@dataclass(frozen=True)
class ProjectTold:
    """A project by its name in paths. states: how many items are in which; left out for annotators."""

    slug: str
    states: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Me:
    """Who is logged in. locale: the language they switched to, or nothing; projects: all there are."""

    name: str
    role: Role
    locale: str
    projects: tuple[ProjectTold, ...]


@dataclass(frozen=True)
class Figures(Quality):
    """A Quality as the API tells it."""

    __pydantic_config__ = ConfigDict(
        json_schema_extra={
            "description": f"{inspect.getdoc(Quality)} age: seconds since they were computed. names: for "
            "administrators, the account of each pseudonym."
        }
    )

    age: float
    names: dict[str, str]


@dataclass(frozen=True)
class Error:
    """Why not: found and allowed, where in what was sent, and the remedy; empty where there is nothing to say."""

    code: str
    found: str
    where: str
    allowed: str
    remedy: str


@dataclass(frozen=True)
class ErrorTold:
    """The form of every error."""

    error: Error


REFUSED: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorTold, "description": "Refused; nothing was saved"}}
ME: dict[int | str, dict[str, Any]] = {200: {"model": Me, "description": "A person, and projects"}}
FIGURES: dict[int | str, dict[str, Any]] = {200: {"model": Figures, "description": "A project in numbers"}}
UNDONE: dict[int | str, dict[str, Any]] = {200: {"model": Offer, "description": "The item, with `last` as it was sent"}}
NEXT: dict[int | str, dict[str, Any]] = {
    200: {"model": Offer | NoOffer, "description": "An item, or why there is none"}
}
SAVED: dict[int | str, dict[str, Any]] = {
    200: {"model": SavedAndOffer | SavedAndNoOffer, "description": "What was saved, and what `next` would answer"}
}
EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            "x-rows": {"description": "Records in the file", "schema": {"type": "integer"}},
            "x-sha256": {"description": "The file's SHA-256, in hex", "schema": {"type": "string"}},
            "x-upto": {"description": "Sent as `upto`, it makes the same file again", "schema": {"type": "integer"}},
        },
    }
}


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """What openapi.json holds: the routes of the app, and the token that a script sends."""
    found = app.openapi()
    token = {"type": "http", "scheme": "bearer", "description": "A token of `align labels users token NAME`"}
    return {
        **found,
        "components": {**found["components"], "securitySchemes": {"token": token}},
        "security": [{"token": []}],
    }
