"""The labeling app on a port of this machine, and what a test asks of it beside the browser."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from labeling_app import outgoing
from labeling_app.incoming import import_labels
from labeling_app.pages import mount_pages
from labeling_app.people import Person, create_person, local_person, script_token
from labeling_app.projects import ProjectInfo, make_project
from labeling_app.server import create_app
from labeling_app.store.database import Store, open_store
from tests.labeling_app.world import write

PASSWORD = "correct horse battery"
PATIENCE = 120.0
"""Seconds a test waits for anything: machines that test are busy."""

_numbers = itertools.count(1)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def row(prompt: str | list[dict[str, str]], texts: list[str], **more: Any) -> dict[str, Any]:
    """A row of an answers file; its answers come from models whose names nobody must see."""
    turns = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    answers = [{"id": f"answer-id-{k}", "text": text, "model": f"secret-model-{k}"} for k, text in enumerate(texts)]
    return {"id": f"row-{next(_numbers)}", "prompt": turns, "answers": answers, **more}


@dataclass
class Served:
    """An app, its database, and the thread it runs in. alone: without accounts, as one person's."""

    folder: Path
    alone: bool = False
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.store: Store = open_store(self.folder / "labels.db")
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Serve, and return once it answers."""
        only = local_person(self.store) if self.alone else None
        app = mount_pages(create_app(self.store, origins=[self.url], only=only), self.store, only)
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="error", timeout_graceful_shutdown=1)
        self.app, self.server = app, uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 3 * PATIENCE
        while not self.server.started:
            assert self.thread.is_alive() and time.monotonic() < until, "the server did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop listening, and return once it has."""
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def close(self) -> None:
        """Stop, and let go of the database."""
        self.stop()
        self.store.close()

    def project(self, rows: list[dict[str, Any]], slug: str = "", **settings: Any) -> ProjectInfo:
        """A new project of these rows, without gold questions."""
        slug = slug or f"project-{next(_numbers)}"
        made = make_project(self.store, slug, **{"gold_share": 0.0, **settings})
        import_labels(self.store, made, write(self.folder / f"{next(_numbers)}.jsonl", rows))
        return made

    def person(self, role: Any = "annotator", name: str = "") -> Person:
        """A new account with the password PASSWORD."""
        return create_person(self.store, name or f"person-{next(_numbers)}", PASSWORD, role)

    def cookie(self, person: Person) -> dict[str, str]:
        """The cookie of a person who is logged in."""
        return {"name": "align_session", "value": script_token(self.store, person.name), "url": self.url}

    def saved(self, project: ProjectInfo, person: Person | None = None) -> list[dict[str, Any]]:
        """The rankings that stand, as an export has them, but for `order`: ranks by the answers' texts."""
        newest = outgoing.newest_version(self.store, project.id)
        only = outgoing.Filter(annotators=(person.pseudonym,) if person else (), upto=newest)
        found = []
        for _, record in outgoing.rankings(self.store, project.id, only):
            told = record.model_dump()
            told["order"] = {answer.text: rank for answer, rank in zip(record.answers, record.ranks, strict=True)}
            found.append(told)
        return found
