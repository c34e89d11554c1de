"""What a page may know of an item: everything a person needs to rank it, and nothing that says whose answer is whose.

Blind by construction: no record here has a field for a model, a sampling setting, an answer's own id or whether the
item is gold. Answers are called a1, a2, ... by the place they are shown in; only the server knows which is which.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

from labeling_app.store.models import Item, Lease, Project

Task = Literal["rank", "adjudicate"]


@dataclass(frozen=True)
class TurnView:
    """One message of the conversation before the answers."""

    role: str
    content: str


@dataclass(frozen=True)
class AnswerView:
    """One answer. key: `a1` for the one shown first."""

    key: str
    text: str


@dataclass(frozen=True)
class Opinion:
    """What an annotator said about an item that a reviewer decides: ranks by key, None where not ranked."""

    annotator: str
    ranks: dict[str, int | None]
    comment: str | None


@dataclass(frozen=True)
class ItemView:
    """An item on someone's screen. lease: what every call about it names. expires: UTC.

    draft: what was saved for it before, in the page's own form. last: the person's former ranking, after an undo.
    opinions: of annotators who disagree, for a reviewer only. mine: items this person has submitted. left:
    about how many are left for them, this one included; None for a reviewer's decisions, and where counting takes long.
    """

    lease: str
    task: Task
    prompt: tuple[TurnView, ...]
    answers: tuple[AnswerView, ...]
    tags: tuple[str, ...]
    guidelines: str
    guidelines_version: int
    attributes: tuple[str, ...]
    rating_max: int
    expires: str
    mine: int
    left: int | None = None
    draft: Any = None
    last: dict[str, Any] | None = None
    opinions: tuple[Opinion, ...] = ()


def shuffled(project_seed: int, item_key: str, pseudonym: str, count: int) -> tuple[list[int], str]:
    """The order in which a person sees `count` answers, as positions, and the seed that gives it."""
    seed = f"{project_seed}/{item_key}/{pseudonym}"
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order, seed


def keys_of(shown: list[int]) -> dict[str, int]:
    """Key on the page → position in the item's answers."""
    return {f"a{place}": position for place, position in enumerate(shown, start=1)}


def view_of(project: Project, item: Item, lease: Lease, mine: int, **more: Any) -> ItemView:
    """The view of a lease. more: left, draft, last, opinions."""
    settings = project.settings
    return ItemView(
        lease=lease.uid,
        task=lease.task,  # type: ignore[arg-type]  # a constraint of the table
        prompt=tuple(TurnView(turn["role"], turn["content"]) for turn in item.prompt),
        answers=tuple(AnswerView(key, item.answers[at]["text"]) for key, at in keys_of(lease.shown).items()),
        tags=tuple(item.tags),
        guidelines=project.guidelines,
        guidelines_version=project.guidelines_version,
        attributes=tuple(settings["attributes"]),
        rating_max=settings["rating_max"],
        expires=lease.expires,
        mine=mine,
        **more,
    )
