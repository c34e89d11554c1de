"""What a login by OpenID Connect is told, what it keeps, and what it does without Authlib."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import inspect, select

from align.errors import RecipeError, SystemLimit
from labeling_app.errors import Refused
from labeling_app.oidc.accounts import change_email, enter
from labeling_app.oidc.attempt import Attempt, from_cookie, to_cookie
from labeling_app.oidc.provider import Subject
from labeling_app.oidc.settings import SECRET, safe, settings_of
from labeling_app.people import create_person, has_logins, local_person, people, who
from labeling_app.serving import Address, build
from labeling_app.store.database import Store, _config, open_store
from labeling_app.store.models import PersonRow
from tests.runs import call

ISSUER = "https://login.example.org/realms/team"


def test_the_secret_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "from the environment")
    settings = settings_of(ISSUER, "labels", None, "")
    assert settings is not None and (settings.secret, settings.name) == ("from the environment", "login.example.org")
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    settings = settings_of(ISSUER, "labels", file, "Our house")
    assert settings is not None and (settings.secret, settings.name) == ("from a file", "Our house")
    assert "from" not in repr(settings)


def test_nothing_is_set_up_if_nobody_asks() -> None:
    assert settings_of("", "", None, "") is None


@pytest.mark.parametrize(
    ("issuer", "client", "file", "said"),
    [
        ("", "labels", "", "needs an issuer"),
        ("http://login.example.org", "labels", "", "is no issuer"),
        ("login.example.org", "labels", "", "is no issuer"),
        ("https://", "labels", "", "is no issuer"),
        ("https://[x", "labels", "", "is no issuer"),
        (f"{ISSUER}?x=1", "labels", "", "is no issuer"),
        (ISSUER, "", "", "client id is missing"),
        (ISSUER, "labels", "", "secret is missing"),
        (ISSUER, "labels", "gone", "cannot be read"),
        (ISSUER, "labels", "empty", "secret is missing"),
    ],
)
def test_settings_that_do_not_fit(
    issuer: str, client: str, file: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(RecipeError, match=said):
        settings_of(issuer, client, tmp_path / file if file else None, "")


@pytest.mark.parametrize(
    ("url", "may"),
    [("https://x", True), ("http://localhost:1", True), ("http://127.0.0.1", True), ("http://[::1]/", True),
     ("http://x", False), ("http://localhost.example", False), ("ftp://localhost", False), (7, False), ("", False)],
)  # fmt: skip
def test_where_a_secret_may_be_sent(url: Any, may: bool) -> None:
    assert safe(url) is may


def test_without_authlib(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        """Finds what is installed, but for Authlib."""

        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            return None if name == "authlib" else PathFinder.find_spec(name, path, target)

    monkeypatch.setenv(SECRET, "x")
    monkeypatch.delitem(sys.modules, "authlib", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Without if each is PathFinder else each for each in sys.meta_path])
    with pytest.raises(SystemLimit, match="Authlib is not installed") as caught:
        settings_of(ISSUER, "labels", None, "")
    assert caught.value.remedy == "pip install 'rlhf-align[oidc]'"


def test_without_accounts_there_is_no_login(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "x")
    with pytest.raises(RecipeError, match="without accounts there is no login"):
        build(store, Address(), settings_of(ISSUER, "labels", None, ""))


def test_the_command_takes_them_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGN_OIDC_ISSUER", "http://login.example.org")
    outcome = call("label", "--accounts", "--db", tmp_path / "l.db")
    assert outcome.code == 2 and "`http://login.example.org` is no issuer" in outcome.err


def test_an_account_by_email_is_a_login_where_there_is_a_provider(either: Store) -> None:
    create_person(either, "ann", None, email="ann@example.org")
    assert not has_logins(either) and has_logins(either, by_provider=True)


def test_an_email_lets_in_whoever_is_first(either: Store) -> None:
    create_person(either, "ann", None, email=" Ann@Example.org ")
    person, token = enter(either, Subject(ISSUER, "1", "ann@example.org", ()))
    assert person.name == "ann" and who(either, token) == person
    assert enter(either, Subject(ISSUER, "1", "", ()))[0] == person
    for other in (Subject(ISSUER, "2", "ann@example.org", ()), Subject("https://other", "1", "", ())):
        with pytest.raises(Refused, match="this app does not"):
            enter(either, other)


def test_a_change_of_email_ends_sessions_and_waits_for_another(either: Store) -> None:
    create_person(either, "ann", None, email="ann@example.org")
    _, token = enter(either, Subject(ISSUER, "1", "ann@example.org", ()))
    change_email(either, "ann", "ann@example.com")
    assert who(either, token) is None
    with pytest.raises(Refused):
        enter(either, Subject(ISSUER, "1", "", ()))
    assert enter(either, Subject(ISSUER, "2", "ann@example.com", ()))[0].name == "ann"
    change_email(either, "ann", "")
    with pytest.raises(Refused):
        enter(either, Subject(ISSUER, "2", "ann@example.com", ()))


def test_nobody_logs_in_as_the_one_person_without_accounts(store: Store) -> None:
    local_person(store)
    with pytest.raises(Refused, match="no login leads to this account"):
        change_email(store, "local", "ann@example.org")


@pytest.mark.parametrize(
    ("wishes", "name"),
    [(("Ann", "x"), "ann-2"), (("a b", "ann@example.org"), "ann@example.org"), (("local", "<b>"), "person"),
     ((), "person"), (("x" * 60,), "x" * 50)],
)  # fmt: skip
def test_the_name_of_an_invited_person(store: Store, wishes: tuple[str, ...], name: str) -> None:
    from labeling_app.people import invite

    create_person(store, "ann", None)
    assert enter(store, Subject(ISSUER, "1", "", wishes), invite(store))[0].name == name


def test_what_was_begun_comes_back_as_it_was() -> None:
    begun = Attempt("/join/x", "p", "https://here/back")
    text = to_cookie(begun, "secret", 1000.0)
    assert from_cookie(text, "secret", 1599.0) == begun
    assert from_cookie(text, "secret", 1601.0) is None and from_cookie(text, "another", 1000.0) is None
    assert from_cookie(text[:-2], "secret", 1000.0) is None and from_cookie("é", "secret", 1000.0) is None


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_of_before(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    new: Callable[[], str] | None = request.getfixturevalue("new_database") if kind == "postgresql" else None
    where = new() if new else str(tmp_path / "l.db")
    store = open_store(where)
    create_person(store, "ann", None)
    before = inspect(store.engine).get_columns("identity")
    with store.engine.connect().execution_options(writer=True) as connection, connection.begin():
        connection.exec_driver_sql("DROP TABLE identity")
        config = _config()
        config.attributes["connection"] = connection
        command.stamp(config, "0002")
    store.close()
    again = open_store(where)
    assert [c["name"] for c in inspect(again.engine).get_columns("identity")] == [c["name"] for c in before]
    with again.read() as session:
        assert session.execute(select(PersonRow.name)).scalars().all() == ["ann"]
    assert [person.name for person in people(again)] == ["ann"]
    again.close()
