"""The REST API: what the pages use, and what scripts may.

Everything under /api/v1 needs a login (the session's cookie, or `Authorization: Bearer` with a token that
`align labels users token NAME` prints), answers JSON, and says errors as {"error": {code, found, where, allowed,
remedy}}. The rules are those of queue.py and labels.py; nothing is decided here.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from align.errors import AlignError, SystemLimit
from labeling_app import labels, outgoing, queue
from labeling_app.described import (
    EXPORTED,
    FIGURES,
    ME,
    NEXT,
    REFUSED,
    SAVED,
    UNDONE,
    Described,
    GivenBack,
    Kept,
    Renewed,
)
from labeling_app.errors import NoProject, Refused
from labeling_app.people import Person, set_locale
from labeling_app.projects import get_project, list_projects, project_id
from labeling_app.recent import Figures
from labeling_app.rendering import safe_html
from labeling_app.store.database import Store
from labeling_app.submission import LEASE, Skip, Submission, parsed
from labeling_app.views import ItemView, Task

STATUS = {
    "not-allowed": 403, "not-yours": 404, "lease-over": 409, "nothing-to-undo": 409, "bad-ranking": 422,
    "bad-text": 422, "login": 401, "throttled": 429, "no-project": 404, "no-path": 404, "other-site": 403,
}  # fmt: skip
"""Code of a refusal → HTTP status; 400 for others."""

PersonOf = Callable[[Request], Person | None]
SentRanking = Annotated[dict[str, Any], Described(Submission), Body()]
SentSkip = Annotated[dict[str, Any], Described(Skip), Body()]
Slug = Annotated[str, InPath(max_length=100, pattern=r"^[^\x00]+$")]
Number = Annotated[int, Query(ge=0, le=2**31 - 1)]
"""A row's number or version, as far as any database counts."""


def _example(**values: Any) -> dict[str, Any]:
    return {"examples": [values]}


class LeaseName(BaseModel):
    """Which item a request is about."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, json_schema_extra=_example(lease=LEASE))

    lease: str
    """`item.lease`, as `next` told it."""


class DraftSent(LeaseName):
    """What a person has done so far with an item."""

    model_config = ConfigDict(json_schema_extra=_example(lease=LEASE, body={"note": "a2 is better so far"}))

    body: Any
    """Any JSON; `item.draft` of the same item is this again, and the page passes over what is not in its own form."""


class Locale(BaseModel):
    """The language a person has switched to."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, json_schema_extra=_example(locale="zh-CN"))

    locale: str
    """A language's code: `en`, `zh-CN`. The pages are in English for any that they do not have."""


def add_api(app: FastAPI, store: Store, person_of: PersonOf) -> None:
    """Add every route to `app`. person_of: who a request comes from, or None."""

    # Made by hand, because the annotations of handlers inside a function are not resolved by name.
    who: Any = Depends(logged_in(person_of))
    router = APIRouter(prefix="/api/v1", responses=REFUSED)
    _add_reading(router, store, who)
    _add_work(router, store, who)
    _add_exports(router, store, who)
    app.include_router(router)
    app.state.place = store.place
    app.add_exception_handler(AlignError, said)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _no_path)


def logged_in(person_of: PersonOf) -> Callable[[Request], Person]:
    """Request → the person it comes from; Refused where that is nobody."""

    def me(request: Request) -> Person:
        person = person_of(request)
        if person is None and sent_token(request):
            remedy = "make one: align labels users token NAME; send it as Authorization: Bearer TOKEN"
            raise Refused("login", "this token is not valid, or no longer", remedy=remedy)
        if person is None:
            raise Refused("login", "nobody is logged in", remedy="log in at /login, or send a token")
        return person

    return me


def sent_token(request: Request) -> str:
    """The token that a script sends as `Authorization: Bearer TOKEN`, or nothing."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def wants_page(request: Request) -> bool:
    """Whether a browser asks, for a person to read."""
    return "text/html" in request.headers.get("accept", "")


def said(request: Request, error: Exception, status: int = 0) -> JSONResponse:
    """An error as every answer has it. status: in place of the one that its code has."""
    assert isinstance(error, AlignError)
    if isinstance(error, NoProject):  # which others there are, and in which database, is nothing for those who rank
        error = Refused("no-project", "there is no such project", remedy="see GET /api/v1/me")
    others = "not-saved" if isinstance(error, SystemLimit) else "bad-request"
    code = error.code if isinstance(error, Refused) else others
    status = status or STATUS.get(code, 503 if isinstance(error, SystemLimit) else 400)
    told = {"code": code, **{k: v for k, v in error.to_dict().items() if k != "error"}}
    if told["where"] == request.app.state.place:
        told["where"] = ""  # where the database lies is nothing for those who rank
    return JSONResponse({"error": told}, status_code=status)


def _unfit(request: Request, error: Exception) -> JSONResponse:
    """What FastAPI refuses, in the form of our errors."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])[:200]
    # A body of another type, or of none, comes here as bytes, and its message speaks of dictionaries.
    unread = first["loc"] == ("body",) and isinstance(first["input"], bytes)
    remedy = "send content-type: application/json; see /api" if unread else "see /api"
    return said(request, Refused("bad-text", first["msg"], where=where, remedy=remedy))


async def _no_path(request: Request, error: Exception) -> Response:
    """What no route answers, in the form of our errors; outside of the API, as FastAPI says it."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if not path.startswith("/api/"):
        return await http_exception_handler(request, error)
    allowed = (error.headers or {}).get("Allow", "")
    found = f"nothing here takes {request.method}" if allowed else "there is no such path"
    refused = Refused("no-path", found, where=path[:200], allowed=allowed, remedy="see /api")
    answer = said(request, refused, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def _add_reading(router: APIRouter, store: Store, who: Any) -> None:
    figures = Figures(store)

    @router.get("/me", summary="Who is logged in, and the projects there are", responses=ME)
    def me(person: Person = who) -> Response:
        # How many items are tests is nothing for those who are tested.
        counts = person.role != "annotator"
        projects = [{"slug": p.slug, **({"states": p.states} if counts else {})} for p in list_projects(store)]
        return _told({"name": person.name, "role": person.role, "locale": person.locale, "projects": projects})

    @router.put("/me/locale", summary="Remember a language")
    def locale(wish: Locale, person: Person = who) -> Locale:
        set_locale(store, person, wish.locale)
        return wish

    @router.get(
        "/projects/{slug:path}/quality", summary="Progress, pace, agreement, disputes (reviewers)", responses=FIGURES
    )
    def quality(slug: Slug, person: Person = who) -> Response:
        return _told(figures.of(person, project_id(store, slug)))


def _add_work(router: APIRouter, store: Store, who: Any) -> None:
    @router.post("/projects/{slug:path}/next", summary="Lease the next item, or the one that is open", responses=NEXT)
    def next_item(slug: Slug, task: Task = "rank", item: Number | None = None, person: Person = who) -> Response:
        return _told(_shown_next(queue.next_item(store, person, project_id(store, slug), task, item)))

    @router.post("/projects/{slug:path}/submit", summary="Save a ranking; answers with the next item", responses=SAVED)
    def submit(slug: Slug, sent: SentRanking, task: Task = "rank", person: Person = who) -> Response:
        return _told(_saved(store, person, parsed(Submission, sent), slug, task))

    @router.post(
        "/projects/{slug:path}/skip", summary="Leave an item to others; answers with the next", responses=SAVED
    )
    def skip(slug: Slug, sent: SentSkip, task: Task = "rank", person: Person = who) -> Response:
        return _told(_saved(store, person, parsed(Skip, sent), slug, task))

    @router.post(
        "/projects/{slug:path}/undo", summary="Take back the last submission; answers with its item", responses=UNDONE
    )
    def undo(slug: Slug, person: Person = who) -> Response:
        return _told({"item": shown(labels.undo(store, person, project_id(store, slug)))})

    @router.put("/draft", summary="Keep what was done so far with an item")
    def draft(sent: DraftSent, person: Person = who) -> Kept:
        labels.save_draft(store, person, sent.lease, sent.body)
        return Kept(saved=True)

    @router.post("/renew", summary="Keep an item that one is still busy with")
    def renew(sent: LeaseName, person: Person = who) -> Renewed:
        return Renewed(expires=queue.renew(store, person, sent.lease))

    @router.post("/leave", summary="Give an item back unranked")
    def leave(sent: LeaseName, person: Person = who) -> GivenBack:
        queue.leave(store, person, sent.lease)
        return GivenBack(left=True)


def _add_exports(router: APIRouter, store: Store, who: Any) -> None:
    summary = "A project's labels as a file (reviewers)"

    @router.get("/projects/{slug:path}/export", summary=summary, response_class=FileResponse, responses=EXPORTED)
    def export(slug: Slug, shape: str = "rankings", upto: Number = 0, person: Person = who) -> FileResponse:
        person.need("reviewer")
        if shape not in outgoing.SUFFIXES:
            raise Refused("bad-text", f"`{shape[:40]}` is no shape of an export", allowed=", ".join(outgoing.SUFFIXES))
        folder = Path(tempfile.mkdtemp())
        try:
            path = folder / f"{shape}{outgoing.SUFFIXES[shape]}"
            only = outgoing.Filter(upto=upto)
            done = outgoing.export(store, get_project(store, slug), path, shape, only)  # type: ignore[arg-type]
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        headers = {"x-rows": str(done.rows), "x-sha256": done.sha256, "x-upto": str(done.filter.upto)}
        after = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        return FileResponse(path, filename=path.name, headers=headers, background=after)


def _told(answer: dict[str, Any]) -> Response:
    """JSON as it is: an item is large, and nothing in it needs to be checked or converted again."""
    return Response(to_json(answer, inf_nan_mode="null"), media_type="application/json")


def _saved(store: Store, person: Person, sent: Submission | Skip, slug: str, task: Task) -> dict[str, Any]:
    receipt, found = labels.save_and_next(store, person, sent, slug, task)
    return {"saved": asdict(receipt), **_shown_next(found)}


def _shown_next(found: ItemView | queue.Nothing) -> dict[str, Any]:
    if isinstance(found, ItemView):
        return {"item": shown(found)}
    return {"item": None, "reason": found.reason, "waiting": found.waiting}


def shown(view: ItemView) -> dict[str, Any]:
    """An item as the page gets it: its texts as they are, for editing, and as safe HTML, for reading."""
    return {
        **vars(view),
        "prompt": [{**vars(turn), "html": safe_html(turn.content)} for turn in view.prompt],
        "answers": [{**vars(answer), "html": safe_html(answer.text)} for answer in view.answers],
        "opinions": [vars(opinion) for opinion in view.opinions],
        "guidelines": safe_html(view.guidelines) if view.guidelines else "",
    }
