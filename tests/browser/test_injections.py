"""What models and people write stays text: nothing runs, nothing leaves, nothing covers the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labeling_app.errors import Refused
from labeling_app.people import create_person
from labeling_app.projects import make_project
from tests.browser.injections import ALL, MARKUP, TEMPLATES
from tests.browser.screen import Screen
from tests.browser.served import PASSWORD, Served, row

pytestmark = pytest.mark.slow

Show = Callable[..., Screen]

FOREIGN = """() => {
  const found = [];
  for (const place of document.querySelectorAll(".ar-body, .ar-text, .ar-guidelines > div, .ar-opinions")) {
    for (const element of place.querySelectorAll("*")) {
      const bad = element.matches("script, iframe, object, embed, form, style, svg, img, image, video, audio, link,"
        + "meta, base, input, select, textarea, button, template, details, marquee, math [href], maction,"
        + "annotation-xml, mglyph");
      const attributes = element.getAttributeNames().filter((name) => /^on|^style$|^id$|^src|href$/.test(name));
      const odd = attributes.filter((name) =>
        name !== "href" || !/^(https?:|mailto:|[/?#])/.test(element.getAttribute(name)));
      if (bad || odd.length) found.push(element.outerHTML.slice(0, 200));
    }
  }
  return found;
}"""
PROVOKE = """() => {
  for (const element of document.querySelectorAll(".ar-main *")) {
    for (const kind of ["pointerenter", "mouseover", "focus", "toggle", "animationstart", "error", "load"]) {
      element.dispatchEvent(new Event(kind));
    }
  }
}"""


class Watch:
    """Counts what ran and what left, in every page of a context."""

    def __init__(self, context: Any, served: Served) -> None:
        self.ran: list[str] = []
        self.left: list[str] = []
        context.expose_function("pwned", lambda *_: self.ran.append("pwned"))
        context.on("dialog", lambda dialog: (self.ran.append(dialog.message), dialog.dismiss()))
        context.on("console", self._console)
        context.on("request", lambda request: self._request(request.url, served.url))

    def _console(self, message: Any) -> None:
        if "Content Security Policy" in message.text or "pwned" in message.text:
            self.ran.append(message.text)

    def _request(self, url: str, home: str) -> None:
        if not url.startswith((home + "/", "data:", "blob:")):
            self.left.append(url)

    def check(self, screen: Screen) -> None:
        """Provoke what may wait for an event; nothing ran, nothing left, and nothing foreign stands on the page."""
        screen.page.evaluate(PROVOKE)
        assert screen.page.evaluate(FOREIGN) == []
        assert (self.ran, self.left, screen.errors) == ([], [], [])


@pytest.fixture
def watched(context: Callable[..., Any], served: Served) -> Callable[..., tuple[Screen, Watch]]:
    def show(project: Any, person: Any = None) -> tuple[Screen, Watch]:
        own, person = context(), person or served.person()
        watch = Watch(own, served)
        own.add_cookies([served.cookie(person)])
        return Screen(own.new_page(), served, project, person).open(), watch

    return show


def test_there_are_enough_of_them() -> None:
    assert len(set(ALL)) >= 60


def test_a_watch_sees_what_runs_and_leaves(context: Callable[..., Any], served: Served) -> None:
    """The tests below can fail: the same watch on a page that lets everything in."""
    own = context()
    watch = Watch(own, served)
    page = own.new_page()
    page.set_content("<img src=x onerror=pwned()><img src='http://evil.example.invalid/x.png'>")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert watch.ran == ["pwned"] and watch.left == ["http://evil.example.invalid/x.png"]


def test_as_prompt_and_guidelines(watched: Any, served: Served) -> None:
    turns = [{"role": "user", "content": text} for text in ALL]
    project = served.project([row(turns, ["One.", "Two.", "Three."])])
    make_project(served.store, project.slug, guidelines="\n\n".join(ALL))
    screen, watch = watched(project)
    screen.page.get_by_text(f"Earlier turns ({len(ALL) - 1})").click()
    assert screen.page.locator(".ar-turn .ar-text").count() == len(ALL)
    assert all(text.strip() for text in screen.page.locator(".ar-text").all_inner_texts())
    watch.check(screen)


def test_as_answers(watched: Any, served: Served) -> None:
    groups = [list(ALL[start : start + 9]) for start in range(0, len(ALL), 9)]
    groups[-1] += ["One.", "Two."][: max(0, 2 - len(groups[-1]))]
    screen, watch = watched(served.project([row(f"Which? {n}", group) for n, group in enumerate(groups)]))
    for group in groups:
        bodies = screen.page.locator(".ar-body").all_inner_texts()
        assert len(bodies) == len(group) and all(text.strip() for text in bodies)
        watch.check(screen)
        screen.press("d")
        screen.dialog()
        watch.check(screen)
        screen.press("Escape", "Shift+ArrowDown")
        before = screen.lease
        screen.press("3" if len(group) == 2 else "1", "Enter")
        screen.next(before)
    assert {text for saved in served.saved(screen.project) for text in saved["order"]} >= set(ALL)


def test_as_rationale_edit_and_flag_note(watched: Any, served: Served) -> None:
    words = "\n".join(ALL)
    project = served.project([row("Which?", ["One.", "Two."])], overlap=2, adjudicate_below=0.9)
    for better in ("One.", "Two."):
        screen, watch = watched(project)
        screen.press("1" if screen.letters()[better] == "A" else "7", "e")
        screen.dialog().locator("textarea").fill(words)
        screen.dialog().get_by_role("button", name="OK").click()
        screen.press("f")
        screen.dialog().locator("textarea").fill(words)
        screen.dialog().get_by_role("button", name="OK").click()
        screen.page.locator("#ar-comment").fill(words)
        screen.page.locator(".ar-submit").click()
        screen.page.locator(".ar-nothing").wait_for()
        screen.page.get_by_role("button", name="Undo last").click()
        screen.next(None)
        assert screen.page.locator("#ar-comment").input_value() == words
        screen.press("f")
        assert screen.dialog().locator("textarea").input_value() == words
        watch.check(screen)
        screen.press("Escape")
        screen.page.locator(".ar-submit").click()
        screen.page.locator(".ar-nothing").wait_for()
        saved = screen.last()
        assert (saved["comment"], saved["edit"]["text"]) == (words, words)
        assert saved["meta"]["flags"][0]["note"] == words
    reviewer, watch = watched(project, served.person("reviewer"))
    reviewer.page.get_by_role("button", name="Decide disagreements").click()
    reviewer.next(None)
    assert reviewer.page.locator(".ar-opinions").inner_text().count("pwned") >= 2 * 60
    watch.check(reviewer)


def test_as_the_name_of_a_project(watched: Any, served: Served) -> None:
    names = [text for text in ALL if 0 < len(text) <= 100 and text == text.strip() and text.isprintable()]
    assert len(names) >= 60
    for name in names:
        project = served.project([row("Which?", ["One.", "Two."])], name)
    screen, watch = watched(project)
    options = screen.page.get_by_label("Project").locator("option").all_inner_texts()
    assert set(names) <= set(options)
    lease = screen.lease
    screen.page.get_by_label("Project").select_option(names[0])
    screen.next(lease)
    screen.page.reload(wait_until="commit")
    screen.ready()
    assert screen.page.get_by_label("Project").input_value() == names[0]
    watch.check(screen)


def test_as_the_name_of_an_account(served: Served, context: Callable[..., Any]) -> None:
    for text in ALL:
        with pytest.raises(Refused, match="is no name for an account"):
            create_person(served.store, text, PASSWORD)
    own = context()
    watch = Watch(own, served)
    page = own.new_page()
    for text in (MARKUP[0], '"><img src=x onerror=pwned()>', TEMPLATES[1], "' autofocus onfocus=pwned() x='"):
        page.goto(f"{served.url}/login?project={text}")
        page.fill("#name", text)
        page.fill("#password", PASSWORD)
        page.click("button")
        page.get_by_role("alert").wait_for()
        assert page.input_value("#name") == text[:60]
        assert page.locator("script, img").count() == 0
    assert (watch.ran, watch.left) == ([], [])
