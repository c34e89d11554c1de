"""The API listed: /api for people, /api/openapi.json for programs. Both need a login, as the API itself does."""

from __future__ import annotations

from collections.abc import Iterator

import jinja2
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from labeling_app.api import PersonOf, logged_in, sent_token, wants_page
from labeling_app.described import openapi_of

_LISTING = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>API</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
td,th{text-align:left;padding:.3rem 1.5rem .3rem 0}code{font-size:.9em}</style></head><body><main><h1>API</h1>
<p>Log in, or send <code>Authorization: Bearer TOKEN</code> with a token from
<code>align labels users token NAME</code>. What each request and answer holds,
with examples that can be sent: <a href="/api/openapi.json">openapi.json</a>.</p>
<table><thead><tr><th>Method</th><th>Path</th><th>What it does</th></tr></thead><tbody>
{% for method, path, about in routes %}
<tr><td>{{ method }}</td><td><code>{{ path }}</code></td><td>{{ about }}</td></tr>{% endfor %}
</tbody></table></main></body></html>
""")


def add_listing(app: FastAPI, person_of: PersonOf) -> None:
    """Add both to `app`. person_of: who a request comes from, or None."""
    me = logged_in(person_of)

    def refused(request: Request) -> Response | None:
        """A browser goes to the login; a program is told so, as everywhere in the API."""
        if wants_page(request) and not sent_token(request) and person_of(request) is None:
            return RedirectResponse("/login", status_code=303)
        me(request)
        return None

    @app.get("/api", include_in_schema=False)
    def listing(request: Request) -> Response:
        return refused(request) or HTMLResponse(_LISTING.render(routes=list(_routes_of(app))))

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi(request: Request) -> Response:
        return refused(request) or JSONResponse(openapi_of(app))


def _routes_of(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    for path, methods in sorted(app.openapi()["paths"].items()):
        for method, about in methods.items():
            yield method.upper(), path, about.get("summary", "")
