"""Login by OpenID Connect: a provider on this machine, asked by HTTP, that does right and wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from labeling_app.oidc.accounts import failed
from labeling_app.oidc.attempt import ATTEMPT_SECONDS
from labeling_app.oidc.routes import BACK, BEGUN, add_oidc
from labeling_app.people import Person, change_person, create_person, invite, people, who
from labeling_app.server import LONGEST_WAY, create_app
from labeling_app.store.database import Store, open_store
from labeling_app.store.models import Identity, LoginSession, Throttle
from labeling_app.throttle import ATTEMPTS
from tests.labeling_app.openid import NAME, Labels, OpenId, followed, listening, rsa_key

MAIL = {"email": "ann@example.org", "email_verified": True}
PASSWORD = "correct horse battery"


class World:
    """The provider and the app, each at its port."""

    def __init__(self, store: Store) -> None:
        self.store, self.open = store, ExitStack()
        self.provider = OpenId()
        self.labels = Labels(store, self.provider)
        self.app = self.labels.app()
        self.open.enter_context(listening(self.app, self.labels.port))
        self.provider_open = self.open.enter_context(ExitStack())
        self.provider_open.enter_context(listening(self.provider.app(), self.provider.port))
        self.browser = self.labels.browser()

    def log_in(self, path: str = "/login/oidc") -> Any:
        return followed(self.browser, path)

    def person(self) -> Person | None:
        return who(self.store, self.browser.cookies.get("align_session"))

    def refused(self, answer: Any, status: int, said: str) -> None:
        """The login page with what was wrong, and nobody in."""
        assert (answer.status_code, self.person()) == (status, None), answer.text
        assert re.search(rf'role="alert">[^<]*{said}', answer.text) and 'type="password"' in answer.text
        with self.store.read() as session:
            assert session.execute(select(func.count()).select_from(LoginSession)).scalar_one() == 0

    def failures(self) -> int:
        with self.store.read() as session:
            return sum(session.execute(select(Throttle.failures)).scalars())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The servers, and an account `ann` that waits for her e-mail."""
    store = open_store(tmp_path / "labels.db")
    create_person(store, "ann", None, "reviewer", email="Ann@Example.org")
    world = World(store)
    world.provider.claims |= MAIL
    with world.open, world.browser:
        yield world
    store.close()


def test_in_and_out(world: World) -> None:
    page = world.browser.get("/login").text
    assert f'<a href="/login/oidc">Log in with {NAME}</a>' in page
    answer = world.log_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/app")
    session = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("align_session="))
    assert "HttpOnly" in session and "SameSite=lax" in session and "Max-Age=2592000" in session
    assert BEGUN not in world.browser.cookies
    person = world.person()
    assert person is not None and (person.name, person.role) == ("ann", "reviewer")
    world.browser.post("/logout", headers={"origin": world.labels.url})
    assert world.person() is None


def test_after_the_first_login_the_subject_counts_and_the_email_does_not(world: World) -> None:
    world.log_in()
    world.provider.claims = {"sub": "subject-1", "email": "new@example.org", "email_verified": False}
    world.browser.cookies.clear()
    assert world.log_in().headers["location"] == "/app"
    assert world.person() == people(world.store)[0]
    world.provider.claims = {"sub": "subject-2"} | MAIL  # the address was given to someone else
    world.browser.cookies.clear()
    answer = world.log_in()
    assert answer.status_code == 403 and world.person() is None


@pytest.mark.parametrize(
    "claims",
    [{}, {"email": "ann@example.org"}, MAIL | {"email_verified": False}, MAIL | {"email_verified": "false"},
     MAIL | {"email": "bob@example.org"}, MAIL | {"email": "aɴn@example.org"}, MAIL | {"email": ["ann@example.org"]},
     MAIL | {"email": "ann@example.org\x00"}, {"preferred_username": "ann"}],
)  # fmt: skip
def test_a_subject_whom_nobody_expects(world: World, claims: dict[str, Any]) -> None:
    world.provider.claims = {"sub": "stranger", **claims}
    world.refused(world.log_in(), 403, "You have no account here yet")
    assert len(people(world.store)) == 1 and world.failures() == 1


def test_an_invitation(world: World) -> None:
    path = f"/join/{invite(world.store, 'admin')}"
    assert f'<a href="{path}/oidc">Create account with {NAME}</a>' in world.browser.get(path).text
    world.provider.claims = {"sub": "bob", "preferred_username": "Ann", "email": "bob@example.org"}
    assert world.log_in(f"{path}/oidc?project=p").headers["location"] == "/app?project=p"
    person = world.person()
    assert person is not None and (person.name, person.role) == ("ann-2", "admin")
    world.provider.claims = {"sub": "eve"}
    world.browser.cookies.clear()
    answer = world.log_in(f"{path}/oidc")
    assert answer.status_code == 404 and "This invitation was used" in answer.text and world.person() is None


def test_an_invitation_used_while_its_guest_is_at_the_provider(world: World) -> None:
    path = f"/join/{invite(world.store)}/oidc"
    world.provider.claims = {"sub": "bob"}
    other = world.labels.browser()
    back = followed(other, path, until=BACK).headers["location"]
    assert world.log_in(path).headers["location"] == "/app"
    world.provider.claims = {"sub": "eve"}
    assert other.get(back).status_code == 400 and "align_session" not in other.cookies
    other.close()


@pytest.mark.parametrize(
    "wrong",
    [{"nonce": "another"}, {"nonce": None}, {"aud": "another"}, {"aud": None}, {"aud": ["labels", "another"]},
     {"azp": "another"}, {"aud": "another", "azp": "labels"}, {"iss": "https://evil.example"}, {"iss": None},
     {"exp": 1_700_000_000}, {"exp": None}, {"exp": "tomorrow"}, {"iat": 9_999_999_999}, {"sub": None}, {"sub": 7},
     {"at_hash": "another"}],
    ids=str,
)  # fmt: skip
def test_a_token_for_another_purpose(world: World, wrong: dict[str, Any]) -> None:
    world.provider.wrong = wrong
    world.refused(world.log_in(), 401, "did not let you in")
    assert world.failures() == 1


@pytest.mark.parametrize("how", ["foreign", "none", "secret", "public"])
def test_a_token_that_the_provider_did_not_sign(world: World, how: str) -> None:
    provider = world.provider
    keys = {
        "foreign": rsa_key("one", 2),
        "none": b"",
        "secret": provider.settings.secret.encode(),
        "public": provider.key.as_pem(private=False),
    }
    provider.signs = keys[how]
    world.refused(world.log_in(), 401, "did not let you in")


def test_keys_may_be_changed(world: World) -> None:
    world.log_in()
    world.provider.key = rsa_key("two")
    world.browser.cookies.clear()
    assert world.log_in().headers["location"] == "/app"


@pytest.mark.parametrize("kept", ["another state", "no state", "no cookie", "a made-up cookie", "another's cookie"])
def test_a_state_that_is_not_this_browsers(world: World, kept: str) -> None:
    back = followed(world.browser, until=BACK).headers["location"]
    if kept == "another state":
        back = re.sub(r"state=[^&]+", "state=another", back)
    elif kept == "no state":
        back = re.sub(r"&state=[^&]+", "", back)
    elif kept == "another's cookie":
        followed(world.browser, until=BACK)
    else:
        world.browser.cookies.delete(BEGUN)
        if kept == "a made-up cookie":
            world.browser.cookies.set(BEGUN, "eyJhbGciOiJub25lIn0.e30.", domain="127.0.0.1")
    asked = len(world.provider.asked)
    world.refused(world.browser.get(back), 400, "The page was too old")
    assert len(world.provider.asked) == asked and world.failures() == 0


def test_a_code_used_twice(world: World) -> None:
    back = followed(world.browser, until=BACK).headers["location"]
    begun = world.browser.cookies[BEGUN]
    assert world.browser.get(back).headers["location"] == "/app"
    thief = world.labels.browser()
    thief.cookies.set(BEGUN, begun, domain="127.0.0.1")
    answer = thief.get(back)
    assert answer.status_code == 401 and "align_session" not in thief.cookies
    thief.close()


def test_a_login_that_took_too_long(world: World) -> None:
    back = followed(world.browser, until=BACK).headers["location"]
    world.store.clock = lambda: time.time() + ATTEMPT_SECONDS + 1
    world.refused(world.browser.get(back), 400, "The page was too old")


def test_a_restart_between_there_and_back(world: World, tmp_path: Path) -> None:
    back = followed(world.browser, until=BACK).headers["location"]
    again = open_store(tmp_path / "labels.db")
    app = add_oidc(create_app(again, origins=[world.labels.url]), again, world.provider.settings, [world.labels.url])
    cookies = {BEGUN: world.browser.cookies[BEGUN]}
    with TestClient(app, base_url=world.labels.url, follow_redirects=False, cookies=cookies) as client:
        assert client.get(back).headers["location"] == "/app"
    again.close()


def test_an_inactive_person(world: World) -> None:
    world.log_in()
    change_person(world.store, "ann", active=False)
    assert world.person() is None
    world.refused(world.log_in(), 403, "or it was closed")


def test_an_inactive_person_whose_email_is_awaited(world: World) -> None:
    change_person(world.store, "ann", active=False)
    world.refused(world.log_in(), 403, "or it was closed")
    with world.store.read() as session:
        assert session.execute(select(Identity.subject)).scalar() is None


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_provider_that_is_down(world: World, when: str, caplog: pytest.LogCaptureFixture) -> None:
    create_person(world.store, "bob", PASSWORD)
    path = "/login/oidc" if when == "before" else followed(world.browser, until=BACK).headers["location"]
    world.provider_open.close()
    world.refused(world.browser.get(path), 502, "The login service cannot be reached")
    assert world.provider.issuer in caplog.text and world.failures() == 0
    page = world.browser.get(path).text
    form = re.search(r'name="form" value="([^"]+)"', page)
    action = re.search(r'method="post" action="([^"]+)"', page)
    assert form and action
    sent = {"name": "bob", "password": PASSWORD, "form": form[1]}
    world.browser.post(action[1], data=sent, headers={"origin": world.labels.url})
    person = world.person()
    assert person is not None and person.name == "bob"


NONSENSE = [
    (200, "<html>"), (200, "[]"), (200, "{}"), (200, "null"), (200, b"\xff\xfe"), (500, "{}"), (404, ""), (302, ""),
    (200, '{"keys": 7, "issuer": 7, "id_token": 7, "access_token": 7}'), (200, '{"keys": [7], "error": 7}'),
    (200, '{"keys": [{"kty": "RSA"}], "issuer": "http://evil", "id_token": "a.b", "access_token": "x"}'),
    (200, "[" * 100_000),
]  # fmt: skip


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks"])
def test_a_provider_that_answers_nonsense(world: World, path: str) -> None:
    for status, body in NONSENSE:
        world.provider.answers = {path: (status, body)}
        answer = world.log_in()
        assert answer.status_code in (401, 502), (status, body)
        assert 'type="password"' in answer.text and world.person() is None
    world.provider.answers = {}
    assert world.log_in().headers["location"] == "/app"


def test_a_provider_that_sends_the_secret_elsewhere(world: World) -> None:
    found = f'{{"issuer": "{world.provider.issuer}", "authorization_endpoint": "http://evil.example/"}}'
    world.provider.answers = {"/.well-known/openid-configuration": (200, found)}
    world.refused(world.log_in(), 502, "The login service cannot be reached")


@pytest.mark.parametrize(
    ("error", "said"), [("access_denied", "The login was cancelled"), ("x'<b>", "did not let you")]
)
def test_a_login_that_ends_at_the_provider(world: World, error: str, said: str) -> None:
    to = followed(world.browser, until="/authorize").headers["location"]
    state = parse_qs(urlsplit(to).query)["state"][0]
    answer = world.browser.get(BACK, params={"error": error, "state": state})
    world.refused(answer, 401, said)
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    "query", ["next=//evil.example", "project=//evil.example", "redirect_uri=https://evil.example"]
)
def test_no_address_leads_away_from_here(world: World, query: str) -> None:
    to = world.browser.get(f"/login/oidc?{query}", headers={"host": "evil.example"}).headers["location"]
    assert parse_qs(urlsplit(to).query)["redirect_uri"] == [world.labels.url + BACK]
    assert world.log_in(f"/login/oidc?{query}").headers["location"] in ("/app", "/app?project=%2F%2Fevil.example")


@pytest.mark.parametrize("joins", [False, True])
@pytest.mark.parametrize(
    ("to", "place"),
    [("/app/quality/?project=名", f"/app/quality/?project={quote('名')}"),
     ("/app?project=p&task=adjudicate&item=3", "/app?project=p&task=adjudicate&item=3"), ("//evil.example", "/app")],
)  # fmt: skip
def test_who_comes_in_comes_to_the_page_they_asked_for(world: World, joins: bool, to: str, place: str) -> None:
    door = f"/join/{invite(world.store)}" if joins else "/login"
    link = re.search(rf'href="({door}/oidc[^"]*)"', world.browser.get(f"{door}?{urlencode({'to': to})}").text)
    assert link
    assert world.log_in(unescape(link[1])).headers["location"] == place
    assert world.person() is not None


def test_a_declined_login_keeps_the_page_they_asked_for(world: World) -> None:
    wish = urlencode({"to": "/app/quality/?project=p"})
    there = followed(world.browser, f"/login/oidc?{wish}", until="/authorize").headers["location"]
    state = parse_qs(urlsplit(there).query)["state"][0]
    page = world.browser.get(BACK, params={"error": "access_denied", "state": state}).text
    assert f'href="/login/oidc?{wish}"' in page and f'action="/login?{wish}"' in page
    assert world.log_in(f"/login/oidc?{wish}").headers["location"] == "/app/quality/?project=p"


@pytest.mark.parametrize("letter", ["x", "名", "\N{GRINNING FACE}", "\x01", '"'])
def test_the_cookie_of_a_login_that_was_begun_is_one_that_browsers_take(world: World, letter: str) -> None:
    """They drop what is longer than 4096 characters with its name."""
    to, path = "/app?project=", f"/join/{invite(world.store)}/oidc"
    to += letter * ((LONGEST_WAY - len(to)) // len(quote(letter)))
    world.browser.get(f"{path}?{urlencode({'to': to, 'project': letter * 500})}")
    assert 2000 < len(world.browser.cookies[BEGUN]) < 4096 - len(f"__Host-{BEGUN}=")
    assert world.log_in(f"{path}?{urlencode({'to': to})}").headers["location"] == quote(to, safe="/?=")
    world.browser.get(f"/login/oidc?{urlencode({'project': letter * 500})}")
    assert len(world.browser.cookies[BEGUN]) < 4096 - len(f"__Host-{BEGUN}=")


def test_failures_are_throttled_together_with_those_of_passwords(world: World) -> None:
    for _ in range(ATTEMPTS["address"] - 1):
        failed(world.store, "127.0.0.1", "no-account")
    world.provider.claims = {"sub": "stranger"}
    assert world.log_in().status_code == 403
    assert {world.browser.get(path).status_code for path in (BACK, "/login/oidc")} == {429}
    form = re.search(r'name="form" value="([^"]+)"', world.browser.get("/login").text)
    assert form
    sent = {"name": "ann", "password": PASSWORD, "form": form[1]}
    assert world.browser.post("/login", data=sent, headers={"origin": world.labels.url}).status_code == 429


def test_over_https_the_cookie_is_secure(world: World) -> None:
    here = "https://labels.example"
    app = add_oidc(create_app(world.store, origins=[here]), world.store, world.provider.settings, [here])
    with TestClient(app, base_url=here, follow_redirects=False) as client:
        answer = client.get("/login/oidc")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"__Host-{BEGUN}=") and "Secure" in cookie and "HttpOnly" in cookie
    assert "SameSite=lax" in cookie and f"Max-Age={ATTEMPT_SECONDS}" in cookie
    assert world.provider.settings.secret not in cookie + answer.headers["location"]


@pytest.mark.parametrize("other", [False, True])
def test_a_provider_that_tells_the_email_apart(world: World, other: bool) -> None:
    world.provider.thin = True
    if other:
        world.provider.wrong = {"sub": "stranger"}
        world.refused(world.log_in(), 403, "You have no account here yet")
    else:
        assert world.log_in().headers["location"] == "/app"


def test_a_provider_that_takes_the_secret_by_post(world: World) -> None:
    world.provider.posts = True
    assert world.log_in().headers["location"] == "/app"


def test_a_secret_that_the_provider_does_not_know(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.provider.answers = {"/token": (401, '{"error": "invalid_client"}')}
    world.refused(world.log_in(), 401, "did not let you in")
    assert "invalid_client" in caplog.text and world.provider.settings.secret not in caplog.text


def test_nobody_else_is_asked(world: World) -> None:
    world.log_in()
    assert world.provider.asked == ["/.well-known/openid-configuration", "/authorize", "/token", "/jwks"]


def test_without_a_provider_there_is_no_such_way(store: Store) -> None:
    with TestClient(create_app(store, origins=["http://testserver"])) as client:
        assert [client.get(path).status_code for path in ("/login/oidc", "/join/x/oidc", BACK)] == [404] * 3
        assert "oidc" not in client.get("/login").text
