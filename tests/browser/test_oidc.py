"""Login by OpenID Connect in Chromium: the provider is another site, where the policy of our pages lets people go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from labeling_app.oidc.routes import add_oidc
from labeling_app.people import create_person, invite, people
from tests.browser.served import Served
from tests.browser.test_nobody_in import ask, routes, shut
from tests.browser.test_ranking import items
from tests.labeling_app.openid import NAME, OpenId, listening

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")]


@pytest.fixture(scope="module")
def provider(served: Served) -> Iterator[OpenId]:
    """A provider at `localhost`, which is another site than `127.0.0.1`, where the app is."""
    provider = OpenId(host="localhost", asks=True)
    add_oidc(served.app, served.store, provider.settings, [served.url])
    with listening(provider.app(), provider.port):
        yield provider


def test_there_and_back(served: Served, provider: OpenId, context: Callable[..., Any]) -> None:
    project = served.project(items(3))
    ann = create_person(served.store, "ann", None, email="ann@example.org")
    provider.claims = {"sub": "ann", "email": "ann@example.org", "email_verified": True}
    page = context().new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"{served.url}/app?project={project.slug}")
    page.get_by_role("link", name=f"Log in with {NAME}").click()
    page.wait_for_url(re.compile(f"^{provider.issuer}/authorize"))
    page.click("#no")
    assert page.get_by_role("alert").inner_text() == "The login was cancelled."
    page.get_by_role("link", name=f"Log in with {NAME}").click()
    page.click("#yes")
    page.wait_for_selector(".ar[data-ready]")
    assert page.url.startswith(f"{served.url}/app") and f"project={project.slug}" in page.url
    assert page.evaluate("fetch('/api/v1/me').then((answer) => answer.json())")["name"] == ann.name
    kept = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert "align_oidc" not in kept
    assert (kept["align_session"]["httpOnly"], kept["align_session"]["sameSite"]) == (True, "Lax")
    assert refused == []


def test_an_invitation(served: Served, provider: OpenId, context: Callable[..., Any]) -> None:
    provider.claims = {"sub": "bob", "preferred_username": "bob"}
    page = context(locale="zh-CN").new_page()
    page.goto(f"{served.url}/join/{invite(served.store, 'reviewer')}")
    page.get_by_role("link", name=f"使用 {NAME} 创建账号").click()
    page.click("#yes")
    page.wait_for_url(f"{served.url}/app**")
    assert [(person.name, person.role) for person in people(served.store)][-1] == ("bob", "reviewer")


def test_the_routes_of_the_provider_let_nobody_in(served: Served, provider: OpenId) -> None:
    ways = [path for _, path in routes(served.app.routes) if "oidc" in path]
    assert sorted(ways) == ["/join/{token}/oidc", "/login/oidc", "/login/oidc/callback"]
    for path in ways:
        status, place, body = ask(served, "GET", re.sub(r"\{[^}]*\}", "x", path))
        assert place.startswith(f"{provider.issuer}/authorize") if status == 303 else b'role="alert"' in body
        assert not shut((status, place, body)) and status in (303, 400, 404)
