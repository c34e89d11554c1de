"""Work in two tabs, work on an item that others have finished, work that was saved though nobody was told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, update

from labeling_app.projects import make_project
from labeling_app.store.models import Lease, LoginSession
from tests.browser.screen import Screen
from tests.browser.served import PASSWORD, Served
from tests.browser.test_ranking import items

pytestmark = pytest.mark.slow

Show = Callable[..., Screen]
TAKEN = "This item was submitted already, perhaps in another tab. To change it, undo."


def another_tab(page: Screen) -> Screen:
    """The same person, in the same browser."""
    return Screen(page.page.context.new_page(), page.served, page.project, page.person).open()


def kept(page: Screen) -> None:
    """Wait until the server has the draft, and this tab needs none of its own."""
    page.page.wait_for_timeout(700)  # it is sent half a second after the last change
    page.page.wait_for_function("() => !Object.keys(sessionStorage).some((name) => name.startsWith('align-'))")


def swallowed(route: Any) -> None:
    """The server gets the request, and the page no answer."""
    route.fetch()
    route.abort()


def test_two_tabs_of_one_person(screen: Show, served: Served) -> None:
    one = screen(served.project(items(3)))
    one.press("Shift+ArrowDown")
    kept(one)
    two = another_tab(one)
    assert (two.lease, two.ranks()) == (one.lease, one.ranks())
    two.press("4")
    shown = two.submit()

    one.press("4", "Enter")
    one.page.locator(".ar-alert", has_text=TAKEN).wait_for()
    before = one.lease
    one.page.get_by_role("button", name="Next item").click()
    one.next(before)
    assert one.lease == two.lease and [saved["order"] for saved in served.saved(one.project)] == [shown]
    one.press("u")
    one.next(two.lease)
    assert (one.lease, one.ranks()) == (before, shown)  # as it was submitted, not as this tab had it
    before = two.lease
    two.press("Shift+ArrowDown", "Enter")  # an item that was given back takes its ranking all the same
    two.next(before)
    one.press("1")
    one.submit()
    assert len(served.saved(one.project)) == 2 and one.errors == two.errors == []


def test_the_newest_draft_is_shown(screen: Show, served: Served) -> None:
    one = screen(served.project(items(1)))
    one.press("Shift+ArrowDown")
    kept(one)
    two = another_tab(one)
    two.press("4")
    kept(two)
    one.page.reload(wait_until="commit")
    one.ready()
    assert one.ranks() == two.ranks()


def test_a_late_draft_complains_of_nothing(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    held: list[Any] = []
    page.intercept("**/api/v1/draft", lambda route: held.append(route))
    page.press("Shift+ArrowDown")
    while not held:
        page.page.wait_for_timeout(50)
    page.submit()
    with page.page.expect_response("**/api/v1/draft") as answer:
        held[0].continue_()
    assert answer.value.status != 200
    page.page.wait_for_timeout(200)
    assert page.page.locator(".ar-alert").inner_text() == ""


def test_the_answer_is_lost_and_the_work_goes_on(screen: Show, served: Served) -> None:
    """What was changed after a submission whose answer never came does not pass for what was saved."""
    page = screen(served.project(items(2)))
    page.press("Shift+ArrowDown")
    first, lease = page.ranks(), page.lease
    page.intercept("**/submit*", swallowed)
    page.press("Enter")
    page.page.locator(".ar-alert", has_text="The server does not answer.").wait_for()
    page.page.unroute("**/submit*")
    page.press("4")
    changed = page.ranks()
    page.press("Enter")
    page.page.locator(".ar-alert", has_text=TAKEN).wait_for()
    assert (page.ranks(), page.last()["order"]) == (changed, first)
    page.press("u")
    page.page.locator(".ar-told").wait_for()
    assert (page.lease, page.ranks()) == (lease, changed)  # it is still here
    page.submit()
    assert [saved["order"] for saved in served.saved(page.project)] == [changed]


def test_the_answer_is_lost_and_it_is_sent_again(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    page.press("Shift+ArrowDown")
    before = page.lease
    page.intercept("**/submit*", swallowed)
    page.press("Enter")
    page.page.locator(".ar-alert", has_text="The server does not answer.").wait_for()
    page.page.unroute("**/submit*")
    page.press("Enter")
    page.next(before)
    assert len(served.saved(page.project)) == 1


def test_a_banner_goes_when_the_draft_is_saved(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    page.page.context.set_offline(True)
    page.press("Shift+ArrowDown")
    page.page.locator(".ar-alert", has_text="The server does not answer.").wait_for()
    page.page.context.set_offline(False)
    page.page.locator(".ar-alert p").wait_for(state="detached")  # by itself
    assert page.draft()["state"]["moves"] == 1


def test_the_lease_ran_out_and_another_finished(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    page.press("Shift+ArrowDown")
    shown = page.ranks()
    kept(page)
    with served.store.write() as session:
        session.execute(update(Lease).where(Lease.uid == page.lease).values(expires="2000-01-01T00:00:00.000000Z"))
    other = screen(page.project)
    assert other.lease is not None
    other.press("4")
    other.submit()
    page.press("c")
    page.page.keyboard.type("late")
    page.submit()
    assert (page.last()["order"], page.last()["comment"]) == (shown, "late")
    assert len(served.saved(page.project)) == 2 and page.errors == []


def test_the_session_ends_and_the_page_is_closed(screen: Show, served: Served) -> None:
    page = screen(served.project(items(3)))
    lease = page.lease
    page.press("4", "c")
    page.page.keyboard.type("half a thought")
    shown = page.ranks()
    kept(page)
    with served.store.write() as session:
        session.execute(delete(LoginSession).where(LoginSession.person_id == page.person.id))
    page.page.reload(wait_until="commit")
    page.page.get_by_label("Name").fill(page.person.name)
    page.page.get_by_label("Password").fill(PASSWORD)
    page.page.get_by_role("button", name="Log in").click()
    page.ready()
    assert (page.lease, page.ranks()) == (lease, shown)
    assert page.page.locator("#ar-comment").input_value() == "half a thought"


def test_back_after_a_logout_shows_nothing(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    page.page.get_by_role("button", name="Log out").click()
    page.page.get_by_label("Password").wait_for()
    page.page.go_back(wait_until="commit")
    page.page.locator(
        "[name=password], .ar-alert a"
    ).wait_for()  # the page, if the browser has kept it, without an item
    assert page.page.locator(".ar-card").count() == 0


def test_back_to_an_item_has_the_draft(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    page.press("Shift+ArrowDown")
    shown, lease = page.ranks(), page.lease
    page.page.goto(f"{served.url}/login", wait_until="commit")
    page.page.get_by_label("Password").wait_for()
    page.page.go_back(wait_until="commit")
    page.ready()
    page.page.wait_for_function("(lease) => document.querySelector('.ar-main')?.dataset.lease === lease", arg=lease)
    assert page.ranks() == shown


def test_the_language_changes_midway(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    first = page.tiers()[0][0]
    page.press("Shift+ArrowDown", "=", "c")
    page.page.keyboard.type("midway")
    page.focus(first).press("f")
    page.dialog()
    page.press("2", "Enter")
    page.page.locator("dialog").wait_for(state="detached")
    shown, lease = page.ranks(), page.lease
    page.page.get_by_role("button", name="中文").click()
    page.page.get_by_role("button", name="提交").wait_for()
    assert (page.lease, page.ranks()) == (lease, shown)
    assert page.page.locator("#ar-comment").input_value() == "midway"
    page.submit()
    assert (page.last()["order"], page.last()["comment"]) == (shown, "midway")
    assert page.last()["meta"]["flags"][0]["code"] == "untrue"


def test_guidelines_that_were_closed_stay_closed(screen: Show, served: Served) -> None:
    project = served.project(items(2))
    make_project(served.store, project.slug, guidelines="Short is good.")
    page = screen(project)
    shown = page.page.locator(".ar-guidelines .ar-text")
    assert shown.is_visible()
    page.page.get_by_text("Guidelines").click()
    page.press("Shift+ArrowDown")
    page.submit()
    assert not shown.is_visible()
    make_project(served.store, project.slug, guidelines="Long is good.")
    page.page.reload(wait_until="commit")
    page.ready()
    assert shown.is_visible()  # new ones


def test_it_looks_again_by_itself_though_the_server_was_away(screen: Show, served: Served) -> None:
    project = served.project(items(1))
    holder, page = screen(project), screen(project)
    assert holder.lease is not None and page.lease is None
    for button in ("中文", "English"):
        page.page.get_by_role("button", name=button).click()
        page.page.get_by_role("button", name=button).wait_for(state="detached")
    page.page.context.set_offline(True)
    page.page.locator(".ar-alert p").wait_for()  # it looked
    page.page.context.set_offline(False)
    with served.store.write() as session:
        session.execute(update(Lease).where(Lease.uid == holder.lease).values(expires="2000-01-01T00:00:00.000000Z"))
    page.next(None)
    assert page.page.locator(".ar-alert").inner_text() == ""
