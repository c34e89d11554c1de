"""About how many items are left for a person, kept between their requests.

Counted anew every so many turns, and by the turn in between: counting takes a look at all open items, which nobody
should wait for at each item. And a count that stood still at a test question would tell which items are tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Integer, bindparam, func, select
from sqlalchemy.orm import Session

from labeling_app.store.database import Store
from labeling_app.store.models import Item, Lease

TURNS, SECONDS = 20, 3600.0
"""A count is kept for so many turns, and so long."""
MOST_ITEMS, MOST_TURNS = 2_000, 2_000
"""Of more open items, or for someone who had more turns, nothing is counted: it would hold up everyone else."""

_PERSON, _PROJECT = bindparam("person", type_=Integer), bindparam("project", type_=Integer)
_open = select(Item.id).where(Item.project_id == _PROJECT, Item.state == "open").limit(MOST_ITEMS + 1).subquery()
_ALL = select(func.count()).select_from(_open)
_MET = (Lease.person_id == _PERSON) & (Lease.project_id == _PROJECT) & (Lease.state != "expired")
_SEEN = (
    select(func.count(Item.id.distinct()))
    .join(Lease, (Lease.project_id == Item.project_id) & (Lease.prompt_key == Item.prompt_key))
    .where(_MET, Item.state == "open")
)


@dataclass(frozen=True)
class Count:
    """Open items that a person has not met; None: too many. turns: those they had by then; at: seconds."""

    items: int | None
    turns: int
    at: float


def left_for(session: Session, store: Store, who: tuple[int, int], turns: int) -> int | None:
    """About how many items there are for a person, the one before them included; None if that is too much to count.
    who: person and project; turns: how many they had in it."""
    if turns > MOST_TURNS:
        return None
    known: Count | None = store.counts.get(who)
    if known is None or not known.turns <= turns < known.turns + TURNS or store.clock() > known.at + SECONDS:
        here = {"person": who[0], "project": who[1]}
        there = session.execute(_ALL, here).scalar_one()
        items = there - session.execute(_SEEN, here).scalar_one() if there <= MOST_ITEMS else None
        known = store.counts[who] = Count(items, turns, store.clock())
    return None if known.items is None else max(0, known.items - (turns - known.turns)) + 1
