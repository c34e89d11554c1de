"""What a page sends, checked again on the server: nothing that a browser says is believed."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from labeling_app.errors import Refused

LONGEST_TEXT = 300_000
"""Characters of a comment or of an edited answer; the page's text fields take as many."""
LONGEST_DRAFT = 2_000_000

T = TypeVar("T", bound=BaseModel)
Words = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
Key = Annotated[str, StringConstraints(pattern=r"^a[1-9]\d?$")]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Flag(_Sent):
    """Something is wrong with an answer, or (no key) with the whole item. code: the page's own, such as `harmful`."""

    key: Key | None = None
    code: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,39}$")]
    note: Words = ""


class Edit(_Sent):
    """A better wording of one answer."""

    key: Key
    text: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]


class Submission(_Sent):
    """A ranking by the keys of an ItemView.

    ranks: 1 is best, equal is a tie, None was not ranked; every answer has an entry. token: made by the page once per
    submission, so that a repeated request is not a second ranking. strength: 1 to 3, of a preference between two.
    moves: what the person did to reach this order; 0 is an untouched order, and refused. seconds: on screen.
    """

    lease: str
    token: Token
    ranks: dict[Key, Annotated[int, Field(ge=1, le=99)] | None]
    strength: Annotated[int, Field(ge=1, le=3)] | None = None
    ratings: dict[Key, dict[str, int]] = Field(default_factory=dict)
    comment: Words = ""
    edit: Edit | None = None
    flags: Annotated[list[Flag], Field(max_length=50)] = Field(default_factory=list)
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0.0
    moves: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class Skip(_Sent):
    """An item that a person will not rank, and why. reason: the page's own code, such as `unsure`."""

    lease: str
    token: Token
    reason: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,39}$")]
    comment: Words = ""
    flags: Annotated[list[Flag], Field(max_length=50)] = Field(default_factory=list)
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0.0


def parsed(kind: type[T], payload: Any) -> T:
    """A page's JSON as the record it should be. Raises Refused naming the first field that does not fit."""
    try:
        return kind.model_validate(payload, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused("bad-ranking", first["msg"], where=where[:200], remedy="mend it, and send it again") from None


def checked(submission: Submission, keys: dict[str, int], attributes: list[str], rating_max: int) -> None:
    """Raises Refused unless the submission fits the item it is for.

    keys: key → position of the item's answers. The ranks of what is ranked must be dense: 1, 2, 2, 3.
    """
    ranked = [rank for rank in submission.ranks.values() if rank is not None]
    if set(submission.ranks) != set(keys):
        raise _bad("ranks", f"there are ranks for {len(submission.ranks)} answers", f"one for each of {len(keys)}")
    if len(ranked) < 2:
        raise _bad("ranks", f"{len(ranked)} answers are ranked", "at least two; or skip the item")
    if set(ranked) != set(range(1, max(ranked) + 1)):
        raise _bad("ranks", f"the ranks {sorted(ranked)} leave a gap", "1, 2, ... with ties, without a gap")
    if submission.moves == 0:
        raise _bad("moves", "nothing was moved, so nobody said that this order is meant", "at least one move or key")
    if submission.strength is not None and (len(ranked) != 2 or len(set(ranked)) != 2):
        raise _bad("strength", "a strength is given", "only where one of two answers is better")
    for key, ratings in submission.ratings.items():
        if key not in keys or not set(ratings) <= set(attributes):
            raise _bad("ratings", f"{key} is rated on {', '.join(ratings)[:100]}", ", ".join(attributes))
        if not all(1 <= score <= rating_max for score in ratings.values()):
            raise _bad("ratings", f"{key} has a rating out of range", f"1 to {rating_max}")
    if submission.edit is not None and submission.edit.key not in keys:
        raise _bad("edit", f"{submission.edit.key} is edited", f"an answer of this item: {', '.join(keys)}")
    check_flags(submission.flags, keys)


def check_flags(flags: list[Flag], keys: dict[str, int]) -> None:
    """Raises Refused for a flag on an answer that the item does not have."""
    for flag in flags:
        if flag.key is not None and flag.key not in keys:
            raise _bad("flags", f"{flag.key} is flagged", f"an answer of this item: {', '.join(keys)}")


def _bad(where: str, found: str, allowed: str) -> Refused:
    return Refused("bad-ranking", found, where=where, allowed=allowed)
