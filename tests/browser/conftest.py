"""Chromium, and a labeling app for each module to open in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from labeling_app import people
from labeling_app.people import Person
from labeling_app.projects import ProjectInfo
from tests.browser.screen import Screen
from tests.browser.served import PATIENCE, Served


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install '.[test]')")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A labeling app with accounts. Passwords are hashed lightly: many log in here."""
    hasher, people._hasher = people._hasher, PasswordHasher(time_cost=1, memory_cost=64)
    people._nobody.cache_clear()
    app = Served(Path(tmp_path_factory.mktemp("served")))
    yield app
    app.close()
    people._hasher = hasher
    people._nobody.cache_clear()


@pytest.fixture
def context(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Makes a browser of its own, with its own cookies; closed at the end."""
    made: list[Any] = []

    def make(**settings: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **settings})
        context.set_default_timeout(PATIENCE * 1000)
        made.append(context)
        return context

    yield make
    for one in made:
        one.close()


@pytest.fixture
def screen(context: Callable[..., Any], served: Served) -> Callable[..., Screen]:
    """Opens a project as a person who is logged in, and waits until it can be used."""

    def show(project: ProjectInfo | None, person: Person | None = None, **settings: Any) -> Screen:
        person = person or served.person()
        own = context(**settings)
        own.add_cookies([served.cookie(person)])
        return Screen(own.new_page(), served, project, person).open()

    return show
