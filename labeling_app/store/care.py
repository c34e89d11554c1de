"""Backup, restore and verification of a label database.

SQLite is backed up by `VACUUM INTO`, which takes a consistent copy while people work; PostgreSQL by pg_dump.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, create_engine, func, inspect, select, text
from sqlalchemy.orm import Session, aliased

from align.errors import AlignError, DataError, SystemLimit, unreadable
from labeling_app.retyped import typed
from labeling_app.store.database import WRITER_LOCK, Store, no_database, open_store, place_of, told, url_of
from labeling_app.store.events import broken_link
from labeling_app.store.models import APPEND_ONLY, Event, Item, Lease, RankingRow


@dataclass(frozen=True)
class Verified:
    """What a check of the database found. faults: in words; none if all is well."""

    rankings: int
    items: int
    events: int
    faults: tuple[str, ...]


def backup(store: Store, path: Path) -> Path:
    """A copy of the database as of now in a new file. Raises SystemLimit if it exists already or cannot be written."""
    if not path.name:  # such as that of "", which is the folder one is in
        raise SystemLimit("the backup's name is empty", where=str(path), remedy="name a file: labels backup FILE")
    if path.exists():
        raise SystemLimit("there is a file of this name already", where=str(path), remedy="name another one")
    if not any(place.exists() and not place.is_dir() for place in path.parents) and not path.parent.is_dir():
        remedy = f"make it, and try again: mkdir -p {shlex.quote(str(path.parent))}"
        raise SystemLimit("the backup's folder is not there", where=str(path), remedy=remedy)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o600))  # names and password hashes are nobody else's
        if store.on_sqlite:
            _sqlite_copy(store, temporary)
        else:
            _dump(temporary, store.engine.url)
        os.replace(temporary, path)
    except (OSError, sqlite3.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SystemLimit(
            f"the backup cannot be written: {why}", where=str(path), remedy="write it somewhere else"
        ) from None
    finally:
        _drop(temporary)
    return path


def restore(backup_file: Path, where: str, *, replace: bool = False) -> tuple[Store, Path | None]:
    """Open the database at `where` as the backup has it; and the file that keeps what was there: the SQLite database
    itself, or a backup of the PostgreSQL database, beside the one that is restored.

    A SQLite backup is checked before it takes anything's place. Raises DataError for a file that is no backup,
    SystemLimit if a database is there and `replace` is not said, or if another process has it open.
    """
    if not backup_file.is_file():
        raise DataError("there is no such backup", where=str(backup_file), remedy="name a file made by labels backup")
    url = url_of(where)
    _check_kind(backup_file, url)
    path = Path(url.database or "")
    on_sqlite = url.get_backend_name() == "sqlite"
    if on_sqlite and path.is_dir():
        raise no_database(str(path))
    there = _is_there(url)
    if there and not replace:
        raise SystemLimit(
            "there is a label database already", where=place_of(url), remedy="restore elsewhere, or add --replace"
        )
    if not on_sqlite:
        kept = _restore_server(backup_file, url, there)
        return open_store(where, create=False), kept
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(backup_file, temporary)
        temporary.chmod(0o600)
        _checked_copy(temporary, backup_file)
        kept = _set_aside(path) if path.exists() else None
        os.replace(temporary, path)
    except OSError as error:
        raise SystemLimit(
            f"the backup cannot be restored: {error.strerror}",
            where=str(path),
            remedy="restore it elsewhere: --db FILE",
        ) from None
    finally:
        for suffix in ("", "-wal", "-shm"):
            _drop(temporary.with_name(temporary.name + suffix))
    return open_store(path, create=False), kept


def _drop(file: Path) -> None:
    with suppress(OSError):  # as where its folder is none
        file.unlink()


def verify(store: Store) -> Verified:
    """Check the file, the chain of events, that what is append-only is guarded, and that counts fit the rankings."""
    with store.read() as session:
        faults = [*_file_faults(store, session), *_count_faults(session)]
        broken = broken_link(session)
        if broken is not None:
            faults.append(f"event {broken} does not fit those before it: a row of the log was changed or taken out")
        rankings, items, events = (
            session.execute(select(func.count()).select_from(table)).scalar_one() for table in (RankingRow, Item, Event)
        )
    return Verified(rankings, items, events, tuple(faults))


def _sqlite_copy(store: Store, path: Path) -> None:
    with told(store.place):
        raw = store.engine.raw_connection()
        try:
            raw.cursor().execute("VACUUM INTO ?", (str(path),))
        finally:
            raw.close()
    with path.open("rb") as copied:
        os.fsync(copied.fileno())


def _check_kind(backup_file: Path, url: URL) -> None:
    """Raises DataError for a backup of the other kind of database."""
    try:
        with backup_file.open("rb") as file:
            dumped = file.read(5) == b"PGDMP"
    except OSError:
        raise unreadable(backup_file) from None
    if dumped == (url.get_backend_name() != "sqlite"):
        return
    if dumped:
        found, db = (
            "this is a backup of a PostgreSQL database, and it is to become a file",
            "postgresql://USER@HOST/NAME",
        )
    else:
        found, db = "this is no backup of a PostgreSQL database, and it is to become one", "FILE"
    remedy = f"restore it to one of its own kind: {typed('labels', 'restore', str(backup_file), db=db)}"
    raise DataError(f"{found}: {place_of(url)}", where=str(backup_file), remedy=remedy)


def _is_there(url: URL) -> bool:
    if url.get_backend_name() == "sqlite":
        return Path(url.database or "").exists()
    engine = create_engine(url)
    try:
        with told(place_of(url)):
            return bool(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def _restore_server(backup_file: Path, url: URL, there: bool) -> Path | None:
    """Restore a PostgreSQL database, whole or not at all; and the backup of what was there."""
    tables = _run(["pg_restore", "--list", str(backup_file)])
    if " ranking " not in tables:
        found = "this is no backup: it holds no labels"
        raise DataError(found, where=str(backup_file), remedy="name a file made by labels backup")
    command = ["pg_restore", "--no-owner", "--single-transaction", "--exit-on-error", str(backup_file)]
    if not there:
        _run(command, url)
        return None
    with _alone(url):
        kept = _free(backup_file)
        try:
            os.close(os.open(kept, os.O_CREAT | os.O_EXCL, 0o600))  # names and password hashes are nobody else's
            _dump(kept, url)
            _run([*command, "--clean", "--if-exists"], url)
        except OSError as error:
            found = f"what is there cannot be kept: {error.strerror}"
            remedy = "copy the backup into a folder that you may write to, and restore it from there"
            raise SystemLimit(found, where=str(kept), remedy=remedy) from None
        except AlignError:
            kept.unlink()  # what it keeps is in its place still
            raise
    return kept


@contextmanager
def _alone(url: URL) -> Iterator[None]:
    """While nobody else is connected, and nobody who comes can save anything. Raises SystemLimit if somebody is."""
    asked = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND coalesce(backend_type, 'client backend') = 'client backend'"
    )
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with told(place_of(url)), engine.connect() as connection:
            until = time.monotonic() + 2.0  # the server lets go of a connection a little after it was closed
            while others := connection.execute(asked).scalar_one():
                if time.monotonic() > until:
                    raise SystemLimit(
                        f"others are connected to this label database ({others}), and what they save would be lost",
                        where=place_of(url),
                        remedy="stop the app (align label, align run --wait) and whatever else uses it, "
                        "then restore again",
                    )
                time.sleep(0.05)
            connection.execute(text(f"SELECT pg_advisory_lock({WRITER_LOCK})"))
            yield
    finally:
        engine.dispose()


def _checked_copy(copy: Path, backup_file: Path) -> None:
    try:
        store = open_store(copy, create=False)
    except DataError as error:
        remedy = "name a file made by labels backup"
        raise DataError(f"this is no backup: {error.found}", where=str(backup_file), remedy=remedy) from None
    try:
        faults = verify(store).faults
        # All of it into the one file, before that is renamed.
        with store.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
            connection.exec_driver_sql("BEGIN")
    finally:
        store.close()
    if faults:
        raise DataError(f"the backup is damaged: {faults[0]}", where=str(backup_file), remedy="restore an older backup")


def _set_aside(path: Path) -> Path:
    """Keep a database under another name of its own, damaged or not, with its log if that could not be merged."""
    _close_log(path)
    kept = _free(path)
    try:
        os.link(path, kept)  # so that there is a database at every moment
    except OSError:
        os.rename(path, kept)  # on a disk without links
    for suffix in ("-wal", "-shm"):
        if (log := path.with_name(path.name + suffix)).exists():
            os.replace(log, kept.with_name(kept.name + suffix))
    return kept


def _free(path: Path) -> Path:
    """A name beside a file that nothing has, for what a restore keeps."""
    names = (f"{path.name}.before-restore{number or ''}" for number in itertools.count())
    return next(other for name in names if not (other := path.with_name(name)).exists())


def _close_log(path: Path) -> None:
    """Merge a file's log into it, which only who is alone may: what another process saved later would be nowhere."""
    connection = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        alone = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0] == "delete"
    except sqlite3.DatabaseError as error:
        alone = "locked" not in str(error)  # else it is damaged, and kept as it is
    finally:
        connection.close()
    if not alone:
        raise SystemLimit(
            "another process has this label database open, and what people save there would be lost",
            where=str(path),
            remedy="stop it (align label, align run --wait), then restore again",
        )


def _file_faults(store: Store, session: Session) -> list[str]:
    if not store.on_sqlite:
        asked = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"
        gone = len(APPEND_ONLY) + 1 - session.execute(text(asked)).scalar_one()
        return [f"{gone} triggers are gone"] if gone else []
    said = session.execute(text("PRAGMA integrity_check")).scalars().all()
    faults = [f"the file is damaged: {line}" for line in said if line != "ok"]
    faults += [f"a row of {row[0]} names one that is gone" for row in session.execute(text("PRAGMA foreign_key_check"))]
    asked = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"
    gone = 2 * len(APPEND_ONLY) + 2 - session.execute(text(asked)).scalar_one()
    return faults + ([f"{gone} triggers are gone"] if gone else [])


def _count_faults(session: Session) -> list[str]:
    """Items whose counts are not those of their rankings and leases."""
    counted = (Lease.task == "rank", Lease.round == 0)
    newer = aliased(RankingRow)
    later = select(newer.id).where(newer.lease_id == RankingRow.lease_id, newer.version > RankingRow.version)
    standing = (
        select(RankingRow.item_id, func.count().label("number"))
        .join(Lease, Lease.id == RankingRow.lease_id)
        .where(RankingRow.action == "submit", *counted, ~later.exists())
        .group_by(RankingRow.item_id)
        .subquery()
    )
    running = (
        select(Lease.item_id, func.count().label("number"))
        .where(*counted, Lease.state.in_(("leased", "submitted")))
        .group_by(Lease.item_id)
        .subquery()
    )
    wrong = (
        select(Item.id, Item.done, standing.c.number, Item.taken, running.c.number)
        .outerjoin(standing, standing.c.item_id == Item.id)
        .outerjoin(running, running.c.item_id == Item.id)
        .where((Item.done != func.coalesce(standing.c.number, 0)) | (Item.taken != func.coalesce(running.c.number, 0)))
        .limit(20)
    )
    return [
        f"item {item} counts {done} rankings where {stands or 0} stand, and {taken} turns where {runs or 0} are"
        for item, done, stands, taken, runs in session.execute(wrong)
    ]


def _dump(path: Path, url: URL) -> None:
    _run(["pg_dump", "--format=custom", f"--file={path}"], url)


def _run(command: list[str], url: URL | None = None) -> str:
    """What a program of PostgreSQL's prints, at a database if one is given. The password is not on its command line,
    which all users can read."""
    secret = {"PGPASSWORD": str(url.password)} if url is not None and url.password else {}
    if url is not None:
        open_part = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
        command = [*command, f"--dbname={open_part.render_as_string()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **secret})
    except FileNotFoundError:
        raise SystemLimit(
            f"the program {command[0]} is not installed", remedy="install the client programs of PostgreSQL"
        ) from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        remedy = "the database is as it was; restore an older backup" if command[0] == "pg_restore" else ""
        raise SystemLimit(
            f"{command[0]} failed: {said[0] if said else done.returncode}", where=command[0], remedy=remedy
        )
    return done.stdout
