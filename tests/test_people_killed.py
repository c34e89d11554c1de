"""SIGKILL of the app and of the run, at eleven moments, while two annotators work over the API all along.

Whoever's answer is lost sends again what they had sent. In the end every ranking that was acknowledged is there, once,
and the sealed artifact holds those that stood when it was exported; whatever came later is told by `align check`.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from labeling_app.store.care import verify
from labeling_app.store.models import RankingRow
from tests.labeling_app.process import PATIENCE, Annotator, App, Zygote, join, told
from tests.labeling_app.world import answers_row
from tests.runs import command, environment, spawn, write_rows
from tests.test_waiting import PROJECT, Asked, items

pytestmark = pytest.mark.slow

ITEMS, GOAL, MORE = 3000, 240, 40
NAMES = ("ann", "bob")


class Killed(Asked):
    """A recipe that people rank in, its app, and a run that is killed again and again."""

    def stays(self) -> subprocess.Popen[Any]:
        """A run that waits."""
        words = command("run", self.recipe, "--runs", self.run.parent, "--wait", "--quiet", "--json")
        with (self.folder / "run.txt").open("a") as said:
            return subprocess.Popen(
                words, env=environment(), stdout=subprocess.PIPE, stderr=said, text=True, cwd=self.folder
            )

    def kill_run_when(self, happened: Callable[[], bool]) -> None:
        """Start a run that waits, and kill it at that moment."""
        run = self.stays()
        try:
            self.until(happened, run)
        finally:
            run.send_signal(signal.SIGKILL)
            run.communicate()
        assert run.returncode == -signal.SIGKILL, "it ended before it could be killed"

    def until(self, happened: Callable[[], bool], run: subprocess.Popen[Any] | None = None) -> None:
        end = time.monotonic() + PATIENCE
        while not happened():
            said = (self.folder / "run.txt").read_text()
            assert time.monotonic() < end, f"it never happened\n{said}"
            assert run is None or run.poll() is None, f"the run ended first\n{said}"
            time.sleep(0.001)

    def saved(self) -> list[RankingRow]:
        """Every version of every ranking in the database."""
        store = self.store()
        try:
            with store.read() as session:
                return list(session.execute(select(RankingRow).order_by(RankingRow.id)).scalars())
        finally:
            store.close()

    @property
    def partial(self) -> Path:
        return self.run / "rankings.partial"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Killed]:
    write_rows(tmp_path / "answers.jsonl", [answers_row(n, 3) for n in range(ITEMS)])
    world = Killed(tmp_path)
    world.write(f"{{rankings: {GOAL}, overlap: 2, labels: labels.db}}")
    yield world


def annotator(world: Killed, app: App, name: str) -> Annotator:
    token = spawn("labels", "users", "token", name, "--db", world.folder / "labels.db", cwd=world.folder).out.strip()
    noise = random.Random(name)
    return Annotator(app, PROJECT, token, lambda _, text: noise.random() + (text.split()[1] == "0"), 0.05)


@pytest.mark.timeout(1800)
def test_killed_at_any_moment_while_people_rank(world: Killed) -> None:
    # 1, 2: the run, while it publishes, and when all is published but nobody has been told.
    world.kill_run_when(lambda: items(world) >= ITEMS // 4)
    assert ITEMS // 4 <= items(world) < ITEMS, "it was killed in the middle"
    world.kill_run_when(lambda: items(world) == ITEMS)
    waits = spawn("run", world.recipe, "--runs", world.run.parent, cwd=world.folder)
    assert waits.code == 7, waits.err
    orders = told(waits.out)
    for name in NAMES:
        join(orders["first"], name, world.folder)
    with Zygote("align", world.folder / "app.txt") as zygote:
        app = App(orders["rank them"], zygote)
        try:
            people = [annotator(world, app, name) for name in NAMES]
            acknowledged = rank_and_kill(world, app, people)
        finally:
            app.kill()
    told_once(world, acknowledged)


def rank_and_kill(world: Killed, app: App, people: list[Annotator]) -> dict[str, dict[str, int | None]]:
    """The rest of the moments; what was acknowledged, by whomever."""

    def said() -> int:
        return sum(len(one.saved) for one in people)

    def saved_more(than: int) -> Callable[[], bool]:
        return lambda: said() >= than

    rng = random.Random(0)
    app.start()
    for one in people:
        one.thread.start()
    # 3, 4, 5: the app, while labels are submitted.
    for _ in range(3):
        world.until(saved_more(said() + 10))
        time.sleep(rng.uniform(0, 0.1))
        app.kill()
        app.start()
    # 6: the run, while it waits and people rank. 7: the app, while a run waits. 8: both at once.
    told_before = (world.partial / "resume" / "waiting.json").stat().st_mtime_ns
    world.kill_run_when(lambda: (world.partial / "resume" / "waiting.json").stat().st_mtime_ns > told_before)
    run = world.stays()
    world.until(saved_more(said() + 10), run)
    app.kill()
    app.start()
    world.until(saved_more(said() + 10), run)
    app.kill()
    run.send_signal(signal.SIGKILL)
    run.communicate()
    app.start()
    # 9: the run, when the goal has just been met, and people go on. 10: when it takes the labels, 11: when it seals.
    world.until(lambda: said() > GOAL + 10)
    world.kill_run_when(lambda: not (world.partial / "resume" / "waiting.json").exists())
    world.kill_run_when(lambda: (world.partial / "resume" / "labels.jsonl").exists())
    world.kill_run_when(lambda: (world.partial / "train.jsonl").exists())
    last = world.stays()
    out, _ = last.communicate(timeout=PATIENCE)
    assert last.returncode == 0 and json.loads(out)["ran"] == ["rankings"]
    world.until(saved_more(said() + MORE))  # after the stage was sealed
    for one in people:
        one.stop.set()
        one.thread.join(PATIENCE)
        assert not one.thread.is_alive()
    return {uid: ranks for one in people for uid, ranks in one.saved.items()}


def told_once(world: Killed, acknowledged: dict[str, dict[str, int | None]]) -> None:
    """What was acknowledged is in the database once, and what stood then in the artifact; the rest is told."""
    rows, figures = world.saved(), world.manifest.metrics
    assert Counter(row.uid for row in rows) == Counter(list(acknowledged)), "lost, doubled, or never acknowledged"
    assert len({(row.person_id, row.item_id) for row in rows}) == len(rows), "nobody ranks an item twice"
    store = world.store()
    assert verify(store).faults == ()
    store.close()
    sealed = world.made()
    then = [row for row in rows if row.id <= figures["upto"]]
    assert Counter(r.id for r in sealed) == Counter(row.uid for row in then) and len(then) >= GOAL
    for ranking in sealed:
        by_text = {a.text: rank for a, rank in zip(ranking.answers, ranking.ranks, strict=True)}
        assert by_text == acknowledged[ranking.id]
    per_item = Counter(row.item_id for row in rows)
    assert max(per_item.values()) == 2, "no item is ranked by more people than asked"
    assert sum(figures["annotators"].values()) == figures["rankings"] == len(then)
    more = len(rows) - len(then)
    step = world.step()
    assert more >= MORE and step["state"] == "later"
    assert step["why"].startswith(f"{more} rankings more than when this stage was sealed")
