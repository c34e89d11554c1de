"""Who a person is at the provider of OpenID Connect: an e-mail that an admin expects, then issuer and subject.

An account is linked at the first login by the verified e-mail, or by an invitation; from then on by issuer and subject
alone, which a provider never gives to someone else.
"""

from __future__ import annotations

import re

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from labeling_app.errors import Refused
from labeling_app.retyped import typed
from labeling_app.store.database import Store
from labeling_app.store.models import Identity, PersonRow

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")


def expect(session: Session, store: Store, person_id: int, email: str) -> None:
    """Whoever is first to log in with this verified e-mail is this person, and nobody else any more.

    Raises Refused if this is no e-mail, or expected for someone else.
    """
    if not _EMAIL.fullmatch(email.strip()):
        raise Refused(
            "bad-text",
            f"`{email[:80]}` is no e-mail",
            allowed="such as ann@example.org",
            remedy="name one: --oidc EMAIL",
        )
    email = spelled(email)
    other = session.execute(
        select(PersonRow.name)
        .join(Identity, Identity.person_id == PersonRow.id)
        .where(Identity.email == email, PersonRow.id != person_id)
    ).scalar()
    if other:
        change = typed("labels", "users", "change", other, "--oidc", "", db=store.option)
        remedy = f"take it from them first: {change}"
        raise Refused("name-taken", f"{email} is the e-mail of {other} already", remedy=remedy)
    forget(session, person_id)
    session.add(Identity(person_id=person_id, email=email, issuer=None, subject=None, created=store.now()))
    session.flush()


def forget(session: Session, person_id: int) -> None:
    """No login by OpenID Connect leads to this person any more."""
    session.execute(delete(Identity).where(Identity.person_id == person_id))


def link(session: Session, at: str, person_id: int, issuer: str, subject: str) -> None:
    """Link a new account to a subject that has none."""
    session.add(Identity(person_id=person_id, email=None, issuer=issuer, subject=subject, created=at))
    session.flush()


def linked(session: Session, issuer: str, subject: str) -> PersonRow | None:
    """The account of a subject."""
    return _person(session, Identity.issuer == issuer, Identity.subject == subject)


def linked_by_email(session: Session, email: str, issuer: str, subject: str) -> PersonRow | None:
    """The active account that waits for this verified e-mail, linked to the subject from now on."""
    waits = (Identity.email == spelled(email), Identity.subject.is_(None))
    row = _person(session, PersonRow.active, *waits)
    if row is not None:
        session.execute(update(Identity).where(*waits).values(issuer=issuer, subject=subject))
    return row


def expected(session: Session) -> bool:
    """Whether a login by OpenID Connect leads to anyone."""
    somebody = select(Identity.person_id).join(PersonRow, PersonRow.id == Identity.person_id).where(PersonRow.active)
    return session.execute(somebody.limit(1)).first() is not None


def emails(session: Session) -> dict[int, str]:
    """Number of a person -> the e-mail that an admin named for them at the provider."""
    named = select(Identity.person_id, Identity.email).where(Identity.email.is_not(None))
    return {person: email for person, email in session.execute(named) if email}


def spelled(email: str) -> str:
    """One address, one spelling. Only ASCII is folded: other letters that look alike are other addresses."""
    email = email.strip()
    return email.lower() if email.isascii() else email


def _person(session: Session, *where: object) -> PersonRow | None:
    found = select(PersonRow).join(Identity, Identity.person_id == PersonRow.id).where(*where)  # type: ignore[arg-type]
    return session.execute(found).scalar()
