"""What is said to the provider, by Authlib. Nothing goes anywhere but to the issuer and what its discovery names.

Raises Refused: `provider-down` if the provider cannot be reached or says what makes no sense, `provider-refused` if it,
or a check of its token, lets nobody in. The reason is logged; the page does not tell it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from labeling_app.errors import Refused
from labeling_app.oidc.attempt import Attempt
from labeling_app.oidc.settings import Settings, safe

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
"""Signatures with a public key. `none`, and HMAC with what a provider calls a key, are never taken."""
SCOPE = "openid email profile"
TIMEOUT_SECONDS = 10.0
START_SECONDS = 3.0
"""How long the start of the app waits to learn whether the provider is there."""
DISCOVERY_SECONDS = 3600.0
LEEWAY_SECONDS = 60
"""By how much the clocks of the two machines may differ."""
LONGEST_SUBJECT = 255

_NONSENSE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What the libraries raise over an answer that is not of the shape it should have."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """Someone whom the provider has verified. email: empty unless that was verified too."""

    issuer: str
    subject: str
    email: str
    names: tuple[str, ...]


def silence(settings: Settings, seconds: float = START_SECONDS) -> str:
    """Why the provider cannot be used now, in a word or two; empty if it can."""
    try:
        with OAuth2Client(client_id=settings.client, timeout=seconds) as client:
            Provider(settings)._discovered(client)
    except (httpx2.HTTPError, httpx2.InvalidURL, *_NONSENSE) as error:
        return str(error)[:200] or type(error).__name__
    return ""


class Provider:
    """The provider that is configured. Asked only when someone logs in: it may be down when the app starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._found: dict[str, Any] = {}
        self._until = 0.0
        self._turns = threading.BoundedSemaphore(4)

    def begin(self, attempt: Attempt) -> str:
        """The address at the provider that the browser is sent to."""
        with self._asking() as client:
            url, _ = client.create_authorization_url(
                self._endpoint(client, "authorization_endpoint"),
                redirect_uri=attempt.back,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
            return str(url)

    def finish(self, attempt: Attempt, code: str, now: float) -> Subject:
        """Whom a code stands for, by the token that it is changed for."""
        with self._asking() as client:
            methods = self._discovered(client).get("token_endpoint_auth_methods_supported")
            if methods and "client_secret_basic" not in methods and "client_secret_post" in methods:
                client.token_endpoint_auth_method = "client_secret_post"
            token = client.fetch_token(
                self._endpoint(client, "token_endpoint"),
                grant_type="authorization_code",
                code=code,
                redirect_uri=attempt.back,
                code_verifier=attempt.verifier,
            )
            keys = _json(client, self._endpoint(client, "jwks_uri"), withhold_token=True)
            claims = self._verified(token, keys, attempt.nonce, now)
            if "email" not in claims and "userinfo_endpoint" in self._discovered(client):
                claims = _with_userinfo(claims, _json(client, self._endpoint(client, "userinfo_endpoint")))
            return _subject(claims)

    def _verified(self, token: dict[str, Any], keys: Any, nonce: str, now: float) -> dict[str, Any]:
        """The claims of an id token: OpenID Connect Core 1.0, section 3.1.3.7."""
        signed = jwt.decode(token["id_token"], KeySet.import_key_set(keys), algorithms=ALGORITHMS)
        client = self.settings.client
        options = {name: {"essential": True, "value": value} for name, value in
                   (("iss", self.settings.issuer), ("aud", client))}  # fmt: skip
        params = {"nonce": nonce, "client_id": client, "access_token": token.get("access_token")}
        claims = CodeIDToken(signed.claims, signed.header, options, params)
        claims.validate(int(now), LEEWAY_SECONDS)
        return dict(claims)

    def _endpoint(self, client: OAuth2Client, name: str) -> str:
        url = self._discovered(client)[name]
        if not safe(url):
            raise ValueError(f"{name} is `{url}`, which is not https")
        return str(url)

    def _discovered(self, client: OAuth2Client) -> dict[str, Any]:
        if time.monotonic() >= self._until:
            found = _json(client, get_well_known_url(self.settings.issuer, external=True), withhold_token=True)
            if found["issuer"] != self.settings.issuer:
                raise ValueError(f"it calls itself `{found['issuer']}`, and --oidc-issuer must say the same")
            self._found, self._until = found, time.monotonic() + DISCOVERY_SECONDS
        return self._found

    @contextmanager
    def _asking(self) -> Iterator[OAuth2Client]:
        """A client, for one of few at a time: a provider that hangs must not hold every thread of the app."""
        if not self._turns.acquire(timeout=TIMEOUT_SECONDS / 2):
            raise _down("others are waiting for it")
        try:
            with OAuth2Client(
                client_id=self.settings.client,
                client_secret=self.settings.secret,
                scope=SCOPE,
                code_challenge_method="S256",
                timeout=TIMEOUT_SECONDS,
            ) as client:
                yield client
        except (JoseError, AuthlibBaseError) as error:
            _log.warning("%s: a login was refused: %.300r", self.settings.issuer, str(error))
            raise Refused("provider-refused", "the provider's token lets nobody in") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, *_NONSENSE) as error:
            _log.warning("%s: no usable answer: %.300r", self.settings.issuer, error)
            raise _down(type(error).__name__) from None
        finally:
            self._turns.release()


def _down(why: str) -> Refused:
    return Refused("provider-down", f"the provider gives no usable answer: {why}", remedy="try again later")


def _json(client: OAuth2Client, url: str, **more: Any) -> dict[str, Any]:
    answer = client.request("GET", url, **more)
    answer.raise_for_status()
    told = answer.json()
    if not isinstance(told, dict):
        raise ValueError(f"{url} gave no object")
    return told


def _with_userinfo(claims: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Some providers put the e-mail there alone. What is told about another subject does not count."""
    return {**more, **claims} if more.get("sub") == claims["sub"] else claims


def _subject(claims: dict[str, Any]) -> Subject:
    subject, email = claims["sub"], claims.get("email")
    if not (0 < len(subject) <= LONGEST_SUBJECT and subject.isascii() and subject.isprintable()):
        raise ValueError(f"`{subject[:80]!r}` is no subject: 1 to {LONGEST_SUBJECT} ASCII characters")
    # Some say the word "true" in place of the value.
    verified = isinstance(email, str) and email.isprintable() and claims.get("email_verified") in (True, "true")
    names = tuple(name for name in (claims.get("preferred_username"), email) if isinstance(name, str))
    return Subject(claims["iss"], subject, str(email) if verified else "", names)
