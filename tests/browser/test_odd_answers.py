"""Odd answers are shown as they are, or refused with file and line; never a blank page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from align.errors import DataError
from labeling_app.incoming import import_labels
from labeling_app.projects import make_project
from tests.browser.screen import Screen
from tests.browser.served import Served, row
from tests.labeling_app.world import write

pytestmark = pytest.mark.slow

ODD = {
    "equal-looking": "The answer is nо.",  # with a Cyrillic letter
    "its twin": "The answer is no.",
    "right-to-left": "التمثيل الضوئي يحول الضوء إلى سكر.",
    "an override": "start \u202eesrever\u202c end",
    "zero-width": "zero\u200bwidth\u200dtext\ufeff",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇭 1️⃣",
    "nothing to see": "\u200b\u200b",
    "NUL": "before\x00after",
    "combining": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
}


def test_odd_texts_are_shown_and_saved_as_they_are(screen: Callable[..., Screen], served: Served) -> None:
    page = screen(served.project([row("Which of these?", list(ODD.values()))]))
    bodies = page.page.locator(".ar-body")
    assert bodies.count() == 9
    assert all(box["height"] >= 15 for box in (bodies.nth(n).bounding_box() for n in range(9)))
    shown = bodies.all_inner_texts()
    assert "U+200B U+200B" in shown and "before\ufffdafter" in shown
    for name in ("equal-looking", "its twin", "right-to-left", "an override", "emoji", "combining"):
        assert ODD[name] in shown
    rtl = next(n for n in range(9) if bodies.nth(n).inner_text() == ODD["right-to-left"])
    assert bodies.nth(rtl).evaluate("(body) => getComputedStyle(body).direction") == "rtl"
    letters = {page.letters()[ODD[name]]: ODD[name] for name in ("its twin", "equal-looking")}
    page.focus(ODD["its twin"]).press("1")
    page.press("d")
    assert page.dialog().locator("del, ins").count() >= 1 and len(letters) == 2
    page.press("Escape", "e")
    assert page.dialog().locator("textarea").input_value() == ODD["its twin"]
    page.press("Escape")
    before = page.lease
    page.press("Enter")
    page.next(before)
    saved = page.last()["order"]
    assert set(saved) == set(ODD.values()) and saved[ODD["its twin"]] == 1


def test_an_answer_of_200_kb(screen: Callable[..., Screen], served: Served) -> None:
    long = "A plant needs **light**, water and carbon dioxide. " * 4000
    assert len(long) > 200_000
    page = screen(served.project([row("q", [long, long[:-1] + "!", "Short."])]))
    letter = page.letters()["Short."]
    card = page.page.locator(".ar-card").filter(has=page.page.locator(".ar-open:not([hidden])")).first
    assert card.locator(".ar-body").bounding_box()["height"] < 400
    card.get_by_role("button", name="Show all").click()
    assert card.locator(".ar-body").bounding_box()["height"] > 10_000
    card.get_by_role("button", name="Edit").click()
    page.page.keyboard.press("Control+End")
    page.page.keyboard.type(" Yes.")
    page.dialog().get_by_role("button", name="OK").click()
    page.focus("Short.").press("1")
    assert page.letters()["Short."] == letter
    before = page.lease
    page.press("Enter")
    page.next(before)
    assert page.last()["order"]["Short."] == 1
    assert len(page.last()["edit"]["text"]) > 200_000 and page.last()["edit"]["text"].endswith(" Yes.")


def test_an_empty_answer_says_so(screen: Callable[..., Screen], served: Served) -> None:
    page = screen(served.project([row("q", ["", "Something."])]))
    assert sorted(page.letters()) == ["Something.", "This answer is empty."]
    page.press("1" if page.letters()["Something."] == "A" else "7")
    page.submit()
    assert page.last()["order"] == {"Something.": 1, "": 2}


def test_nine_answers_have_nine_keys(screen: Callable[..., Screen], served: Served) -> None:
    texts = [f"Answer number {n}." for n in range(1, 10)]
    page = screen(served.project([row("q", texts)]))
    for place, text in enumerate(texts, start=1):
        page.focus(text).press(str(place))
    assert page.tiers() == [[text] for text in texts]


def answers(*texts: Any) -> list[dict[str, Any]]:
    return [{"id": f"a{n}", "text": text} for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (answers(), "`answers` is an empty list"),
        (answers("one"), "there is 1 answer, and people can rank 2 to 9"),
        (answers(*map(str, range(12))), "there are 12 answers"),
        (answers("one", None), "text"),
        ([{"id": "a", "text": "one"}, {"id": "a", "text": "two"}], "two answers have the id a"),
    ],
    ids=["none", "one", "twelve", "null", "ids"],
)
def test_an_item_that_cannot_be_ranked(served: Served, tmp_path: Path, given: Any, found: str) -> None:
    good = row("fine", ["One.", "Two."])
    file = write(tmp_path / "answers.jsonl", [good, {"id": "x", "prompt": good["prompt"], "answers": given}])
    project = make_project(served.store, f"refused-{tmp_path.name}")
    with pytest.raises(DataError, match=found) as refused:
        import_labels(served.store, project, file)
    assert refused.value.where.startswith(f"{file}:2")


@pytest.mark.parametrize("broken", [b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80"])
def test_broken_utf8(served: Served, tmp_path: Path, broken: bytes) -> None:
    line = json.dumps(row("fine", ["One.", "Two."])).encode()
    file = tmp_path / "answers.jsonl"
    file.write_bytes(line + b"\n" + line.replace(b"One.", broken) + b"\n")
    with pytest.raises(DataError, match="UTF-8") as refused:
        import_labels(served.store, make_project(served.store, f"utf8-{tmp_path.name}"), file)
    assert refused.value.where.startswith(f"{file}:2")


def test_a_lone_surrogate(served: Served, tmp_path: Path) -> None:
    line = json.dumps(row("fine", ["One.", "Two."]))
    file = tmp_path / "answers.jsonl"
    file.write_text(line.replace("One.", "\\ud800"), "utf-8")
    with pytest.raises(DataError) as refused:
        import_labels(served.store, make_project(served.store, "surrogate"), file)
    assert refused.value.where.startswith(f"{file}:1")
