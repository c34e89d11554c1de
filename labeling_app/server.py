"""The login pages, and the rules that hold for every page behind them: headers, origins, who may come in.

    app = create_app(store, origins=["http://127.0.0.1:7860"])
    gradio.mount_gradio_app(app, demo, path="/app", auth_dependency=user_of(store))

Plain forms, no script. A form carries a token that must equal the one in its cookie, and a request that changes
something must come from one of our own origins: no other site can log someone in, out, or act for them.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import jinja2
from fastapi import FastAPI, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from markupsafe import Markup
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labeling_app.api import PersonOf, add_api, said, sent_token, wants_page
from labeling_app.errors import Refused
from labeling_app.listing import add_listing
from labeling_app.people import Person, accept, as_of_now, invitation_holds, login, logout, who
from labeling_app.rendering import code_styles
from labeling_app.store.database import Store
from labeling_app.words import language_of, words

SESSION, FORM = "align_session", "align_form"
"""Names of the cookies; over https they get the prefix that browsers bind to this host."""
HOME = "/app"
PAGES = (HOME, f"{HOME}/", f"{HOME}/quality", f"{HOME}/quality/")
LONGEST_WAY = 1500
"""Where people may be led to when they have come in, and how long such an address may be with its query, encoded: a
project's name may have 100 characters, and a Chinese one is nine then."""
STATIC = Path(__file__).with_name("static")

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; object-src 'none'; base-uri 'self'",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with it, browsers send the origin of a form as `null`, and nobody could log in.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every answer. Gradio needs inline scripts and eval; nothing may be loaded from, or sent to, another host."""

HASHING = threading.BoundedSemaphore(2)
HASHING_WAIT = 5.0
"""Passwords hashed at a time (each takes 64 MB), and the seconds that one waits for its turn."""

Field = Annotated[str, Form()]

_PAGE = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="{{ lang }}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>{{ title }}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:22rem;margin:12vh auto;padding:0 1rem}
label,input,button,p a{display:block;width:100%;box-sizing:border-box;font:inherit}
input,button,p a{padding:.6rem;margin:.25rem 0 1rem;border:1px solid #888;border-radius:8px}
button{background:#1f5f9e;border-color:#1f5f9e;color:#fff;font-weight:600;margin-top:1.25rem;cursor:pointer}
p a{color:inherit;text-align:center;overflow-wrap:anywhere}small{display:block;margin-top:-.75rem}
code{white-space:nowrap}[role=alert]{border-left:4px solid #c00;padding-left:.75rem}</style></head>
<body><main><h1>{{ title }}</h1>
{% if said %}<p role="alert">{{ said }}</p>{% endif %}
{% if form %}<form method="post" action="{{ action }}"><input type="hidden" name="form" value="{{ form }}">
<label for="name">{{ name_label }}</label>
<input id="name" name="name" autocomplete="username" autocapitalize="none" required maxlength="60" value="{{ name }}">
<label for="password">{{ password_label }}</label>
<input id="password" name="password" type="password" required maxlength="200"
 autocomplete="{{ 'new-password' if joining else 'current-password' }}">
{% if joining %}<small>{{ rule }}</small>{% endif %}
<button>{{ title }}</button></form>{% endif %}
{% if other %}<p><a href="{{ other.address }}">{{ other.words }}</a></p>{% endif %}</main></body></html>
""")


def create_app(store: Store, *, origins: Sequence[str], only: Person | None = None) -> FastAPI:
    """The application with its login pages and its API; the pages of Gradio are mounted on it (pages.py).

    origins: the addresses it is reached at, such as `https://labels.example.org`. With https, cookies are Secure.
    only: the one person of an app without accounts, which must be bound to this machine alone.
    """
    app = FastAPI(title="align labels", docs_url=None, redoc_url=None, openapi_url=None)
    secure = is_secure(origins)
    person_of = who_asks(store, only)
    app.add_middleware(_Guard, origins=list(origins), person_of=person_of, one_host=only is not None)
    # With a CORS middleware of ours in front, Gradio's own, which lets any origin in, stands down.
    app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_credentials=True)
    if only is None:
        _add_login(app, store, secure)
        _add_join(app, store, secure)
    add_api(app, store, person_of)
    add_listing(app, person_of)

    @app.get("/static/code.css", include_in_schema=False)
    def code_css() -> Response:
        return Response(code_styles(), media_type="text/css")

    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    def home() -> RedirectResponse:
        return RedirectResponse(HOME)

    return app


def who_asks(store: Store, only: Person | None) -> Callable[[Request], Person | None]:
    """Request → person: by cookie or token, or the one person there is, unless a token says that it is another."""
    return lambda request: as_of_now(store, only) if only and not sent_token(request) else person_behind(store, request)


def _add_login(app: FastAPI, store: Store, secure: bool) -> None:
    @app.get("/login")
    def login_form(request: Request) -> HTMLResponse:
        return login_page(request, door(request, "/login"), secure)

    @app.post("/login")
    def log_in(request: Request, name: Field = "", password: Field = "", form: Field = "") -> Response:
        sent = _Sent(request, door(request, "/login"), name, form, secure)
        return _entered(sent, lambda: login(store, name, password, address_of(request)))

    @app.post("/logout")
    def log_out(request: Request) -> RedirectResponse:
        logout(store, session_token(request) or "")
        response = RedirectResponse("/login", status_code=303)
        forget_cookie(response, SESSION, secure)
        return response


def _add_join(app: FastAPI, store: Store, secure: bool) -> None:
    @app.get("/join/{token}")
    def join_form(request: Request, token: str) -> HTMLResponse:
        here = door(request, join_path(token))
        if not invitation_holds(store, token):
            return login_page(request, here, secure, code="bad-invitation", status=404)
        return login_page(request, here, secure)

    @app.post("/join/{token}")
    def join(request: Request, token: str, name: Field = "", password: Field = "", form: Field = "") -> Response:
        sent = _Sent(request, door(request, join_path(token)), name, form, secure)
        return _entered(sent, lambda: accept(store, token, name, password))


class Door(NamedTuple):
    """A page that lets people in: /login, or /join/TOKEN; and the project, or the page, that they are on the way to."""

    path: str
    project: str
    to: str = ""

    @property
    def joining(self) -> bool:
        """Whether this is an invitation."""
        return self.path.startswith("/join/")

    def at(self, path: str) -> str:
        """A path, with what they are on the way to."""
        wish = {name: value for name, value in (("project", self.project), ("to", self.to)) if value}
        return f"{path}?{urlencode(wish)}" if wish else path


def door(request: Request, path: str) -> Door:
    """The door at this path, and the project or page that the request names: whoever comes in arrives there."""
    wish = request.query_params
    to = our_page(wish.get("to", ""))
    return Door(path, "" if to else wish.get("project", ""), to)  # a page has its project in its address


def our_page(address: str) -> str:
    """An address, encoded, if it is that of a page of ours, else nothing: a link to the login is anybody's to make."""
    encoded = quote(address, safe=":/%#?=@[]!$&'()*+,;")  # as an answer's headers have it; what is encoded stays so
    return encoded if encoded.partition("?")[0] in PAGES and len(encoded) <= LONGEST_WAY else ""


def join_path(token: str) -> str:
    """The path of an invitation."""
    return f"/join/{quote(token, safe='')}"


class _Sent(NamedTuple):
    """A form that was sent: at which door, for which name, with which token."""

    request: Request
    door: Door
    name: str
    form: str
    secure: bool


def _entered(sent: _Sent, enter: Callable[[], tuple[Person, str]]) -> Response:
    """The way in, with the session's cookie; or the form again, with what was wrong."""
    if not _same(sent.form, sent.request.cookies.get(cookie_name(FORM, sent.secure), "")):
        return login_page(sent.request, sent.door, sent.secure, name=sent.name, code="form", status=403)
    if not HASHING.acquire(timeout=HASHING_WAIT):
        return login_page(sent.request, sent.door, sent.secure, name=sent.name, code="throttled", status=429)
    try:
        _, token = enter()
    except Refused as refused:
        status = {"throttled": 429, "login": 401}.get(refused.code, 400)
        code = "wrong" if refused.code == "login" else refused.code
        return login_page(sent.request, sent.door, sent.secure, name=sent.name, code=code, status=status)
    finally:
        HASHING.release()
    return let_in(sent.door, token, sent.secure)


def let_in(door: Door, token: str, secure: bool) -> Response:
    """To the page they are on the way to, with the cookie of a new session."""
    response = RedirectResponse(door.to or door.at(HOME), status_code=303)
    set_cookie(response, SESSION, token, secure)
    return response


def user_of(store: Store, only: Person | None = None) -> Callable[[Request], str | None]:
    """The name of whoever is logged in, for Gradio's `auth_dependency`; None shuts the door with 401."""
    person_of = who_asks(store, only)

    def user(request: Request) -> str | None:
        person = person_of(request)
        return person.name if person else None

    return user


def person_behind(store: Store, request: Request) -> Person | None:
    """The person a request comes from, by its token or its cookie."""
    return who(store, session_token(request))


def session_token(request: Request) -> str | None:
    """The session's cookie, under either of its names, or the token that a script sends."""
    return sent_token(request) or request.cookies.get(cookie_name(SESSION, True)) or request.cookies.get(SESSION)


class _Guard:
    """Headers on every answer; nothing that changes anything from a foreign origin; no strangers at Gradio's pages.

    Everything of Gradio's is behind the login, whatever Gradio itself would show to anybody. Plain ASGI: what comes
    after it runs in the request's own task, and answers go out as they are.
    one_host: refuse any other Host, or a stranger's page could have its own name resolved to this machine.
    """

    def __init__(self, app: ASGIApp, origins: list[str], person_of: PersonOf, one_host: bool) -> None:
        self.app, self.origins, self.person_of = app, origins, person_of
        self.hosts = {urlsplit(origin).netloc for origin in origins} if one_host else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if request.url.path.startswith(("/login", "/join", "/api")):
                    headers["Cache-Control"] = "no-store"
                elif request.url.path.startswith("/static"):
                    headers["Cache-Control"] = "no-cache"  # asked again each time, and answered with 304
            await send(message)

        if self.hosts is not None and request.headers.get("host") not in self.hosts:
            await _elsewhere(request, self.origins, 421)(scope, receive, with_headers)
            return
        await (await self._refused(request) or self.app)(scope, receive, with_headers)

    async def _refused(self, request: Request) -> Response | None:
        """The answer to a request that goes no further."""
        if request.method not in ("GET", "HEAD", "OPTIONS") and not _ours(request, self.origins):
            return _elsewhere(request, self.origins, 403)
        if not _is_pages(request):
            return None
        person = await run_in_threadpool(self.person_of, request)
        if person is not None:
            return _for_reviewers(request) if _gets_page(request) and person.role == "annotator" else None
        if _gets_page(request) and not sent_token(request):  # whoever sends one wants no login; there may be none
            return _to_login(request)
        return HTMLResponse("no login, or no valid token", status_code=401)


def _to_login(request: Request) -> Response:
    """To the login, and from there to this page."""
    path, query = request.url.path, request.url.query
    wanted = "" if path.rstrip("/") == HOME and not query else our_page(f"{path}?{query}" if query else path)
    project = "" if wanted else request.query_params.get("project", "")
    return RedirectResponse(Door("", project, wanted).at("/login"), status_code=303)


def _for_reviewers(request: Request) -> Response | None:
    """What an annotator is told in place of a page that is not for them."""
    if not f"{request.url.path}/".startswith(f"{HOME}/quality/"):
        return None
    language = language_of(request.headers.get("accept-language", ""))
    say = words(language)
    back = {"address": door(request, "").at(HOME), "words": say["back"]}
    page = _PAGE.render(lang=language, title=say["quality"], said=say["for-reviewers"], other=back)
    return HTMLResponse(page, status_code=403)


def _elsewhere(request: Request, origins: Sequence[str], status: int) -> Response:
    """The answer to what another site sent, or to an app opened at an address that it was not told of."""
    if not wants_page(request):
        remedy = "use that address; or have the app started with --origin and yours"
        found = "this request comes from another site, or to another address"
        return said(request, Refused("other-site", found, allowed=", ".join(origins), remedy=remedy), status)
    language = language_of(request.headers.get("accept-language", ""))
    say = words(language)
    own = {"address": door(request, "").at(f"{origins[0]}{HOME}"), "words": origins[0]}
    told = Markup(say["other-site"].replace("--origin", "<code>--origin</code>"))
    page = _PAGE.render(lang=language, title=say["elsewhere"], said=told, other=own)
    return HTMLResponse(page, status_code=status)


def _is_pages(request: Request) -> bool:
    return request.url.path == HOME or request.url.path.startswith(f"{HOME}/")


def _gets_page(request: Request) -> bool:
    return request.method == "GET" and wants_page(request)


def _ours(request: Request, origins: list[str]) -> bool:
    """Browsers name the origin of what changes something; a program that names none has no cookies to lend."""
    origin = request.headers.get("origin")
    if origin is not None:
        return origin in origins
    site = request.headers.get("sec-fetch-site", "none")
    referer = request.headers.get("referer")
    parts = urlsplit(referer) if referer else None
    return site in ("none", "same-origin") and (parts is None or f"{parts.scheme}://{parts.netloc}" in origins)


def login_page(
    request: Request, door: Door, secure: bool, *, name: str = "", code: str = "", status: int = 200
) -> HTMLResponse:
    """The form of a door, with what was wrong (a code of `Refused`), and the other way in, if there is one."""
    language = language_of(request.headers.get("accept-language", ""))
    say = words(language)
    form = request.cookies.get(cookie_name(FORM, secure)) or secrets.token_urlsafe(32)
    provider = getattr(request.app.state, "provider", "")
    page, over = "join" if door.joining else "login", code == "bad-invitation"
    other = {"address": door.at(f"{door.path}/oidc"), "words": say[f"{page}-with"].format(name=provider)}
    if over:
        other = {"address": door.at("/login"), "words": say["login"]}
    text = _PAGE.render(
        lang=language, title=say[page], said=say[code] if code else "", form="" if over else form, name=name[:60],
        name_label=say["name"], password_label=say["password"], joining=door.joining, action=door.at(door.path),
        rule=say["bad-password"], other=other if provider or over else None,
    )  # fmt: skip
    response = HTMLResponse(text, status_code=status)
    set_cookie(response, FORM, form, secure)
    return response


def is_secure(origins: Sequence[str]) -> bool:
    """Whether cookies may be Secure: every address that the app is reached at is https."""
    return all(origin.startswith("https://") for origin in origins)


def set_cookie(response: Response, name: str, value: str, secure: bool, seconds: int = 30 * 86_400) -> None:
    """A cookie for this host alone. Lax: it comes along when a link, or the provider, leads here."""
    response.set_cookie(
        cookie_name(name, secure), value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax"
    )


def forget_cookie(response: Response, name: str, secure: bool) -> None:
    """Have the browser forget a cookie."""
    response.delete_cookie(cookie_name(name, secure), path="/", secure=secure, httponly=True, samesite="lax")


def cookie_name(name: str, secure: bool) -> str:
    """A cookie's name: over https with the prefix that binds it to this host."""
    return f"__Host-{name}" if secure else name


def _same(a: str, b: str) -> bool:
    return bool(a) and hmac.compare_digest(a.encode(), b.encode())


def address_of(request: Request) -> str:
    """Where a request comes from, for counting failed logins."""
    return request.client.host if request.client else "unknown"
