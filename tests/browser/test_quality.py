"""The quality page in Chromium: who may open it, and that it shows the figures there are."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labeling_app.incoming import import_labels
from labeling_app.labels import submit
from labeling_app.people import Person, create_person, script_token
from labeling_app.quality import Quality, quality_of
from labeling_app.saving import Options
from labeling_app.store.database import Store, open_store
from tests.browser.served import PASSWORD, Served, row
from tests.labeling_app.world import answers_row, asked, by_text, made, person, ranking, write

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
HOSTILE = '<img src=x onerror="window.ran = 1">${window.ran = 2}{{ 3 }}'
PEOPLE = {"ann": "annotator", "bob": "annotator", "eve": "reviewer", "joe": "admin"}


@dataclass(frozen=True)
class App:
    """A labeling app with accounts in a process of its own."""

    store: Store
    project: int
    port: int
    people: dict[str, Person]

    def get(self, path: str, name: str = "", accept: str = "*/*") -> tuple[int, str]:
        """Status and place of an answer, as somebody or as nobody."""
        token = {"Authorization": f"Bearer {script_token(self.store, name)}"} if name else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", path, headers={"Accept": accept, **token})
        answer = connection.getresponse()
        connection.close()
        return answer.status, answer.getheader("location") or ""

    def figures(self) -> Quality:
        return quality_of(self.store, self.people["eve"], self.project)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = Path(tmp_path_factory.mktemp("quality"))
    store = open_store(folder / "labels.db")
    project = made(store, folder, items=6, overlap=2, gold_share=0.5)
    hostile = answers_row(50) | {"prompt": [{"role": "user", "content": HOSTILE}]}
    import_labels(store, project, write(folder / "hostile.jsonl", [hostile]), Options(priority=9))
    gold = [answers_row(100 + n) | {"id": f"g{n}", "ranks": [1, 2, 3, 4], "annotator": "expert"} for n in range(4)]
    import_labels(store, project, write(folder / "gold.jsonl", gold), Options(gold=True))
    people = {name: person(store, name, role) for name, role in PEOPLE.items()}
    create_person(store, "root", "correct horse battery", "admin")  # with nobody who can log in, no app is served
    for name, order in (("ann", [1, 2, 3, 4]), ("bob", [4, 3, 2, 1])):
        for number in range(6):
            view = asked(store, people[name], project)
            mine = order if number < 3 else [1, 2, 3, 3]
            submit(store, people[name], ranking(view, by_text(view, mine), seconds=10.0 + 2 * number))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "align.cli", "label", "--db", str(folder / "labels.db"), "--accounts"]
    process = subprocess.Popen(
        [*command, "--port", str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "LANG": "C"}
    )
    try:
        assert process.stdout and "ranking page" in process.stdout.readline()
        yield App(store, project.id, port, people)
    finally:
        process.kill()
        process.communicate()
        store.close()


@pytest.mark.parametrize("path", ["/app/quality/", "/app/quality", "/app/quality/config", "/api/v1/projects/p/quality"])
def test_who_may_open_it(app: App, path: str) -> None:
    assert app.get(path)[0] == 401
    assert app.get(path, "ann")[0] == 403
    assert {app.get(path, name)[0] for name in ("eve", "joe")} <= {200, 307}


def test_without_a_login_it_leads_to_one(app: App) -> None:
    assert app.get("/app/quality/", accept="text/html") == (303, "/login?to=%2Fapp%2Fquality%2F")
    assert app.get("/app/quality?project=a%26b", "eve") == (307, "/app/quality/?project=a%26b")


def opened(chromium: Any, app: App, name: str, path: str, **settings: Any) -> Any:
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **settings})
    context.set_default_timeout(PATIENCE * 1000)
    cookie = {"name": "align_session", "value": script_token(app.store, name), "url": f"http://127.0.0.1:{app.port}"}
    context.add_cookies([cookie])
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{app.port}{path}")
    page.wait_for_selector("[data-ready]")
    return page


def table_of(page: Any, figure: str) -> list[list[str]]:
    """The table behind a picture, without its head."""
    rows = page.eval_on_selector_all(
        f"#aq-{figure} tbody tr", "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    assert rows
    return [list(map(str, row)) for row in rows]


def counted(told: str) -> tuple[float, int] | None:
    """The share and the number in `75% of 12`; None for a dash."""
    found = re.fullmatch(r"(\d+)% of (\d+)", told)
    assert found or told == "–"
    return (int(found[1]) / 100, int(found[2])) if found else None


def test_the_page_shows_the_figures_there_are(chromium: Any, app: App) -> None:
    page = opened(chromium, app, "eve", "/app/")
    page.click("a[href^='/app/quality/']")
    page.wait_for_selector("#align-quality[data-ready]")
    found = app.figures()
    tiles = {name: page.inner_text(f"[data-tile={name}] dd") for name in ("rankings", "needed", "annotators")}
    of_tests = f"\n{found.tests} of them on test questions"
    assert found.tests and found.rankings == found.counted + found.tests
    assert (
        tiles == {"rankings": f"12{of_tests}", "needed": str(found.needed), "annotators": "2"} and found.rankings == 12
    )
    states = {name: int(count) for name, count, _ in table_of(page, "progress")}
    names = {"done": "done", "in progress": "open", "untouched": "untouched", "test questions": "gold"}
    assert {names[name]: count for name, count in states.items()} == found.states
    assert {day: int(count) for day, count in table_of(page, "byDay")} == found.by_day
    figures = found.agreement
    alpha, tau, percent = table_of(page, "agreement")
    assert figures.alpha.value is not None and figures.tau_b.value is not None and figures.percent.value is not None
    assert [float(alpha[1]), float(tau[1])] == [round(figures.alpha.value, 3), round(figures.tau_b.value, 3)]
    assert float(percent[1].rstrip("%")) == pytest.approx(100 * figures.percent.value, abs=0.051)
    assert {row[3] for row in (alpha, tau, percent)} == {str(figures.overlapping)}
    people = {row[0]: row[1:] for row in table_of(page, "people")}
    for one in found.annotators:
        assert one.pace == 15.0 and one.first_best is not None
        told = people[one.pseudonym]
        assert told[:3] == [str(one.rankings), str(one.skipped), "15 s"]
        assert counted(told[3]) == (None if one.gold is None else (pytest.approx(one.gold, abs=0.0051), one.gold_count))
        assert counted(told[4]) == (pytest.approx(one.first_best, abs=0.0051), one.first_count)
        assert told[7] == ("yes" if one.place_bias else "no")
    over = table_of(page, "over")
    assert [[float(cell) for cell in row[3:]] for row in over] == [
        [pytest.approx(rank, abs=0.0051) for rank in block.ranks] for block in found.over_time
    ]
    items = page.eval_on_selector_all("#aq-disputes li", "rows => rows.map((row) => Number(row.dataset.item))")
    assert items == [dispute.item for dispute in found.disputes if dispute.agreement < 1] and items
    page.context.close()


def test_what_people_wrote_is_text(chromium: Any, app: App) -> None:
    """A prompt that would run as markup or as a template is shown as it is; and a reviewer decides about it."""
    page = opened(chromium, app, "joe", "/app/quality/?project=p")
    row = page.locator("#aq-disputes li", has_text="<img").first
    assert row.locator(".aq-prompt").inner_text() == HOSTILE
    assert page.evaluate("window.ran") is None and page.locator("#align-quality img").count() == 0
    row.locator("a").click()
    page.wait_for_selector(".ar-opinions")
    assert page.locator(".ar-opinions tbody tr").count() == 2
    assert page.inner_text("[aria-pressed=true]:not([data-way])") == "Decide disagreements"
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pictures_for_everybody(chromium: Any, app: App, width: int, scheme: str) -> None:
    """No serious finding of axe; a label and a table for each picture; nothing wider than the screen; two languages."""
    from axe_core_python.sync_playwright import Axe

    page = opened(
        chromium, app, "eve", "/app/quality/", viewport={"width": width, "height": 900}, color_scheme=scheme
    )  # fmt: skip
    serious = [v for v in Axe().run(page)["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [node["target"] for node in v["nodes"]]) for v in serious] == []
    labels = page.eval_on_selector_all("#align-quality svg", "all => all.map((svg) => svg.getAttribute('aria-label'))")
    assert len(labels) == 9 and all(re.search(r"\d", label) for label in labels)
    without = "all => all.filter((one) => !one.querySelector('details table tbody tr')).length"
    assert page.eval_on_selector_all("#align-quality .aq-figure:has(svg)", without) == 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    before = page.inner_text("h1")
    page.click(".ar-language")
    assert {before, page.inner_text("h1")} == {"Quality", "质量"}
    words = page.evaluate("import('/static/words.js').then((words) => words.missing())")
    assert words == []
    page.context.close()


def test_the_annotators_table_fits_a_laptop(chromium: Any, app: App) -> None:
    """With names, as an admin has it; every time it shows says in which zone."""
    page = opened(chromium, app, "joe", "/app/quality/", viewport={"width": 1200, "height": 900})
    page.click("#aq-people summary")
    assert page.eval_on_selector("#aq-people .aq-scroll", "box => box.scrollWidth <= box.clientWidth")
    heads = page.eval_on_selector_all(
        "#aq-people thead th, #aq-over thead th", "all => all.map((th) => th.textContent)"
    )
    assert {"Last (UTC)", "From (UTC)", "To (UTC)"} <= set(heads)
    assert page.locator("#aq-over .aq-note").inner_text().endswith("Times are in UTC.")
    page.context.close()


def test_an_annotator_sees_no_link(chromium: Any, app: App) -> None:
    page = opened(chromium, app, "ann", "/app/")
    assert page.locator(".ar-help").count() == 1 and page.locator("a[href^='/app/quality']").count() == 0
    page.context.close()


def test_where_there_is_no_figure_the_reason_is_said(context: Callable[..., Any], served: Served) -> None:
    project, reviewer = served.project([row("Which one?", ["One.", "Two."])]), served.person("reviewer")
    page = context()
    page.add_cookies([served.cookie(reviewer)])
    page = page.new_page()
    page.goto(f"{served.url}/app/quality/?project={project.slug}", wait_until="commit")
    page.locator(".aq-reason").first.wait_for()
    assert "[object" not in page.locator(".ar-main").inner_text()


def test_a_place_without_figures_has_no_line_and_no_name(context: Callable[..., Any], served: Served) -> None:
    project, reviewer = served.project([row("Which one?", ["One.", "Two.", "Three."])]), served.person("reviewer")
    who = served.person()
    view = asked(served.store, who, project)
    submit(served.store, who, ranking(view, [1, None, 2]))
    page = context()
    page.add_cookies([served.cookie(reviewer)])
    page = page.new_page()
    page.goto(f"{served.url}/app/quality/?project={project.slug}", wait_until="commit")
    page.locator("#aq-over svg").wait_for()
    assert page.locator("#aq-over svg .aq-end").all_text_contents() == ["Place 1", "Place 3"]
    assert page.locator("#aq-over svg .aq-line").count() == 2


def test_whoever_logs_in_comes_to_the_page_they_asked_for(context: Callable[..., Any], served: Served) -> None:
    project, reviewer = served.project([row("Which one?", ["One.", "Two."])]), served.person("reviewer")
    page = context().new_page()
    page.goto(f"{served.url}/app/quality/?project={project.slug}")
    page.get_by_label("Name").fill(reviewer.name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector("#align-quality[data-ready]")
    assert page.url == f"{served.url}/app/quality/?project={project.slug}"


def test_who_may_not_see_it_is_told_its_name(context: Callable[..., Any], served: Served) -> None:
    for locale, name in (("en-GB", "Quality"), ("zh-CN", "质量")):
        page = context(locale=locale)
        page.add_cookies([served.cookie(served.person())])
        page = page.new_page()
        page.goto(f"{served.url}/app/quality/")
        assert page.locator("h1").inner_text() == name
