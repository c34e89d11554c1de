"""The way to the provider and back. What goes wrong is said on the login page, where passwords still hold."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from labeling_app.errors import Refused
from labeling_app.oidc.accounts import enter, failed, may_try
from labeling_app.oidc.attempt import ATTEMPT_SECONDS, Attempt, from_cookie, to_cookie
from labeling_app.oidc.provider import Provider
from labeling_app.oidc.settings import Settings
from labeling_app.people import invitation_holds
from labeling_app.server import (
    Door,
    address_of,
    cookie_name,
    door,
    forget_cookie,
    is_secure,
    join_path,
    let_in,
    login_page,
    set_cookie,
)
from labeling_app.store.database import Store

BEGUN = "align_oidc"
"""The cookie of a login that was begun. Lax, because the provider sends the browser back from another site."""
BACK = "/login/oidc/callback"
LONGEST_PROJECT = 200

STATUS = {"throttled": 429, "provider-down": 502, "provider-refused": 401, "declined": 401, "no-account": 403}
"""Code of a refusal → HTTP status; 400 for others."""
GUILTLESS = ("form", "throttled", "provider-down", "declined")
"""Refusals that are not counted as failed logins. `form`: another site could lead here, and have its visitor wait."""

_log = logging.getLogger(__name__)


class Ways:
    """Both halves of a login, for one app."""

    def __init__(self, store: Store, settings: Settings, origins: Sequence[str]) -> None:
        self.store, self.settings, self.origins = store, settings, list(origins)
        self.provider, self.secure = Provider(settings), is_secure(origins)

    def away(self, request: Request, here: Door) -> Response:
        """To the provider."""
        try:
            may_try(self.store, address_of(request))
            attempt = Attempt(here.path, here.project[:LONGEST_PROJECT], self._reached_at(request) + BACK, here.to)
            response = RedirectResponse(self.provider.begin(attempt), status_code=303)
        except Refused as refused:
            return self._said(request, here, refused.code)
        begun = to_cookie(attempt, self.settings.secret, self.store.clock())
        set_cookie(response, BEGUN, begun, self.secure, ATTEMPT_SECONDS)
        return response

    def back(self, request: Request) -> Response:
        """From the provider: with a code, or without."""
        begun = request.cookies.get(cookie_name(BEGUN, self.secure), "")
        attempt = from_cookie(begun, self.settings.secret, self.store.clock())
        here = Door(attempt.path, attempt.project, attempt.to) if attempt else door(request, "/login")
        try:
            may_try(self.store, address_of(request))
            response = let_in(here, self._entered(request, attempt), self.secure)
        except Refused as refused:
            if refused.code not in GUILTLESS:
                failed(self.store, address_of(request), refused.code)
            response = self._said(request, here, refused.code)
        forget_cookie(response, BEGUN, self.secure)
        return response

    def _entered(self, request: Request, attempt: Attempt | None) -> str:
        """The token of a new session. Raises Refused."""
        sent = request.query_params
        if attempt is None or not hmac.compare_digest(sent.get("state", "").encode(), attempt.state.encode()):
            raise Refused("form", "this login was not begun in this browser, or is over", remedy="begin again")
        if sent.get("error") == "access_denied":
            raise Refused("declined", "they declined, or the provider did")
        if not sent.get("code"):
            _log.warning("%s: a login ended with %.200r", self.settings.issuer, sent.get("error", "no code"))
            raise Refused("provider-refused", "the provider gave no code")
        subject = self.provider.finish(attempt, sent["code"], self.store.clock())
        here = Door(attempt.path, "")
        _, token = enter(self.store, subject, unquote(here.path.removeprefix("/join/")) if here.joining else "")
        return token

    def _said(self, request: Request, here: Door, code: str) -> Response:
        return login_page(request, here, self.secure, code=code, status=STATUS.get(code, 400))

    def _reached_at(self, request: Request) -> str:
        """The origin of ours that the browser is at. Never what a `Host` header says by itself."""
        host = request.headers.get("host")
        return next((origin for origin in self.origins if urlsplit(origin).netloc == host), self.origins[0])


def add_oidc(app: FastAPI, store: Store, settings: Settings, origins: Sequence[str]) -> FastAPI:
    """Add the login by this provider to an app with accounts, and its button to the login pages."""
    ways = Ways(store, settings, origins)
    app.state.provider = settings.name

    # Links and redirects, not forms: the policy lets no form be sent to another host.
    @app.get("/login/oidc", include_in_schema=False)
    def log_in(request: Request) -> Response:
        return ways.away(request, door(request, "/login"))

    @app.get("/join/{token}/oidc", include_in_schema=False)
    def join(request: Request, token: str) -> Response:
        here = door(request, join_path(token))
        if not invitation_holds(store, token):
            return login_page(request, here, ways.secure, code="bad-invitation", status=404)
        return ways.away(request, here)

    @app.get(BACK, include_in_schema=False)
    def back(request: Request) -> Response:
        return ways.back(request)

    return app
