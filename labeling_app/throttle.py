"""Failed logins are counted, by name and by address; after too many the next one waits."""

from __future__ import annotations

import hashlib

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from labeling_app.errors import Refused
from labeling_app.store.database import Store
from labeling_app.store.models import Throttle

ATTEMPTS = {"name and address": 5, "address": 50, "name": 50}
"""Failures after which a login waits: 2, 4, 8 ... seconds, at most LONGEST_WAIT; forgotten after FORGET_SECONDS."""
LONGEST_WAIT, FORGET_SECONDS = 900.0, 86_400.0


def throttle_keys(address: str, name: str | None = None) -> dict[str, int]:
    """What failures of a login are counted by, and how many each may have."""
    keys = {f"address {address}": ATTEMPTS["address"]}
    if name is not None:
        keys |= {_both(address, name): ATTEMPTS["name and address"], f"name {name}": ATTEMPTS["name"]}
    return {_hidden(key): limit for key, limit in keys.items()}


def hold_back(session: Session, store: Store, keys: dict[str, int]) -> None:
    """Raises Refused while one of these has to wait."""
    waiting = select(Throttle.key).where(Throttle.key.in_(keys), Throttle.blocked_until > store.now())
    if session.execute(waiting).first():
        raise Refused("throttled", "there were too many failed logins", remedy="wait a few minutes and try again")


def count_failure(session: Session, store: Store, keys: dict[str, int]) -> None:
    """Count a failed login by each of these."""
    for key, limit in keys.items():
        row = session.get(Throttle, key)
        if row is None:
            row = Throttle(key=key, failures=0, blocked_until="", last="")
            session.add(row)
        if row.last < store.now(-FORGET_SECONDS):
            row.failures = 0
        row.failures += 1
        row.last = store.now()
        over = row.failures - limit
        row.blocked_until = store.now(min(LONGEST_WAIT, 2.0 ** min(over + 1, 10))) if over >= 0 else ""


def forgive(session: Session, address: str, name: str) -> None:
    """Whoever has come in starts anew with this name at this address; others who tried it do not."""
    session.execute(delete(Throttle).where(Throttle.key == _hidden(_both(address, name))))


def _both(address: str, name: str) -> str:
    return f"both {name} {address}"


def _hidden(key: str) -> str:
    """No names and addresses of those who failed in the database."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
