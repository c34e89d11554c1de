"""Without a login there is no way in, through any route; and nobody does what is another's to do."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from labeling_app.people import Person, script_token
from tests.browser.served import PATIENCE, Served
from tests.browser.test_ranking import items

# Without Playwright's loop in this thread, Gradio makes one of its own when it is mounted, and leaves it open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

OPEN = {
    "GET /login": "the way in",
    "GET /join/{token}": "the way in for whoever was invited",
    "GET /": "leads to the pages, which lead to the login",
    "GET /static/": "our scripts and styles, the same for everybody",
    "HEAD /static/": "our scripts and styles, the same for everybody",
    "GET /static/code.css": "our styles",
}
"""Routes that answer to nobody, and why they may."""

Answer = tuple[int, str, bytes]


def ask(served: Served, method: str, path: str, token: str = "", body: Any = None) -> Answer:
    """Status, place and body (of a stream: nothing) of an answer, as a program gets it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    sent = None if body is None else json.dumps(body)
    if sent:
        headers["Content-Type"] = "application/json"
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)) as connection:
        connection.request(method, path, sent, headers)
        with connection.getresponse() as answer:
            stream = answer.getheader("content-type", "").startswith("text/event-stream")
            return answer.status, answer.getheader("location") or "", b"" if stream else answer.read()


def routes(found: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of every route, through what is mounted and what is included."""
    for route in found:
        inside = getattr(route, "original_router", None)
        if inside is not None:
            yield from routes(inside.routes, prefix + route.include_context.prefix)
        elif getattr(route, "routes", None):
            yield from routes(route.routes, prefix + route.path)
        elif hasattr(route, "app") and not hasattr(route, "methods"):
            yield from ((method, f"{prefix}{route.path}/") for method in ("GET", "HEAD"))
        else:
            yield from ((method, prefix + route.path) for method in sorted(route.methods or {"GET"}))


def shut(answer: Answer) -> bool:
    return answer[0] in (401, 403) or (answer[0] == 303 and answer[1].startswith("/login"))


def test_every_route_is_shut_but_for_those_that_may_be_open(served: Served) -> None:
    found = {f"{method} {path}" for method, path in routes(served.app.routes)}
    assert {"POST /api/v1/projects/{slug:path}/submit", "POST /app/gradio_api/queue/join", "GET /app/config"} <= found
    assert len(found) > 50
    open_ = set()
    for name in sorted(found):
        method, path = name.split(" ")
        if not shut(ask(served, method, re.sub(r"\{[^}]*\}", "x", path))):
            open_.add(name)
    assert open_ == set(OPEN) & found
    assert set(OPEN) <= found, "these routes are gone"


def test_gradios_own_login_lets_nobody_in(served: Served) -> None:
    person = served.person()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    form = f"username={person.name}&password=correct+horse+battery"
    connection.request("POST", "/app/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    cookies = "; ".join(cookie.split(";")[0] for cookie in answer.headers.get_all("set-cookie") or [])
    connection.request("GET", "/app/config", headers={"Cookie": cookies})
    assert connection.getresponse().status == 401
    connection.close()


def test_no_page_describes_gradios_endpoints(served: Served) -> None:
    token = script_token(served.store, served.person("admin").name)
    for path in ("/app/openapi.json", "/app/docs", "/app/redoc"):
        assert ask(served, "GET", path, token)[0] == 404


@pytest.mark.parametrize("token", ["", "x" * 43, "é" * 10, "' OR 1=1 --"])
def test_a_token_that_is_none(served: Served, token: str) -> None:
    assert ask(served, "GET", "/api/v1/me", token.encode().decode("latin-1"))[0] == 401


def leased(served: Served, person: Person, project: Any) -> tuple[str, dict[str, Any]]:
    token = script_token(served.store, person.name)
    status, _, body = ask(served, "POST", f"/api/v1/projects/{project.slug}/next", token)
    assert status == 200
    item = json.loads(body)["item"]
    ranks = {answer["key"]: number for number, answer in enumerate(item["answers"], start=1)}
    return token, {
        "lease": item["lease"],
        "token": f"token-{item['lease']}",
        "ranks": ranks,
        "moves": 1,
        "seconds": 1.0,
    }


def test_an_annotator_may_not_see_what_is_for_reviewers(served: Served) -> None:
    project = served.project(items(5))
    base = f"/api/v1/projects/{project.slug}"
    first, sent = leased(served, served.person(), project)
    assert ask(served, "POST", f"{base}/submit", first, sent)[0] == 200
    for role, status in (("annotator", 403), ("reviewer", 200), ("admin", 200)):
        person = served.person(role)
        token, sent = leased(served, person, project)
        for path in (f"{base}/quality", f"{base}/export"):
            told = ask(served, "GET", path, token)
            assert told[0] == status
            assert status == 403 or len(told[2]) > 2
        assert ask(served, "POST", f"{base}/next?task=adjudicate", token)[0] == status
        assert ask(served, "POST", f"{base}/next", token)[0] == 200
        assert ask(served, "POST", "/api/v1/leave", token, {"lease": sent["lease"]})[0] == 200


def test_nothing_is_done_on_anothers_lease(served: Served) -> None:
    project = served.project(items(2))
    base = f"/api/v1/projects/{project.slug}"
    ann, sent = leased(served, served.person(), project)
    bob, _ = leased(served, served.person("admin"), project)
    skip = {"lease": sent["lease"], "token": "s" * 16, "reason": "unsure"}
    lease = {"lease": sent["lease"]}
    for method, path, body in [
        ("POST", f"{base}/submit", sent),
        ("POST", f"{base}/skip", skip),
        ("PUT", "/api/v1/draft", lease | {"body": {}}),
        ("POST", "/api/v1/renew", lease),
        ("POST", "/api/v1/leave", lease),
    ]:
        assert ask(served, method, path, bob, body)[0] == 404
    assert served.saved(project) == []
    assert ask(served, "POST", f"{base}/submit", ann, sent)[0] == 200
    assert ask(served, "POST", f"{base}/undo", bob)[0] == 409
    assert len(served.saved(project)) == 1


def test_ten_submissions_at_once_are_one_ranking(served: Served) -> None:
    project = served.project(items(3))
    person = served.person()
    token, sent = leased(served, person, project)
    told: list[Answer] = []
    gate = threading.Barrier(10)

    def submit() -> None:
        gate.wait()
        told.append(ask(served, "POST", f"/api/v1/projects/{project.slug}/submit", token, sent))

    threads = [threading.Thread(target=submit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bodies = [json.loads(body) for _, _, body in told]
    assert [status for status, _, _ in told] == [200] * 10
    assert len({body["saved"]["ranking"] for body in bodies}) == 1
    assert sorted(body["saved"]["repeated"] for body in bodies) == [False] + [True] * 9
    assert len({body["item"]["lease"] for body in bodies}) == 1  # and they go on with one and the same item
    assert len(served.saved(project, person)) == 1
