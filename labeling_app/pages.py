"""The pages, as Gradio mounts them behind the login: ranking answers, and the project in numbers.

Each page is one constant piece of HTML: what people and models wrote never passes through a Gradio template, where it
could run as code. Its script (static/) asks the API for what it shows, and sends what the person did.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse

from labeling_app.errors import Refused
from labeling_app.people import Person
from labeling_app.server import HOME, user_of, who_asks
from labeling_app.store.database import Store

QUALITY = f"{HOME}/quality"
SCRIPTS = {"ranking": "page.js", "quality": "quality.js"}

START = """
import("/static/{script}").then((page) => page.start(element.querySelector("#align-{name}")));
"""

FRAME = """
.gradio-container { max-width: none !important; padding: 0 !important; overflow: visible !important; }
.gradio-container > .main, .gradio-container .html-container { padding: 0 !important; }
footer { display: none !important; }
"""


GRACE_SECONDS = 2
"""How long a server that is stopped waits for answers under way; every open page holds one that never ends."""
KEPT_OPEN_SECONDS = 75
"""How long a connection waits for its next request: longer than people look at an item, and than proxies wait (60)."""
THREADS = 10
"""Requests that are worked on at once; more, on a few cores, make each other wait, and each thread keeps memory."""
ARENAS = 2
"""Heaps that the threads share. The C library would give each thread its own, up to eight a core, and each would come
to keep as much as the largest request took."""
M_ARENA_MAX = -8
"""The name of that setting in glibc's malloc.h."""
QUEUE_SECONDS = 5
"""How often Gradio's queue looks whether there is something in it."""


def mount_pages(app: FastAPI, store: Store, only: Person | None = None) -> FastAPI:
    """Mount the pages at /app. only: the one person of an app without accounts."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

    reviewer = reviewer_of(store, only)

    # The longer path first: the shorter one takes everything below it, and the longer one without its last slash too.
    @app.get(QUALITY, include_in_schema=False)
    def slash(request: Request) -> RedirectResponse:
        if reviewer(request) is None:
            raise HTTPException(401)
        return RedirectResponse(str(request.url.replace(scheme="", netloc="", path=f"{QUALITY}/")))

    _mount(app, "quality", QUALITY, reviewer)
    return _mount(app, "ranking", HOME, user_of(store, only))


def reviewer_of(store: Store, only: Person | None = None) -> Callable[[Request], str | None]:
    """As `user_of`, but for reviewers and admins: others are shut out with 403."""
    person_of = who_asks(store, only)

    def user(request: Request) -> str | None:
        person = person_of(request)
        if person is None:
            return None
        try:
            person.need("reviewer")
        except Refused as refused:
            raise HTTPException(403, refused.found) from None
        return person.name

    return user


def _mount(app: FastAPI, name: str, path: str, user: Callable[[Request], str | None]) -> FastAPI:
    import gradio as gr

    mounted: FastAPI = gr.mount_gradio_app(
        app,
        _page(name),
        path=path,
        auth_dependency=user,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size="1mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        app_kwargs={"openapi_url": None},
        theme=gr.themes.Base(),
        css=FRAME,
        head="".join(f'<link rel="stylesheet" href="/static/{sheet}.css">' for sheet in ("page", "quality", "code")),
    )
    return mounted


def _page(name: str) -> Any:
    """A page that the script of this name fills."""
    import gradio as gr

    with gr.Blocks(title="align labels", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            html_template=f'<div id="align-{name}"></div>',
            js_on_load=START.format(name=name, script=SCRIPTS[name]),
            apply_default_css=False,
            padding=False,
            container=False,
        )
    # The pages send nothing through Gradio's queue, which looks for work a thousand times a second.
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = QUEUE_SECONDS
    return page


def share_heaps() -> None:
    """Bound the heaps of this process, where its C library is one that has several."""
    if sys.platform == "linux":
        limit = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
        if limit is not None:
            limit(M_ARENA_MAX, ARENAS)


def serve(app: FastAPI, host: str, port: int, ready: Any = None) -> None:
    """Run the server until it is stopped. ready: called once it answers."""
    import uvicorn
    from anyio import to_thread

    share_heaps()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            to_thread.current_default_thread_limiter().total_tokens = THREADS
            # What is loaded by now stays: to look through it for garbage would stop all requests for half a second.
            gc.freeze()
            if self.started and ready is not None:
                ready()

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEPT_OPEN_SECONDS,
    )
    Server(config).run()
