"""Accounts: who may do what, argon2id passwords, throttled login, sessions that outlive a restart, invitation links.

Tokens of sessions and invitations are 256 random bits; the database holds their SHA-256 only. In labels and exports
a person is a pseudonym, which says nothing about the name.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from labeling_app.errors import Refused
from labeling_app.identities import expect, expected
from labeling_app.retyped import typed
from labeling_app.store.database import Store
from labeling_app.store.events import record_event
from labeling_app.store.models import Invitation, LoginSession, PersonRow
from labeling_app.throttle import count_failure, forgive, hold_back, throttle_keys

Role = Literal["annotator", "reviewer", "admin"]
RANK: dict[str, int] = {"annotator": 0, "reviewer": 1, "admin": 2}
"""A role may do what those below it may."""

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
SESSION_SECONDS = 30 * 86_400.0
INVITATION_SECONDS = 7 * 86_400.0

LOCAL = "local"
"""The name of the one person of an app without accounts; nobody else may take it."""

# Built once: every request asks it.
_BEHIND = (
    select(PersonRow.id, PersonRow.name, PersonRow.pseudonym, PersonRow.role, PersonRow.locale, PersonRow.active)
    .join(LoginSession, LoginSession.person_id == PersonRow.id)
    .where(LoginSession.token_sha256 == bindparam("token"), LoginSession.expires > bindparam("now"), PersonRow.active)
)
_NAME = re.compile(r"[\w.@+-]{1,60}")
_hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106, low memory


IMPORTED = "imported/"
"""How the names of those begin who have labels in a file and no account here."""


@dataclass(frozen=True)
class Person:
    """Someone who is logged in, or was made. Only `pseudonym` stands in labels."""

    id: int
    name: str
    pseudonym: str
    role: Role
    locale: str = ""
    active: bool = True

    def need(self, role: Role) -> None:
        """Raises Refused unless this person is active and has at least `role`."""
        if not self.active:
            raise Refused("not-allowed", f"{self.name} may not log in any more", remedy="ask an administrator")
        if RANK[self.role] < RANK[role]:
            found = f"{self.name} is {self.role}, and this is not for them"
            raise Refused("not-allowed", found, allowed=role, remedy="ask an administrator")


def create_person(
    store: Store,
    name: str,
    password: str | None,
    role: Role = "annotator",
    *,
    email: str | None = None,
    by: str = "command",
) -> Person:
    """Make an account; without a password or an e-mail (see identities.py) nobody can log in to it.

    Raises Refused for a name, password or e-mail unfit.
    """
    _check_name(name)
    hashed = None if password is None else _hashed(password)
    with store.write() as session:
        person = new_person(session, store.now(), _normal(name), hashed, role, by)
        if email is not None:
            expect(session, store, person.id, email)
        return person


def local_person(store: Store) -> Person:
    """The one person of an app on localhost that has no accounts; no login leads to it."""
    with store.write() as session:
        row = session.execute(select(PersonRow).where(PersonRow.name == LOCAL)).scalar()
        return person_of(row) if row else new_person(session, store.now(), LOCAL, None, "admin", "command")


def as_of_now(store: Store, person: Person) -> Person:
    """A person as the database has them now: what was read at the start may be of another language."""
    with store.read() as session:
        return person_of(session.get_one(PersonRow, person.id))


def people(store: Store) -> list[Person]:
    """Every account, oldest first."""
    with store.read() as session:
        return [person_of(row) for row in session.execute(select(PersonRow).order_by(PersonRow.id)).scalars()]


def change_person(
    store: Store,
    name: str,
    *,
    role: Role | None = None,
    active: bool | None = None,
    password: str | None = None,
    by: str = "command",
) -> Person:
    """Change a role, a password, or whether someone may log in; the last two end their sessions.

    Raises Refused if there is nobody of this name.
    """
    hashed = None if password is None else _hashed(password)
    with store.write() as session:
        row = row_named(session, store, name)
        row.role, row.active = role or row.role, row.active if active is None else active
        row.password = hashed or row.password
        if hashed or active is False:
            session.execute(delete(LoginSession).where(LoginSession.person_id == row.id))
        session.flush()
        told = {"role": role, "active": active, "password": "changed" if hashed else None}
        changed = {k: v for k, v in told.items() if v is not None}
        record_event(session, store.now(), by, "change-person", f"person:{row.id}", **changed)
        return person_of(row)


def set_locale(store: Store, person: Person, locale: str) -> None:
    """Remember the language a person has switched to, such as `zh-CN`. Raises Refused for what is no language."""
    if not re.fullmatch(r"[A-Za-z-]{2,10}", locale):
        raise Refused("bad-text", "this is no language", allowed="such as en or zh-CN")
    with store.write() as session:
        session.execute(update(PersonRow).where(PersonRow.id == person.id).values(locale=locale))


def has_logins(store: Store, *, by_provider: bool = False) -> bool:
    """Whether anyone can log in, or has been invited to. by_provider: a login by OpenID Connect counts."""
    with store.read() as session:
        people = select(PersonRow.id).where(PersonRow.active, PersonRow.password.is_not(None)).limit(1)
        invited = select(Invitation.role).where(Invitation.used_by.is_(None), Invitation.expires > store.now()).limit(1)
        found = session.execute(people).first() or session.execute(invited).first()
        return found is not None or (by_provider and expected(session))


def script_token(store: Store, name: str) -> str:
    """A token with which a script acts for a person, for 30 days. Raises Refused if there is nobody of this name."""
    with store.write() as session:
        row = row_named(session, store, name)
        if not row.active:
            raise Refused("bad-name", f"{row.name} may not log in", remedy="see: align labels users change --help")
        record_event(session, store.now(), "command", "token", f"person:{row.id}")
        return open_session(session, store, row.id)


def login(store: Store, name: str, password: str, address: str) -> tuple[Person, str]:
    """Person and session token for a right password.

    The password is hashed for unknown names too, and outside of any transaction. Raises Refused ("login") for a wrong
    name or password alike, and Refused ("throttled") after too many of them.
    """
    name = _normal(name) if _NAME.fullmatch(_normal(name)) else ""
    keys = throttle_keys(address, name)
    with store.read() as session:
        hold_back(session, store, keys)
        row = session.execute(select(PersonRow).where(PersonRow.name == name)).scalar()
    right = _verified(row.password if row else None, password)
    with store.write() as session:
        if not right or row is None or not row.active:
            count_failure(session, store, keys)
            record_event(session, store.now(), "login", "login-failed", f"name:{_sha(name)[:16]}")
            failed = True
        else:
            failed = False
            forgive(session, address, name)
            session.execute(delete(LoginSession).where(LoginSession.expires < store.now()))
            token = open_session(session, store, row.id)
            record_event(session, store.now(), row.pseudonym, "login", f"person:{row.id}")
    if failed or row is None:
        raise Refused("login", "name or password is wrong", remedy="try again, or ask an administrator")
    return person_of(row), token


def who(store: Store, token: str | None) -> Person | None:
    """The active person a session token belongs to; None if there is no such session any more."""
    if not token:
        return None
    with store.read() as session:
        row = session.execute(_BEHIND, {"token": _sha(token), "now": store.now()}).first()
        return Person(*row) if row else None  # type: ignore[arg-type]  # a constraint of the table


def logout(store: Store, token: str) -> None:
    """End a session."""
    with store.write() as session:
        session.execute(delete(LoginSession).where(LoginSession.token_sha256 == _sha(token)))


def invite(store: Store, role: Role = "annotator", *, by: str = "command") -> str:
    """The token of an invitation that one person can use within a week."""
    token = secrets.token_urlsafe(32)
    with store.write() as session:
        expires = store.now(INVITATION_SECONDS)
        session.add(Invitation(token_sha256=_sha(token), role=role, invited_by=by, expires=expires, used_by=None))
        record_event(session, store.now(), by, "invite", f"invitation:{_sha(token)[:16]}", role=role)
    return token


def invitation_holds(store: Store, token: str) -> bool:
    """Whether an invitation can still be used."""
    with store.read() as session:
        return open_invitation(session, store, token) is not None


def accept(store: Store, token: str, name: str, password: str) -> tuple[Person, str]:
    """Make the account an invitation is for: person and session token.

    Raises Refused if the invitation was used or is over, or the name or password does not fit.
    """
    _check_name(name)
    if not invitation_holds(store, token):
        raise no_invitation()
    hashed = _hashed(password)
    with store.write() as session:
        invitation = open_invitation(session, store, token)
        if invitation is None:
            raise no_invitation()
        role: Role = invitation.role  # type: ignore[assignment]  # a constraint of the table
        person = new_person(session, store.now(), _normal(name), hashed, role, invitation.invited_by)
        invitation.used_by = person.id
        session.flush()
        return person, open_session(session, store, person.id)


def named(session: Session, at: str, pseudonyms: Sequence[str]) -> dict[str, int]:
    """Pseudonym → id of each, made without a login where it is new: the annotators of an imported file."""
    found: dict[str, int] = {}
    for start in range(0, len(pseudonyms), 500):
        part = pseudonyms[start : start + 500]
        rows = session.execute(select(PersonRow.pseudonym, PersonRow.id).where(PersonRow.pseudonym.in_(part))).all()
        found |= {pseudonym: number for pseudonym, number in rows}
    for pseudonym in pseudonyms:
        if pseudonym not in found:
            # No one can log in with this name: it holds a character that names may not have.
            row = PersonRow(name=f"{IMPORTED}{_sha(pseudonym)[:32]}", pseudonym=pseudonym, role="annotator", created=at)
            session.add(row)
            session.flush()
            found[pseudonym] = row.id
    return found


def names_of(store: Store, pseudonyms: Sequence[str]) -> dict[str, str]:
    """Pseudonym → name of its account; annotators of imported files have none. For admins: labels name pseudonyms."""
    with store.read() as session:
        rows = session.execute(select(PersonRow.pseudonym, PersonRow.name).where(PersonRow.pseudonym.in_(pseudonyms)))
        return {pseudonym: name for pseudonym, name in rows if not name.startswith(IMPORTED)}


def person_of(row: PersonRow) -> Person:
    """A row as the record that is handed around."""
    return Person(row.id, row.name, row.pseudonym, row.role, row.locale, row.active)  # type: ignore[arg-type]


def row_named(session: Session, store: Store, name: str) -> PersonRow:
    """The account of this name. Raises Refused if there is none."""
    row = session.execute(select(PersonRow).where(PersonRow.name == _normal(name))).scalar()
    if row is None:
        remedy = f"see: {typed('labels', 'users', 'list', db=store.option)}"
        raise Refused("bad-name", f"there is nobody called {name}", remedy=remedy)
    return row


def free_name(session: Session, wishes: Sequence[str]) -> str:
    """The first of these that can be a name, with a number if it is taken; `person` if none can."""
    fit = [_normal(wish) for wish in wishes if _NAME.fullmatch(_normal(wish)) and _normal(wish) != LOCAL]
    name = (fit or ["person"])[0][:50]
    alike = select(PersonRow.name).where(PersonRow.name.startswith(name, autoescape=True))
    taken = set(session.execute(alike).scalars())
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def new_person(session: Session, at: str, name: str, hashed: str | None, role: Role, by: str) -> Person:
    """A new account within the caller's transaction; its name was checked. Raises Refused if the name is taken."""
    if session.execute(select(PersonRow.id).where(PersonRow.name == name)).first():
        raise Refused("name-taken", f"there is an account called {name} already", remedy="take another name")
    row = PersonRow(name=name, pseudonym=f"u_{secrets.token_hex(4)}", password=hashed, role=role, created=at)
    session.add(row)
    session.flush()
    record_event(session, at, by, "create-person", f"person:{row.id}", role=role)
    return person_of(row)


def open_session(session: Session, store: Store, person_id: int) -> str:
    """The token of a new session within the caller's transaction."""
    token = secrets.token_urlsafe(32)
    session.add(LoginSession(token_sha256=_sha(token), person_id=person_id, expires=store.now(SESSION_SECONDS)))
    session.flush()
    return token


def open_invitation(session: Session, store: Store, token: str) -> Invitation | None:
    """The invitation of this token, if it can still be used."""
    return session.execute(
        select(Invitation).where(
            Invitation.token_sha256 == _sha(token), Invitation.expires > store.now(), Invitation.used_by.is_(None)
        )
    ).scalar()


def no_invitation() -> Refused:
    """What is said about an invitation that was used, or is over."""
    return Refused("bad-invitation", "this invitation was used, or is over", remedy="ask for a new link")


def _hashed(password: str) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise Refused(
            "bad-password",
            f"the password has {len(password)} characters",
            allowed=f"{SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters",
            remedy="take a longer one: several words are easy to remember",
        )
    return _hasher.hash(password)


def _verified(hashed: str | None, password: str) -> bool:
    try:
        return _hasher.verify(hashed or _nobody(), password[: LONGEST_PASSWORD + 1]) and hashed is not None
    except Argon2Error:
        return False


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(_normal(name)) or _normal(name) == LOCAL:
        raise Refused(
            "bad-name",
            f"`{name[:60]}` is no name for an account",
            allowed="1 to 60 letters, digits and . @ + - _",
            remedy="take another name",
        )


def _normal(name: str) -> str:
    """One person, one spelling: `Ann`, ` ann` and full-width letters are the same name."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@functools.cache
def _nobody() -> str:
    """What an unknown name's password is compared with, so that it takes as long as a known one's."""
    return _hasher.hash(secrets.token_hex(16))
