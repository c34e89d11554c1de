"""What an annotator sees and does on the ranking page, in the words of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import TimeoutError
from sqlalchemy import select

from labeling_app.people import Person
from labeling_app.projects import ProjectInfo
from labeling_app.store.models import Draft, Lease, PersonRow, RankingRow
from tests.browser.served import Served

TIERS = """() => [...document.querySelectorAll(".ar-tier")].map((tier) =>
  [...tier.querySelectorAll(".ar-card .ar-body")].map((body) => body.innerText.trim()).sort())"""
RANKS = """() => Object.fromEntries([...document.querySelectorAll(".ar-card")].map((card) => {
  const tier = card.closest(".ar-tier");
  const bucket = card.closest(".ar-bucket");
  const at = tier?.dataset.tier ?? (bucket?.dataset.bucket || null);
  const place = at === null ? null : Number(at) + 1;
  return [card.querySelector(".ar-body").innerText.trim(), place];
}))"""

# Whether the page stands still: what is dragged to its edge scrolls it.
STILL = """() => { const before = scrollY;
  return new Promise((say) => requestAnimationFrame(() => requestAnimationFrame(() => say(scrollY === before)))); }"""


def until(page: Any, promised: str) -> None:
    """Wait until what a script promises is true. `wait_for_function` takes the promise itself for true."""
    while not page.evaluate(promised):
        page.wait_for_timeout(20)


class Screen:
    """A ranking page in a browser."""

    def __init__(self, page: Any, served: Served, project: ProjectInfo | None, person: Person) -> None:
        self.page, self.served, self.project, self.person = page, served, project, person
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, more: str = "") -> Screen:
        """Load the page, and wait until an item, or the word that there is none, is there."""
        query = f"?project={self.project.slug}" if self.project else "?"
        self.page.goto(f"{self.served.url}/app{query}{more}", wait_until="commit")
        return self.ready()

    def ready(self) -> Screen:
        """Wait until the page can be used."""
        self.page.locator(".ar[data-ready]").wait_for(state="attached")
        return self

    @property
    def lease(self) -> str | None:
        """The item that is shown."""
        return self.page.locator(".ar-main").get_attribute("data-lease")

    def next(self, before: str | None) -> None:
        """Wait for another item than `before`, or for none."""
        try:
            self.page.wait_for_function(
                # While another project comes there is neither: a frame without a lease, which is no answer yet.
                """(before) => {
                    const now = document.querySelector(".ar-main").dataset.lease ?? null;
                    return now !== before && (now !== null || document.querySelector(".ar-nothing") !== null);
                }""",
                arg=before,
            )
        except TimeoutError as error:
            raise AssertionError(
                f"nothing came next; the page says {self.page.locator('.ar-alert').inner_text()!r}, "
                f"ranks {self.ranks()}, errors {self.errors}"
            ) from error

    def tiers(self) -> list[list[str]]:
        """Texts of the answers by rank, the best first."""
        found: list[list[str]] = self.page.evaluate(TIERS)
        return found

    def ranks(self) -> dict[str, int | None]:
        """Rank (or bucket) of each answer by its text, as the page shows it; None where it has none."""
        found: dict[str, int | None] = self.page.evaluate(RANKS)
        return found

    def letters(self) -> dict[str, str]:
        """Letter of each answer by its text."""
        found: dict[str, str] = self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll(".ar-card")].map((card) =>
               [card.querySelector(".ar-body").innerText.trim(), card.querySelector(".ar-letter").textContent]))"""
        )
        return found

    def card(self, text: str) -> Any:
        """The card of the answer of this text."""
        key = self.page.evaluate(
            """(text) => [...document.querySelectorAll(".ar-card")].find((card) =>
               card.querySelector(".ar-body").innerText.trim() === text).dataset.key""",
            text,
        )
        return self.page.locator(f'.ar-card[data-key="{key}"]')

    def press(self, *keys: str) -> Screen:
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def focus(self, text: str) -> Screen:
        """Choose an answer."""
        self.card(text).focus()
        return self

    def drag(self, text: str, to: str, share: float, finger: bool = False) -> None:
        """Drag an answer by its handle to that share of the height of another's place, with the mouse or a finger.

        to: the text of the other answer, or a CSS selector of a place. Places move when dragging begins and while the
        page scrolls by itself, so the way there is looked up until the page says that it would drop there.
        """
        pointer = Finger(self.page) if finger else Mouse(self.page)
        handle = self.card(text).locator(".ar-handle")
        handle.evaluate("handle => handle.scrollIntoView({ block: 'center' })")  # the bar with Submit may lie over it
        x, y = _middle(handle)
        pointer.down(x, y)
        pointer.move(x, y + 3)
        self.page.locator(".ar-dragging").wait_for(state="attached")
        height = self.page.viewport_size["height"]
        for _ in range(1000):
            box = self.place(to).bounding_box()
            y = max(2.0, min(box["y"] + share * box["height"], height - 2.0))
            pointer.move(x + 5, y)
            if self.page.evaluate(STILL) and self._dropping(to, share):
                break
        else:
            raise AssertionError(f"the page never said that it would drop at {to}")
        pointer.up(x + 5, y)

    def place(self, to: str) -> Any:
        """The tier that holds an answer, or the place that a selector names."""
        if to.startswith(("[", ".")):
            return self.page.locator(to)
        return self.card(to).locator("xpath=ancestor::*[@data-tier][1]")

    def _dropping(self, to: str, share: float) -> bool:
        side = "tie" if 0.25 <= share <= 0.75 else "before" if share < 0.5 else "after"
        wanted = "into" if to.startswith(("[", ".")) else side
        return bool(self.place(to).evaluate("(place, wanted) => place.dataset.drop === wanted", wanted))

    def submit(self) -> dict[str, int | None]:
        """Submit by the button, wait for what comes next; the ranks that were on the screen."""
        ranks, before = self.ranks(), self.lease
        self.page.locator(".ar-submit").click()
        self.next(before)
        return ranks

    def last(self) -> dict[str, Any]:
        """The newest ranking of this person in the database."""
        assert self.project is not None
        return self.served.saved(self.project, self.person)[-1]

    def skips(self) -> list[str]:
        """Reasons for which this person skipped items."""
        own = select(RankingRow).join(PersonRow, PersonRow.id == RankingRow.person_id)
        own = own.where(PersonRow.name == self.person.name, RankingRow.action == "skip").order_by(RankingRow.id)
        with self.served.store.read() as session:
            return [row.meta["reason"] for row in session.execute(own).scalars()]

    def draft(self) -> Any:
        """The draft of the item that is shown, as the database has it."""
        own = select(Draft.body).join(Lease, Lease.id == Draft.lease_id).where(Lease.uid == self.lease)
        with self.served.store.read() as session:
            return session.execute(own).scalar()

    def dialog(self) -> Any:
        """The dialog that is open."""
        box = self.page.locator("dialog[open]")
        box.wait_for()
        return box

    def intercept(self, pattern: str, handler: Callable[[Any], object]) -> None:
        """Have `handler` decide on requests of this pattern, from now on.

        Chromium says that it intercepts a moment before it does: a request that follows at once may slip through. So
        one is sent that only an interception answers, until it is answered.
        """
        self.page.route(pattern, handler)
        self.page.route("**/intercepted", lambda route: route.fulfill(status=204))
        while self.page.evaluate("async () => (await fetch('/intercepted')).status") != 204:
            self.page.wait_for_timeout(20)

    def alert(self) -> str:
        """What the page complains of, once it does."""
        self.page.locator(".ar-alert p").wait_for()
        return str(self.page.locator(".ar-alert").inner_text()).strip()


class Mouse:
    """A mouse on a page."""

    def __init__(self, page: Any) -> None:
        self.mouse = page.mouse

    def down(self, x: float, y: float) -> None:
        """Press the button at a point."""
        self.mouse.move(x, y)
        self.mouse.down()

    def move(self, x: float, y: float) -> None:
        """Move to a point."""
        self.mouse.move(x, y)

    def up(self, _x: float, _y: float) -> None:
        """Let the button go."""
        self.mouse.up()


class Finger:
    """A finger on a page, as the browser gets it from a touch screen."""

    def __init__(self, page: Any) -> None:
        self.wire = page.context.new_cdp_session(page)

    def touch(self, kind: str, points: list[dict[str, float]]) -> None:
        """Tell the browser of all the fingers there are."""
        self.wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def down(self, x: float, y: float) -> None:
        """Put it on a point."""
        self.touch("touchStart", [{"x": x, "y": y}])

    def move(self, x: float, y: float) -> None:
        """Draw it to a point."""
        self.touch("touchMove", [{"x": x, "y": y}])

    def up(self, _x: float, _y: float) -> None:
        """Lift it."""
        self.touch("touchEnd", [])


def _middle(locator: Any) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
