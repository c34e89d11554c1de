"""The tables. Append-only, by trigger: ranking, event, export. Kept by trigger: tally. The others are mutable.

    project ─< item ─< lease >─ person        an item is a prompt with its K answers; a lease is one person's turn at it
                        └──< ranking          version 1, 2, ... of that turn: submit, skip or undo; the highest counts

Answers never change, are always read together and are never searched, so an item's answers lie in one column; ranks
are a list in the same order. JSON is kept as text, as `align.data` writes it: an export copies it instead of parsing
it, and equal records give equal bytes on every database. Times are UTC texts of fixed width, which sort as they are.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

APPEND_ONLY = ("ranking", "event", "export")
"""Tables whose rows a trigger keeps from being changed or deleted."""

ROLES = ("annotator", "reviewer", "admin")
ITEM_STATES = ("empty", "open", "done", "adjudicate", "settled", "gold", "closed")
"""empty: no answers yet. closed: not to be shown (more answers than a page holds). settled: a reviewer has decided."""
LEASE_STATES = ("leased", "submitted", "skipped", "expired")
TASKS = ("rank", "adjudicate")
ACTIONS = ("submit", "skip", "undo")
BECAME_TEST = 0
"""The version of a row of `ranking` that is no word of anybody's: with it, an item that was ranked became a test. It
takes a number like every version, so that an export up to an earlier one has the item as it was."""


def dumps(value: Any) -> str:
    """JSON as `align.data.files` writes it into a line."""
    return json.dumps(value, ensure_ascii=False)


class Json(TypeDecorator[Any]):
    """A JSON value as text; None is NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else dumps(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """From the database."""
        return None if value is None else json.loads(value)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=column)


class Base(DeclarativeBase):
    """All tables. Constraints are named, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: Json, list[Any]: Json}


class Project(Base):
    """A set of items that is ranked under one set of guidelines. settings: see labeling_app.projects.Settings."""

    __tablename__ = "project"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(100), unique=True)
    guidelines: Mapped[str] = mapped_column(Text, default="")
    guidelines_version: Mapped[int] = mapped_column(default=1)
    seed: Mapped[int] = mapped_column(default=0)
    settings: Mapped[dict[str, Any]]
    created: Mapped[str] = mapped_column(String(27))


class PersonRow(Base):
    """Someone who ranks. Without a password (annotators of imported files) they cannot log in."""

    __tablename__ = "person"
    __table_args__ = (_one_of("role", ROLES),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    pseudonym: Mapped[str] = mapped_column(String(200), unique=True)
    password: Mapped[str | None] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(20))
    locale: Mapped[str] = mapped_column(String(10), default="")
    active: Mapped[bool] = mapped_column(default=True)
    created: Mapped[str] = mapped_column(String(27))


class LoginSession(Base):
    """A login. Only the hash of the cookie's token is kept."""

    __tablename__ = "login_session"
    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    expires: Mapped[str] = mapped_column(String(27))


class Throttle(Base):
    """Failed logins: of a name from an address, of an address, of a name."""

    __tablename__ = "throttle"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int]
    blocked_until: Mapped[str] = mapped_column(String(27))
    last: Mapped[str] = mapped_column(String(27))


class Invitation(Base):
    """A link with which one person makes their own account."""

    __tablename__ = "invitation"
    __table_args__ = (_one_of("role", ROLES),)
    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(20))
    invited_by: Mapped[str] = mapped_column(String(200))
    expires: Mapped[str] = mapped_column(String(27))
    used_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


class Identity(Base):
    """Who a person is at an OpenID provider: first the e-mail that an admin expects, then issuer and subject.

    Once there is a subject, the e-mail lets nobody in any more: addresses are given to others, subjects are not.
    """

    __tablename__ = "identity"
    __table_args__ = (
        UniqueConstraint("issuer", "subject"),
        CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="linked"),
    )
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    email: Mapped[str | None] = mapped_column(String(320), unique=True)
    issuer: Mapped[str | None] = mapped_column(String(500))
    subject: Mapped[str | None] = mapped_column(String(255))
    created: Mapped[str] = mapped_column(String(27))


class Item(Base):
    """A prompt and its answers. taken: people whose turns run or were submitted; done: of those submitted, not undone.

    key: hash of prompt and answers. prompt_key: hash of the prompt alone; nobody sees one prompt twice.
    gold: the ranks that are right, for a question that tests annotators.
    """

    __tablename__ = "item"
    __table_args__ = (
        UniqueConstraint("project_id", "key"),
        CheckConstraint("taken >= 0 AND done >= 0", name="counts"),
        _one_of("state", ITEM_STATES),
        Index("ix_item_queue", "project_id", "state", text("priority DESC"), "taken", "id"),
        Index("ix_item_prompt", "project_id", "prompt_key"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    uid: Mapped[str] = mapped_column(String(200))
    key: Mapped[str] = mapped_column(String(16))
    prompt_key: Mapped[str] = mapped_column(String(16))
    prompt: Mapped[list[Any]]
    answers: Mapped[list[Any]]
    tags: Mapped[list[Any]]
    reference: Mapped[Any] = mapped_column(Json, nullable=True)
    split: Mapped[str] = mapped_column(String(20), default="")
    priority: Mapped[int] = mapped_column(default=0)
    need: Mapped[int]
    taken: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(20))
    gold: Mapped[Any] = mapped_column(Json, nullable=True)


class Lease(Base):
    """One person's turn at an item. shown: positions in item.answers, in the order in which they were shown; empty if
    that is not known. round: 0, or more for what a file says they said of the item once more. prompt_key: of the item;
    empty while it is put away, so that its prompt may be seen again."""

    __tablename__ = "lease"
    __table_args__ = (
        UniqueConstraint("item_id", "person_id", "task", "round"),
        _one_of("state", LEASE_STATES),
        _one_of("task", TASKS),
        Index("ix_lease_seen", "person_id", "project_id", "prompt_key", "state"),
        Index("ix_lease_active", "person_id", "project_id", unique=True, sqlite_where=text("state = 'leased'"),
              postgresql_where=text("state = 'leased'")),
        Index("ix_lease_expires", "project_id", "expires", sqlite_where=text("state = 'leased'"),
              postgresql_where=text("state = 'leased'")),
    )  # fmt: skip
    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    prompt_key: Mapped[str] = mapped_column(String(16))
    task: Mapped[str] = mapped_column(String(20), default="rank")
    round: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(20))
    expires: Mapped[str] = mapped_column(String(27))
    shown: Mapped[list[Any]]
    seed: Mapped[str] = mapped_column(String(200), default="")
    guidelines_version: Mapped[int]


class Tally(Base):
    """How many leases a person has in a project, and how many of them are submitted: kept by triggers of `lease`."""

    __tablename__ = "tally"
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), primary_key=True)
    turns: Mapped[int]
    submitted: Mapped[int]


class RankingRow(Base):
    """One version of a turn. The highest version of a lease counts: its ranking, or that there is none any more.
    Version BECAME_TEST, an `undo` that is below all others, counts for nothing in its turn.

    token: the page's own id of the submission, so that a repeated request is one row. meta: as it is exported.
    """

    __tablename__ = "ranking"
    __table_args__ = (
        UniqueConstraint("lease_id", "version"),
        UniqueConstraint("project_id", "uid"),
        _one_of("action", ACTIONS),
        Index("ix_ranking_export", "project_id", "item_id", "id"),
        Index("ix_ranking_person", "person_id", "project_id", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(200))
    token: Mapped[str | None] = mapped_column(String(64), unique=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    lease_id: Mapped[int] = mapped_column(ForeignKey("lease.id"))
    version: Mapped[int]
    action: Mapped[str] = mapped_column(String(20))
    ranks: Mapped[Any] = mapped_column(Json, nullable=True)
    margin: Mapped[float | None]
    ratings: Mapped[Any] = mapped_column(Json, nullable=True)
    comment: Mapped[Any] = mapped_column(Json, nullable=True)
    edit: Mapped[Any] = mapped_column(Json, nullable=True)
    flags: Mapped[Any] = mapped_column(Json, nullable=True)
    seconds: Mapped[float | None]
    time: Mapped[Any] = mapped_column(Json, nullable=True)
    meta: Mapped[Any] = mapped_column(Json, nullable=True)
    created: Mapped[str] = mapped_column(String(27))


class Draft(Base):
    """What a person has done so far with an item; the page's own JSON."""

    __tablename__ = "draft"
    lease_id: Mapped[int] = mapped_column(ForeignKey("lease.id"), primary_key=True)
    body: Mapped[Any] = mapped_column(Json)


class Event(Base):
    """What happened, in the transaction in which it happened. hash covers the row and the hash before it."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str] = mapped_column(String(27))
    actor: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(40), index=True)
    entity: Mapped[str] = mapped_column(String(200))
    payload: Mapped[Any] = mapped_column(Json)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class ExportRow(Base):
    """An export that was made: what was asked, how many rows it gave, and the hash of its bytes."""

    __tablename__ = "export"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    shape: Mapped[str] = mapped_column(String(40))
    filter: Mapped[dict[str, Any]]
    rows: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    at: Mapped[str] = mapped_column(String(27))
