"""Submit, skip, undo, keep a draft. What is acknowledged is on disk; nothing is ever overwritten.

A turn (lease) has versions: submit, undo, submit again, skip. Each is a row of its own with its event in the same
transaction, and the highest counts. A submission carries the page's token: however often it is sent, it is one row.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session

from labeling_app.disputes import verdict
from labeling_app.errors import Refused
from labeling_app.people import Person
from labeling_app.projects import project_named
from labeling_app.queue import DECIDABLE, Nothing, current, item_of, lease_of, leased, release, shown
from labeling_app.store.database import Store
from labeling_app.store.events import record_event
from labeling_app.store.models import Base, Draft, Item, Lease, Project, RankingRow, dumps
from labeling_app.submission import LONGEST_DRAFT, Skip, Submission, check_flags, checked
from labeling_app.views import ItemView, Task, keys_of

# Built once: every submission asks these.
_TOKEN = select(RankingRow.uid, RankingRow.version, RankingRow.lease_id).where(RankingRow.token == bindparam("token"))
_VERSION = select(func.max(RankingRow.version)).where(RankingRow.lease_id == bindparam("lease"))
_DRAFTS = Base.metadata.tables["draft"]
_NO_DRAFT = delete(_DRAFTS).where(_DRAFTS.c.lease_id == bindparam("lease"))


@dataclass(frozen=True)
class Receipt:
    """What was saved. repeated: it had been saved before, by the same token."""

    ranking: str
    version: int
    repeated: bool = False


def submit(store: Store, person: Person, submission: Submission) -> Receipt:
    """Save a ranking; when this returns, it is on disk.

    A lease that ran out meanwhile still takes it, as long as its person was not given another turn at the item: an
    extra voice harms less than lost work. Raises Refused if the lease is another's or over, or the ranking does not
    fit; SystemLimit if it cannot be saved, and then nothing was.
    """
    with store.write() as session:
        return _submit(session, store, person, submission)


def skip(store: Store, person: Person, wish: Skip) -> Receipt:
    """Save that a person will not rank an item; it goes to someone else. Raises as `submit`."""
    with store.write() as session:
        return _skip(session, store, person, wish)


def save_and_next(
    store: Store, person: Person, sent: Submission | Skip, slug: str, task: Task = "rank"
) -> tuple[Receipt, ItemView | Nothing]:
    """Save, and lease the next item of a project: one transaction, which is waited for once.

    Raises as `submit` and `next_item`, and then nothing was saved.
    """
    with store.write() as session:
        project = project_named(session, store, slug)
        save = _submit if isinstance(sent, Submission) else _skip
        receipt = save(session, store, person, sent)  # type: ignore[arg-type]  # chosen by its type
        return receipt, leased(session, store, person, project, task)


def undo(store: Store, person: Person, project_id: int) -> ItemView:
    """Take back this person's last submission or skip, and give them the item again with what they had said.

    Repeated, it goes further back. An item they have open is given back first. Raises Refused if there is nothing to
    take back, or a reviewer has decided about it since.
    """
    with store.write() as session:
        lease = _last_closed(session, person, project_id)
        item = session.get_one(Item, lease.item_id)
        decision = lease.task == "adjudicate"
        if decision:
            person.need("reviewer")
        if item.state == "settled" and not (decision and lease.state == "submitted"):
            raise Refused("nothing-to-undo", "a reviewer has decided about this item since", remedy="go on")
        project = session.get_one(Project, project_id)
        said = _latest(session, lease.id)
        assert said is not None, "a closed turn has a version"
        for other in session.execute(
            select(Lease).where(Lease.person_id == person.id, Lease.project_id == project_id, Lease.state == "leased")
        ).scalars():
            release(session, other, store.now())
        row = _next_version(session, store, lease, "undo", None)
        if decision and lease.state == "submitted":
            item.state = _state_of(session, item, project)
        elif lease.state == "submitted":
            item.done -= 1
            if item.state in ("done", "adjudicate"):
                state = _state_of(session, item, project)
                item.state = "closed" if state == "open" and not lease.prompt_key else state  # it was put away
        elif not decision:
            item.taken += 1
        lease.state, lease.expires = "leased", store.now(project.settings["lease_seconds"])
        record_event(session, store.now(), person.pseudonym, "undo", f"item:{item.id}", version=row.version)
        return shown(session, store, lease, item, last=_as_sent(said, lease, item))


def save_draft(store: Store, person: Person, lease: str, body: Any) -> None:
    """Keep what a person has done so far with an item, in the page's own form, across a reload or a restart.

    Raises Refused if the lease is not theirs or was submitted, or the draft is longer than a page can need.
    """
    try:
        length = len(dumps(body).encode())
    except (UnicodeEncodeError, TypeError):
        raise Refused("bad-text", "the draft is no JSON in UTF-8") from None
    if length > LONGEST_DRAFT:
        raise Refused("bad-text", "the draft is too long", allowed=f"{LONGEST_DRAFT} bytes")
    with store.write() as session:
        row = lease_of(session, person, lease)
        if row.state not in ("leased", "expired"):
            raise Refused("lease-over", "this item was submitted already", remedy="ask for the next one")
        session.merge(Draft(lease_id=row.id, body=body))


def _submit(session: Session, store: Store, person: Person, submission: Submission) -> Receipt:
    lease, before = _turn(session, person, submission.lease, submission.token)
    if before is not None:
        return before
    item, project = item_of(session, lease.item_id), session.get_one(Project, lease.project_id)
    keys = keys_of(lease.shown)
    checked(submission, keys, project.settings["attributes"], project.settings["rating_max"])
    if lease.state == "expired" and lease.task == "rank":
        item.taken += 1
    row = _next_version(session, store, lease, "submit", submission.token)
    _fill(row, submission, item, lease)
    _close(session, lease, "submitted")
    if lease.task == "adjudicate":
        item.state = "settled"
    else:
        item.done += 1
        item.state = _state_after(session, item, project)
    told = {"ranking": row.uid, "version": row.version, "flags": len(submission.flags), "state": item.state}
    record_event(session, store.now(), person.pseudonym, "submit", f"item:{item.id}", **told)
    return Receipt(row.uid, row.version)


def _skip(session: Session, store: Store, person: Person, wish: Skip) -> Receipt:
    lease, before = _turn(session, person, wish.lease, wish.token)
    if before is not None:
        return before
    item, keys = item_of(session, lease.item_id), keys_of(lease.shown)
    check_flags(wish.flags, keys)
    if lease.state == "leased" and lease.task == "rank":
        item.taken -= 1
    row = _next_version(session, store, lease, "skip", wish.token)
    row.flags = _flags(wish.flags, item, keys) or None
    row.comment, row.seconds = wish.comment or None, wish.seconds
    row.meta = {"reason": wish.reason}
    _close(session, lease, "skipped")
    told = {"reason": wish.reason, "version": row.version, "flags": len(wish.flags)}
    record_event(session, store.now(), person.pseudonym, "skip", f"item:{item.id}", **told)
    return Receipt(row.uid, row.version)


def _turn(session: Session, person: Person, uid: str, token: str) -> tuple[Lease, Receipt | None]:
    """The lease a request is about; with the receipt if the same request was answered before."""
    person.need("annotator")
    lease = lease_of(session, person, uid)
    before = session.execute(_TOKEN, {"token": token}).first()
    if before is not None:
        if before.lease_id != lease.id:
            raise Refused("bad-ranking", "this token belongs to another submission", remedy="make a new one for each")
        return lease, Receipt(before.uid, before.version, repeated=True)
    if lease.state not in ("leased", "expired"):
        raise Refused("lease-over", "this item was submitted already", remedy="undo it to change it")
    if lease.task == "adjudicate":
        person.need("reviewer")
        if session.get_one(Item, lease.item_id).state not in DECIDABLE:
            raise Refused("lease-over", "this item is no longer to be decided", remedy="ask for the next one")
    return lease, None


def _next_version(session: Session, store: Store, lease: Lease, action: str, token: str | None) -> RankingRow:
    last = session.execute(_VERSION, {"lease": lease.id}).scalar()
    row = RankingRow(
        uid=secrets.token_hex(16),
        token=token,
        project_id=lease.project_id,
        item_id=lease.item_id,
        person_id=lease.person_id,
        lease_id=lease.id,
        version=(last or 0) + 1,
        action=action,
        time=store.now(),
        created=store.now(),
    )
    session.add(row)
    return row


def _fill(row: RankingRow, sent: Submission, item: Item, lease: Lease) -> None:
    """The submission in the terms of the export: positions and answer ids in place of the page's keys."""
    keys = keys_of(lease.shown)
    ids = {key: item.answers[at]["id"] for key, at in keys.items()}
    by_position = {at: sent.ranks[key] for key, at in keys.items()}
    row.ranks = [by_position[at] for at in range(len(item.answers))]
    row.margin = float(sent.strength) if sent.strength is not None else None
    ratings = {ids[key]: {name: float(score) for name, score in r.items()} for key, r in sent.ratings.items() if r}
    row.ratings, row.comment = ratings or None, sent.comment or None
    row.edit = {"answer": ids[sent.edit.key], "text": sent.edit.text} if sent.edit else None
    row.flags, row.seconds = _flags(sent.flags, item, keys) or None, float(sent.seconds)
    row.meta = {
        "shown_order": [item.answers[at]["id"] for at in lease.shown],
        "task": lease.task,
        "guidelines": lease.guidelines_version,
        "moves": sent.moves,
        **({"flags": row.flags} if row.flags else {}),
    }


def _flags(flags: list[Any], item: Item, keys: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"answer": item.answers[keys[f.key]]["id"] if f.key else None, "code": f.code, "note": f.note} for f in flags
    ]


def _as_sent(row: RankingRow, lease: Lease, item: Item) -> dict[str, Any] | None:
    """A saved ranking under the page's keys again; None for a skip."""
    if row.ranks is None:
        return None
    keys = keys_of(lease.shown)
    key_of = {item.answers[at]["id"]: key for key, at in keys.items()}
    return {
        "ranks": {key: row.ranks[at] for key, at in keys.items()},
        "comment": row.comment or "",
        "strength": int(row.margin) if row.margin else None,
        "ratings": {
            key_of[id_]: {name: int(score) for name, score in scores.items()}
            for id_, scores in (row.ratings or {}).items()
        },
        "edit": {"key": key_of[row.edit["answer"]], "text": row.edit["text"]} if row.edit else None,
        "flags": [{**flag, "key": key_of.get(flag["answer"])} for flag in row.flags or []],
    }


def _close(session: Session, lease: Lease, state: str) -> None:
    lease.state = state
    session.execute(_NO_DRAFT, {"lease": lease.id})


def _latest(session: Session, lease_id: int) -> RankingRow | None:
    """The version of a turn that counts."""
    return session.execute(
        select(RankingRow).where(RankingRow.lease_id == lease_id).order_by(RankingRow.version.desc()).limit(1)
    ).scalar()


def _state_after(session: Session, item: Item, project: Project) -> str:
    """The state of an item with one more ranking."""
    if item.state in ("gold", "settled") or item.done < item.need:
        return item.state
    return _state_of(session, item, project)


def _state_of(session: Session, item: Item, project: Project) -> str:
    """The state that an item's rankings give it."""
    if item.done < item.need:
        return "open"
    said = {row.person_id: row.ranks for row in current(session, item.id)}
    return verdict(list(said.values()), project.settings["adjudicate_below"])


def _last_closed(session: Session, person: Person, project_id: int) -> Lease:
    """The turn this person ended last: the one behind their newest version that is not an undo."""
    rows = session.execute(
        select(RankingRow.lease_id)
        .where(RankingRow.person_id == person.id, RankingRow.project_id == project_id, RankingRow.token.is_not(None))
        .order_by(RankingRow.id.desc())
        .limit(100)
    ).scalars()
    for lease_id in rows:
        lease = session.get_one(Lease, lease_id)
        if lease.state in ("submitted", "skipped"):
            return lease
    raise Refused("nothing-to-undo", "there is nothing to take back", remedy="go on with the next item")
