"""The login pages over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient

from align.errors import RecipeError
from labeling_app import people
from labeling_app.people import change_person, create_person, invite, local_person, script_token
from labeling_app.server import HEADERS, create_app, user_of
from labeling_app.serving import Address, build
from labeling_app.store.database import Store

HERE = "http://testserver"
PASSWORD = "correct horse battery"


@pytest.fixture
def client(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The application with a page that only those who are logged in may see."""
    from argon2 import PasswordHasher

    monkeypatch.setattr(people, "_hasher", PasswordHasher(time_cost=1, memory_cost=64))
    people._nobody.cache_clear()
    app = create_app(store, origins=[HERE])

    user_behind = user_of(store)

    @app.get("/app")
    def page(request: Request) -> str:
        user = user_behind(request)
        if user is None:
            raise HTTPException(401)
        return user

    create_person(store, "ann", PASSWORD)
    with TestClient(app, base_url=HERE, follow_redirects=False) as client:
        yield client


def form_of(page: str) -> str:
    found = re.search(r'name="form" value="([^"]+)"', page)
    assert found
    return found[1]


def enter(client: TestClient, path: str = "/login", **fields: str) -> Any:
    data = {"name": "ann", "password": PASSWORD, "form": form_of(client.get(path).text), **fields}
    return client.post(path, data=data, headers={"origin": HERE})


def test_in_and_out(client: TestClient) -> None:
    assert client.get("/app").status_code == 401
    answer = enter(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/app")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("align_session"))
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert client.get("/app").json() == "ann"
    assert client.post("/logout", headers={"origin": HERE}).headers["location"] == "/login"
    assert client.get("/app").status_code == 401


def test_over_https_cookies_are_secure(store: Store) -> None:
    with TestClient(create_app(store, origins=["https://labels.example"]), base_url="https://labels.example") as client:
        cookie = client.get("/login").headers["set-cookie"]
    assert cookie.startswith("__Host-align_form=") and "Secure" in cookie


def test_a_wrong_password(client: TestClient) -> None:
    answer = enter(client, password="wrong password")
    assert answer.status_code == 401 and "Name or password is wrong." in answer.text
    assert 'role="alert"' in answer.text and "wrong password" not in answer.text


def test_too_many_attempts(client: TestClient) -> None:
    codes = [enter(client, password="guess").status_code for _ in range(6)]
    assert codes == [401] * 5 + [429]
    assert "Too many attempts" in enter(client).text


@pytest.mark.parametrize("form", ["", "made-up", "é"])
def test_a_form_of_another_site(client: TestClient, form: str) -> None:
    assert enter(client, form=form).status_code == 403
    assert client.get("/app").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
     {"sec-fetch-site": "same-site"}, {"referer": "https://evil.example/x"}],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/login", "/logout", "/join/x", "/app/anything"])
def test_nothing_is_done_for_another_site(client: TestClient, path: str, headers: dict[str, str]) -> None:
    enter(client)
    assert client.post(path, headers=headers, data={"x": "y"}).status_code == 403
    assert client.get("/app").status_code == 200


@pytest.mark.parametrize(("language", "title"), [("en", "Another address"), ("zh-CN", "地址不符")])
def test_another_address_names_the_right_one(client: TestClient, language: str, title: str) -> None:
    """Whoever opened the app by another name of its machine gets the form, and cannot send it."""
    asks = {"origin": "http://10.0.0.5:7860", "accept": "text/html", "accept-language": language}
    answer = client.post("/login?project=p", headers=asks, data={"x": "y"})
    assert answer.status_code == 403 and f"<h1>{title}</h1>" in answer.text and "--origin" in answer.text
    assert f'<a href="{HERE}/app?project=p">{HERE}</a>' in answer.text
    error = client.post("/login", headers={**asks, "accept": "*/*"}).json()["error"]
    assert (error["code"], error["allowed"]) == ("other-site", HERE) and "--origin" in error["remedy"]


@pytest.mark.parametrize(
    ("to", "place"),
    [
        ("/app/quality/?project=team", "/app/quality/?project=team"),
        ("/app?project=team&task=adjudicate&item=3", "/app?project=team&task=adjudicate&item=3"),
        (f"/app/quality/?project={quote('名' * 100)}", f"/app/quality/?project={quote('名' * 100)}"),
        (f"/app?project={'名' * 100}", f"/app?project={quote('名' * 100)}"),
        *((to, "/app") for to in (
            "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example/app", "javascript:alert(1)",
            "/app/../x", "/app//evil.example", "/logout", "app", "/app\t", " /app", "/appx", f"/app?{'x' * 1500}",
            f"/app?{'名' * 200}",
        )),
    ],
)  # fmt: skip
def test_who_logs_in_comes_to_a_page_of_ours_alone(client: TestClient, to: str, place: str) -> None:
    assert enter(client, f"/login?{urlencode({'to': to})}").headers["location"] == place


def test_the_project_outlives_the_login(client: TestClient) -> None:
    """However long its name is, and whatever else stands in the address."""
    page = {"accept": "text/html"}
    wanted = f"/app?project={quote('名' * 100)}"
    login = client.get(wanted, headers=page).headers["location"]
    assert enter(client, login).headers["location"] == wanted
    client.cookies.clear()
    login = client.get(f"/app?project=p&x={'x' * 1500}", headers=page).headers["location"]
    assert enter(client, login).headers["location"] == "/app?project=p"


def test_another_host_names_the_right_one(store: Store) -> None:
    """Without accounts, no page at all is shown at another address."""
    with TestClient(create_app(store, origins=[HERE], only=local_person(store)), base_url="http://box:1") as client:
        answer = client.get("/app", headers={"accept": "text/html"})
        assert answer.status_code == 421 and f'<a href="{HERE}/app">' in answer.text
        assert client.get("/api/v1/me").json()["error"]["allowed"] == HERE


def test_a_token_says_who_asks_without_accounts_too(store: Store) -> None:
    """Two scripts must not label as one person; a token that is none is refused, not taken for the one there is."""
    person = create_person(store, "ada", "correct horse battery")
    with TestClient(create_app(store, origins=[HERE], only=local_person(store)), base_url=HERE) as client:
        asked = {
            sent: client.get("/api/v1/me", headers={"authorization": sent})
            for sent in (f"Bearer {script_token(store, person.name)}", "Bearer wrong", "Basic eDp5", "")
        }
        wrong = {"authorization": "Bearer wrong", "accept": "text/html"}
        for page in ("/app", "/app/quality/", "/api"):
            assert client.get(page, headers=wrong, follow_redirects=False).status_code == 401, "there is no login"
        quality = {"authorization": f"Bearer {script_token(store, person.name)}", "accept": "text/html"}
        assert client.get("/app/quality/", headers=quality).status_code == 403, "she is an annotator"
    assert [answer.status_code for answer in asked.values()] == [200, 401, 200, 200]
    names = [answer.json().get("name") for answer in asked.values()]
    assert names == ["ada", None, local_person(store).name, local_person(store).name]


def test_no_other_origin_may_read(client: TestClient) -> None:
    answer = client.get("/login", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/login", "/join/x", "/api/v1/me", "/app", "/nothing-here"])
def test_headers_are_on_every_answer(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "http:" not in policy and "https:" not in policy and "*" not in policy
    for rule in ("default-src 'self'", "frame-ancestors 'none'", "object-src 'none'", "base-uri 'self'"):
        assert rule in policy
    kept_by_nobody = path.startswith(("/login", "/join", "/api"))
    assert (answer.headers.get("cache-control") == "no-store") == kept_by_nobody


def test_an_invitation(client: TestClient, store: Store) -> None:
    path = f"/join/{invite(store)}"
    answer = enter(client, path, name="bob")
    assert answer.status_code == 303 and client.get("/app").json() == "bob"
    answer = client.get(path)
    assert answer.status_code == 404 and "This invitation was used" in answer.text
    assert "<form" not in answer.text and '<a href="/login">Log in</a>' in answer.text


def test_a_name_is_never_markup(client: TestClient) -> None:
    answer = enter(client, name='"><script>alert(1)</script>')
    assert "<script>" not in answer.text and "&lt;script&gt;" in answer.text


def test_a_name_that_cannot_be_stored(client: TestClient) -> None:
    assert enter(client, name="a\x00b").status_code == 401


@pytest.mark.parametrize(
    ("accept", "title"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "登录"),
        ("en-GB", "Log in"),
        ("de,zh;q=0.5", "登录"),
        ("de", "Log in"),
        ("", "Log in"),
    ],
)
def test_the_browsers_language(client: TestClient, accept: str, title: str) -> None:
    page = client.get("/login", headers={"accept-language": accept}).text
    assert f"<h1>{title}</h1>" in page


def test_no_page_describes_the_endpoints(client: TestClient) -> None:
    assert [client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3


def test_an_address_elsewhere_demands_accounts(store: Store) -> None:
    """A proxy on this machine passes on what everybody sends: that it listens here alone says nothing then."""
    assert Address().alone and Address(origins=("http://localhost:9000",)).alone
    with pytest.raises(RecipeError, match="needs accounts"):
        build(store, Address(origins=("https://labels.example.org",)))


def test_a_page_for_reviewers(client: TestClient, store: Store) -> None:
    enter(client)
    for path in ("/app/quality", "/app/quality/?project=p"):
        answer = client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 403 and "This page is for reviewers" in answer.text
        assert "<form" not in answer.text and ">Back to ranking</a>" in answer.text
    assert '"/app?project=p"' in answer.text
    change_person(store, "ann", role="reviewer")
    assert client.get("/app/quality", headers={"accept": "text/html"}).status_code == 404  # no page is mounted here
