"""What a browser must bring back from the provider, in a cookie: signed, and of no use after ten minutes.

Nothing is stored for a login that was only begun. The key comes from the client's secret, so that a restart in between
ends no login; a code works once only, which the provider sees to.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass, field

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

ATTEMPT_SECONDS = 600


def _random() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Attempt:
    """A login that was begun at a door of this app, with what the door knows. back: the address the provider sends the
    browser to."""

    path: str
    project: str
    back: str
    to: str = ""
    state: str = field(default_factory=_random)
    nonce: str = field(default_factory=_random)
    verifier: str = field(default_factory=_random)


def to_cookie(attempt: Attempt, secret: str, now: float) -> str:
    """The attempt as a signed text."""
    claims = {**asdict(attempt), "exp": int(now) + ATTEMPT_SECONDS}
    return jwt.encode({"alg": "HS256"}, claims, _key(secret))


def from_cookie(text: str, secret: str, now: float) -> Attempt | None:
    """The attempt that was begun; None if there was none, it was not signed by us, or it is over."""
    try:
        claims = jwt.decode(text, _key(secret), algorithms=["HS256"]).claims
        return Attempt(**claims) if claims.pop("exp") > now else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _key(secret: str) -> OctKey:
    return OctKey.import_key(hmac.digest(secret.encode(), b"align: a login that was begun", hashlib.sha256))
