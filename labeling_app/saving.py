"""Records into the tables: a batch of prompts, answers or rankings within a transaction of the caller."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from align.data.fields import Place, fault
from align.data.records import Answers, Message, Prompt, Ranking, prompt_key, stable_id
from align.errors import DataError, counted
from labeling_app.disputes import judge
from labeling_app.gold import mark_test, other_truth, truth
from labeling_app.people import named
from labeling_app.projects import MOST_ANSWERS, ProjectInfo
from labeling_app.store.database import Store
from labeling_app.store.events import record_event
from labeling_app.store.models import Item, Lease, Project, RankingRow

WITHOUT_END = 1_000_000
"""How many people a gold question is for: everybody."""

MOST_TOLD = 20
"""Rows left out that are named; the others are counted."""

InShape = Literal["align", "argilla", "label-studio", "csv"]
Labelable = Prompt | Answers | Ranking
Rows = Iterator[tuple[Place, Labelable | DataError]]
"""Rows of a file; one that cannot be read comes as the error that says so."""


@dataclass(frozen=True)
class Options:
    """kind: prompts, answers or rankings; told from the file if empty. gold: the rankings are right, and become test
    questions. correct: other ranks than a test question has take their place. priority: higher comes first. broken:
    rows that cannot be used stop the import, or are left out. again: the command that imports this, for remedies."""

    kind: str = ""
    shape: InShape = "align"
    gold: bool = False
    correct: bool = False
    priority: int = 0
    broken: Literal["stop", "drop"] = "stop"
    again: str = "align labels import FILE --project NAME"


@dataclass
class Imported:
    """What an import did. there: rows that were there already. filled: prompts that now have answers. gold: items that
    became test questions. corrected: test questions that have other ranks now. equal: rows of which two answers have
    the same text. left_out: rows that were, and why."""

    kind: str
    items: int = 0
    filled: int = 0
    rankings: int = 0
    there: int = 0
    gold: int = 0
    corrected: int = 0
    equal: int = 0
    left_out: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def lines(self, project: str) -> list[str]:
        """What it did, in words."""
        parts = [f"{counted(self.items, 'item')} and {counted(self.rankings, 'ranking')} added"]
        if self.gold:
            became = "became test questions" if self.gold > 1 else "became a test question"
            parts = [f"{counted(self.gold, 'item')} {became} ({self.items} of them new)"]
        if self.corrected:
            parts += [f"{counted(self.corrected, 'test question')} corrected"]
        parts += [f"{self.there} there already" + ", or twice in the file" * bool(self.there and self.items)]
        told = [f"{project}: {'; '.join(parts)}"]
        if self.kind == "prompts" and self.items:
            told.append(
                f"{counted(self.items, 'prompt')} waiting for answers: import a file with the same prompts and answers"
            )
        if self.filled:
            told.append(f"answers added to {counted(self.filled, 'prompt')} that waited")
        if self.equal:
            told.append(f"note: in {counted(self.equal, 'row')} two answers have the same text; people can tie them")
        if self.left_out:
            told.append(f"{counted(len(self.left_out), 'row')} left out:")
            told += [f"  {row}" for row in self.left_out[:MOST_TOLD]]
            told += [f"  and {len(self.left_out) - MOST_TOLD} more (--json: all)"] * (len(self.left_out) > MOST_TOLD)
        return told


class Source(NamedTuple):
    """A file of one kind and split, which can be read again and again."""

    path: Path
    kind: str
    split: str
    read: Callable[[], Rows]


class Batch(NamedTuple):
    """Rows of a source that are saved together."""

    source: Source
    rows: list[tuple[Place, Labelable]]
    options: Options


def item_key(prompt: Sequence[Message], answers: Sequence[tuple[str, str]]) -> str:
    """What makes an item: its prompt, and the ids and texts of its answers in any order."""
    return stable_id([prompt_key(prompt), sorted(answers)])


def save(session: Session, store: Store, project: ProjectInfo, batch: Batch, done: Imported) -> None:
    """Save a batch, and count in `done` what that did; what is there already is left as it is."""
    if batch.source.kind == "prompts":
        _save_prompts(session, project, batch, done)
        return
    keys = [item_key(r.prompt, [(a.id, a.text) for a in r.answers]) for _, r in batch.rows if not isinstance(r, Prompt)]
    items = _ensure_items(session, project, batch, keys, done)
    if batch.source.kind != "rankings":
        return
    if batch.options.gold:
        _make_gold(session, store, batch, [items[key] for key in keys], done)
    else:
        _save_rankings(session, store, project, batch, [items[key] for key in keys], done)


class _Found(NamedTuple):
    """An item that is there, as far as a ranking of it needs it. ids: of its answers, in its order."""

    id: int
    ids: list[str]
    prompt_key: str
    fresh: bool


def _save_prompts(session: Session, project: ProjectInfo, batch: Batch, done: Imported) -> None:
    """Prompts whose answers come later; one that has an item already is left out."""
    keys = [prompt_key(record.prompt) for _, record in batch.rows]
    there = set(
        session.execute(
            select(Item.prompt_key).where(Item.project_id == project.id, Item.prompt_key.in_(keys))
        ).scalars()
    )
    for (_, record), key in zip(batch.rows, keys, strict=True):
        if key in there:
            done.there += 1
            continue
        there.add(key)
        session.execute(insert(Item), [_item(project, record, key, batch) | {"key": key, "state": "empty"}])
        done.items += 1


def _ensure_items(
    session: Session, project: ProjectInfo, batch: Batch, keys: list[str], done: Imported
) -> dict[str, _Found]:
    """The items of a batch by key, made where they are new; prompts that waited for answers get them."""
    items = _find(session, project, keys)
    prompts = [prompt_key(record.prompt) for _, record in batch.rows]
    empty = {
        key: number
        for key, number in session.execute(
            select(Item.prompt_key, Item.id).where(
                Item.project_id == project.id, Item.prompt_key.in_(prompts), Item.state == "empty"
            )
        )
    }
    new: dict[str, dict[str, Any]] = {}
    for (_, record), key, asked in zip(batch.rows, keys, prompts, strict=True):
        assert not isinstance(record, Prompt)
        if key in items or key in new:
            done.there += isinstance(record, Answers)
            continue
        values = _item(project, record, asked, batch) | {"key": key}
        values["state"] = "open" if len(record.answers) <= MOST_ANSWERS else "closed"
        if asked in empty:
            kept = ("answers", "key", "state")
            session.execute(
                update(Item).where(Item.id == empty.pop(asked)).values(**{name: values[name] for name in kept})
            )
            done.filled += 1
            items |= _find(session, project, [key])
            continue
        new[key] = values
    if new:
        session.execute(insert(Item), list(new.values()))
        done.items += len(new)
        items |= {key: found._replace(fresh=True) for key, found in _find(session, project, list(new)).items()}
    return items


def _item(project: ProjectInfo, record: Labelable, asked: str, batch: Batch) -> dict[str, Any]:
    answers = [] if isinstance(record, Prompt) else [a.model_dump(exclude_defaults=True) for a in record.answers]
    return {
        "project_id": project.id,
        "uid": record.id,
        "prompt_key": asked,
        "prompt": [turn.model_dump() for turn in record.prompt],
        "answers": answers,
        "tags": record.tags,
        "reference": record.reference,
        "split": batch.source.split,
        "priority": batch.options.priority,
        "need": project.settings.overlap,
        "taken": 0,
        "done": 0,
        "gold": None,
    }


def _find(session: Session, project: ProjectInfo, keys: list[str]) -> dict[str, _Found]:
    rows = session.execute(
        select(Item.key, Item.id, Item.answers, Item.prompt_key).where(
            Item.project_id == project.id, Item.key.in_(keys)
        )
    )
    return {key: _Found(number, [a["id"] for a in answers], asked, False) for key, number, answers, asked in rows}


def _aligned(ranking: Ranking, ids: list[str]) -> list[int | None]:
    """Ranks in the order of the item's answers, which the file may have in another."""
    by_id = {answer.id: rank for answer, rank in zip(ranking.answers, ranking.ranks, strict=True)}
    return [by_id[id_] for id_ in ids]


def _make_gold(session: Session, store: Store, batch: Batch, items: list[_Found], done: Imported) -> None:
    tests = select(Item.id, Item.gold).where(Item.id.in_({item.id for item in items}), Item.gold.is_not(None))
    known = {number: gold for number, gold in session.execute(tests)}
    for (place, record), item in zip(batch.rows, items, strict=True):
        assert isinstance(record, Ranking)
        gold, before = _aligned(record, item.ids), known.get(item.id)
        if before is not None and truth(before) == truth(gold):
            done.there += 1
            continue
        known[item.id] = gold
        if before is None:
            done.gold += 1
            mark_test(session, store, item.id)
        elif batch.options.correct:
            done.corrected += 1
            record_event(session, store.now(), "command", "correct-gold", f"item:{item.id}", before=before, ranks=gold)
        else:
            raise other_truth(place, record, dict(zip(item.ids, before, strict=True)), batch.options.again)
        values = {"gold": gold, "state": "gold", "need": WITHOUT_END}
        session.execute(update(Item).where(Item.id == item.id).values(**values))


def _save_rankings(
    session: Session, store: Store, project: ProjectInfo, batch: Batch, items: list[_Found], done: Imported
) -> None:
    records = [record for _, record in batch.rows if isinstance(record, Ranking)]
    people = named(session, store.now(), list(dict.fromkeys(record.annotator for record in records)))
    known = {
        uid: ranks
        for uid, ranks in session.execute(
            select(RankingRow.uid, RankingRow.ranks).where(
                RankingRow.project_id == project.id, RankingRow.uid.in_([record.id for record in records])
            )
        )
    }
    rounds = _rounds(session, [item for item in items if not item.fresh])
    leases: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for (place, _), record, item in zip(batch.rows, records, items, strict=True):
        ranks = _aligned(record, item.ids)
        if record.id in known:
            if known[record.id] != ranks:
                raise fault(place, f"another ranking with the id {record.id} is in the database", field="id")
            done.there += 1
            continue
        person = people[record.annotator]
        task = "adjudicate" if record.meta.get("task") == "adjudicate" else "rank"
        leases.append(_lease(project, item, person, task, _shown(record, item.ids), rounds[item.id, person, task]))
        rounds[item.id, person, task] += 1
        rows.append(_row(store, record, item, leases[-1], ranks))
    if not rows:
        return
    session.execute(insert(Lease), leases)
    uids = [lease["uid"] for lease in leases]
    numbers = {u: n for u, n in session.execute(select(Lease.uid, Lease.id).where(Lease.uid.in_(uids)))}
    for row in rows:
        row["lease_id"] = numbers[row.pop("lease_uid")]
    session.execute(insert(RankingRow), rows)
    done.rankings += len(rows)
    _count(session, leases)
    least = session.get_one(Project, project.id).settings["adjudicate_below"]
    judge(session, list({lease["item_id"] for lease in leases}), least)


def _rounds(session: Session, items: list[_Found]) -> Counter[tuple[int, int, str]]:
    """How many turns each person had at each item already: one annotator may stand twice in a file."""
    found: Counter[tuple[int, int, str]] = Counter()
    turns = select(Lease.item_id, Lease.person_id, Lease.task).where(Lease.item_id.in_({item.id for item in items}))
    for item, person, task in session.execute(turns):
        found[item, person, task] += 1
    return found


def _shown(record: Ranking, ids: list[str]) -> list[int]:
    """The order the file says they were shown in; none if it does not: that of the file says nothing about places."""
    order = record.meta.get("shown_order")
    fits = isinstance(order, list) and sorted(map(str, order)) == sorted(ids)
    return [ids.index(str(id_)) for id_ in order] if fits and order else []


def _lease(project: ProjectInfo, item: _Found, person: int, task: str, shown: list[int], round: int) -> dict[str, Any]:
    return {
        "uid": secrets.token_hex(16),
        "project_id": project.id,
        "item_id": item.id,
        "person_id": person,
        "prompt_key": item.prompt_key,
        "task": task,
        "round": round,
        "state": "submitted",
        "expires": "",
        "shown": shown,
        "seed": "",
        "guidelines_version": project.guidelines_version,
    }


def _row(store: Store, record: Ranking, item: _Found, lease: dict[str, Any], ranks: list[int | None]) -> dict[str, Any]:
    return {
        "uid": record.id,
        "token": None,
        "project_id": lease["project_id"],
        "item_id": item.id,
        "person_id": lease["person_id"],
        "lease_uid": lease["uid"],
        "version": 1,
        "action": "submit",
        "ranks": ranks,
        "margin": record.margin,
        "ratings": record.ratings,
        "comment": record.comment,
        "edit": record.edit,
        "flags": record.meta.get("flags"),
        "seconds": record.seconds,
        "time": record.time,
        "meta": record.meta or None,
        "created": store.now(),
    }


def _count(session: Session, leases: list[dict[str, Any]]) -> None:
    """Items as their imported rankings leave them. Who ranked an item before is no further person."""
    ranked = Counter(lease["item_id"] for lease in leases if lease["task"] == "rank" and lease["round"] == 0)
    settled = {lease["item_id"] for lease in leases if lease["task"] == "adjudicate"}
    for item, count in ranked.items():
        session.execute(update(Item).where(Item.id == item).values(taken=Item.taken + count, done=Item.done + count))
    ids = list(ranked)
    enough = (Item.id.in_(ids)) & (Item.state == "open") & (Item.done >= Item.need)
    session.execute(update(Item).where(enough).values(state="done"))
    session.execute(update(Item).where(Item.id.in_(settled)).values(state="settled"))
