"""Buckets, pairs, and what is said beside a ranking: edits, flags, ratings, skips; drafts, languages, two at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labeling_app
from labeling_app.people import local_person
from labeling_app.projects import ProjectInfo, make_project
from tests.browser.screen import Screen, until
from tests.browser.served import PATIENCE, Served, row
from tests.browser.test_ranking import FOUR, items

pytestmark = pytest.mark.slow

Show = Callable[..., Screen]
STATIC = Path(labeling_app.__file__).with_name("static")


def test_buckets_by_mouse_and_keys(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    first, second, third, fourth = (texts[0] for texts in page.tiers())
    page.page.get_by_role("button", name="Buckets").click()
    assert set(page.ranks().values()) == {None}
    page.press("Enter")
    assert page.alert() == "Place at least two answers."

    page.drag(third, to='[data-bucket="0"]', share=0.5)
    page.drag(first, to='[data-bucket="2"]', share=0.5)
    page.focus(second).press("3")
    page.focus(fourth).press("2")
    page.drag(fourth, to='[data-bucket=""]', share=0.5)
    assert page.ranks() == {third: 1, first: 3, second: 3, fourth: None}
    page.press("Enter")
    assert page.alert() == f"Not placed: {page.letters()[fourth]}. Submit once more to rank the others only."
    page.page.wait_for_timeout(700)  # a second press at once is a slip
    page.submit()
    assert page.last()["order"] == {third: 1, first: 2, second: 2, fourth: None}  # no rank is left out
    assert page.page.locator(".ar-buckets").count() == 1  # the way of working is kept


def test_buckets_by_touch_on_a_phone(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)), viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.page.get_by_role("button", name="Buckets").tap()
    page.page.locator(".ar-buckets").wait_for()  # a click comes a little after the touch that makes it
    first, *others = list(page.ranks())
    page.drag(first, to='[data-bucket="2"]', share=0.5, finger=True)
    assert page.ranks() == {first: 3} | dict.fromkeys(others)
    for text in others:
        page.card(text).get_by_role("button", name="Best", exact=True).tap()
        page.card(text).get_by_role("button", name="Best", exact=True, pressed=True).wait_for()
    assert page.ranks() == {first: 3} | dict.fromkeys(others, 1)
    page.submit()
    assert page.last()["order"] == {first: 2} | dict.fromkeys(others, 1)


@pytest.mark.parametrize(
    ("key", "ranks", "strength"),
    [("1", (1, 2), 3.0), ("5", (2, 1), 1.0), ("=", (1, 1), None), ("4", (1, 1), None), ("7", (2, 1), 3.0)],
)
def test_a_pair_by_keys(screen: Show, served: Served, key: str, ranks: tuple[int, int], strength: float | None) -> None:
    page = screen(served.project([row("Which one?", ["One.", "Two."])]))
    letters = {letter: text for text, letter in page.letters().items()}
    before = page.lease
    page.press("Enter")
    assert page.alert() == "Say which answer is better, or that they are level."
    page.press(key, "Enter")
    page.next(before)
    saved = page.last()
    assert saved["order"] == {letters["A"]: ranks[0], letters["B"]: ranks[1]}
    assert saved["margin"] == strength


def test_a_pair_by_mouse(screen: Show, served: Served) -> None:
    page = screen(served.project([row("Which one?", ["One.", "Two."])]))
    letters = {letter: text for text, letter in page.letters().items()}
    page.page.get_by_text("A is slightly better").click()
    page.page.get_by_text("B is better", exact=True).click()
    page.page.locator(".ar-submit").click()
    page.page.locator(".ar-nothing").wait_for()
    saved = page.last()
    assert (saved["order"], saved["margin"]) == ({letters["B"]: 1, letters["A"]: 2}, 2.0)


def test_everything_that_can_be_said_beside_a_ranking(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2), attributes=["helpful", "brevity"], rating_max=5))
    first, second, third, fourth = (texts[0] for texts in page.tiers())
    page.focus(second).press("1", "e")
    box = page.dialog()
    assert box.locator("textarea").input_value() == second
    box.locator("textarea").fill("A better answer.\n<b>as it stands</b>")
    box.get_by_role("button", name="OK").click()
    page.focus(fourth).press("f")
    page.dialog().get_by_label("Untrue").check()
    page.dialog().locator("textarea").fill("Grey is no colour.")
    page.dialog().get_by_role("button", name="OK").click()
    rated = page.card(first)
    rated.get_by_text("Rate").click()
    rated.get_by_role("group", name="Helpful").get_by_label("4").check()
    assert rated.locator("legend").all_inner_texts() == ["Helpful", "Brevity"]
    rated.get_by_role("group", name="Brevity").get_by_label("2").check()
    page.page.locator("#ar-comment").fill("Green is best.")
    assert page.card(second).locator(".ar-marks").inner_text() == "edited"
    assert page.card(second).locator(".ar-yours").inner_text().endswith("A better answer.\n<b>as it stands</b>")
    assert page.card(fourth).locator(".ar-marks").inner_text() == "flagged"
    assert rated.locator(".ar-marks").inner_text() == "rated"
    page.submit()

    saved = page.last()
    ids = {answer["text"]: answer["id"] for answer in saved["answers"]}
    assert saved["order"] == {second: 1, first: 2, third: 3, fourth: 4}
    assert saved["edit"] == {"answer": ids[second], "text": "A better answer.\n<b>as it stands</b>"}
    assert saved["meta"]["flags"] == [{"answer": ids[fourth], "code": "untrue", "note": "Grey is no colour."}]
    assert saved["ratings"] == {ids[first]: {"helpful": 4.0, "brevity": 2.0}}
    assert saved["comment"] == "Green is best."

    other = page.lease
    page.page.get_by_role("button", name="Undo last").click()
    page.next(other)
    page.card(second).get_by_role("button", name="Edit").click()
    assert page.dialog().locator("textarea").input_value() == "A better answer.\n<b>as it stands</b>"
    page.dialog().get_by_role("button", name="Remove").click()
    page.focus(fourth).press("f")
    page.dialog().get_by_role("button", name="Remove").click()
    page.focus(third).press("1")
    page.submit()
    changed = page.last()
    assert changed["order"] == {third: 1, second: 2, first: 3, fourth: 4}
    assert changed["edit"] is None and "flags" not in changed["meta"]
    assert (changed["ratings"], changed["comment"]) == (saved["ratings"], saved["comment"])
    assert page.errors == []


def test_a_skip_with_its_reason_and_note(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    before = page.lease
    page.page.get_by_role("button", name="Skip").click()
    page.dialog().get_by_role("button", name="Cancel").click()
    assert page.lease == before and page.skips() == []
    page.page.get_by_role("button", name="Skip").click()
    page.dialog().get_by_label("It is broken").check()
    page.dialog().get_by_role("button", name="Skip").click()
    page.next(before)
    assert page.skips() == ["broken"] and served.saved(page.project) == []


def test_differences_between_answers(screen: Show, served: Served) -> None:
    page = screen(served.project([row("q", ["The cat sat down.", "The dog sat down.", "The dog sat down.\n\nYes."])]))
    page.focus("The cat sat down.").press("1", "d")
    box = page.dialog().locator(".ar-differences")
    assert box.locator("del").first.inner_text() == "cat"
    assert box.locator("ins").first.inner_text() == "dog"


def test_a_reload_keeps_the_draft(screen: Show, served: Served) -> None:
    page = screen(served.project(items(2)))
    page.focus(page.tiers()[3][0]).press("1", "=")
    page.press("ArrowDown", "ArrowDown", "x")
    page.page.locator("#ar-comment").fill("Half a thought")
    shown, lease = page.ranks(), page.lease
    page.page.reload(wait_until="commit")  # before the draft's half second is over
    page.ready()
    assert (page.lease, page.ranks()) == (lease, shown)
    assert page.page.locator("#ar-comment").input_value() == "Half a thought"

    again = screen(page.project, page.person)  # another browser has it from the server
    assert (again.lease, again.ranks()) == (lease, shown)
    assert again.page.locator("#ar-comment").input_value() == "Half a thought"
    again.submit()
    assert again.last()["order"] == shown and again.last()["comment"] == "Half a thought"


def test_ratings_are_to_be_seen_after_a_reload(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1), attributes=["helpful", "style"]))
    first, second, *_ = (texts[0] for texts in page.tiers())
    page.card(first).get_by_text("Rate", exact=True).click()
    page.card(first).get_by_role("group", name="Style").get_by_label("3").check()
    page.page.reload(wait_until="commit")
    page.ready()
    assert page.card(first).get_by_role("group", name="Style").get_by_label("3").is_checked()
    assert page.card(first).locator("input[data-rate]").first.is_visible()
    assert not page.card(second).locator("input[data-rate]").first.is_visible()
    assert [page.card(text).locator(".ar-marks").inner_text() for text in (first, second)] == ["rated", ""]


def test_a_switch_of_language_is_remembered(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    page.focus(page.tiers()[2][0]).press("1")
    shown = page.ranks()
    page.page.get_by_role("button", name="中文").click()
    page.page.get_by_role("button", name="提交").wait_for()
    assert page.ranks() == shown and page.page.evaluate("document.documentElement.lang") == "zh-CN"
    until(page.page, "fetch('/api/v1/me').then((r) => r.json()).then((me) => me.locale === 'zh-CN')")
    page.page.reload(wait_until="commit")
    page.ready()
    assert page.page.locator("h1").inner_text() == "为回答排序"
    page.page.get_by_role("button", name="English").click()
    page.page.get_by_role("button", name="Submit").wait_for()
    assert page.ranks() == shown


def test_without_accounts_the_language_is_remembered_too(context: Callable[..., Any], tmp_path: Path) -> None:
    served = Served(tmp_path, alone=True)
    try:
        page = Screen(context().new_page(), served, served.project(items(1)), local_person(served.store)).open()
        with page.page.expect_response("**/me/locale"):
            page.page.get_by_role("button", name="中文").click()
        page.page.reload(wait_until="commit")
        page.ready()
        assert page.page.locator("h1").inner_text() == "为回答排序"
    finally:
        served.close()


def test_the_browsers_own_language(screen: Show, served: Served, context: Callable[..., Any]) -> None:
    page = screen(served.project(items(1)), locale="zh-CN")
    assert page.page.locator("h1").inner_text() == "为回答排序"
    assert page.page.locator(".ar-rating legend").first.text_content() == "有帮助"
    login = context(locale="zh-CN").new_page()
    login.goto(f"{served.url}/login")
    assert login.locator("h1").inner_text() == "登录"


def test_every_word_that_is_said_is_there(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    said: set[str] = set()
    for script in STATIC.glob("*.js"):
        text = script.read_text("utf-8")
        said |= set(re.findall(r'\b(?:say|utc|tool|closing|small|figure)\("([^"]+)"', text))
    dialogs = (STATIC / "dialogs.js").read_text("utf-8")
    for name, prefix in (("SKIPS", "skip-"), ("FLAGS", "flag-")):
        said |= {prefix + code for code in re.findall('"([^"]+)"', re.search(rf"{name} = \[(.*?)\]", dialogs)[1])}
    said |= {f"key-{word}" for word in re.findall(r'\["[^"]+", "([a-z]+)"\]', dialogs)}
    codes = "".join(
        p.read_text("utf-8")
        for p in STATIC.parent.glob("*.py")
        if p.stem in ("api", "labels", "queue", "submission", "projects", "server", "errors")
    )
    said |= set(re.findall(r'Refused\(\s*"([a-z-]+)"', codes)) - {"form", "throttled", "bad-name"}
    run = """async (said) => {
        const words = await import("/static/words.js");
        const more = await import("/static/quality_words.js");
        words.addWords(more.QUALITY_WORDS);
        return [words.missing(), said.filter((key) => !words.known(key))];
    }"""
    assert len(said) > 100
    assert page.page.evaluate(run, sorted(said)) == [[], []]


def test_two_annotators_at_once(screen: Show, served: Served) -> None:
    project = served.project(items(3), overlap=2)
    ann, bob = screen(project), screen(project)
    assert ann.page.locator(".ar-prompt").inner_text() == bob.page.locator(".ar-prompt").inner_text()
    seen = []
    for _ in range(3):
        seen.append((ann.tiers(), bob.tiers()))
        ann.focus(FOUR[0]).press("1")
        bob.focus(FOUR[0]).press("4")
        shown = ann.submit(), bob.submit()
        assert (ann.last()["order"], bob.last()["order"]) == shown
        assert shown[0][FOUR[0]] == 1 and shown[1][FOUR[0]] == 4
    assert any(ours != theirs for ours, theirs in seen)  # everybody sees an order of their own
    bob.page.locator(".ar-nothing").wait_for()
    assert ann.page.locator(".ar-nothing").inner_text() == "All ranked. Thank you."
    orders = [saved["meta"]["shown_order"] for saved in served.saved(project)]
    assert len(orders) == 6 and len({tuple(order) for order in orders}) > 1


def test_a_project_is_chosen_and_kept(screen: Show, served: Served) -> None:
    one, two = served.project(items(1), "choice one"), served.project(items(1), "choice & two")
    page = screen(one)
    lease = page.lease
    page.page.get_by_label("Project").select_option("choice & two")
    page.next(lease)
    lease = page.lease
    page.page.reload(wait_until="commit")
    page.ready()
    assert page.lease == lease and page.page.get_by_label("Project").input_value() == "choice & two"
    assert served.saved(two) == []


def test_guidelines_and_earlier_turns(screen: Show, served: Served) -> None:
    turns = [{"role": role, "content": f"turn {n}"} for n, role in enumerate(["system", "user", "assistant", "user"])]
    project = served.project([row(turns, FOUR)])
    make_project(served.store, project.slug, guidelines="Prefer **short** answers.")
    page = screen(project)
    assert page.page.locator(".ar-guidelines strong").inner_text() == "short"
    assert not page.page.get_by_text("turn 1").is_visible() and page.page.get_by_text("turn 3").is_visible()
    page.page.get_by_text("Earlier turns (3)").click()
    assert page.page.get_by_text("turn 1").is_visible()


def disagreed(screen: Show, served: Served) -> ProjectInfo:
    """A project with an item that two people have ranked the opposite way."""
    project = served.project([row("Who is right?", ["One.", "Two."])], overlap=2, adjudicate_below=0.9)
    for better in ("One.", "Two."):
        page = screen(project)
        page.press("1" if page.letters()[better] == "A" else "7", "Enter")
        page.page.locator(".ar-nothing").wait_for(timeout=PATIENCE * 1000)
    return project


def test_a_reviewer_decides(screen: Show, served: Served) -> None:
    project = disagreed(screen, served)
    reviewer = screen(project, served.person("reviewer"))
    assert reviewer.lease is None
    reviewer.page.get_by_role("button", name="Decide disagreements").click()
    reviewer.next(None)
    reviewer.page.reload(wait_until="commit")  # which does not send them back to ranking
    reviewer.ready()
    assert reviewer.page.locator(".ar-opinions tbody tr").count() == 2
    letters = {letter: text for text, letter in reviewer.letters().items()}
    reviewer.press("7")
    before = reviewer.lease
    reviewer.press("Enter")
    reviewer.next(before)
    assert reviewer.last()["order"] == {letters["B"]: 1, letters["A"]: 2}


def test_a_reviewer_skips_a_decision(screen: Show, served: Served) -> None:
    """What the page says then holds for the item that was skipped: it is not to be decided by them any more."""
    project = disagreed(screen, served)
    reviewer = screen(project, served.person("reviewer"))
    reviewer.page.get_by_role("button", name="Decide disagreements").click()
    reviewer.next(None)
    reviewer.page.get_by_role("button", name="Skip").click()
    reviewer.dialog().get_by_role("button", name="Skip").click()
    said = reviewer.page.locator(".ar-nothing")
    said.wait_for()
    assert "you ranked, skipped or decided them" in said.inner_text()
    assert "those you had no part in can be decided there" in said.inner_text()
    reviewer.page.get_by_role("link", name="Quality").click()
    reviewer.page.locator("#aq-disputes").get_by_role("link", name="Decide").click()
    said.wait_for()
    assert said.inner_text().startswith("This item is not for you to decide: you ranked, skipped")
