"""No model's name, answer's id or sign of a test question ever reaches the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labeling_app.incoming import import_labels
from labeling_app.saving import Options
from tests.browser.screen import Screen
from tests.browser.served import Served, row
from tests.browser.test_ranking import items
from tests.labeling_app.world import write

pytestmark = pytest.mark.slow


def test_nothing_says_whose_answer_it_is(context: Callable[..., Any], served: Served) -> None:
    project = served.project(items(20), gold_share=0.5, overlap=2)  # none drawn in 20: one in a million
    right = {"ranks": [1, 2, 3], "annotator": "expert", "comment": "secret-reason"}
    gold = [row(f"Test question {n}?", ["Right.", "Wrong.", "Worse."]) | right for n in range(3)]
    file = write(served.folder / "gold.jsonl", gold)
    import_labels(served.store, project, file, Options(kind="rankings", gold=True))
    person = served.person()
    own = context()
    own.add_cookies([served.cookie(person)])
    page = own.new_page()
    bodies: dict[str, list[bytes]] = {}
    waiting: list[Any] = []
    page.on("response", lambda response: waiting.append(response))
    screen = Screen(page, served, project, person).open()
    seen, shown = 0, []
    while screen.lease:
        shown.append(page.locator(".ar-prompt").inner_text())
        screen.focus(screen.tiers()[1][0]).press("1")
        page.locator("#ar-comment").fill("A thought.")
        seen += 1
        shown.append(page.content())
        screen.submit()
    page.get_by_role("button", name="Undo last").click()
    screen.next(None)
    shown.append(page.content())
    for response in waiting:
        if response.status not in (204, 301, 302, 303, 304, 307) and "heartbeat" not in response.url:
            bodies.setdefault(response.url, []).append(response.body())

    assert seen > 3 and any("Test question" in text for text in shown)
    served_bytes = [body for found in bodies.values() for body in found]
    assert len(served_bytes) > 20
    for secret in (b"secret-model", b"answer-id", b"secret-reason", b"expert"):
        assert not [url for url, found in bodies.items() for body in found if secret in body]
    api = [body for url, found in bodies.items() if "/api/" in url for body in found]
    assert len(api) > seen
    for word in (b"gold", b"row-", b"split", b"reference", b"sampling"):
        assert not [body for body in api if word in body]
    for text in shown:
        assert not [word for word in ("secret-", "answer-id", "gold", "row-") if word in text]
