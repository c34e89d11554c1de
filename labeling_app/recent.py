"""The figures of each project, kept until labels come, and computed again no more often than they can be afforded.

Computing reads every ranking of a project, without the lock that writers take. The figures of a small project are
always of this moment; those of a large one may be some minutes old, and say so.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select

from labeling_app.people import Person, names_of
from labeling_app.quality import Quality, quality_of
from labeling_app.store.database import Store
from labeling_app.store.models import Event, Item, RankingRow

SHARE = 0.05
"""The most of a processor's time that computing figures may take."""


@dataclass(frozen=True)
class Kept:
    """Figures, with the newest rows there were. at: seconds of a clock that only runs forward; took: seconds."""

    quality: Quality
    newest: tuple[int, ...]
    at: float
    took: float


class Figures:
    """The figures of every project of a store. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[int, Kept] = {}
        self._turn = threading.Lock()

    def of(self, person: Person, project_id: int) -> dict[str, Any]:
        """The figures as JSON; age: seconds since they were computed; names: for admins, the account of each pseudonym.
        Raises Refused for a person who is no reviewer.

        While one request computes, others get what there was before, or wait for it if there was nothing.
        """
        person.need("reviewer")
        kept = self._kept.get(project_id)
        if (kept is None or self._due(kept)) and self._turn.acquire(blocking=kept is None):
            try:
                kept = self._kept.get(project_id)
                if kept is None or self._due(kept):
                    kept = self._kept[project_id] = self._computed(person, project_id)
            finally:
                self._turn.release()
        assert kept is not None
        names = (
            names_of(self._store, [one.pseudonym for one in kept.quality.annotators]) if person.role == "admin" else {}
        )
        return {**asdict(kept.quality), "age": time.monotonic() - kept.at, "names": names}

    def _due(self, kept: Kept) -> bool:
        return time.monotonic() - kept.at >= kept.took / SHARE and self._newest() != kept.newest

    def _computed(self, person: Person, project_id: int) -> Kept:
        import krippendorff  # noqa: F401  # loading them once is no measure of how long figures take
        import scipy.stats  # noqa: F401

        newest, start = self._newest(), time.monotonic()
        quality = quality_of(self._store, person, project_id)
        return Kept(quality, newest, start, time.monotonic() - start)

    def _newest(self) -> tuple[int, ...]:
        """The last rows of all projects: what changes figures adds a row to one of these tables."""
        with self._store.read() as session:
            return tuple(session.execute(select(func.max(row.id))).scalar() or 0 for row in (RankingRow, Event, Item))
