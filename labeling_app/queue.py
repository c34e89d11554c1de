"""Who sees what next: leases, overlap, gold questions, priorities, and what a reviewer has to decide.

A lease is a person's turn at an item; each has one at a time in a project. `item.taken` counts the turns that run or
were submitted, and an item is offered while taken < need, so no two people are in each other's way. A lease that is
over goes back by itself, when anyone asks for the next item; a person who comes back late may still submit.

Of the items a person has not seen (nobody sees a prompt twice), in this order: highest priority; then those others
have begun, so that overlap is reached early; then in the order of import.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BindParameter, ColumnElement, Integer, Select, bindparam, func, select, update
from sqlalchemy.orm import Session, aliased

from labeling_app.errors import Refused
from labeling_app.leftover import Unseen, first_left
from labeling_app.people import Person
from labeling_app.remaining import left_for
from labeling_app.store.database import Store
from labeling_app.store.events import record_event
from labeling_app.store.models import Draft, Item, Lease, Project, RankingRow, Tally
from labeling_app.views import ItemView, Opinion, Task, keys_of, shuffled, view_of

BEGUN_WINDOW = 200
"""Begun items looked at before an untouched one is offered; bounds the time where one person is far ahead of others."""


DECIDABLE = ("adjudicate", "done", "open")
"""States of an item that a reviewer may decide, as soon as somebody has ranked it."""


@dataclass(frozen=True)
class Nothing:
    """There is nothing to rank for this person. waiting: items that others are at, which may come back.

    For reviewers: nothing-disputed: no item below the project's threshold is left for them; no-threshold: it has none;
    not-yours-to-decide: the item asked for was ranked, skipped or decided by them, is at another reviewer, or has no
    rankings.
    """

    reason: Literal[
        "empty", "all-ranked", "others-are-at-it", "nothing-disputed", "no-threshold", "not-yours-to-decide"
    ]
    waiting: int = 0


def next_item(
    store: Store, person: Person, project_id: int, task: Task = "rank", item: int | None = None
) -> ItemView | Nothing:
    """The item this person has open, or else a new one, leased to them.

    task: `adjudicate` gives a reviewer an item whose annotators disagree, or any `item` that was ranked and is not
    at someone else's: deciding is not bound to a threshold. Raises Refused without the role for it.
    """
    with store.write() as session:
        return leased(session, store, person, session.get_one(Project, project_id), task, item)


def leased(
    session: Session, store: Store, person: Person, project: Project, task: Task = "rank", item: int | None = None
) -> ItemView | Nothing:
    """As `next_item`, within the caller's transaction."""
    person.need("reviewer" if task == "adjudicate" else "annotator")
    expire_leases(session, store.now(), project.id)
    lease = session.execute(_ACTIVE, {"person": person.id, "project": project.id}).scalar()
    wanted = item if task == "adjudicate" else None
    if lease is not None and (lease.task != task or wanted not in (None, lease.item_id)):
        release(session, lease, store.now())
        lease = None
    if lease is not None:
        lease.expires = store.now(project.settings["lease_seconds"])
        return shown(session, store, lease, item_of(session, lease.item_id))
    if task == "adjudicate":
        chosen = _to_decide(session, project, person, wanted)
    else:
        chosen = _to_rank(session, store, project, person)
    if chosen is None:
        return _nothing(session, project.id, person) if task == "rank" else _undisputed(session, project, wanted)
    lease = _take(session, store, project, chosen, person, task)
    return shown(session, store, lease, chosen)


def renew(store: Store, person: Person, lease: str) -> str:
    """Push back the end of a lease, while its person is active; the new end in UTC. Raises Refused if it is over."""
    with store.write() as session:
        row = lease_of(session, person, lease)
        if row.state != "leased":
            raise Refused("lease-over", "this item is no longer open for you", remedy="ask for the next one")
        project = session.get_one(Project, row.project_id)
        row.expires = store.now(project.settings["lease_seconds"])
        return row.expires


def leave(store: Store, person: Person, lease: str) -> None:
    """Give an item back unranked, such as at logout; it may come to the same person again."""
    with store.write() as session:
        row = lease_of(session, person, lease)
        if row.state == "leased":
            release(session, row, store.now())


def lease_of(session: Session, person: Person, uid: str) -> Lease:
    """The lease of this uid. Raises Refused if there is none, or it is another person's: the same for both."""
    named = re.fullmatch("[0-9a-f]{32}", str(uid)) is not None
    row = session.execute(_LEASE, {"uid": uid, "person": person.id}).scalar() if named else None
    if row is None:
        raise Refused("not-yours", "there is no such item open for you", remedy="ask for the next one")
    return row


def release(session: Session, lease: Lease, at: str) -> None:
    """End a lease that was not submitted; its item is free again."""
    lease.state = "expired"
    if lease.task == "rank":
        session.execute(update(Item).where(Item.id == lease.item_id).values(taken=Item.taken - 1))
    record_event(session, at, "queue", "release", f"item:{lease.item_id}", lease=lease.uid)


def expire_leases(session: Session, now: str, project_id: int) -> int:
    """End every lease of a project whose time is over; how many."""
    over = session.execute(_OVER, {"project": project_id, "now": now}).scalars().all()
    for lease in over:
        release(session, lease, now)
    return len(over)


def shown(session: Session, store: Store, lease: Lease, item: Item, last: dict[str, Any] | None = None) -> ItemView:
    """What the page gets for a lease."""
    project = session.get_one(Project, lease.project_id)
    lease.guidelines_version = project.guidelines_version  # it is shown beside them
    session.flush()
    draft = session.execute(_DRAFT, {"lease": lease.id}).scalar()
    opinions = _opinions(session, item, lease) if lease.task == "adjudicate" else ()
    turns, mine = _tally(session, lease.person_id, project.id)
    left = left_for(session, store, (lease.person_id, project.id), turns) if lease.task == "rank" else None
    return view_of(project, item, lease, mine, left=left, draft=draft, last=last, opinions=opinions)


def item_of(session: Session, item_id: int) -> Item:
    """The item of this number, which is there."""
    return session.execute(_ITEM, {"item": item_id}).scalar_one()


def current(session: Session, item_id: int, task: Task = "rank") -> Sequence[RankingRow]:
    """The rankings of an item that stand: not undone, not superseded."""
    newer = aliased(RankingRow)
    superseded = select(newer.id).where(newer.lease_id == RankingRow.lease_id, newer.version > RankingRow.version)
    rows = select(RankingRow).join(Lease, Lease.id == RankingRow.lease_id)
    rows = rows.where(RankingRow.item_id == item_id, RankingRow.action == "submit", Lease.task == task)
    return session.execute(rows.where(~superseded.exists()).order_by(RankingRow.id)).scalars().all()


def _unseen(person: int | BindParameter[int], items: type[Item] = Item) -> ColumnElement[bool]:
    """Items whose prompt this person neither ranked nor skipped; a lease that ran out does not count."""
    return ~(
        select(Lease.id)
        .where(
            Lease.person_id == person,
            Lease.project_id == items.project_id,
            Lease.prompt_key == items.prompt_key,
            Lease.state != "expired",
        )
        .exists()
    )


def _to_decide(session: Session, project: Project, person: Person, wanted: int | None) -> Item | None:
    """The item to decide about next, or the one that is wanted, as long as nobody else is at it."""
    ours = (Item.project_id == project.id) & (Item.state == "adjudicate")
    if wanted is not None:
        ours = (Item.project_id == project.id) & Item.state.in_(DECIDABLE) & (Item.done > 0) & (Item.id == wanted)
    mine = select(Lease.id).where(Lease.item_id == Item.id, Lease.state == "leased", Lease.task == "adjudicate")
    own = select(Lease.id).where(Lease.item_id == Item.id, Lease.person_id == person.id)
    # Whoever ranked an item should not be the one to decide about it; a reviewer who skipped it has decided, too.
    unseen = ~own.where(Lease.state.in_(("submitted", "skipped"))).exists()
    order = (Item.priority.desc(), Item.taken, Item.id)
    return session.execute(select(Item).where(ours, ~mine.exists(), unseen).order_by(*order).limit(1)).scalar()


def _to_rank(session: Session, store: Store, project: Project, person: Person) -> Item | None:
    """The item to rank next: a gold question from time to time."""
    found = _offered(session, store, project.id, person)
    share = float(project.settings["gold_share"])
    if found is not None and _draw(session, project, person) < share:
        test = session.execute(_GOLD, {"person": person.id, "project": project.id}).scalar()
        found = found if test is None else test
    return item_of(session, found) if found is not None else None


def _offered(session: Session, store: Store, project_id: int, person: Person) -> int | None:
    """The item of highest priority; of equal ones, one that others have begun."""
    top = session.execute(_TOP, {"project": project_id}).scalar()
    if top is None:
        return None
    here = {"project": project_id, "top": top, "person": person.id, "window": BEGUN_WINDOW}
    found = session.execute(_BEGUN, here).scalar()
    if found is None:
        found = session.execute(_UNTOUCHED, here).scalar()
    if found is None:
        # All that is left lies behind what this person has seen, or has a lower priority.
        found = first_left(session, store, (person.id, project_id), _free(person, project_id))
    return found


def _free(person: Person, project_id: int) -> Unseen:
    """Selects what can be offered to a person, in the order of the queue."""

    def of(items: type[Item]) -> Select[Any]:
        free = (items.project_id == project_id) & (items.state == "open") & (items.taken < items.need)
        return (
            select(items.id)
            .where(free, _unseen(person.id, items))
            .order_by(items.priority.desc(), items.taken, items.id)
        )

    return of


def _draw(session: Session, project: Project, person: Person) -> float:
    """A number in [0, 1) that follows from the project's seed, the person, and how many items they had."""
    had, _ = _tally(session, person.id, project.id)
    drawn = hashlib.sha256(f"{project.seed}/{person.pseudonym}/{had}/gold".encode()).digest()
    return int.from_bytes(drawn[:8], "big") / 2**64


def _take(session: Session, store: Store, project: Project, item: Item, person: Person, task: Task) -> Lease:
    lease = session.execute(_FORMER, {"item": item.id, "person": person.id, "task": task}).scalar()
    if lease is None:
        order, seed = shuffled(project.seed, item.key, person.pseudonym, len(item.answers))
        lease = Lease(
            uid=secrets.token_hex(16),
            project_id=project.id,
            item_id=item.id,
            person_id=person.id,
            prompt_key=item.prompt_key,
            task=task,
            shown=order,
            seed=seed,
            guidelines_version=project.guidelines_version,
        )
        session.add(lease)
    lease.state = "leased"
    lease.expires = store.now(project.settings["lease_seconds"])
    if task == "rank":
        item.taken += 1
    record_event(session, store.now(), person.pseudonym, "lease", f"item:{item.id}", task=task, shown=lease.shown)
    return lease


def _opinions(session: Session, item: Item, lease: Lease) -> tuple[Opinion, ...]:
    """What annotators said, under the reviewer's keys and without their pseudonyms, which the reviewer may know."""
    keys = {at: key for key, at in keys_of(lease.shown).items()}
    return tuple(
        Opinion(f"{number}", {keys[at]: rank for at, rank in enumerate(row.ranks)}, row.comment)
        for number, row in enumerate(current(session, item.id), start=1)
    )


def _tally(session: Session, person_id: int, project_id: int) -> tuple[int, int]:
    """How many turns this person had in a project, and how many of them they submitted; 0 before the first."""
    row = session.execute(_TALLY, {"person": person_id, "project": project_id}).first()
    return (row.turns, row.submitted) if row else (0, 0)


def _nothing(session: Session, project_id: int, person: Person) -> Nothing:
    turn = aliased(Lease)
    taken = (turn.project_id == project_id) & (turn.state == "leased") & (turn.task == "rank")
    # What this person has ranked does not come back to them, whoever is at it now.
    others = select(func.count()).select_from(turn).join(Item, Item.id == turn.item_id).where(taken, _unseen(person.id))
    waiting = session.execute(others).scalar_one()
    if waiting:
        return Nothing("others-are-at-it", waiting)
    any_item = session.execute(
        select(Item.id).where(Item.project_id == project_id, Item.state != "empty").limit(1)
    ).first()
    return Nothing("all-ranked" if any_item else "empty")


def _undisputed(session: Session, project: Project, wanted: int | None) -> Nothing:
    """Why a reviewer has nothing to decide."""
    if wanted is not None:
        return Nothing("not-yours-to-decide")
    at_it = (Lease.project_id == project.id) & (Lease.state == "leased") & (Lease.task == "adjudicate")
    waiting = session.execute(select(func.count()).select_from(Lease).where(at_it)).scalar_one()
    if waiting:
        return Nothing("others-are-at-it", waiting)
    return Nothing("no-threshold" if project.settings["adjudicate_below"] is None else "nothing-disputed")


# What every submission asks, built once, because building it took longer than answering it; made of what is above.
_PERSON, _PROJECT, _PRIORITY = (bindparam(name, type_=Integer) for name in ("person", "project", "top"))
_ITEM = select(Item).where(Item.id == bindparam("item"))
_LEASE = select(Lease).where(Lease.uid == bindparam("uid"), Lease.person_id == _PERSON)
_ACTIVE = select(Lease).where(Lease.person_id == _PERSON, Lease.project_id == _PROJECT, Lease.state == "leased")
_OVER = select(Lease).where(Lease.project_id == _PROJECT, Lease.state == "leased", Lease.expires < bindparam("now"))
_FORMER = select(Lease).where(
    Lease.item_id == bindparam("item"), Lease.person_id == _PERSON, Lease.task == bindparam("task"),
    Lease.state == "expired",
)  # fmt: skip
_DRAFT = select(Draft.body).where(Draft.lease_id == bindparam("lease"))
_TALLY = select(Tally.turns, Tally.submitted).where(Tally.person_id == _PERSON, Tally.project_id == _PROJECT)

_BEST = (Item.priority.desc(), Item.taken, Item.id)
_OPEN = (Item.project_id == _PROJECT) & (Item.state == "open")
_FIRST_OPEN = _OPEN & (Item.priority == _PRIORITY)
_TOP = select(Item.priority).where(_OPEN, Item.taken < Item.need).order_by(*_BEST).limit(1)
_window = select(Item).where(_FIRST_OPEN, Item.taken > 0, Item.taken < Item.need).order_by(*_BEST)
_near = aliased(Item, _window.limit(bindparam("window", type_=Integer)).subquery())
_BEGUN = select(_near.id).where(_unseen(_PERSON, _near)).order_by(_near.taken, _near.id).limit(1)
_UNTOUCHED = select(Item.id).where(_FIRST_OPEN, Item.taken == 0, _unseen(_PERSON)).order_by(*_BEST).limit(1)
_TESTS = (Item.project_id == _PROJECT) & (Item.state == "gold")
_GOLD = select(Item.id).where(_TESTS, _unseen(_PERSON)).order_by(*_BEST).limit(1)
