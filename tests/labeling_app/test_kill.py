"""SIGKILL under load: every acknowledged ranking is there once, leases come free, and no step by hand is needed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from labeling_app.projects import ProjectInfo
from labeling_app.queue import Nothing, next_item
from labeling_app.store.care import verify
from labeling_app.store.database import Store, open_store
from labeling_app.store.models import Item, Lease, RankingRow
from tests.labeling_app.backends import Clock
from tests.labeling_app.process import Zygote, alive
from tests.labeling_app.world import made, person

KILLS, PEOPLE = 50, 4


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote("writer", tmp_path_factory.mktemp("zygote") / "log") as made:
        yield made


def kill_while_it_writes(zygote: Zygote, where: str, acknowledged: Path, rng: random.Random) -> None:
    """Start a writer, let it acknowledge a few rankings, and kill it at a random moment."""
    before = acknowledged.stat().st_size if acknowledged.exists() else 0
    names = ",".join(f"p{n}" for n in range(PEOPLE))
    number = zygote.start(where, names, str(acknowledged))
    try:
        until = time.monotonic() + 60
        while not acknowledged.exists() or acknowledged.stat().st_size <= before:
            assert alive(number), f"the writer ended by itself: {zygote.log.read_text()}"
            assert time.monotonic() < until, "the writer hangs"
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        assert alive(number), f"the writer ended by itself: {zygote.log.read_text()}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    while alive(number):
        time.sleep(0.002)


def check(store: Store, project: ProjectInfo, acknowledged: Path, clock: Clock) -> int:
    """All that holds after any number of kills; how many rankings were acknowledged."""
    said = acknowledged.read_text().split()
    with store.read() as session:
        kept = session.execute(select(RankingRow.uid)).scalars().all()
        leased = session.execute(select(Lease.id).where(Lease.state == "leased")).all()
    assert set(said) <= set(kept), "an acknowledged ranking is lost"
    assert len(set(kept)) == len(kept) and len(set(said)) == len(said)
    assert verify(store).faults == ()
    assert len(leased) <= PEOPLE
    clock.seconds = time.time() + project.settings.lease_seconds + 1
    stranger = person(store, f"stranger-{random.random()}"[:30])
    assert not isinstance(next_item(store, stranger, project.id), Nothing)
    with store.read() as session:
        others = select(Lease.id).where(Lease.state == "leased", Lease.person_id != stranger.id)
        assert session.execute(others).all() == []
        wrong = session.execute(select(Item.id).where((Item.taken < Item.done) | (Item.done < 0))).all()
    assert wrong == []
    return len(said)


def run(zygote: Zygote, where: str, tmp_path: Path, kills: int) -> int:
    clock = Clock(time.time())
    store = open_store(where, clock=clock)
    project = made(store, tmp_path, items=5000, overlap=2)
    for n in range(PEOPLE):
        person(store, f"p{n}")
    acknowledged = tmp_path / "acknowledged.txt"
    rng = random.Random(0)
    for _ in range(kills):
        kill_while_it_writes(zygote, where, acknowledged, rng)
    count = check(store, project, acknowledged, clock)
    store.close()
    return count


def test_killed_while_writing(zygote: Zygote, tmp_path: Path) -> None:
    assert run(zygote, str(tmp_path / "labels.db"), tmp_path, kills=5) >= 5


@pytest.mark.slow
def test_killed_many_times_while_writing(zygote: Zygote, tmp_path: Path) -> None:
    assert run(zygote, str(tmp_path / "labels.db"), tmp_path, KILLS) >= KILLS


@pytest.mark.slow
def test_killed_many_times_while_writing_to_a_server(
    zygote: Zygote, new_database: Callable[[], str], tmp_path: Path
) -> None:
    assert run(zygote, new_database(), tmp_path, KILLS) >= KILLS


def test_a_server_whose_writer_died_is_free_again(
    zygote: Zygote, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """The advisory lock goes with the connection that held it."""
    url = new_database()
    assert run(zygote, url, tmp_path, kills=2) >= 2
    store = open_store(url, busy=2)
    with store.write() as session:
        assert session.execute(text("SELECT 1")).scalar() == 1
    store.close()
