"""The chain with people, in Chromium: a recipe waits, two annotators rank what its model said, and the run goes on.

The second test kills the app and the run with SIGKILL meanwhile. In both, what the screens showed when the page said
that it was saved is what the sealed artifact holds, and nothing else is in it.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from align.artifacts import read_artifact
from align.contract import HELDOUT, TRAIN, rows
from align.data.records import Ranking
from labeling_app.agreement import agreement_of
from labeling_app.people import people
from labeling_app.rendering import safe_html
from labeling_app.store.care import verify
from labeling_app.store.database import open_store
from tests.browser.screen import Screen
from tests.browser.served import PASSWORD
from tests.labeling_app.process import App, Zygote, join, told
from tests.recipes.test_people import small, stays
from tests.runs import spawn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

ANN, BOB = "annika-of-the-test", "bogdan-of-the-test"
PROMPTS, GOAL = 12, 16
"""Prompts of each split, and rankings: 8 questions for each of two."""

SEEN = """() => ({
  lease: document.querySelector(".ar-main").dataset.lease,
  question: [...document.querySelectorAll(".ar-prompt .ar-text")].at(-1).textContent,
  answers: [...document.querySelectorAll(".ar-card")].map((card) => ({
    letter: card.querySelector(".ar-letter").textContent, text: card.querySelector(".ar-body").textContent,
    rank: Number(card.closest(".ar-tier").dataset.tier) + 1,
  })).sort((a, b) => a.letter.localeCompare(b.letter)),
})"""


def words(text: str) -> str:
    """A text as a page shows it, but for spaces."""
    return "".join(html.unescape(re.sub("<[^>]*>", "", text)).split())


class Annotator(Screen):
    """Someone at the ranking page. Answers are named by their letters here: what a model says may show nothing.

    saved: what the screen showed, by item, when the page went on to the next."""

    def __init__(self, page: Any, url: str, name: str) -> None:
        super().__init__(page, SimpleNamespace(url=url), None, SimpleNamespace(name=name))  # type: ignore[arg-type]
        self.saved: dict[str, dict[str, Any]] = {}

    def enter(self, address: str) -> Annotator:
        """Log in at the address that the run printed, by the form."""
        self.page.goto(address)
        self.page.get_by_label("Name").fill(self.person.name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.ready()
        return self

    def card(self, letter: str) -> Any:
        return self.page.locator(f'.ar-card:has(.ar-letter:text-is("{letter}"))')

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate(SEEN)
        return found

    def put(self, order: list[str], by_mouse: bool) -> None:
        """Put the answers in this order: by keys, or by dragging each before the next, from the last to the first."""
        if by_mouse:
            for letter, below in reversed(list(zip(order, order[1:], strict=False))):
                self.drag(letter, to=below, share=0.1)
            return
        for place, letter in enumerate(order, start=1):
            self.focus(letter).press(str(place))

    def rank(self, by_mouse: bool = False) -> dict[str, Any]:
        """Put the shorter answer before the longer, and tie two of equal length; what the screen shows then.

        Whoever uses the mouse likes the first two the other way round."""
        lengths = {a["letter"]: len(a["text"]) for a in self.seen()["answers"]}
        order = sorted(lengths, key=lambda letter: (lengths[letter], letter))
        if by_mouse:
            order[:2] = reversed(order[:2])
        self.put(order, by_mouse)
        shown = self.seen()
        assert [a["letter"] for a in sorted(shown["answers"], key=lambda a: a["rank"])] == order
        for above, below in zip(order[1:], order[2:], strict=False):
            if lengths[above] == lengths[below] and not by_mouse:
                self.focus(below).press("=")
        return self.seen()

    def send(self, by_mouse: bool = False) -> None:
        """Submit, by Enter or the button, and wait until the page goes on: then it is saved."""
        shown = self.seen()
        self.press_submit(by_mouse)
        self.went_on(shown)

    def press_submit(self, by_mouse: bool) -> None:
        if by_mouse:
            self.page.locator(".ar-submit").click()
        else:
            self.card("A").focus()
            self.press("Enter")

    def went_on(self, shown: dict[str, Any]) -> None:
        self.next(shown["lease"])
        assert shown["lease"] not in self.saved
        self.saved[shown["lease"]] = shown


@dataclass
class Chain:
    """The recipe in small in a folder, up to where it waits for people, and what it printed then."""

    recipe: Path
    orders: dict[str, str]
    people: list[Annotator] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.recipe.parent

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "people"

    def ready(self, context: Callable[..., Any], zygote: Zygote) -> App:
        """Accounts by the printed command, the app by the printed command, and two browsers that are logged in."""
        for name in (ANN, BOB):
            join(self.orders["first"], name, self.folder)
        app = App(self.orders["rank them"], zygote).start()
        address = self.orders["the page"].replace(":7860/", f":{app.port}/")
        self.people = [Annotator(context().new_page(), app.url, name).enter(address) for name in (ANN, BOB)]
        return app

    def rank_in_turn(self, each: int) -> None:
        """Both rank so many more, one after the other, while the other's page is open as well."""
        for _ in range(each):
            for number, one in enumerate(self.people):
                one.rank(by_mouse=number == 1)
            for number, one in enumerate(self.people):
                one.send(by_mouse=number == 1)

    def sealed(self) -> list[Ranking]:
        artifact = read_artifact(self.run / "rankings")
        return [r for split in (TRAIN, HELDOUT) for r in rows(artifact, split) if isinstance(r, Ranking)]


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A run that waits, made once."""
    folder = tmp_path_factory.mktemp("chain")
    recipe = small(folder)
    recipe.write_text(recipe.read_text("utf-8").replace("rankings: 48", f"rankings: {GOAL}"), "utf-8")
    for name in ("prompts.jsonl", "prompts-heldout.jsonl"):
        file = folder / "quickstart" / name
        file.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:PROMPTS]), "utf-8")
    done = spawn("run", recipe, "--runs", folder / "runs", cwd=folder, timeout=900)
    assert done.code == 7, done.err
    assert f"rankings waits for people: 0 of {GOAL} rankings, by 2 people each" in done.out
    orders = told(done.out)
    assert set(orders) == {"first", "rank them", "the page", "then"}
    assert orders["the page"] == "http://127.0.0.1:7860/app?project=people/rankings"
    return Chain(recipe, orders)


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote("align", tmp_path_factory.mktemp("zygote") / "log") as made:
        yield made


@pytest.fixture
def chain(waiting: Chain, tmp_path: Path) -> Chain:
    """A copy of it, in which nobody has ranked."""
    folder = tmp_path / "chain"
    shutil.copytree(waiting.folder, folder)
    return Chain(folder / waiting.recipe.name, {k: v.replace(str(waiting.folder), str(folder))
                                                for k, v in waiting.orders.items()})  # fmt: skip


def same(chain: Chain) -> None:
    """What the screens showed is what the artifact holds, once each, and nothing else."""
    store = open_store(chain.folder / "labels.db")
    pseudonyms = {person.pseudonym: person.name for person in people(store)}
    assert verify(store).faults == ()
    store.close()
    made: dict[str, list[Any]] = {ANN: [], BOB: []}
    for ranking in chain.sealed():
        answers = {answer.id: answer for answer in ranking.answers}
        ranks = {a.id: rank for a, rank in zip(ranking.answers, ranking.ranks, strict=True)}
        shown = [(words(safe_html(answers[i].text)), ranks[i]) for i in ranking.meta["shown_order"]]
        made[pseudonyms[ranking.annotator]].append((words(ranking.prompt[-1].content), shown))
    for one in chain.people:
        told = [
            (words(shown["question"]), [(words(a["text"]), a["rank"]) for a in shown["answers"]])
            for shown in one.saved.values()
        ]
        assert sorted(told) == sorted(made[one.person.name])
        assert max(Counter(question for question, _ in told).values()) == 1, "nobody is asked twice"


def agreed(chain: Chain) -> float:
    """How far the two agree, by what their screens showed."""
    by_question: dict[str, list[tuple[str, list[int | None]]]] = {}
    for one in chain.people:
        for shown in one.saved.values():
            by_text = sorted((a["text"], a["rank"]) for a in shown["answers"])
            by_question.setdefault(shown["question"], []).append((one.person.name, [rank for _, rank in by_text]))
    found = agreement_of(list(by_question.values())).percent.value
    assert found is not None
    return found


def test_two_people_rank_and_the_run_goes_on(chain: Chain, context: Callable[..., Any], zygote: Zygote) -> None:
    run = stays(chain.recipe, chain.folder / "run.txt")
    app = chain.ready(context, zygote)
    try:
        chain.rank_in_turn(GOAL // 2)
        out, _ = run.communicate(timeout=1500)
    finally:
        app.kill()
        run.kill()
    assert run.returncode == 0, (chain.folder / "run.txt").read_text()
    assert json.loads(out)["ran"] == ["rankings", "reward", "dpo", "ppo", "result", "final"]
    assert [one.errors for one in chain.people] == [[], []]
    same(chain)
    figures = read_artifact(chain.run / "rankings").manifest.metrics
    assert figures["rankings"] == GOAL and len(figures["annotators"]) == 2
    assert figures["agreement"] == pytest.approx(agreed(chain), abs=1e-4) and figures["agreement"] < 1
    (reward,) = json.loads((chain.run / "result" / "evaluation.json").read_text("utf-8"))["reward"]
    assert reward["agreement"]["annotators"] == 2 and reward["agreement"]["ceiling"] > 0.5
    page = re.sub(r"\s+", " ", (chain.run / "report.html").read_text("utf-8"))
    assert "<dt>agreement</dt>" in page and "2 annotators agree in" in page
    assert all(pseudonym in page for pseudonym in figures["annotators"])
    for file in chain.run.rglob("*"):
        if file.is_file():
            assert not any(name.encode() in file.read_bytes() for name in (ANN, BOB)), f"{file} names a person"


def test_app_and_run_are_killed_and_nothing_is_lost(chain: Chain, context: Callable[..., Any], zygote: Zygote) -> None:
    run = stays(chain.recipe, chain.folder / "first.txt")
    app = chain.ready(context, zygote)
    ann, bob = chain.people
    try:
        chain.rank_in_turn(2)
        kill(run)  # while it waits, and people rank
        chain.rank_in_turn(1)
        ann.rank()
        shown = bob.rank(by_mouse=True)
        app.kill()  # while two have work on their pages
        bob.press_submit(by_mouse=True)
        bob.page.locator(".ar-alert", has_text="The server does not answer. Your work is still here").wait_for()
        app.start()
        bob.send(by_mouse=True)
        assert bob.saved[shown["lease"]] == shown
        kept = ann.seen()
        ann.page.reload(wait_until="commit")  # the draft was kept
        ann.ready()
        assert ann.seen() == kept
        while_submitted(app, ann)
        second = stays(chain.recipe, chain.folder / "second.txt")
        chain.rank_in_turn(GOAL // 2 - 4)
        kill(second)  # when the goal has just been met
        done = spawn("run", chain.recipe, "--runs", chain.run.parent, "--json", cwd=chain.folder, timeout=1500)
    finally:
        app.kill()
        kill(run)
    assert done.code == 0, done.err
    assert done.json["ran"][-5:] == ["reward", "dpo", "ppo", "result", "final"]
    same(chain)
    assert len(chain.sealed()) == GOAL


def while_submitted(app: App, one: Annotator) -> None:
    """Kill the app in the moment the page sends a ranking; once it is back, the page's own button settles it."""
    shown = one.seen()
    with one.page.expect_request("**/submit*"):
        one.page.evaluate("() => setTimeout(() => document.querySelector('.ar-submit').click(), 0)")
    app.kill()
    time.sleep(0.5)
    app.start()
    if one.lease == shown["lease"]:  # it was not acknowledged; whether it was saved, the page cannot know
        one.page.locator(".ar-alert", has_text="Your work is still here").wait_for()
        one.press_submit(by_mouse=True)
    one.went_on(shown)


def kill(run: subprocess.Popen[str]) -> None:
    """SIGKILL; nothing if it has ended."""
    if run.poll() is None:
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert run.returncode == -signal.SIGKILL
