"""SIGKILL of the real server under load over HTTP: what was acknowledged is there once, whatever clients send again."""

from __future__ import annotations

import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from labeling_app.people import create_person, script_token
from labeling_app.store.database import Store, open_store
from labeling_app.store.models import RankingRow
from tests.browser.served import PASSWORD, PATIENCE, free_port
from tests.labeling_app.backends import Clock
from tests.labeling_app.process import Zygote, alive
from tests.labeling_app.test_kill import KILLS, PEOPLE, check
from tests.labeling_app.world import made, person

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote("align", tmp_path_factory.mktemp("zygote") / "log") as made:
        yield made


class Annotator(threading.Thread):
    """Ranks through the API until told to stop; sends again what was not answered, as the page does."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(daemon=True)
        self.client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=PATIENCE)
        self.pending: dict[str, Any] | None = None
        self.acknowledged: list[str] = []
        self.repeated = 0
        self.failed = ""
        self.over = False

    def run(self) -> None:
        """Work through every death of the server."""
        while not self.over and not self.failed:
            try:
                self.turn()
            except httpx.TransportError:
                time.sleep(0.05)  # the server needs the processor to start

    def turn(self) -> None:
        """Submit what is open, and take up the next item."""
        if self.pending is None:
            self.take(self.asked("next")["item"])
        told = self.asked("submit", self.pending)
        self.acknowledged.append(told["saved"]["ranking"])
        self.repeated += told["saved"]["repeated"]
        self.take(told["item"])

    def asked(self, what: str, sent: Any = None) -> Any:
        """What the API says; any refusal ends this annotator's work, and the test."""
        answer = self.client.post(f"/api/v1/projects/p/{what}", json=sent)
        if answer.status_code != 200:
            self.failed = answer.text
        assert answer.status_code == 200, answer.text
        return answer.json()

    def take(self, item: dict[str, Any]) -> None:
        """Rank an item, in mind only."""
        ranks = {answer["key"]: place for place, answer in enumerate(item["answers"], start=1)}
        self.pending = {
            "lease": item["lease"],
            "token": secrets.token_hex(8),
            "ranks": ranks,
            "moves": 1,
            "seconds": 1.0,
        }


def kill_under_load(server: Callable[[], int], annotators: list[Annotator], rng: random.Random) -> None:
    """Start the server, let it acknowledge something, and kill it at a random moment."""
    before = sum(len(one.acknowledged) for one in annotators)
    number = server()
    try:
        until = time.monotonic() + PATIENCE
        while sum(len(one.acknowledged) for one in annotators) <= before:
            assert [one.failed for one in annotators if one.failed] == []
            assert time.monotonic() < until, "nothing is acknowledged"
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.15))
    finally:
        os.kill(number, signal.SIGKILL)
    while alive(number):
        time.sleep(0.002)


def after_all(server: Callable[[], int], annotators: list[Annotator], store: Store) -> None:
    """A last server: everyone still has their item, what they sent is there, and nothing that they did not send."""
    number = server()
    try:
        for one in annotators:
            one.turn()
            lease = one.pending and one.pending["lease"]
            assert one.asked("next")["item"]["lease"] == lease
    finally:
        os.kill(number, signal.SIGTERM)
    said = [ranking for one in annotators for ranking in one.acknowledged]
    with store.read() as session:
        kept = session.execute(select(RankingRow.uid)).scalars().all()
    assert sorted(kept) == sorted(said)


def run(zygote: Zygote, where: str, tmp_path: Path, kills: int) -> None:
    clock, rng, port = Clock(time.time()), random.Random(0), free_port()
    store = open_store(where, clock=clock)
    project = made(store, tmp_path, items=5000, overlap=2)
    create_person(store, "admin", PASSWORD, "admin")
    url = f"http://127.0.0.1:{port}"
    annotators = []
    for n in range(PEOPLE):
        person(store, f"p{n}")
        annotators.append(Annotator(url, script_token(store, f"p{n}")))

    def server() -> int:
        """The process id of a new server, once it answers."""
        number = zygote.start("label", "--accounts", "--db", where, "--port", str(port))
        until = time.monotonic() + PATIENCE
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            while True:
                try:
                    client.get("/login").raise_for_status()
                    return number
                except httpx.TransportError:
                    assert alive(number) and time.monotonic() < until, zygote.log.read_text()
                    time.sleep(0.02)

    for one in annotators:
        one.start()
    for _ in range(kills):
        kill_under_load(server, annotators, rng)
    for one in annotators:
        one.over = True
        one.join(PATIENCE)
    after_all(server, annotators, store)
    for one in annotators:
        one.client.close()
    acknowledged = tmp_path / "acknowledged.txt"
    acknowledged.write_text("\n".join(ranking for one in annotators for ranking in one.acknowledged))
    assert check(store, project, acknowledged, clock) >= kills
    assert sum(one.repeated for one in annotators) > 0, "no kill came between the disk and the answer"
    store.close()


def test_a_killed_server(zygote: Zygote, tmp_path: Path) -> None:
    run(zygote, str(tmp_path / "labels.db"), tmp_path, KILLS)


def test_a_killed_server_of_a_database_server(zygote: Zygote, new_database: Callable[[], str], tmp_path: Path) -> None:
    run(zygote, new_database(), tmp_path, KILLS)
