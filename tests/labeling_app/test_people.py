"""Accounts, login, sessions, invitations."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from labeling_app import people
from labeling_app.errors import Refused
from labeling_app.people import (
    SESSION_SECONDS,
    accept,
    change_person,
    create_person,
    invitation_holds,
    invite,
    local_person,
    login,
    logout,
    who,
)
from labeling_app.store.database import Store, open_store
from labeling_app.store.models import Invitation, LoginSession, PersonRow
from labeling_app.throttle import ATTEMPTS
from tests.labeling_app.backends import Clock

PASSWORD = "correct horse battery"
HASHER = people._hasher  # before a test puts a quicker one in its place


@pytest.fixture(autouse=True)
def quick_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """argon2id as in real life, with less memory, so that the tests are quick."""
    from argon2 import PasswordHasher

    monkeypatch.setattr(people, "_hasher", PasswordHasher(time_cost=1, memory_cost=64))
    people._nobody.cache_clear()


def test_the_hash_is_argon2id(either: Store) -> None:
    create_person(either, "ann", PASSWORD)
    with either.read() as session:
        (kept,) = session.execute(select(PersonRow.password)).scalars()
    assert kept is not None and kept.startswith("$argon2id$") and PASSWORD not in kept


def test_the_real_parameters_are_those_of_rfc_9106() -> None:
    from argon2 import Type

    assert (HASHER.time_cost, HASHER.memory_cost, HASHER.parallelism, HASHER.type) == (3, 65536, 4, Type.ID)


def test_a_session_outlives_a_restart_and_ends(either: Store, clock: Clock) -> None:
    ann = create_person(either, "ann", PASSWORD)
    _, token = login(either, " Ann ", PASSWORD, "1.2.3.4")
    again = open_store(either.engine.url.render_as_string(hide_password=False), clock=clock)
    assert who(again, token) == ann
    clock.seconds += SESSION_SECONDS + 1
    assert who(again, token) is None
    again.close()


def test_tokens_are_kept_as_hashes(store: Store) -> None:
    create_person(store, "ann", PASSWORD)
    _, token = login(store, "ann", PASSWORD, "a")
    invited = invite(store)
    with store.read() as session:
        kept = [*session.execute(select(LoginSession.token_sha256)).scalars()]
        kept += session.execute(select(Invitation.token_sha256)).scalars()
    assert token not in kept and invited not in kept and all(len(hashed) == 64 for hashed in kept)


def test_logout_ends_one_session(store: Store) -> None:
    create_person(store, "ann", PASSWORD)
    tokens = [login(store, "ann", PASSWORD, "a")[1] for _ in range(2)]
    logout(store, tokens[0])
    assert who(store, tokens[0]) is None and who(store, tokens[1]) is not None


@pytest.mark.parametrize("token", [None, "", "x", "\ud800"])
def test_no_session(store: Store, token: str | None) -> None:
    assert who(store, token) is None


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong password"), ("bob", PASSWORD), ("local", PASSWORD)])
def test_a_wrong_name_reads_as_a_wrong_password(
    store: Store, name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And takes as long: a password is hashed whether there is an account or not."""
    from argon2 import PasswordHasher

    create_person(store, "ann", PASSWORD)
    local_person(store)
    asked, verify = [], PasswordHasher.verify
    monkeypatch.setattr(PasswordHasher, "verify", lambda *given: asked.append(1) or verify(*given))
    with pytest.raises(Refused, match="name or password is wrong") as caught:
        login(store, name, password, "a")
    assert caught.value.code == "login" and asked == [1]


def test_guessing_is_throttled_and_forgotten(either: Store, clock: Clock) -> None:
    create_person(either, "ann", PASSWORD)

    def attempt(password: str, address: str = "evil") -> str:
        try:
            login(either, "ann", password, address)
        except Refused as refused:
            return refused.code
        return "in"

    assert [attempt("guess") for _ in range(ATTEMPTS["name and address"])] == ["login"] * 5
    assert attempt(PASSWORD) == "throttled"
    assert attempt(PASSWORD, "home") == "in"  # the owner is not locked out by someone else's guesses
    clock.seconds += 3
    assert attempt("guess") == "login"
    clock.seconds += 3
    assert attempt("guess") == "throttled"  # 4 seconds this time
    clock.seconds += 2
    assert attempt(PASSWORD) == "in"


def test_throttling_outlives_a_restart(store: Store, tmp_path: Path, clock: Clock) -> None:
    create_person(store, "ann", PASSWORD)
    for _ in range(5):
        with pytest.raises(Refused):
            login(store, "ann", "guess", "evil")
    again = open_store(tmp_path / "labels.db", clock=clock)
    with pytest.raises(Refused) as caught:
        login(again, "ann", PASSWORD, "evil")
    assert caught.value.code == "throttled"
    again.close()


def test_an_inactive_person_is_out_at_once(store: Store) -> None:
    create_person(store, "ann", PASSWORD)
    _, token = login(store, "ann", PASSWORD, "a")
    change_person(store, "ann", active=False)
    assert who(store, token) is None
    with pytest.raises(Refused):
        login(store, "ann", PASSWORD, "a")


def test_a_new_password_ends_old_sessions(store: Store) -> None:
    create_person(store, "ann", PASSWORD)
    _, token = login(store, "ann", PASSWORD, "a")
    change_person(store, "ann", password="another long one")
    assert who(store, token) is None
    with pytest.raises(Refused):
        login(store, "ann", PASSWORD, "a")
    login(store, "ann", "another long one", "a")


def test_an_invitation_is_for_one_person(either: Store, clock: Clock) -> None:
    token = invite(either, "reviewer")
    ann, session = accept(either, token, "ann", PASSWORD)
    assert ann.role == "reviewer" and who(either, session) == ann
    late = invite(either)
    clock.seconds += 8 * 86_400
    for used in (token, late, "made up"):
        assert not invitation_holds(either, used)
        with pytest.raises(Refused) as caught:
            accept(either, used, "bob", PASSWORD)
        assert caught.value.code == "bad-invitation"


def test_an_invitation_used_twice_at_once(either: Store) -> None:
    token, codes = invite(either), []

    def take(name: str) -> None:
        try:
            accept(either, token, name, PASSWORD)
            codes.append("in")
        except Refused as refused:
            codes.append(refused.code)

    threads = [threading.Thread(target=take, args=(f"p{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["bad-invitation"] * 5 + ["in"]


@pytest.mark.parametrize(
    ("name", "password", "code"),
    [
        ("", PASSWORD, "bad-name"),
        ("a b", PASSWORD, "bad-name"),
        ("a/b", PASSWORD, "bad-name"),
        ("<script>", PASSWORD, "bad-name"),
        ("x" * 61, PASSWORD, "bad-name"),
        ("Local", PASSWORD, "bad-name"),
        ("ann", "short", "bad-password"),
        ("ann", "x" * 201, "bad-password"),
        ("ＡＮＮ２", PASSWORD, "name-taken"),
    ],
)
def test_names_and_passwords_that_do_not_fit(store: Store, name: str, password: str, code: str) -> None:
    create_person(store, "ann2", PASSWORD)
    with pytest.raises(Refused) as caught:
        create_person(store, name, password)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("role", "needed", "may"),
    [("annotator", "annotator", True), ("annotator", "reviewer", False), ("reviewer", "reviewer", True),
     ("reviewer", "admin", False), ("admin", "annotator", True)],
)  # fmt: skip
def test_a_role_may_what_those_below_it_may(store: Store, role: people.Role, needed: people.Role, may: bool) -> None:
    who_ = create_person(store, "ann", None, role)
    if may:
        who_.need(needed)
    else:
        with pytest.raises(Refused):
            who_.need(needed)
