"""What a label database needs around it: a clock that a test sets, and a PostgreSQL server of one's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Clock:
    """A clock that a test sets."""

    seconds: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists()), None)


@contextmanager
def postgres() -> Iterator[str]:
    """A server on a socket of its own; the URL of its databases without their name."""
    place = programs()
    assert place is not None
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    data = folder / "data"
    # The server refuses to run as root; its package makes a user for it.
    run_as: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if run_as:
        shutil.chown(folder, "postgres", "postgres")

    def call(*command: object) -> None:
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            words = [str(word) for word in command]
            subprocess.run(words, check=True, stdout=log, stderr=log, cwd=folder, **run_as)

    call(place / "initdb", "-D", data, "-A", "trust", "-U", "labels", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c max_connections=60"
    call(place / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
    try:
        yield f"postgresql://labels@/{{name}}?host={folder}"
    finally:
        call(place / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)
