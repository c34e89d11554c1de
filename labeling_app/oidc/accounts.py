"""Which account a verified subject is, and its session, which is the same as after a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete
from sqlalchemy.orm import Session

from labeling_app.errors import Refused
from labeling_app.identities import expect, forget, link, linked, linked_by_email
from labeling_app.people import (
    LOCAL,
    Person,
    Role,
    free_name,
    new_person,
    no_invitation,
    open_invitation,
    open_session,
    person_of,
    row_named,
)
from labeling_app.retyped import typed
from labeling_app.store.database import Store
from labeling_app.store.events import record_event
from labeling_app.store.models import LoginSession, PersonRow
from labeling_app.throttle import count_failure, hold_back, throttle_keys

if TYPE_CHECKING:  # accounts are changed where Authlib is not installed
    from labeling_app.oidc.provider import Subject


def enter(store: Store, subject: Subject, invitation: str = "") -> tuple[Person, str]:
    """Person and session token of a verified subject.

    The account is the one that is linked, or that waits for the verified e-mail, or that the invitation makes. Raises
    Refused ("no-account") if there is none or it is inactive, ("bad-invitation") if the invitation was used.
    """
    with store.write() as session:
        row = linked(session, subject.issuer, subject.subject) or _linked_now(session, store, subject, invitation)
        if row is None or not row.active:
            raise Refused("no-account", "the provider knows them, this app does not", remedy="ask for an invitation")
        session.execute(delete(LoginSession).where(LoginSession.expires < store.now()))
        record_event(session, store.now(), row.pseudonym, "login", f"person:{row.id}", by="oidc")
        return person_of(row), open_session(session, store, row.id)


def may_try(store: Store, address: str) -> None:
    """Raises Refused while an address has to wait: it is counted together with failed passwords."""
    with store.read() as session:
        hold_back(session, store, throttle_keys(address))


def failed(store: Store, address: str, code: str) -> None:
    """Count a login that let nobody in."""
    with store.write() as session:
        count_failure(session, store, throttle_keys(address))
        record_event(session, store.now(), "login", "login-failed", "oidc", code=code)


def change_email(store: Store, name: str, email: str, *, by: str = "command") -> None:
    """Let whoever has this verified e-mail log in as `name`; nobody, if it is empty. Ends their sessions.

    Raises Refused if there is nobody of this name, or the e-mail is none, or another's.
    """
    with store.write() as session:
        row = row_named(session, store, name)
        if row.name == LOCAL:
            remedy = f"make another: {typed('labels', 'users', 'add', 'NAME', db=store.option)}"
            raise Refused("bad-name", "no login leads to this account", remedy=remedy)
        if email:
            expect(session, store, row.id, email)
        else:
            forget(session, row.id)
        session.execute(delete(LoginSession).where(LoginSession.person_id == row.id))
        record_event(session, store.now(), by, "change-person", f"person:{row.id}", oidc="expected" if email else None)


def _linked_now(session: Session, store: Store, subject: Subject, invitation: str) -> PersonRow | None:
    row = None
    if subject.email:
        row = linked_by_email(session, subject.email, subject.issuer, subject.subject)
    if row is None and invitation:
        row = _invited(session, store, subject, invitation)
    if row is not None:
        record_event(session, store.now(), row.pseudonym, "link", f"person:{row.id}", issuer=subject.issuer)
    return row


def _invited(session: Session, store: Store, subject: Subject, token: str) -> PersonRow | None:
    invitation = open_invitation(session, store, token)
    if invitation is None:
        raise no_invitation()
    role: Role = invitation.role  # type: ignore[assignment]  # a constraint of the table
    name = free_name(session, subject.names)
    person = new_person(session, store.now(), name, None, role, invitation.invited_by)
    invitation.used_by = person.id
    link(session, store.now(), person.id, subject.issuer, subject.subject)
    return session.get(PersonRow, person.id)
