"""Errors of the REST API: one form, the right status, and nothing that is not the caller's to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from labeling_app.people import create_person, script_token
from labeling_app.server import create_app
from labeling_app.store.database import Store
from tests.labeling_app.world import made, person

Ask = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def ask(either: Store, tmp_path: Path) -> Iterator[Ask]:
    """Asks the API as a person; status, and the error that it answers with."""
    made(either, tmp_path)
    person(either, "ann")
    create_person(either, "eve", None, "reviewer")
    with TestClient(create_app(either, origins=["http://testserver"])) as client:

        def asked(method: str, path: str, name: str = "ann", token: str = "", sent: Any = None) -> Any:
            headers = {"authorization": f"Bearer {token or script_token(either, name)}"} if name else {}
            answer = client.request(method, f"/api/v1{path}", headers=headers, json=sent)
            assert set(answer.json()) == {"error"}, answer.text
            assert either.place not in answer.text and '"p"' not in answer.text
            return answer.status_code, answer.json()["error"]

        yield asked


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/projects/q/next", None),
        ("POST", "/projects/q/undo", None),
        ("GET", "/projects/q/quality", None),
        ("GET", "/projects/q/export", None),
        ("POST", "/projects/q/skip", {"lease": "x", "token": "token-00", "reason": "unsure"}),
    ],
)
def test_a_project_that_is_not_there(ask: Ask, method: str, path: str, sent: Any) -> None:
    status, error = ask(method, path, "eve", sent=sent)
    assert (status, error["code"], error["where"], error["allowed"]) == (404, "no-project", "", "")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/projects/a%00b/next"),
        ("GET", "/projects/a%00b/quality"),
        ("GET", "/projects/a%00b/export"),
        ("POST", "/projects/a%00b/undo"),
        ("POST", f"/projects/p/next?task=adjudicate&item={2**31}"),
        ("POST", f"/projects/p/next?task=adjudicate&item={2**70}"),
        ("POST", "/projects/p/next?item=-1"),
        ("POST", "/projects/p/next?task=rest"),
        ("GET", f"/projects/p/export?upto={2**64}"),
        ("GET", "/projects/p/export?shape=a%00b"),
        ("POST", "/renew"),
    ],
)
def test_what_does_not_fit(ask: Ask, method: str, path: str) -> None:
    status, error = ask(method, path, "eve")
    assert status == 422 and set(error) == {"code", "where", "found", "allowed", "remedy"} and error["found"]
    assert "page" not in error["remedy"]


def test_a_submission_that_does_not_fit(ask: Ask) -> None:
    status, error = ask("POST", "/projects/p/submit", sent={"lease": "a\x00b", "token": "token-00"})
    assert (status, error["where"]) == (422, "ranks") and "page" not in error["remedy"]
    status, error = ask("POST", "/projects/p/skip", sent={"lease": "a\x00b", "token": "token-00", "reason": "unsure"})
    assert (status, error["code"]) == (404, "not-yours")


def test_who_is_told_to_log_in(ask: Ask) -> None:
    status, error = ask("GET", "/me", token="of-yesterday")
    assert status == 401 and "token is not valid" in error["found"] and "users token NAME" in error["remedy"]
    status, error = ask("GET", "/me", name="")
    assert status == 401 and "log in at /login" in error["remedy"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/projects/p", 404), ("GET", "/renew", 405)]
)
def test_a_path_that_is_not_there(ask: Ask, method: str, path: str, status: int) -> None:
    found, error = ask(method, path)
    assert (found, error["code"], error["where"]) == (status, "no-path", f"/api/v1{path}")
    assert error["allowed"] == ("POST" if status == 405 else "") and error["remedy"] == "see /api"


@pytest.mark.parametrize("path", ["/api", "/api/openapi.json"])
def test_the_description_needs_a_login(store: Store, path: str) -> None:
    """A program is told so; a browser is led to it."""
    person(store, "ann")
    with TestClient(create_app(store, origins=["http://testserver"]), follow_redirects=False) as client:
        answer = client.get(path)
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "login"
        page = client.get(path, headers={"accept": "text/html,*/*"})
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        told = client.get(path, headers={"authorization": f"Bearer {script_token(store, 'ann')}"})
        assert told.status_code == 200
