"""axe finds nothing serious, on any page, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labeling_app.projects import make_project
from tests.browser.screen import Screen
from tests.browser.served import Served, row

pytestmark = pytest.mark.slow

axe = pytest.importorskip("axe_core_python", reason="axe is not installed (pip install '.[test]')")
SCRIPT = Path(axe.__file__).with_name("axe.min.js").read_text("utf-8")

RICH = [
    "# Sugar\n\n**Light** makes `sugar`:\n\n| step | where |\n|---|---|\n| one | two |\n\n$$a^2 + b^2$$\n\n"
    "```python\ndef f(x):\n    return 'text' + str(12)  # a comment\n```\n\n> said\n\n[a link](https://a.example)",
    "植物通过光合作用将光能转化为化学能。",
    "![a picture](x.png) " + "long text " * 400,
    "Short.",
]


def findings(page: Any) -> list[str]:
    """What axe calls serious or critical, and where."""
    page.evaluate(SCRIPT)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node.get('failureSummary', '')}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_serious_finding(screen: Callable[..., Screen], served: Served, theme: str, width: int) -> None:
    wide = "Some `text`.\n\n```\n" + "wider than any page " * 40 + "\n```"
    turns = [{"role": role, "content": wide} for role in ("system", "user", "assistant", "user")]
    project = served.project([row(turns, RICH)])
    make_project(served.store, project.slug, guidelines=f"Prefer **short** answers. {wide}")
    size = {"viewport": {"width": width, "height": 900}, "color_scheme": theme}
    page = screen(project, served.person("reviewer"), **size)
    page.open(f"&__theme={theme}")
    assert page.page.evaluate("document.querySelector('.dark .ar') !== null") == (theme == "dark")
    page.press("ArrowDown", "=", "ArrowDown", "ArrowDown", "x")
    for summary in page.page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    found = {"order": findings(page.page)}
    page.page.locator(".ar-card").last.focus()
    for key, name in {"s": "skip", "f": "flag", "e": "edit", "d": "differences", "?": "help"}.items():
        page.press(key)
        page.dialog()
        found[name] = findings(page.page)
        page.press("Escape")
        page.page.locator("dialog").wait_for(state="detached")
    page.page.get_by_role("button", name="Buckets").click()
    page.press("Enter")
    page.press("1", "2")
    found["buckets"] = findings(page.page)
    page.project = served.project([row("Which one?", ["One.", "Two."])])
    page.open(f"&__theme={theme}")
    page.press("Enter")
    page.alert()
    page.press("2")
    found["pair"] = findings(page.page)
    page.submit()
    found["done"] = findings(page.page)
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_finding_on_the_way_in(context: Callable[..., Any], served: Served, theme: str) -> None:
    page = context(viewport={"width": 390, "height": 844}, color_scheme=theme).new_page()
    page.goto(f"{served.url}/login")
    page.fill("#name", "nobody")
    page.fill("#password", "wrong password")
    page.click("button")
    page.get_by_role("alert").wait_for()
    assert findings(page) == []
    page.goto(f"{served.url}/join/nothing")
    assert findings(page) == []
