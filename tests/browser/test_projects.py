"""What the pages say of projects in Chromium: one that is not there, how much is left, and what there is to decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labeling_app.labels import submit
from labeling_app.people import Person
from labeling_app.projects import ProjectInfo, get_project
from tests.browser.served import PATIENCE, Served, row
from tests.labeling_app.world import asked, by_text, ranking

ROWS = [("First?", ["answer 0", "answer 1"]), ("Second?", ["answer 0", "answer 1"])]


def opened(context: Callable[..., Any], served: Served, person: Person, path: str) -> Any:
    page = context()
    page.add_cookies([served.cookie(person)])
    page = page.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{served.url}{path}", wait_until="commit")
    page.wait_for_selector("[data-ready]")
    return page


def disputed(served: Served, **settings: Any) -> ProjectInfo:
    """Two items; two people rank the first the other way round and leave the second untouched."""
    project = served.project([row(*one) for one in ROWS], **{"overlap": 2, **settings})
    for order in ([1, 2], [2, 1]):
        who = served.person()
        view = asked(served.store, who, project)
        submit(served.store, who, ranking(view, by_text(view, order)))
    return project


def test_a_project_that_is_not_there_is_not_another(context: Callable[..., Any], served: Served) -> None:
    project, reviewer = served.project([row(*ROWS[0])], "there"), served.person("reviewer")
    for place in ("/app/", "/app/quality/"):
        page = opened(context, served, reviewer, f"{place}?project=nope")
        assert page.inner_text(".ar-alert").startswith("There is no project of this name.")
        assert page.locator(".ar-card").count() == 0
        page.select_option("select", project.slug)
        page.wait_for_selector(".ar-card" if place == "/app/" else ".aq-tiles")
        assert page.locator(".ar-alert p").count() == 0


def test_how_much_is_left(context: Callable[..., Any], served: Served) -> None:
    project = served.project([row(*one) for one in ROWS])
    page = opened(context, served, served.person(), f"/app/?project={project.slug}")
    assert page.inner_text(".ar-count") == "0 ranked by you, about 2 left"


def test_a_reviewer_is_told_why_there_is_nothing_to_decide(context: Callable[..., Any], served: Served) -> None:
    project, reviewer = disputed(served, adjudicate_below=None), served.person("reviewer")
    deciding = f"/app/?project={project.slug}&task=adjudicate"
    page = opened(context, served, reviewer, deciding)
    assert "align labels projects set NAME --adjudicate-below 0.5" in page.inner_text(".ar-nothing")
    strict = served.project([row(*ROWS[0])])
    page.goto(f"{served.url}/app/?project={strict.slug}&task=adjudicate", wait_until="commit")
    page.get_by_text("No item is left for you to decide").wait_for()


def test_an_item_is_decided_from_the_quality_page_below_no_threshold(
    context: Callable[..., Any], served: Served
) -> None:
    """One that waits for a third annotator; and its link leads nowhere else once it is decided."""
    project, admin = disputed(served, overlap=3, adjudicate_below=None), served.person("admin")
    page = opened(context, served, admin, f"/app/quality/?project={project.slug}")
    legend = page.inner_text("#aq-progress .aq-legend").split("\n")
    assert [line.strip() for line in legend if line.strip()] == ["in progress 1", "untouched 1"]
    names = page.eval_on_selector_all("#aq-people tbody th", "all => all.map((one) => one.textContent)")
    assert len(names) == 2 and all("(person-" in name for name in names)
    link = page.locator("#aq-disputes a")
    address = link.get_attribute("href")
    link.click()
    page.wait_for_selector(".ar-opinions")
    page.keyboard.press("3")  # A is much better
    page.click(".ar-submit")
    page.locator(".ar-nothing").wait_for()
    assert get_project(served.store, project.slug).states == {"settled": 1, "open": 1}
    page.goto(f"{served.url}{address}", wait_until="commit")
    page.get_by_text("This item is not for you to decide").wait_for()


def test_a_reload_after_a_decision_by_link_shows_the_item_at_hand(context: Callable[..., Any], served: Served) -> None:
    project, reviewer = (
        served.project([row(*one) for one in ROWS], overlap=2, adjudicate_below=0.9),
        served.person("reviewer"),
    )
    for order in ([1, 2], [2, 1]):
        who = served.person()
        for _ in ROWS:
            view = asked(served.store, who, project)
            submit(served.store, who, ranking(view, by_text(view, order)))
    page = opened(context, served, reviewer, f"/app/quality/?project={project.slug}")
    link = page.locator("#aq-disputes a").first
    address = link.get_attribute("href")
    link.click()
    page.wait_for_selector(".ar-opinions")
    lease = page.locator(".ar-main").get_attribute("data-lease")
    page.reload(wait_until="commit")  # it is not done yet
    page.wait_for_selector(f"[data-lease='{lease}']")
    page.keyboard.press("3")
    page.click(".ar-submit")
    page.wait_for_selector(f"[data-lease]:not([data-lease='{lease}'])")
    assert page.url == f"{served.url}/app/?project={project.slug}&task=adjudicate"
    other = page.locator(".ar-main").get_attribute("data-lease")
    with page.expect_response("**/draft"):
        page.fill("#ar-comment", "Half a thought")
    page.reload(wait_until="commit")
    page.wait_for_selector(f"[data-lease='{other}']")
    assert page.input_value("#ar-comment") == "Half a thought"
    page.goto(f"{served.url}{address}", wait_until="commit")  # an old link
    page.get_by_text("This item is not for you to decide").wait_for()
    page.get_by_role("button", name="Next item").click()
    page.wait_for_selector(f"[data-lease='{other}']")
    assert "item=" not in page.url


def test_one_person_at_the_last_item(context: Callable[..., Any], served: Served) -> None:
    project = served.project([row(*ROWS[0])])
    opened(context, served, served.person(), f"/app/?project={project.slug}")
    page = opened(context, served, served.person(), f"/app/?project={project.slug}")
    said = page.inner_text(".ar-nothing")
    assert said == "Someone else is at the last item. This page looks again by itself."
