"""Test questions: what their ranks say, which rows make none, and the moment at which an item becomes one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from align.data.fields import Place, fault
from align.data.records import Ranking, prompt_key
from align.errors import DataError
from labeling_app.store.database import Store
from labeling_app.store.models import BECAME_TEST, Item, RankingRow

Truths = dict[Any, tuple[Place, Any]]
"""By prompt and answers: where a test question was read first, and what it says."""


def truth(ranks: Sequence[int | None]) -> list[int | None]:
    """What ranks say, whatever numbers they say it by: 1, 3 and 1, 2 are one truth."""
    order = sorted({rank for rank in ranks if rank is not None})
    return [None if rank is None else order.index(rank) for rank in ranks]


def check_asks(place: Place, record: Ranking) -> None:
    """Raises DataError for a test question that nobody can answer right or wrong."""
    if len(set(record.ranks) - {None}) < 2:
        found = "this test question asks nothing: no two answers differ in rank"
        raise fault(place, found, field="ranks", allowed="at least two answers of different ranks: [1, 2]")


def check_agrees(place: Place, record: Ranking, truths: Truths) -> None:
    """Raises DataError for a test question that an earlier row answers otherwise; which of them is right, only their
    author knows."""
    # By the texts: under other ids it would be another item, and a test as well.
    texts = [answer.text for answer in record.answers]
    said = sorted(zip(texts, truth(record.ranks), strict=True), key=str)
    first, other = truths.setdefault((prompt_key(record.prompt), tuple(sorted(texts))), (place, said))
    if other != said:
        found = f"{first} asks the same, and its ranks say otherwise"
        remedy = "mend the one that is wrong; nothing was imported"
        raise fault(place, found, field="ranks", allowed="one truth for each question", remedy=remedy)


def other_truth(place: Place, record: Ranking, stands: dict[str, int | None], again: str) -> DataError:
    """The error for a test question that has other ranks already. stands: them, by the answers' ids. again: the command
    that imports this."""
    ranks = [stands[answer.id] for answer in record.answers]
    old, new = (str(said).replace("None", "null") for said in (ranks, record.ranks))
    return fault(
        place,
        f"this is a test question already, and its ranks are {old}, not {new}; nothing was imported",
        field="ranks",
        allowed=old,
        remedy=f"mend the row; or, if it is right, correct the test question: {again} --correct",
    )


def mark_test(session: Session, store: Store, item: int) -> None:
    """Give the moment at which an item becomes a test a version of its own, if there are labels that it changes."""
    ranked = select(RankingRow).join(Item, Item.id == RankingRow.item_id)
    ranked = ranked.where(RankingRow.item_id == item, Item.gold.is_(None))
    row = session.execute(ranked.order_by(RankingRow.id.desc()).limit(1)).scalar()
    if row is None:
        return
    session.add(
        RankingRow(
            uid=secrets.token_hex(16),
            project_id=row.project_id,
            item_id=item,
            person_id=row.person_id,
            lease_id=row.lease_id,
            version=BECAME_TEST,
            action="undo",
            created=store.now(),
        )
    )
    session.flush()
