"""Hands that slip: keys held down or pressed twice, input methods, drags that are broken off, two fingers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.screen import STILL, Finger, Mouse, Screen, until
from tests.browser.served import Served, row
from tests.browser.test_ranking import FOUR, items

pytestmark = pytest.mark.slow

Show = Callable[..., Screen]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
KEY = """([key, more]) => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }))"""


def handle(page: Screen, text: str) -> tuple[float, float]:
    """The middle of an answer's handle."""
    box = page.card(text).locator(".ar-handle").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def lifted(page: Screen) -> tuple[int, int]:
    """How many answers are held, and how many places are shown for a drag."""
    return page.page.locator(".ar-held").count(), page.page.locator(".ar-dragging").count()


def test_enter_held_down_submits_once(screen: Show, served: Served) -> None:
    page = screen(served.project(items(4)))
    before = page.lease
    page.press("Shift+ArrowDown")
    page.page.keyboard.down("Enter")
    page.next(before)
    for _ in range(20):
        page.page.keyboard.down("Enter")  # the same key again: the browser marks it as a repetition
    page.page.keyboard.up("Enter")
    page.page.wait_for_timeout(300)
    assert len(served.saved(page.project)) == 1 and page.page.locator(".ar-alert").inner_text() == ""


def test_a_double_click_submits_once(screen: Show, served: Served) -> None:
    page = screen(served.project(items(4)))
    before, sent = page.lease, []
    page.page.on("request", lambda request: sent.append(request.url) if "/submit" in request.url else None)
    page.press("Shift+ArrowDown")
    page.page.locator(".ar-submit").click(click_count=3)
    page.next(before)
    page.page.wait_for_timeout(300)
    assert (len(sent), len(served.saved(page.project))) == (1, 1)


def test_undo_twice_goes_back_twice(screen: Show, served: Served) -> None:
    page = screen(served.project(items(4)))
    leases, shown = [], []
    for _ in range(3):
        leases.append(page.lease)
        page.press("Shift+ArrowDown")
        shown.append(page.submit())
    before = page.lease
    page.press("u")
    page.next(before)
    assert (page.lease, page.ranks(), page.alert()) == (leases[2], shown[2], "Taken back: change it and submit again.")
    page.press("u")
    page.next(leases[2])
    assert (page.lease, page.ranks()) == (leases[1], shown[1])
    page.page.reload(wait_until="commit")
    page.ready()
    assert (page.lease, page.ranks()) == (leases[1], shown[1])


def test_an_undo_in_buckets_shows_the_buckets(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    before = page.lease
    page.page.get_by_role("button", name="Buckets").click()
    page.press("1", "3", "3", "1")
    shown, after = page.submit(), page.lease
    assert sorted(filter(None, shown.values())) == [1, 1, 3, 3]
    page.press("u")
    page.next(after)
    assert (page.lease, page.ranks()) == (before, shown) and page.page.locator(".ar-buckets").count() == 1


def test_an_input_method_submits_nothing(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    before = page.lease
    page.press("Shift+ArrowDown")
    shown = page.ranks()
    for more in ({"isComposing": True}, {"keyCode": 229}):
        page.page.evaluate(KEY, ["Enter", more])
        page.page.evaluate(KEY, ["3", more])
    page.press("c")
    for more in ({"isComposing": True, "ctrlKey": True}, {"keyCode": 229, "ctrlKey": True}):
        page.page.evaluate(KEY, ["Enter", more])
    page.page.wait_for_timeout(200)
    assert (page.lease, page.ranks(), served.saved(page.project)) == (before, shown, [])

    wire = page.page.context.new_cdp_session(page.page)  # pinyin, as a real input method enters it
    wire.send("Input.imeSetComposition", {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6})
    wire.send("Input.insertText", {"text": "你好"})
    assert page.page.locator("#ar-comment").input_value() == "你好"
    page.page.locator(".ar-card").first.focus()
    page.page.evaluate(KEY, ["？", {}])  # a wide question mark
    page.page.locator("dialog[open] kbd").first.wait_for()


def test_writing_why_by_keys_alone(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    before = page.lease
    page.press("Shift+ArrowDown", "c")
    page.page.keyboard.type("As it is 1 = best")
    page.press("Escape")
    assert page.page.evaluate("document.activeElement.matches('.ar-card')")
    page.press("c")
    shown = page.ranks()
    page.press("Control+Enter")
    page.next(before)
    assert (page.last()["order"], page.last()["comment"]) == (shown, "As it is 1 = best")


def test_enter_in_a_flag_keeps_the_flag(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    for digit, label in (("2", "Untrue"), ("1", "Harmful")):
        page.press("f")
        page.dialog()
        page.press(digit, "Enter")
        page.page.locator("dialog").wait_for(state="detached")
        assert page.page.locator(".ar-mark").inner_text() == "flagged"
        page.press("f")
        assert page.dialog().get_by_label(label).is_checked()
        page.press("Escape")


def test_an_edit_survives_escape_and_reload(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    first = page.tiers()[0][0]
    for leave in ("Escape", "reload"):
        page.focus(first).press("e")
        page.dialog().locator("textarea").fill("Ten minutes of work")
        if leave == "Escape":
            page.press("Escape")
            page.page.locator("dialog").wait_for(state="detached")
            assert page.card(first).locator(".ar-marks").inner_text() == "edit not finished"
        else:
            page.page.reload(wait_until="commit")
            page.ready()
        page.focus(first).press("e")
        assert page.dialog().locator("textarea").input_value() == "Ten minutes of work"
        page.dialog().get_by_role("button", name="Cancel").click()
        page.page.locator("dialog").wait_for(state="detached")
        assert page.card(first).locator(".ar-marks").inner_text() == ""
    page.focus(first).press("e")
    assert page.dialog().locator("textarea").input_value() == first
    page.dialog().locator("textarea").fill("Better.")
    page.press("Control+Enter", "Shift+ArrowDown")
    page.submit()
    assert page.last()["edit"]["text"] == "Better."


@pytest.mark.parametrize("how", ["Escape", "pointercancel", "lostpointercapture"])
def test_a_drag_that_is_broken_off_moves_nothing(screen: Show, served: Served, how: str) -> None:
    page = screen(served.project(items(1)))
    before, mouse = page.tiers(), Mouse(page.page)
    x, y = handle(page, before[0][0])
    mouse.down(x, y)
    mouse.move(x, y + 200)
    assert lifted(page) == (1, 1)
    page.press("1", "x", "Enter")  # no key does anything meanwhile
    if how == "Escape":
        page.press("Escape")
    else:
        send = "(place, kind) => place.dispatchEvent(new PointerEvent(kind, { pointerId: 1, bubbles: true }))"
        page.page.locator(".ar-answers").evaluate(send, how)
    assert lifted(page) == (0, 0)
    mouse.move(x, y + 250)
    mouse.up(x, y + 250)
    assert page.tiers() == before and page.errors == []


def test_two_fingers_drag_one_answer(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)), **PHONE)
    before, finger = page.tiers(), Finger(page.page)
    x, y = handle(page, before[0][0])
    finger.down(x, y)
    finger.move(x, y + 3)
    other = dict(zip("xy", handle(page, before[1][0]), strict=True))
    finger.touch("touchStart", [{"x": x, "y": y + 3, "id": 0}, {**other, "id": 1}])
    assert lifted(page) == (1, 1)
    finger.touch("touchEnd", [{**other, "id": 1}])  # the second is lifted, the first still holds
    assert lifted(page) == (1, 1)
    finger.touch("touchCancel", [])  # such as a call that comes in
    assert lifted(page) == (0, 0) and page.tiers() == before


def test_a_swipe_over_answers_scrolls(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1, [f"{text} {'It goes on. ' * 60}" for text in FOUR])), **PHONE)
    before, finger = page.tiers(), Finger(page.page)
    finger.down(200, 600)
    for y in range(580, 100, -40):
        finger.move(200, y)
    finger.up(200, 100)
    page.page.wait_for_function("scrollY > 100")
    assert page.tiers() == before and lifted(page) == (0, 0)


@pytest.mark.parametrize("finger", [False, True])
def test_the_place_for_what_is_not_ranked_takes_the_first_one(screen: Show, served: Served, finger: bool) -> None:
    """It is there as soon as something is dragged, empty or not."""
    page = screen(served.project(items(1)), **(PHONE if finger else {}))
    first, second, *rest = (tier[0] for tier in page.tiers())
    page.drag(first, ".ar-out", 0.5, finger)
    assert page.ranks() == {second: 1, **{text: 2 + n for n, text in enumerate(rest)}, first: None}
    page.drag(first, rest[-1], 0.9, finger)
    assert page.ranks()[first] == 4


@pytest.mark.parametrize("down", [True, False], ids=["drawn-to-the-lower", "begun-at-the-upper"])
def test_a_finger_that_rests_at_the_edge_drops_where_the_page_stopped(screen: Show, served: Served, down: bool) -> None:
    """The page scrolls by itself below it: what counts is the place that is under the finger in the end."""
    texts = [f"Answer {n}. {'It goes on. ' * 60}" for n in range(9)]
    page = screen(served.project(items(1, texts)), **PHONE | {"viewport": {"width": 390, "height": 500}})
    before, finger = page.tiers(), Finger(page.page)
    dragged = before[0 if down else 3]
    top = "(handle, top) => scrollBy(0, handle.getBoundingClientRect().top - top)"
    page.card(dragged[0]).locator(".ar-handle").evaluate(top, 200 if down else 15)
    x, y = handle(page, dragged[0])
    finger.down(x, y)
    page.page.locator(".ar-dragging").wait_for(state="attached")
    rested = page.page.evaluate("scrollY")
    assert page.page.evaluate(STILL)  # it does not scroll for a finger that has only touched
    y = 498 if down else y + 18  # the least that is no trembling; in its own place, where nothing can be dropped
    finger.move(x, y)
    # It stands still before it begins, too: a busy machine scrolls a moment after the finger has come.
    page.page.wait_for_function("(rested) => scrollY !== rested", arg=rested)
    until(page.page, STILL)
    finger.up(x, y)
    rest = [tier for tier in before if tier != dragged]
    assert page.tiers() == ([*rest, dragged] if down else [dragged, *rest])


def test_what_a_screen_reader_hears(screen: Show, served: Served) -> None:
    says = ".ar-says[aria-live=polite]"
    page = screen(served.project(items(2)))
    page.press("Shift+ArrowDown")
    assert page.page.locator(says).text_content() == "Answer A: Place 2"
    page.press("=")
    assert page.page.locator(says).text_content() == "Answer A: Place 1, tied with B"
    page.press("x")
    assert page.page.locator(says).text_content() == "Answer A: not ranked"
    page.submit()
    assert page.page.locator(says).text_content() == "Saved"
    pair = screen(served.project([row("Which one?", ["One.", "Two."])]))
    pair.press("6")
    assert pair.page.locator(says).text_content() == "B is better"


@pytest.mark.parametrize("size", [(1280, 800), (640, 400), (390, 844)], ids=["desk", "zoomed-200-percent", "phone"])
def test_the_way_on_is_in_sight(screen: Show, served: Served, size: tuple[int, int]) -> None:
    """Submit, and what went wrong, are on the screen wherever one has scrolled to."""
    width, height = size
    project = served.project(items(1, [f"{text} {'It goes on. ' * 60}" for text in FOUR]))
    page = screen(project, viewport={"width": width, "height": height})
    for down in (0, 700):
        page.page.evaluate("(down) => window.scrollTo(0, down)", down)
        box = page.page.locator(".ar-submit").bounding_box()
        assert box["y"] > 0 and box["y"] + box["height"] <= height
    page.page.locator(".ar-submit").click()
    page.alert()
    said = page.page.locator(".ar-alert p").bounding_box()
    assert said["y"] >= 0 and said["y"] + said["height"] < height
    assert page.page.evaluate("scrollY") > 500 and page.page.evaluate("document.documentElement.scrollWidth") <= width


def outlined(page: Screen) -> list[str]:
    """The answers whose card has the outline of the one that keys act on."""
    found: list[str] = page.page.evaluate(
        """() => [...document.querySelectorAll(".ar-card")]
           .filter((card) => getComputedStyle(card).boxShadow !== "none")
           .map((card) => card.querySelector(".ar-body").innerText.trim())"""
    )
    return found


@pytest.mark.parametrize("away", ["comment", "help", "language", "flag", "nowhere"])
def test_keys_act_on_the_answer_chosen_last(screen: Show, served: Served, away: str) -> None:
    page = screen(served.project(items(2)), reduced_motion="reduce")
    third = page.tiers()[2][0]
    page.press("ArrowDown", "ArrowDown")
    if away == "comment":
        page.press("c")
        assert outlined(page) == [third]
        page.press("Escape")
    elif away == "help":
        page.page.get_by_role("button", name="Keys").click()
        page.dialog()
        page.press("Escape")
    elif away == "language":
        page.page.get_by_role("button", name="中文").click()
        page.page.get_by_role("button", name="提交").wait_for()
    elif away == "flag":
        page.press("f")
        page.dialog()
        page.press("Escape")
    else:
        page.page.locator(".ar-prompt").click()
    page.page.locator("dialog").wait_for(state="detached")
    assert outlined(page) == [third]
    page.press("x")
    assert [text for text, rank in page.ranks().items() if rank is None] == [third]


def test_arrows_go_on_from_the_answer_chosen_last(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)), reduced_motion="reduce")
    second, third = (page.tiers()[n][0] for n in (1, 2))
    page.card(second).click()
    page.page.locator(".ar-help").focus()
    page.press("ArrowDown")
    assert outlined(page) == [third]
    lease = page.lease
    page.press("Shift+ArrowDown")
    page.submit()
    assert page.lease != lease and outlined(page) == [page.tiers()[0][0]]  # a new item begins at its first


@pytest.mark.parametrize("height", [600, 700, 800, 900])
def test_what_has_the_focus_is_not_under_the_bar(screen: Show, served: Served, height: int) -> None:
    project = served.project(items(1), attributes=["helpful"])
    page = screen(project, viewport={"width": 1200, "height": height}, reduced_motion="reduce")
    page.press("ArrowUp")
    seen = 0
    while page.page.evaluate("document.activeElement.id") != "ar-comment":
        page.press("Tab")
        box = page.page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
        assert box["top"] >= 0 and box["bottom"] <= page.page.locator(".ar-send").bounding_box()["y"], box
        seen += 1
    assert seen > 20
    page.page.evaluate("scrollTo(0, 0)")
    page.press("Escape", "c")
    box = page.page.locator("#ar-comment").bounding_box()
    assert box["y"] + box["height"] <= page.page.locator(".ar-send").bounding_box()["y"]


def current(page: Screen) -> list[str]:
    """The answers that a screen reader is told are the one that keys act on."""
    return [str(text).strip() for text in page.page.locator("[aria-current=true] .ar-body").all_inner_texts()]


@pytest.mark.parametrize("finger", [False, True])
def test_a_key_after_a_drag_acts_on_what_was_dragged(screen: Show, served: Served, finger: bool) -> None:
    page = screen(served.project(items(1)), **(PHONE if finger else {}))
    first, *_, fourth = (tier[0] for tier in page.tiers())
    assert current(page) == [first]
    page.drag(fourth, first, 0.9, finger)
    assert page.ranks()[fourth] == 2 and outlined(page) == current(page) == [fourth]
    page.press("x")
    assert [text for text, rank in page.ranks().items() if rank is None] == [fourth]
    page.page.get_by_role("button", name="Buckets").click()
    page.drag(first, '[data-bucket="0"]', 0.5, finger)
    page.press("2")
    assert {text: rank for text, rank in page.ranks().items() if rank} == {first: 2}


@pytest.mark.parametrize("finger", [False, True])
def test_a_press_on_a_handle_chooses_its_answer(screen: Show, served: Served, finger: bool) -> None:
    page = screen(served.project(items(1)), reduced_motion="reduce", **(PHONE if finger else {}))
    third = page.tiers()[2][0]
    page.page.locator("#ar-comment").focus()
    handle = page.card(third).locator(".ar-handle")
    handle.evaluate("handle => handle.scrollIntoView({ block: 'center' })")
    if finger:
        handle.tap()
    else:
        handle.click()
    page.page.locator(".ar-dragging").wait_for(state="detached")
    assert outlined(page) == current(page) == [third]
