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

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]

LEASE = "0123456789abcdef0123456789abcdef"
_CLOSING = {"lease": LEASE, "token": "9f86d081884c7d659a2feaa0c55ad015"}
SUBMISSION: dict[str, Any] = {**_CLOSING, "ranks": {"a1": 2, "a2": 1}, "moves": 1}
SKIP: dict[str, Any] = {**_CLOSING, "reason": "unsure"}
"""Examples in openapi.json: with the lease of an item of two answers, they can be sent as they are."""


class _Sent(BaseModel):
    # The strings below the fields are what openapi.json says of them.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Closing(_Sent):
    """What every end of a turn says."""

    lease: str
    """`item.lease`, as `next` told it."""
    token: Token
    """Made up anew for each submission or skip, such as uuid4().hex; it has nothing to do with the API token. Sent
    again with the same token, it is not saved a second time: repeat a request whose answer was lost as it was."""


class Flag(_Sent):
    """Something is wrong with an answer, or with the whole item."""

    key: Key | None = None
    """Which answer; null is the whole item."""
    code: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,39}$")]
    """A code of your own, or the page's: harmful, untrue, private, nonsense, refusal, other."""
    note: Words = ""


class Edit(_Sent):
    """A better wording of one answer."""

    key: Key
    text: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]


class Submission(_Closing):
    """A ranking of the answers of an item, by their keys."""

    model_config = ConfigDict(json_schema_extra={"examples": [SUBMISSION]})

    ranks: dict[Key, Annotated[int, Field(ge=1, le=99)] | None]
    """The key of every answer (`item.answers[].key`) with its rank: 1 is best, equal is a tie, null is not ranked.
    At least two are ranked, and ranks leave no gap: 1, 2, 2, 3."""
    strength: Annotated[int, Field(ge=1, le=3)] | None = None
    """How much better the better one of two answers is; only where exactly two are ranked, and differ."""
    ratings: dict[Key, dict[str, int]] = Field(default_factory=dict)
    """Key of an answer with its scores: an attribute of `item.attributes`, and 1 to `item.rating_max`."""
    comment: Words = ""
    edit: Edit | None = None
    flags: Annotated[list[Flag], Field(max_length=50)] = Field(default_factory=list)
    seconds: Seconds = 0.0
    """How long the item was looked at."""
    # 0 is refused by `checked`, which says why; what is sent must be at least 1.
    moves: Annotated[int, Field(ge=0, le=1_000_000, json_schema_extra={"minimum": 1})]
    """What was done to reach this order, in moves or keys. At least 1: 0 says that the order shown was left as it was,
    and is refused."""


class Skip(_Closing):
    """An item that a person will not rank, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [SKIP]})

    reason: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,39}$")]
    """A code of your own, or the page's: unsure, all-bad, language, broken, harmful, other."""
    comment: Words = ""
    flags: Annotated[list[Flag], Field(max_length=50)] = Field(default_factory=list)
    seconds: Seconds = 0.0
    """How long the item was looked at."""


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
