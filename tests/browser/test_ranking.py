"""Ranking with a mouse, a finger and keys alone; what the database holds is what the screen showed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.browser.screen import Screen
from tests.browser.served import PASSWORD, Served, row

SLIP = 700
"""Milliseconds after which a second press of Enter is meant."""
FOUR = ["The red answer.", "The green answer.", "The blue answer.", "The grey answer."]


def items(count: int, texts: list[str] | None = None) -> list[dict[str, Any]]:
    return [row(f"Which answer is best? ({number})", texts or FOUR) for number in range(count)]


def test_login_by_the_form_and_a_ranking_by_mouse(context: Callable[..., Any], served: Served) -> None:
    served.project(items(1), "another")
    project, person = served.project(items(2), "by-mouse"), served.person(name="ann")
    page = context().new_page()
    page.goto(f"{served.url}/app?project=by-mouse")
    assert page.url.startswith(f"{served.url}/login")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    screen = Screen(page, served, project, person).ready()
    first, second, third, fourth = (texts[0] for texts in screen.tiers())

    screen.drag(fourth, to=first, share=0.1)
    assert screen.tiers() == [[fourth], [first], [second], [third]]
    screen.drag(third, to=fourth, share=0.5)
    assert screen.tiers() == [sorted([fourth, third]), [first], [second]]
    screen.drag(first, to=second, share=0.9)
    assert screen.tiers() == [sorted([fourth, third]), [second], [first]]

    shown = screen.submit()
    assert shown == {fourth: 1, third: 1, second: 2, first: 3}
    assert screen.last()["order"] == shown
    assert screen.page.locator(".ar-count").inner_text() == "1 ranked by you, about 1 left"
    screen.press("1")
    screen.submit()
    assert screen.page.locator(".ar-nothing").inner_text() == "All ranked. Thank you."
    assert screen.page.locator(".ar-count").inner_text() == ""
    assert screen.errors == []


def test_ranking_by_touch_on_a_phone(screen: Callable[..., Screen], served: Served) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = screen(served.project(items(1, [f"{text} {'It goes on. ' * 40}".strip() for text in FOUR])), **phone)
    first, second, third, fourth = (texts[0] for texts in page.tiers())

    page.drag(fourth, to=first, share=0.1, finger=True)
    assert page.tiers() == [[fourth], [first], [second], [third]]
    page.drag(fourth, to=third, share=0.5, finger=True)
    assert page.tiers() == [[first], [second], sorted([third, fourth])]
    page.drag(first, to=third, share=0.9, finger=True)
    assert page.tiers() == [[second], sorted([third, fourth]), [first]]

    shown, before = page.ranks(), page.lease
    page.page.locator(".ar-submit").tap()
    page.next(before)
    assert page.last()["order"] == shown == {second: 1, third: 2, fourth: 2, first: 3}
    assert page.page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.errors == []


def test_ranking_by_keys_alone(screen: Callable[..., Screen], served: Served) -> None:
    page = screen(served.project(items(3)))
    first, second, third, fourth = (texts[0] for texts in page.tiers())

    page.press("ArrowDown", "ArrowDown", "Shift+ArrowUp")
    assert page.tiers() == [[first], [third], [second], [fourth]]
    page.press("1")
    assert page.tiers() == [[third], [first], [second], [fourth]]
    page.press("ArrowDown", "=")
    assert page.tiers() == [sorted([third, first]), [second], [fourth]]
    page.press("=")
    assert page.tiers() == [[third], [first], [second], [fourth]]
    page.press("=", "ArrowDown", "ArrowDown", "x")
    assert page.ranks() == {third: 1, first: 1, second: 2, fourth: None}
    page.press("x", "x")
    shown, before = page.ranks(), page.lease
    page.press("Enter")
    page.next(before)
    assert page.last()["order"] == shown == {third: 1, first: 1, second: 2, fourth: None}

    other = page.lease
    page.press("u")
    page.next(other)
    assert page.lease == before and page.ranks() == shown
    page.focus(second).press("1", "Enter")
    page.next(before)
    assert page.last()["order"] == {second: 1, third: 2, first: 2, fourth: None}
    assert len(served.saved(page.project, page.person)) == 1

    page.press("s")
    page.page.locator("dialog[open]").wait_for()
    page.press("u", "x", "2", "ArrowDown", "Enter")
    page.next(other)
    assert page.skips() == ["language"]
    page.press("?")
    page.page.locator("dialog[open] kbd").first.wait_for()
    assert page.page.evaluate("document.activeElement.closest('dialog') !== null")
    page.press("Escape")
    page.page.locator("dialog").wait_for(state="detached")
    assert page.errors == []


def test_keys_are_silent_while_one_types(screen: Callable[..., Screen], served: Served) -> None:
    page = screen(served.project(items(1)))
    before = page.tiers()
    page.page.locator("#ar-comment").focus()
    words = "1234 = x s u ? d e f o"
    page.page.keyboard.type(words)
    page.press("Shift+ArrowUp", "ArrowDown", "End", "Enter")
    assert page.tiers() == before and page.page.locator("dialog").count() == 0
    assert page.page.locator("#ar-comment").input_value() == words + "\n"
    page.focus(before[2][0]).press("1")
    page.submit()
    assert page.last()["comment"] == words + "\n"


def test_an_untouched_order_is_asked_about_once(screen: Callable[..., Screen], served: Served) -> None:
    page = screen(served.project(items(1)))
    before = page.lease
    page.press("Enter")
    assert page.alert() == "Nothing was moved. Submit once more if this order is what you mean."
    page.press("Enter")  # a slip of the finger
    page.page.wait_for_timeout(SLIP)
    assert (page.lease, served.saved(page.project)) == (before, [])
    shown = page.ranks()
    page.press("Enter")
    page.next(before)
    assert page.last()["order"] == shown


def test_buttons_do_what_the_keys_do(screen: Callable[..., Screen], served: Served) -> None:
    page = screen(served.project(items(1)))
    first, second, third, fourth = (texts[0] for texts in page.tiers())
    for text, name in [(fourth, "Up"), (first, "Down"), (third, "Tie"), (fourth, "Leave out")]:
        page.card(text).get_by_role("button", name=name, exact=True).click()
    assert page.ranks() == {second: 1, first: 2, third: 3, fourth: None}
    page.card(fourth).get_by_role("button", name="Rank it").click()
    shown = page.submit()
    assert page.last()["order"] == shown == {second: 1, first: 2, third: 3, fourth: 4}
