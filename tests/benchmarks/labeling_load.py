"""The labeling app under load: a real server, real HTTP, a real browser.

    python -m tests.benchmarks.labeling_load --annotators 200 --every 10 --minutes 10
    python -m tests.benchmarks.labeling_load --annotators 400 --every 40 --minutes 10
    python -m tests.benchmarks.labeling_load --annotators 0          (only start, memory and the browser)
    python -m tests.benchmarks.labeling_load --annotators 0 --browser 0 --label-studio
    python -m tests.benchmarks.labeling_load --annotators 0 --browser 0 --direct 1000 --prompts 2000

Each annotator submits once in so many seconds, with some spread, and gets the next item in the same request; the
latency is what they wait. In the end every acknowledged ranking must be in the database, no person may have two of one
item, and none may be there that nobody sent. The browser ranks by keys; measured from the click on Submit to the next
item painted. Clients, browser and server share the machine; `cpu_ms` is what the server itself computes for one
submission. `--direct` measures the same without server and HTTP: `direct_cpu_ms`, by calls in this process.

`--label-studio` puts Label Studio beside it: on both sides 1 and then 32 annotators who submit and ask for the next
item without a pause, so many seconds each. `--label-studio-folder` keeps its installation, about a gigabyte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import psutil
from pydantic_core import to_json

from labeling_app.api import shown
from labeling_app.incoming import import_labels
from labeling_app.labels import save_and_next
from labeling_app.outgoing import Filter, newest_version, rankings
from labeling_app.people import create_person, script_token, who
from labeling_app.projects import get_project, make_project
from labeling_app.queue import next_item
from labeling_app.store.database import open_store
from labeling_app.submission import Submission, parsed
from labeling_app.views import ItemView
from tests.benchmarks import label_studio

PROJECT, PORT = "load", 7977
HERE = f"http://127.0.0.1:{PORT}"
CROWDS = (1, 32)
"""Annotators of the comparison with Label Studio."""
LOOKS = 10
"""Times that memory is read during a load."""

Item = Any
"""An item as the API of either side gives it."""


@dataclass
class Work:
    """What annotators did: milliseconds that each submission took, ids acknowledged, requests sent again, refusals."""

    waits: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    resent: int = 0
    failed: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """How many submissions, and the spread of their waits."""
        cuts = quantiles(self.waits, n=100, method="inclusive")
        told = {"submissions": len(self.waits), "p50_ms": median(self.waits), "p95_ms": cuts[94], "p99_ms": cuts[98]}
        more = {"max_ms": max(self.waits), "resent": self.resent, "failed": len(self.failed)}
        return {name: round(value, 1) for name, value in (told | more).items()}


def main() -> None:
    """Fill a database, start the server, load it, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between an annotator's submissions")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--prompts", type=int, default=20_000)
    parser.add_argument("--browser", type=int, default=100, help="items ranked in Chromium")
    parser.add_argument("--direct", type=int, default=0, help="submissions in this process, for their CPU time")
    parser.add_argument("--label-studio", action="store_true", help="measure Label Studio as well")
    parser.add_argument("--label-studio-folder", type=Path, help="where it is, or is to be, installed")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each crowd beside Label Studio")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        told = ours(chosen, Path(name))
        print(json.dumps(told, indent=1), flush=True)
        if chosen.label_studio:
            folder = chosen.label_studio_folder or Path(name) / "label-studio"
            print(json.dumps({"label_studio": theirs(chosen, folder)}, indent=1))


def ours(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything about our own server."""
    people = max(chosen.annotators, CROWDS[-1] if chosen.label_studio else 1)
    tokens = fill(folder, chosen.prompts, people)
    work, clicked = Work(), 0
    spent = direct(folder, tokens[0].removeprefix("Bearer "), chosen.direct, work) if chosen.direct else {}
    with server(folder) as process:
        time.sleep(2)
        told: dict[str, Any] = {"start_s": process.started, "idle_mb": memory(process.pid)}
        if chosen.browser:
            told |= in_browser(chosen.browser, tokens[0])
            clicked += chosen.browser
        if chosen.annotators:
            told |= asyncio.run(load(tokens, (chosen.every, chosen.minutes * 60), work, process.pid))
        if chosen.label_studio:
            side = Side(HERE, first, submit_and_next, work)
            told |= {f"crowd_{n}": crowd(side, tokens[:n], chosen.seconds) for n in CROWDS}
        told["end_mb"] = memory(process.pid)
    return told | spent | counted(folder, work.acknowledged, clicked)


def direct(folder: Path, token: str, submissions: int, work: Work) -> dict[str, float]:
    """CPU of a submission and its next item, from the login looked up to the JSON: milliseconds, without HTTP."""
    store, spent = open_store(folder / "labels.db"), []
    me = who(store, token)
    assert me is not None
    item = next_item(store, me, get_project(store, PROJECT).id)
    for _ in range(submissions):
        assert isinstance(item, ItemView)
        ranks = {answer.key: place for place, answer in enumerate(item.answers, start=1)}
        sent = {"lease": item.lease, "token": secrets.token_hex(16), "ranks": ranks, "moves": 1, "seconds": 10.0}
        begun = time.process_time()
        me = who(store, token)
        assert me is not None
        receipt, item = save_and_next(store, me, parsed(Submission, sent), PROJECT)
        if isinstance(item, ItemView):
            to_json(shown(item))
        spent.append((time.process_time() - begun) * 1000)
        work.acknowledged.append(receipt.ranking)
    store.close()
    return {"direct_cpu_ms": round(median(spent), 2)}


def theirs(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The same of Label Studio."""
    with label_studio.served(label_studio.install(folder), chosen.prompts, CROWDS[-1]) as (process, tokens):
        time.sleep(2)
        told: dict[str, Any] = {"start_s": process.started, "idle_mb": memory(process.pid)}
        work = Work()
        side = Side(label_studio.HERE, label_studio.first, label_studio.submit_and_next, work)
        told |= {f"crowd_{n}": crowd(side, tokens[:n], chosen.seconds) for n in CROWDS}
        return told | {"end_mb": memory(process.pid)}


def fill(folder: Path, prompts: int, annotators: int) -> list[str]:
    """A database of so many prompts with four answers each; the tokens of its annotators."""
    rows = folder / "answers.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for n in range(prompts):
            said = [{"id": f"{n}-{k}", "text": text} for k, text in enumerate(label_studio.answers_of(n))]
            asked = [{"role": "user", "content": label_studio.question(n)}]
            file.write(json.dumps({"id": f"i{n}", "prompt": asked, "answers": said}) + "\n")
    store = open_store(folder / "labels.db")
    import_labels(store, make_project(store, PROJECT), rows)
    tokens = []
    for n in range(annotators):
        create_person(store, f"a{n}", None)
        tokens.append(f"Bearer {script_token(store, f'a{n}')}")
    create_person(store, "admin", secrets.token_hex(10), "admin")
    store.close()
    return tokens


@contextmanager
def server(folder: Path) -> Iterator[Any]:
    """The app in a process of its own; `started` is the seconds until it answered."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "align.cli", "label", "--accounts", "--port", str(PORT)]
    process: Any = subprocess.Popen([*command, "--db", str(folder / "labels.db")], stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=HERE, timeout=60) as client:
            while not answers(client, "/login"):
                if process.poll() is not None:
                    sys.exit("the server ended")
                time.sleep(0.05)
        process.started = round(time.monotonic() - begun, 2)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def answers(client: httpx.Client, path: str) -> bool:
    """Whether a server is up."""
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def memory(pid: int) -> float:
    """Resident memory of a server, in MB."""
    return round(psutil.Process(pid).memory_info().rss / 1e6, 1)


def cpu_seconds(pid: int) -> float:
    """What a server has computed so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def load(tokens: list[str], pace: tuple[float, float], work: Work, pid: int) -> dict[str, Any]:
    """All annotators at work. pace: seconds from one submission to the next, and seconds altogether."""
    every, seconds = pace
    end = time.monotonic() + seconds
    looks: list[float] = []
    before = cpu_seconds(pid)

    async def look() -> None:
        for _ in range(LOOKS):
            await asyncio.sleep(seconds / LOOKS)
            looks.append(memory(pid))

    async with client_of(HERE, len(tokens)) as client:
        await asyncio.gather(look(), *(annotate(client, token, (every, end), work) for token in tokens))
    computed = round((cpu_seconds(pid) - before) / len(work.waits) * 1000, 1)
    return {**work.figures(), "cpu_ms": computed, "memory_mb": looks}


async def annotate(client: httpx.AsyncClient, who: str, pace: tuple[float, float], work: Work) -> None:
    """One annotator: look at an item for a while, submit, get the next."""
    every, end = pace
    await asyncio.sleep(random.uniform(0, every))
    item = await first(client, who)
    while time.monotonic() < end and item is not None:
        item = await timed(submit_and_next(client, who, item, work), item, work)
        await asyncio.sleep(random.uniform(0.5, 1.5) * every)


async def timed(asked: Awaitable[Item], item: Item, work: Work) -> Item:
    """The next item, and how long it took is noted; after a refusal or a broken line, noted too, the same one again."""
    begun = time.monotonic()
    try:
        item = await asked
    except httpx.HTTPError as error:
        refused = isinstance(error, httpx.HTTPStatusError)
        work.failed.append(error.response.text[:200] if refused else repr(error))
        return item
    work.waits.append((time.monotonic() - begun) * 1000)
    return item


async def first(client: httpx.AsyncClient, who: str) -> Item:
    """The first item of an annotator."""
    answer = await client.post(f"/api/v1/projects/{PROJECT}/next", headers={"authorization": who})
    return answer.raise_for_status().json()["item"]


async def submit_and_next(client: httpx.AsyncClient, who: str, item: Item, work: Work) -> Item:
    """Save a ranking of an item, and get the next. A connection that broke is no answer: it is sent once more."""
    order = random.sample(range(1, 5), 4)
    ranks = {answer["key"]: rank for answer, rank in zip(item["answers"], order, strict=True)}
    sent = {"lease": item["lease"], "token": secrets.token_hex(16), "ranks": ranks, "moves": 1, "seconds": 10.0}
    place, head = f"/api/v1/projects/{PROJECT}/submit", {"authorization": who}
    try:
        answer = await client.post(place, headers=head, json=sent)
    except httpx.TransportError:
        work.resent += 1
        answer = await client.post(place, headers=head, json=sent)
    told = answer.raise_for_status().json()
    work.acknowledged.append(told["saved"]["ranking"])
    return told["item"]


@dataclass(frozen=True)
class Side:
    """One of two servers that are compared, and how its annotators work."""

    url: str
    first: Callable[[httpx.AsyncClient, str], Awaitable[Item]]
    submit_and_next: Callable[[httpx.AsyncClient, str, Item, Work], Awaitable[Item]]
    work: Work


def crowd(side: Side, tokens: list[str], seconds: float) -> dict[str, float]:
    """These annotators, each without a pause, for so many seconds."""
    side.work.waits.clear()
    side.work.failed.clear()
    asyncio.run(_crowd(side, tokens, seconds))
    rate = round(len(side.work.waits) / seconds, 1)
    return {**side.work.figures(), "a_second": rate}


async def _crowd(side: Side, tokens: list[str], seconds: float) -> None:
    async with client_of(side.url, len(tokens)) as client:
        items = [await side.first(client, who) for who in tokens]
        end = time.monotonic() + seconds

        async def one(who: str, item: Item) -> None:
            while time.monotonic() < end and item is not None:
                item = await timed(side.submit_and_next(client, who, item, side.work), item, side.work)

        await asyncio.gather(*(one(who, item) for who, item in zip(tokens, items, strict=True)))


def client_of(url: str, connections: int) -> httpx.AsyncClient:
    """A client with a connection for each annotator, kept open as a browser does."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=60)
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=120)


PAINTED = """
() => new Promise((done) => {
  const main = document.querySelector(".ar-main"), before = main.dataset.lease, begun = performance.now();
  const watch = new MutationObserver(() => {
    if (main.dataset.lease && main.dataset.lease !== before) {
      watch.disconnect();
      requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
    }
  });
  watch.observe(main, { attributes: true, attributeFilter: ["data-lease"] });
  main.querySelector(".ar-submit").click();
})
"""


def in_browser(items: int, token: str) -> dict[str, float]:
    """Click to the next item painted, in Chromium, in milliseconds."""
    import shutil

    from playwright.sync_api import sync_playwright

    waits = []
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.context.add_cookies([{"name": "align_session", "value": token.removeprefix("Bearer "), "url": HERE}])
        begun = time.monotonic()
        page.goto(f"{HERE}/app?project={PROJECT}")
        page.wait_for_selector("[data-ready]")
        first = time.monotonic() - begun
        for _ in range(items):
            page.keyboard.press("2")
            waits.append(page.evaluate(PAINTED))
        browser.close()
    slow = quantiles(waits, n=20, method="inclusive")[18]
    told = {"page_s": first, "painted_p50_ms": median(waits), "painted_p95_ms": slow}
    return {k: round(v, 2) for k, v in told.items()}


def counted(folder: Path, acknowledged: list[str], clicked: int) -> dict[str, int]:
    """What is in the database: how many acknowledged rankings are missing, stand twice for a person, or nobody sent."""
    store = open_store(folder / "labels.db")
    project = get_project(store, PROJECT)
    found = [r for _, r in rankings(store, project.id, Filter(upto=newest_version(store, project.id)))]
    store.close()
    there = {r.id for r in found}
    twice = len(found) - len({(r.annotator, r.prompt[-1].content) for r in found})
    lost, unsent = len(set(acknowledged) - there), len(found) - len(acknowledged) - clicked
    return {"rankings": len(found), "lost": lost, "doubled": twice, "unsent": unsent}


if __name__ == "__main__":
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    main()
