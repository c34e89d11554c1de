"""Bad moments: what comes while something else is under way, what is taken back, and what is pressed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from labeling_app.projects import make_project
from labeling_app.store.models import Lease
from tests.browser.screen import Mouse, Screen
from tests.browser.served import Served, row
from tests.browser.test_drafts import kept
from tests.browser.test_hands import handle
from tests.browser.test_ranking import FOUR, items
from tests.browser.test_ways import disagreed

Show = Callable[..., Screen]


def gone(page: Screen) -> None:
    """Wait until the dialog is closed."""
    page.page.locator("dialog").wait_for(state="detached")


def hold(page: Screen, pattern: str) -> list[Any]:
    """Keep back requests of this pattern; they come into the list."""
    held: list[Any] = []
    page.intercept(pattern, lambda route: held.append(route))
    return held


def come(page: Screen, held: list[Any]) -> None:
    """Wait until one is kept back."""
    while not held:
        page.page.wait_for_timeout(20)


def being_sent(page: Screen) -> list[Any]:
    """Submit, and keep the submission back."""
    held = hold(page, "**/submit*")
    page.page.locator(".ar-submit").click()
    come(page, held)
    return held


@pytest.mark.parametrize("key", ["e", "f"])
def test_ctrl_enter_ends_a_dialog_and_nothing_more(screen: Show, served: Served, key: str) -> None:
    page = screen(served.project(items(3)))
    lease = page.lease
    page.press("Shift+ArrowDown", key)
    page.dialog().locator("textarea").fill("Typed.")
    page.press("Control+Enter")
    gone(page)
    page.page.wait_for_timeout(400)
    assert (page.lease, served.saved(page.project)) == (lease, [])
    page.submit()
    last = page.last()
    assert (last["edit"]["text"] if key == "e" else last["meta"]["flags"][0]["note"]) == "Typed."


def test_ctrl_enter_in_the_skip_dialog_skips(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    lease = page.lease
    page.press("Shift+ArrowDown", "s")
    page.dialog().locator("textarea").fill("note")
    page.press("Control+Enter")
    page.next(lease)
    assert (page.skips(), served.saved(page.project)) == (["unsure"], [])


def test_an_edit_begun_while_an_item_is_sent_is_not_the_next_ones(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    lease = page.lease
    page.press("Shift+ArrowDown")
    held = being_sent(page)
    text = page.tiers()[0][0]
    box = page.card(text).get_by_role("button", name="Edit").bounding_box()
    page.page.mouse.click(box["x"] + 5, box["y"] + 5)
    page.page.wait_for_timeout(200)
    assert page.page.locator("dialog[open]").count() == 0
    held[0].continue_()
    page.next(lease)
    assert page.page.locator("dialog[open], .ar-mark").count() == 0


def test_a_drag_while_an_item_is_sent_ends_with_it(screen: Show, served: Served) -> None:
    texts = [f"Answer {n}. {'It goes on. ' * 60}" for n in range(9)]
    page = screen(served.project(items(3, texts)))
    lease = page.lease
    page.press("Shift+ArrowDown")
    held = being_sent(page)
    mouse = Mouse(page.page)
    x, y = handle(page, page.tiers()[0][0])
    mouse.down(x, y)
    mouse.move(x, y + 5)
    mouse.move(x, 880)
    held[0].continue_()
    page.next(lease)
    mouse.up(x, 880)
    before = page.tiers()
    page.page.wait_for_timeout(300)
    page.page.evaluate("scrollTo(0, 0)")
    page.page.wait_for_timeout(500)
    assert page.page.evaluate("scrollY") == 0
    assert page.tiers() == before


def test_a_comment_typed_while_an_item_is_sent_is_not_lost_in_silence(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    lease = page.lease
    page.press("Shift+ArrowDown")
    held = being_sent(page)
    box = page.page.locator("#ar-comment").bounding_box()
    page.page.mouse.click(box["x"] + 5, box["y"] + 5)
    page.page.keyboard.type("typed while it was sent")
    typed = page.page.locator("#ar-comment").input_value()
    held[0].continue_()
    page.next(lease)
    assert typed == (page.last()["comment"] or "")


def test_arrows_go_along_the_scale_of_a_pair(screen: Show, served: Served) -> None:
    page = screen(served.project([row("Which one?", ["One.", "Two."])]))
    page.page.locator("[data-strength='-3']").focus()
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert page.page.locator("[data-strength]:checked").get_attribute("value") == "0"


def test_what_a_narrower_window_cuts_off_can_be_shown(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1, [f"{text} {'It goes on. ' * 60}".strip() for text in FOUR])))
    assert page.page.locator(".ar-open:visible").count() == 0
    page.page.set_viewport_size({"width": 390, "height": 844})
    page.page.wait_for_timeout(500)
    cut = page.page.evaluate(
        "[...document.querySelectorAll('.ar-body')].filter((b) => b.scrollHeight > b.clientHeight + 4).length"
    )
    assert (cut, page.page.locator(".ar-open:visible").count()) == (4, 4)


def test_what_a_tie_cuts_off_can_be_shown(screen: Show, served: Served) -> None:
    texts = [f"It goes on and on a{'b' * k} {'it goes on ' * 133}" for k in range(0, 90, 10)]
    page = screen(served.project([row("q", texts)]))
    for _ in range(8):
        page.focus(page.tiers()[1][0]).press("=")
    cut = """[...document.querySelectorAll(".ar-card")].filter((card) => {
        const body = card.querySelector(".ar-body");
        return body.scrollHeight > body.clientHeight + 4 && card.querySelector(".ar-open").hidden;
    }).length"""
    assert page.page.evaluate(cut) == 0


def test_a_skip_taken_back_has_what_was_done_before_it(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    lease = page.lease
    page.press("4")
    page.page.locator("#ar-comment").fill("Ten minutes of work")
    shown = page.ranks()
    page.page.get_by_role("button", name="Skip").click()
    page.dialog().get_by_role("button", name="Skip").click()
    page.next(lease)
    other = page.lease
    page.page.get_by_role("button", name="Undo last").click()
    page.next(other)
    assert page.lease == lease
    assert (page.ranks(), page.page.locator("#ar-comment").input_value()) == (shown, "Ten minutes of work")


def test_a_comment_taken_back_stays_away(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    page.page.locator("#ar-comment").fill("Not this")
    kept(page)
    page.page.locator("#ar-comment").fill("")
    page.page.wait_for_timeout(1500)
    page.page.reload(wait_until="commit")
    page.ready()
    assert page.page.locator("#ar-comment").input_value() == ""


def test_a_flag_taken_back_stays_away(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    page.press("f")
    page.dialog().get_by_role("button", name="OK").click()
    gone(page)
    kept(page)
    page.press("f")
    page.dialog().get_by_role("button", name="Remove").click()
    gone(page)
    page.page.wait_for_timeout(1500)
    assert page.page.locator(".ar-mark").count() == 0
    page.page.reload(wait_until="commit")
    page.ready()
    assert page.page.locator(".ar-mark").count() == 0


def test_a_project_that_cannot_be_reached_leaves_nothing_to_submit(screen: Show, served: Served) -> None:
    one, two = served.project(items(2)), served.project(items(2))
    page = screen(one)
    page.press("Shift+ArrowDown")
    kept(page)
    page.page.context.set_offline(True)
    page.page.get_by_label("Project").select_option(two.slug)
    said = page.alert()
    page.page.context.set_offline(False)
    assert page.page.locator(".ar-card").count() == 0
    page.press("Enter")
    page.page.wait_for_timeout(500)
    assert served.saved(one) == []
    assert "Your work is still here" not in said


def test_an_error_is_told_in_the_other_language_too(screen: Show, served: Served, context: Callable[..., Any]) -> None:
    page = screen(served.project(items(1)))
    page.page.goto(f"{served.url}/app?project=nope", wait_until="commit")
    page.ready()
    assert page.alert().startswith("There is no project")
    page.page.get_by_role("button", name="中文").click()
    page.page.wait_for_timeout(300)
    assert page.page.locator(".ar-alert, .ar-main").all_inner_texts() != ["", ""]


def test_the_project_chosen_last_is_shown(screen: Show, served: Served) -> None:
    one, two = served.project([row("Of one?", FOUR)] * 1), served.project([row("Of two?", FOUR)])
    three = served.project([row("Of three?", FOUR)])
    page = screen(one)
    held = hold(page, f"**/projects/{two.slug}/next*")
    page.page.get_by_label("Project").select_option(two.slug)
    come(page, held)
    page.page.get_by_label("Project").select_option(three.slug)
    page.page.wait_for_timeout(300)
    held[0].continue_()
    page.page.locator(".ar-card").first.wait_for()
    page.page.wait_for_timeout(500)
    assert page.page.get_by_label("Project").input_value() == three.slug
    assert "Of three?" in page.page.locator(".ar-prompt").inner_text()


def quality(context: Callable[..., Any], served: Served, slug: str) -> Screen:
    """The quality page of a project, as a reviewer has it."""
    reviewer = served.person("reviewer")
    own = context()
    own.add_cookies([served.cookie(reviewer)])
    page = Screen(own.new_page(), served, None, reviewer)
    page.page.goto(f"{served.url}/app/quality/?project={slug}", wait_until="commit")
    return page


def test_figures_that_come_late_are_not_another_projects(
    screen: Show, served: Served, context: Callable[..., Any]
) -> None:
    one, two = served.project(items(1)), served.project(items(3))
    page = quality(context, served, one.slug)
    page.page.locator("[data-tile=needed]").wait_for()
    held = hold(page, f"**/projects/{two.slug}/quality")
    page.page.get_by_label("Project").select_option(two.slug)
    come(page, held)
    page.page.get_by_label("Project").select_option(one.slug)
    page.page.wait_for_timeout(500)
    held[0].continue_()
    page.page.wait_for_timeout(700)
    assert page.page.get_by_label("Project").input_value() == one.slug
    assert page.page.inner_text("[data-tile=needed] dd") == "1"


def test_the_quality_page_tells_an_error_in_the_other_language_too(
    screen: Show, served: Served, context: Callable[..., Any]
) -> None:
    page = quality(context, served, "nope")
    page.page.locator(".ar-alert p").wait_for()
    page.page.get_by_role("button", name="中文").click()
    page.page.wait_for_timeout(300)
    assert page.page.locator(".ar-alert, .ar-main").all_inner_texts() != ["", ""]


def test_a_slow_double_click_does_not_submit_the_item_after(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    page.press("Shift+ArrowDown")
    one = page.lease
    page.submit()
    page.press("Shift+ArrowDown")  # the second is begun
    two = page.lease
    page.press("u")
    page.next(two)
    assert page.lease == one
    page.press("4")
    page.page.locator(".ar-submit").click(click_count=2, delay=0)
    page.page.wait_for_timeout(20)
    page.next(one)
    page.page.locator(".ar-submit").click()
    page.page.wait_for_timeout(600)
    assert (page.lease, len(served.saved(page.project))) == (two, 1)


def test_cancel_in_one_edit_keeps_the_begun_one_of_another(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    first, second = (page.tiers()[n][0] for n in (0, 1))
    page.focus(first).press("e")
    page.dialog().locator("textarea").fill("Ten minutes of work")
    page.press("Escape")
    gone(page)
    page.focus(second).press("e")
    page.dialog().get_by_role("button", name="Cancel").click()
    gone(page)
    page.focus(first).press("e")
    assert page.dialog().locator("textarea").input_value() == "Ten minutes of work"


def test_the_way_to_the_login_knows_where_one_was(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    told = '{"error": {"code": "login"}}'
    page.intercept("**/api/v1/me", lambda route: route.fulfill(status=401, content_type="application/json", body=told))
    page.page.reload(wait_until="commit")
    page.ready()
    link = page.page.get_by_role("link", name="Log in again").get_attribute("href")
    assert link == f"/login?to=%2Fapp%2F%3Fproject%3D{page.project.slug}"


def test_ratings_on_what_is_no_longer_asked_are_left_out(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2), attributes=["helpful", "brevity"]))
    first = page.tiers()[0][0]
    page.card(first).get_by_text("Rate", exact=True).click()
    page.card(first).get_by_role("group", name="Brevity").get_by_label("2").check()
    page.focus(first).press("Shift+ArrowDown")
    kept(page)
    make_project(served.store, page.project.slug, attributes=["helpful"])
    page.page.reload(wait_until="commit")
    page.ready()
    lease = page.lease
    page.page.locator(".ar-submit").click()
    page.page.wait_for_timeout(500)
    assert page.page.locator(".ar-alert").inner_text() == "" and page.lease != lease


def test_a_draft_is_kept_after_a_submission_in_vain(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    page.page.context.set_offline(True)
    page.press("4", "Enter")
    page.alert()
    page.page.context.set_offline(False)
    page.page.wait_for_timeout(12000)
    assert page.draft() is not None


def test_a_dialog_ends_with_the_item_it_was_about(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    one = page.lease
    page.press("Shift+ArrowDown")
    page.submit()
    two = page.lease
    held = hold(page, "**/draft")
    page.press("Shift+ArrowDown", "u")
    come(page, held)
    page.page.get_by_role("button", name="Skip").click()
    page.page.wait_for_timeout(200)
    held[0].continue_()
    page.next(two)
    assert page.lease == one
    if page.page.locator("dialog[open]").count():
        page.page.locator("dialog[open]").get_by_role("button", name="Skip").click()
        page.page.wait_for_timeout(700)
    assert page.skips() == [] and page.lease == one


def test_an_edit_that_is_not_finished_is_asked_about(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    lease = page.lease
    page.press("Shift+ArrowDown", "e")
    page.dialog().locator("textarea").fill("Ten minutes of work")
    page.press("Escape")
    gone(page)
    page.press("Enter")
    page.page.wait_for_timeout(700)
    assert page.lease == lease and page.page.locator(".ar-alert").inner_text() != ""


def test_a_long_edit_is_short_while_dragged(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    text = page.tiers()[0][0]
    page.press("e")
    page.dialog().locator("textarea").fill("line\n" * 60)
    page.dialog().get_by_role("button", name="OK").click()
    gone(page)
    x, y = handle(page, text)
    Mouse(page.page).down(x, y)
    assert page.card(text).bounding_box()["height"] < 300


def test_a_decision_taken_back_is_decided_again(screen: Show, served: Served) -> None:
    project = disagreed(screen, served)
    reviewer = screen(project, served.person("reviewer"))
    reviewer.page.get_by_role("button", name="Decide disagreements").click()
    reviewer.next(None)
    lease = reviewer.lease
    reviewer.press("7", "Enter")
    reviewer.next(lease)
    reviewer.page.get_by_role("button", name="Rank", exact=True).click()
    reviewer.page.wait_for_timeout(500)
    reviewer.press("u")
    reviewer.next(None)
    assert reviewer.lease == lease
    assert reviewer.page.inner_text(".ar-bar [aria-pressed=true]") == "Decide disagreements"


def test_what_an_undo_says_stays(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    page.page.context.set_offline(True)
    page.press("Shift+ArrowDown")
    page.alert()
    page.page.context.set_offline(False)
    page.submit()
    before = page.lease
    page.press("u")
    page.next(before)
    page.page.wait_for_timeout(1500)
    assert page.page.locator(".ar-told").count() == 1


def test_a_lease_is_renewed_while_one_is_busy(context: Callable[..., Any], served: Served) -> None:
    project, person = served.project(items(1)), served.person()
    own = context()
    own.add_cookies([served.cookie(person)])
    page = Screen(own.new_page(), served, project, person)
    page.page.clock.install()
    page.open()
    soon = "2000-01-01T00:00:00.000000Z"
    with served.store.write() as session:
        session.execute(update(Lease).where(Lease.uid == page.lease).values(expires=soon))
    page.page.clock.run_for(30_000)
    page.press("ArrowDown")
    with page.page.expect_response("**/renew", timeout=10_000):
        page.page.clock.run_for(31_000)
    with served.store.read() as session:
        assert session.execute(select(Lease.expires).where(Lease.uid == page.lease)).scalar() > soon


def test_a_page_that_is_closed_at_once_has_its_draft(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    page.page.locator("#ar-comment").fill("Half a thought")
    page.page.close(run_before_unload=True)
    again = screen(page.project, page.person)
    assert again.page.locator("#ar-comment").input_value() == "Half a thought"


def note(page: Screen) -> tuple[str, str]:
    """The reason that is chosen in the dialog, and the note."""
    box = page.dialog()
    return box.locator("input:checked").get_attribute("value"), box.locator("textarea").input_value()


def test_a_skip_in_vain_keeps_its_reason_and_note(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    lease = page.lease
    page.press("s")
    page.dialog().get_by_label("It is broken").check()
    page.dialog().locator("textarea").fill("Ten minutes of work")
    page.page.context.set_offline(True)
    page.dialog().get_by_role("button", name="Skip").click()
    assert "Your work is still here" in page.alert()
    page.page.context.set_offline(False)
    page.press("s")
    assert note(page) == ("broken", "Ten minutes of work")
    page.dialog().get_by_role("button", name="Skip").click()
    page.next(lease)
    assert page.skips() == ["broken"]
    other = page.lease
    page.press("s")
    assert note(page) == ("unsure", "")
    page.press("Escape")
    gone(page)
    page.press("u")
    page.next(other)
    page.press("s")
    assert (page.lease, note(page)) == (lease, ("unsure", ""))  # it was used up


@pytest.mark.parametrize(("key", "label", "code"), [("s", "It is broken", "broken"), ("f", "Untrue", "untrue")])
def test_what_was_written_in_a_dialog_survives_escape_and_reload(
    screen: Show, served: Served, key: str, label: str, code: str
) -> None:
    page = screen(served.project(items(2)))
    page.press(key)
    page.dialog().get_by_label(label).check()
    page.dialog().locator("textarea").fill("Ten minutes of work")
    page.press("Escape")
    gone(page)
    page.press(key)
    assert note(page) == (code, "Ten minutes of work")
    page.press("Escape")
    gone(page)
    page.page.reload(wait_until="commit")
    page.ready()
    page.press(key)
    assert note(page) == (code, "Ten minutes of work")
    page.dialog().get_by_role("button", name="Cancel").click()
    gone(page)
    page.press(key)
    assert note(page)[1] == ""


def test_a_flag_begun_is_its_own_answers(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    first, second = (page.tiers()[n][0] for n in (0, 1))
    page.focus(first).press("f")
    page.dialog().locator("textarea").fill("Of the first")
    page.press("Escape")
    gone(page)
    page.focus(second).press("f")
    assert note(page)[1] == ""
    page.dialog().locator("textarea").fill("Of the second")
    page.dialog().get_by_role("button", name="OK").click()
    gone(page)
    page.focus(first).press("f")
    assert note(page)[1] == "Of the first"
    page.press("Escape")
    gone(page)
    marks = [page.card(text).locator(".ar-marks").inner_text() for text in (first, second)]
    assert marks == ["flag not finished", "flagged"]
    lease = page.lease
    page.press("Shift+ArrowDown", "Enter")
    page.alert()
    page.page.wait_for_timeout(700)  # a second press at once is a slip
    page.submit()
    assert page.lease != lease and [flag["note"] for flag in page.last()["meta"]["flags"]] == ["Of the second"]
    page.press("f")
    assert note(page)[1] == ""


def test_a_flag_that_is_not_finished_is_asked_about(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    first, lease = page.tiers()[0][0], page.lease
    page.press("Enter")
    assert page.alert().startswith("Nothing was moved.")
    page.press("f")
    page.dialog().locator("textarea").fill("Ten minutes of work")
    page.press("Escape")
    gone(page)
    marks = page.card(first).locator(".ar-marks")
    assert marks.inner_text() == "flag not finished"
    said = "An edit or a flag is not finished. Submit once more to leave it out."
    page.press("Enter")  # what was said before is of another state
    assert page.alert() == said
    kept(page)
    page.page.reload(wait_until="commit")
    page.ready()
    assert marks.inner_text() == "flag not finished"
    page.press("Enter")
    assert page.alert() == said
    page.page.wait_for_timeout(700)
    assert page.lease == lease
    page.press("Enter")
    page.next(lease)
    assert page.last()["meta"].get("flags", []) == []


def test_a_flag_that_is_cancelled_is_not_asked_about(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    first, lease = page.tiers()[0][0], page.lease
    page.press("Shift+ArrowDown")
    for leave in ("Escape", "Cancel"):
        page.focus(first).press("f")
        page.dialog().locator("textarea").fill("Nothing after all")
        if leave == "Escape":
            page.press("Escape")
        else:
            page.dialog().get_by_role("button", name="Cancel").click()
        gone(page)
    assert page.card(first).locator(".ar-marks").inner_text() == ""
    page.press("Enter")
    page.next(lease)
    assert page.lease != lease
