"""The event log: what happened, by whom, chained by hashes so that a row cannot be changed or taken out unseen."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from labeling_app.store.models import Base, Event, dumps

FIRST = "0" * 64
"""What the first event's hash is chained to."""

_HASHED = ("previous", "at", "actor", "kind", "entity", "payload")
_LAST = select(Event.hash).order_by(Event.id.desc()).limit(1)
_APPEND = insert(Base.metadata.tables["event"])


def record_event(session: Session, at: str, actor: str, kind: str, entity: str, /, **payload: Any) -> None:
    """Append an event within the caller's transaction. kind: a verb; entity: what it happened to, `table:id`."""
    session.flush()  # what happened stands before the word of it
    previous = session.execute(_LAST).scalar() or FIRST
    held = [previous, at, actor, kind, entity, payload]
    row = dict(zip(_HASHED, held, strict=True))
    session.execute(_APPEND, {**row, "hash": _hash(held)})


def _hash(held: list[Any]) -> str:
    """SHA-256 over the hash before an event and the event, in hex."""
    return hashlib.sha256(dumps(held).encode()).hexdigest()


def broken_link(session: Session) -> int | None:
    """The id of the first event that does not fit those before it; None if the whole chain holds."""
    previous = FIRST
    # Columns, not objects: a backup checks the log as well, and is to be quick.
    columns = [Event.id, Event.hash, *(getattr(Event, name) for name in _HASHED)]
    for number, hashed, *held in session.execute(select(*columns).order_by(Event.id).execution_options(yield_per=1000)):
        if held[0] != previous or hashed != _hash(held):
            return int(number)
        previous = hashed
    return None
