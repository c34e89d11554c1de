"""Where a stage's answers are ranked: which label database, what a run keeps of it, and commands that find it again.

The recipe or ALIGN_LABELS names the database. A shell is closed before people are done, and the next one may name
another database or none; so a run keeps, beside its stages, where each was published. A database that nobody names is
the kept one. One that is named and is another stops the run: two databases, each with half of the rankings, would look
like labels that were lost. No password is kept.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from align.data.files import write_bytes
from align.errors import DataError
from align.recipe.find import expanded
from align.recipe.schema import People

KEPT = ".labels.json"
"""In a run folder: where that was, and stage -> the database that its answers were published in."""


@dataclass(frozen=True)
class Desk:
    """Where a stage's answers are ranked. own: the project is this stage's, and shows people nothing else. told: the
    shell has to name the database to a command that reads the recipe: neither the recipe nor its default does."""

    database: str
    project: str
    own: bool
    told: bool = False


def named(people: People, folder: Path) -> str:
    """The database that the recipe names, or else ALIGN_LABELS; empty if neither does. folder: the recipe's."""
    if people.labels is not None:
        path = folder / expanded(people.labels)
        return people.labels if "://" in people.labels else str(path.resolve())
    written = os.environ.get("ALIGN_LABELS", "")
    return written if not written or "://" in written else str(expanded(written).absolute())


def desk_at(database: str, people: People, run: str, stage: str) -> Desk:
    """The desk of a run's stage in a database; an empty name is the user's own database."""
    from labeling_app.store.database import default_place

    usual = str(Path(default_place()).absolute())
    told = people.labels is None and place_of(database or usual) != usual
    return Desk(database or usual, people.project or f"{run}/{stage}", people.project is None, told)


def place_of(database: str) -> str:
    """A database as a file may name it and a command find it: a path, or a URL without a password."""
    from sqlalchemy import URL

    from labeling_app.store.database import url_of

    url = url_of(database)
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    query = {name: value for name, value in url.query.items() if name != "password"}
    bare = URL.create("postgresql", url.username, None, url.host, url.port, url.database, query)
    return bare.render_as_string()


def is_gone(database: str) -> bool:
    """Whether it is a file, and not there."""
    return "://" not in place_of(database) and not Path(place_of(database)).exists()


def has_password(desk: Desk) -> bool:
    """Whether the database is named by a URL that may stand nowhere."""
    from labeling_app.store.database import url_of

    url = url_of(desk.database)
    return url.password is not None or "password" in url.query


def kept(run: Path) -> dict[str, str]:
    """Stage -> the database that its answers were published in. Raises DataError if the file cannot be read.

    Where the run's folder was moved or copied and a database came along with it, it is that one.
    """
    file = run / KEPT
    try:
        found = json.loads(file.read_text("utf-8"))
        folder, stages = str(found["folder"]), dict(found["stages"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "delete the file; the next run uses the database that ALIGN_LABELS or `labels:` names"
        raise DataError(f"where people rank cannot be read: {error}", where=str(file), remedy=remedy) from None
    return {str(stage): _brought_along(str(place), folder, run) for stage, place in stages.items()}


def _brought_along(place: str, folder: str, run: Path) -> str:
    here = os.path.abspath(run)
    if "://" in place or folder == here:
        return place
    beside = os.path.normpath(os.path.join(here, os.path.relpath(place, folder)))
    return beside if Path(beside).exists() else place


def keep(run: Path, stage: str, desk: Desk) -> None:
    """Remember where a stage's answers are published. The database must be there."""
    stages = {**kept(run), stage: place_of(desk.database)}
    text = json.dumps({"folder": os.path.abspath(run), "stages": stages}, ensure_ascii=False, indent=1).encode()
    file = run / KEPT
    if not file.exists() or file.read_bytes() != text:
        write_bytes(file, text)


def opening(desk: Desk, overlap: int) -> tuple[str, str]:
    """The command that opens the ranking page, and the page's address. Several people are told apart by accounts."""
    from labeling_app.serving import Address

    words = ["align", "label", *_option(desk), "--project", desk.project, *(["--accounts"] if overlap > 1 else [])]
    return shlex.join(words), f"{Address().reached_at()[0]}/app?project={quote(desk.project, safe='/')}"


def adding(desk: Desk) -> str:
    """The command that makes an account."""
    return shlex.join(["align", "labels", "users", "add", "NAME", *_option(desk)])


def restoring(desk: Desk) -> str:
    """The command that brings a database back which is no longer there."""
    return shlex.join(["align", "labels", "restore", "BACKUP", *_option(desk)])


def in_shell(desk: Desk, words: list[str]) -> str:
    """A command that reads the recipe, as it is to be typed in a shell of which nothing is known."""
    known = f"ALIGN_LABELS={shlex.quote(desk.database)} " if desk.told and not has_password(desk) else ""
    return known + shlex.join(words)


def _option(desk: Desk) -> list[str]:
    """The option that names the database. A URL with a password is from ALIGN_LABELS; a command finds it there too."""
    return [] if has_password(desk) else ["--db", desk.database]
