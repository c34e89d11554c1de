"""An OpenID provider on a port of this machine, which a test can have do wrong; and the app that logs in by it."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx2
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

from labeling_app.oidc.routes import add_oidc
from labeling_app.oidc.settings import Settings
from labeling_app.server import create_app
from labeling_app.store.database import Store
from tests.browser.served import free_port

CLIENT, SECRET, NAME = "labels", "the-secret-of-the-client", "Test House"
START_SECONDS = 60.0


@functools.cache
def rsa_key(kid: str, number: int = 0) -> RSAKey:
    """A key to sign with; made once, because it takes long."""
    return RSAKey.generate_key(2048, {"kid": kid})


@contextmanager
def listening(app: FastAPI, port: int) -> Iterator[None]:
    """Serve an application until the end of the block."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until, "the server did not start"
        time.sleep(0.01)
    yield
    server.should_exit = True
    thread.join(START_SECONDS)
    assert not thread.is_alive()


@dataclass
class OpenId:
    """A provider. What it says of a person is in `claims`; the other fields make it do wrong.

    wrong: claims of the id token that replace right ones; None leaves one out. answers: path → what is answered there
    in place of what is right. asks: whether a page asks the person first. thin: the e-mail is told by userinfo only.
    """

    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "subject-1"})
    wrong: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    signs: RSAKey | bytes | None = None
    asks: bool = False
    thin: bool = False
    posts: bool = False
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.issuer = f"http://{self.host}:{self.port}"
        self.key = rsa_key("one")
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: set[str] = set()

    @property
    def settings(self) -> Settings:
        """What an app needs to log in here."""
        return Settings(self.issuer, CLIENT, SECRET, NAME)

    def app(self) -> FastAPI:
        """The endpoints."""
        app = FastAPI()

        @app.middleware("http")
        async def odd(request: Request, proceed: Any) -> Response:
            self.asked.append(request.url.path)
            if request.url.path not in self.answers:
                return await proceed(request)
            status, body = self.answers[request.url.path]
            return Response(body, status, {"location": f"{self.issuer}/jwks"}, media_type="application/json")

        app.get("/.well-known/openid-configuration")(self._discovery)
        app.get("/authorize", response_model=None)(self._authorize)
        app.post("/token", response_model=None)(self._token)
        app.get("/jwks")(lambda: {"keys": [self.key.as_dict(private=False)]})
        app.get("/userinfo", response_model=None)(self._userinfo)
        return app

    def _discovery(self) -> dict[str, Any]:
        names = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        found: dict[str, Any] = {f"{name}_endpoint": f"{self.issuer}/{path}" for name, path in names.items()}
        found["token_endpoint_auth_methods_supported"] = ["client_secret_post" if self.posts else "client_secret_basic"]
        return found | {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}

    async def _authorize(self, request: Request) -> Response:
        sent = dict(request.query_params)
        assert (sent["response_type"], sent["client_id"], sent["code_challenge_method"]) == ("code", CLIENT, "S256")
        assert {"openid", "email"} <= set(sent["scope"].split()) and sent["state"] and sent["nonce"]
        back, code = sent["redirect_uri"], secrets.token_urlsafe(8)
        self.codes[code] = sent
        yes = f"{back}?{urlencode({'code': code, 'state': sent['state']})}"
        no = f"{back}?{urlencode({'error': 'access_denied', 'state': sent['state']})}"
        if not self.asks:
            return RedirectResponse(yes, status_code=303)
        page = f'<!doctype html><a id="yes" href="{yes}">Yes</a> <a id="no" href="{no}">No</a>'
        return HTMLResponse(page.replace("&", "&amp;"))

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if not self._is_client(request, form):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        begun = self.codes.pop(form["code"], None)
        challenge = _base64(hashlib.sha256(form["code_verifier"].encode()).digest())
        fits = begun and challenge.decode() == begun["code_challenge"] and form["redirect_uri"] == begun["redirect_uri"]
        if begun is None or not fits:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        token = secrets.token_urlsafe(8)
        self.tokens.add(token)
        signed = self._id_token(begun["nonce"])
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 300, "id_token": signed})

    def _is_client(self, request: Request, form: dict[str, str]) -> bool:
        if self.posts:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        scheme, _, told = request.headers.get("authorization", "").partition(" ")
        return scheme == "Basic" and base64.b64decode(told).decode() == f"{CLIENT}:{SECRET}"

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        told = {"sub": self.claims["sub"]} if self.thin else self.claims
        right = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **told}
        claims = {name: value for name, value in {**right, **self.wrong}.items() if value is not None}
        key = self.key if self.signs is None else self.signs
        if isinstance(key, bytes):
            return _forged(claims, key)
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    async def _userinfo(self, request: Request) -> Response:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return JSONResponse({}, status_code=401)
        return JSONResponse(self.claims)


def _forged(claims: dict[str, Any], key: bytes) -> str:
    """A token with a signature of HMAC, which libraries refuse to make with such keys; with none for an empty key."""
    header = {"alg": "HS256" if key else "none", "kid": "one"}
    head = b".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    signature = _base64(hmac.digest(key, head, hashlib.sha256)) if key else b""
    return b".".join([head, signature]).decode()


def _base64(text: bytes) -> bytes:
    return base64.urlsafe_b64encode(text).rstrip(b"=")


@dataclass
class Labels:
    """The labeling app with this provider's login, and a page that says who is logged in."""

    store: Store
    provider: OpenId
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"

    def app(self) -> FastAPI:
        """The application."""
        return add_oidc(create_app(self.store, origins=[self.url]), self.store, self.provider.settings, [self.url])

    def browser(self) -> httpx2.Client:
        """Someone's browser, without JavaScript: it follows redirects and keeps cookies."""
        return httpx2.Client(base_url=self.url, timeout=60, headers={"accept": "text/html"})


def followed(browser: httpx2.Client, path: str = "/login/oidc", until: str = "/app") -> httpx2.Response:
    """Follow redirects to the last answer, or to the first that leads to an address with `until` in it."""
    answer = browser.get(path)
    while answer.is_redirect and until not in answer.headers["location"]:
        answer = browser.get(answer.headers["location"])
    return answer
