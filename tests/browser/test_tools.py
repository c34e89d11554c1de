"""The buttons of an answer, on a phone and on a desk: where they are, and that they look like buttons."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.browser.screen import Screen
from tests.browser.served import Served, row
from tests.browser.test_hands import PHONE
from tests.browser.test_ranking import items

pytestmark = pytest.mark.slow

Show = Callable[..., Screen]
TOOLS = """() => [...document.querySelectorAll(".ar-card header")].map((header) => ({
  title: header.querySelector("h3").getBoundingClientRect().toJSON(),
  tools: [...header.querySelectorAll("button")].filter((one) => one.offsetParent)
    .map((one) => ({ ...one.getBoundingClientRect().toJSON(), fill: getComputedStyle(one).backgroundColor })) }))"""


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("width", [390, 320])
def test_tools_on_a_phone(screen: Show, served: Served, width: int, locale: str) -> None:
    """Differences has no row of its own, whatever the title says; nothing is wider than the screen."""
    more = PHONE | {"viewport": {"width": width, "height": 844}, "locale": locale}
    page = screen(served.project(items(1)), **more)
    page.press("f")
    page.dialog()
    page.press("2", "Enter", "ArrowDown", "=")
    page.page.locator("dialog").wait_for(state="detached")
    found = {"order": page.page.evaluate(TOOLS)}
    assert page.page.evaluate("document.documentElement.scrollWidth") == width
    page.page.locator("[data-way=buckets]").click()
    found["buckets"] = page.page.evaluate(TOOLS)
    assert page.page.evaluate("document.documentElement.scrollWidth") == width
    page.project = served.project([row("Which one?", ["One.", "Two."])])
    found["pair"] = page.open().page.evaluate(TOOLS)
    assert page.page.evaluate("document.documentElement.scrollWidth") == width
    for way, cards in found.items():
        for card in cards:
            differences, *others = card["tools"]
            assert differences["top"] < card["title"]["bottom"] and differences["bottom"] > card["title"]["top"], way
            assert differences["left"] >= card["title"]["right"]
            rows = {one["top"] for one in others}
            assert len(rows) == (2 if way == "order" and width == 320 else 1)
            assert (differences["top"] in rows) == (way == "pair")
            assert {one["height"] for one in card["tools"]} == {40}
            assert "rgba(0, 0, 0, 0)" not in {one["fill"] for one in card["tools"]}  # it is seen that they are buttons


def test_tools_on_a_desk_have_equal_gaps(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)), viewport={"width": 1200, "height": 800})
    for card in page.page.evaluate(TOOLS):
        tools = card["tools"]
        assert len({one["top"] for one in tools}) == 1
        assert {round(right["left"] - left["right"], 1) for left, right in pairwise(tools)} == {4.0}


def test_differences_without_a_keyboard(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)), **PHONE)
    texts = [tier[0] for tier in page.tiers()]
    page.card(texts[1]).get_by_role("button", name="Differences").tap()
    assert page.dialog().locator("h2").inner_text() == "Differences: B against C"
    assert page.page.evaluate("document.documentElement.scrollWidth") == 390
