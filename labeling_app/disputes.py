"""Which items a reviewer is to decide: those whose annotators agree on too few of their comparisons.

The state of an item says so. It is looked at when an item has its last ranking, when rankings are imported, and when
the project's threshold or overlap changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session, aliased

from labeling_app.agreement import Ranks, pair_agreement
from labeling_app.store.database import Store
from labeling_app.store.models import Item, Lease, Project, RankingRow

BATCH = 500
"""Items looked at in one transaction."""
RANKED = ("done", "adjudicate")
"""States of an item that has all its rankings and that nobody has decided."""


def verdict(rankings: Sequence[Ranks], least: float | None) -> str:
    """The state of an item that has all its rankings; one that nobody prefers anything in is not disputed."""
    rate = pair_agreement(rankings) if least is not None else None
    return "adjudicate" if rate is not None and least is not None and rate < least else "done"


def judge(session: Session, items: Sequence[int], least: float | None) -> None:
    """Put those of some items that have all their rankings before a reviewer, or take them away again."""
    ranked = select(Item.id, Item.state).where(Item.id.in_(items), Item.state.in_(RANKED))
    states = {number: state for number, state in session.execute(ranked)}
    said: dict[int, dict[int, Ranks]] = defaultdict(dict)  # a person who stands there twice has one voice
    newer = aliased(RankingRow)
    superseded = select(newer.id).where(newer.lease_id == RankingRow.lease_id, newer.version > RankingRow.version)
    rows = select(RankingRow.item_id, RankingRow.person_id, RankingRow.ranks).join(
        Lease, Lease.id == RankingRow.lease_id
    )
    rows = rows.where(RankingRow.item_id.in_(states), RankingRow.action == "submit", Lease.task == "rank")
    for number, person, ranks in session.execute(rows.where(~superseded.exists()).order_by(RankingRow.id)):
        said[number][person] = ranks
    for number, state in states.items():
        wanted = verdict(list(said[number].values()), least)
        if wanted != state:
            session.execute(update(Item).where(Item.id == number).values(state=wanted))


def judge_all(store: Store, project_id: int) -> None:
    """As `judge`, for a project by its settings: in short transactions, so that people who rank hardly wait."""
    wanted = select(Item.id).where(Item.project_id == project_id, Item.state.in_(RANKED)).order_by(Item.id)
    with store.read() as session:
        items = session.execute(wanted).scalars().all()
    for start in range(0, len(items), BATCH):
        with store.write() as session:
            least = session.get_one(Project, project_id).settings["adjudicate_below"]
            judge(session, items[start : start + BATCH], least)
