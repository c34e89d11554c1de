"""The server gone, its disk full, its database read-only, the session over: the page says so, and the work stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import delete, event

from labeling_app.store.models import LoginSession
from tests.browser.screen import Screen
from tests.browser.served import PASSWORD, PATIENCE, Served, free_port, row
from tests.browser.test_ranking import FOUR, items
from tests.labeling_app.world import write
from tests.runs import environment

pytestmark = pytest.mark.slow

Show = Callable[..., Screen]


def worked(screen: Show, served: Served) -> tuple[Screen, dict[str, int | None]]:
    """A page with work on it that the server has not seen."""
    page = screen(served.project(items(2)))
    page.focus(page.tiers()[3][0]).press("1", "=", "ArrowDown", "ArrowDown", "x")
    return page, page.ranks()


def refused(page: Screen, shown: dict[str, int | None], why: str) -> None:
    """Submit in vain: the page says why, and everything stays."""
    lease = page.lease
    page.page.locator("#ar-comment").fill("Do not lose this.")
    page.page.locator(".ar-submit").click()
    page.page.locator(".ar-alert", has_text=f"Not saved: {why} Your work is still here").wait_for()
    assert (page.lease, page.ranks()) == (lease, shown)
    assert page.page.locator("#ar-comment").input_value() == "Do not lose this."


def taken(page: Screen, shown: dict[str, int | None]) -> None:
    """Submit again, without anything else: it is saved, once."""
    assert page.submit() == shown
    saved = page.served.saved(page.project)
    assert [(one["order"], one["comment"]) for one in saved] == [(shown, "Do not lose this.")]
    assert page.page.locator(".ar-alert").inner_text() == ""
    assert page.errors == []


def test_the_server_is_gone_and_comes_back(screen: Show, served: Served) -> None:
    page, shown = worked(screen, served)
    served.stop()
    try:
        refused(page, shown, "The server does not answer.")
    finally:
        served.start()
    taken(page, shown)


@pytest.fixture
def limit(served: Served) -> Iterator[Callable[[str], None]]:
    """Sets a limit of SQLite's own on every connection, until it is set to another."""
    wanted = [""]

    def impose(connection: Any, *_: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages if wanted[0] == 'full' else 1_073_741_823}")
        connection.execute(f"PRAGMA query_only={'ON' if wanted[0] == 'read-only' else 'OFF'}")

    def choose(name: str) -> None:
        wanted[0] = name

    event.listen(served.store.engine, "checkout", impose)
    yield choose
    event.remove(served.store.engine, "checkout", impose)
    served.store.engine.dispose()  # with the limits that its connections have


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_the_database_takes_nothing(screen: Show, served: Served, limit: Callable[[str], None], trouble: str) -> None:
    page, shown = worked(screen, served)
    limit(trouble)
    page.page.locator("#ar-comment").fill("x" * 200_000)  # a full disk still has room in pages that are begun
    lease = page.lease
    page.page.locator(".ar-submit").click()
    page.page.locator(".ar-alert", has_text="Not saved: The label database cannot be written.").wait_for()
    assert (page.lease, page.ranks()) == (lease, shown)
    page.page.reload(wait_until="commit")  # even so: this tab has kept it
    page.ready()
    limit("")
    page.page.reload(wait_until="commit")
    page.ready()
    assert (page.lease, page.ranks()) == (lease, shown)
    page.page.locator("#ar-comment").fill("Do not lose this.")
    taken(page, shown)


def test_the_session_is_over(screen: Show, served: Served) -> None:
    page, shown = worked(screen, served)
    with served.store.write() as session:
        session.execute(delete(LoginSession).where(LoginSession.person_id == page.person.id))
    refused(page, shown, "You are logged out.")
    lease = page.lease
    page.page.get_by_role("link", name="Log in again").click()
    page.page.get_by_label("Name").fill(page.person.name)
    page.page.get_by_label("Password").fill(PASSWORD)
    page.page.get_by_role("button", name="Log in").click()
    page.ready()
    assert (page.lease, page.ranks()) == (lease, shown)
    taken(page, shown)


def test_logging_out(screen: Show, served: Served) -> None:
    page = screen(served.project(items(1)))
    page.page.get_by_role("button", name="Log out").click()
    page.page.get_by_label("Password").wait_for()
    page.page.goto(f"{served.url}/app")
    assert page.page.url.startswith(f"{served.url}/login")


def busy(process: int, seconds: float) -> float:
    """Share of a core that a process takes."""
    before = psutil.Process(process).cpu_times()
    time.sleep(seconds)
    after = psutil.Process(process).cpu_times()
    return (after.user - before.user + after.system - before.system) / seconds


def test_align_label_rests_and_ends_while_a_page_is_open(tmp_path: Path, context: Callable[..., Any]) -> None:
    file, port = write(tmp_path / "answers.jsonl", [row("Which one?", FOUR)]), free_port()
    words = ["label", str(file), "--db", str(tmp_path / "labels.db"), "--port", str(port)]
    command = [sys.executable, "-m", "align.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path) as process:
        assert process.stdout is not None
        try:
            said = [process.stdout.readline() for _ in range(4)]
            assert f"ranking page: http://127.0.0.1:{port}/app?project=answers\n" in said
            page = context().new_page()
            page.goto(f"http://127.0.0.1:{port}/app?project=answers", wait_until="commit")
            page.locator(".ar[data-ready] .ar-card").first.wait_for()
            assert min(busy(process.pid, 2) for _ in range(5)) < 0.02  # Gradio's queue alone took 5 %
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
        finally:
            process.kill()
    assert process.returncode in (0, 130)
