"""Opens the label database: SQLite by default, PostgreSQL by URL; one writer at a time; errors in plain words.

A transaction is the unit of everything: what `Store.write()` gives is committed whole at its end, on disk
(`synchronous=FULL`) before it returns, or not at all. Writers wait for each other: threads at a lock of this process,
processes at `BEGIN IMMEDIATE` or at PostgreSQL's advisory lock. That keeps the chain of events in order, and is faster
than letting SQLite's writers back off and try again.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from align.errors import DataError, RecipeError, SystemLimit
from labeling_app.retyped import typed

BUSY_SECONDS = 10.0
"""How long a writer waits for another process before it gives up."""
WRITER_LOCK = 0x616C6967
"""PostgreSQL's advisory lock of writers: any fixed number that nobody else uses."""
MIGRATIONS = Path(__file__).with_name("migrations")


class Store:
    """An open label database. Safe to share between threads; `close()` it at the end."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self.engine, self.clock = engine, clock
        self._writer = threading.Lock()
        self.left: dict[tuple[int, int], Any] = {}  # person and project -> leftover.Left
        self.counts: dict[tuple[int, int], Any] = {}  # person and project -> remaining.Count

    @property
    def place(self) -> str:
        """The database as an error may name it: without a password."""
        return place_of(self.engine.url)

    @property
    def option(self) -> str:
        """What `--db` has to say in a command about this database; empty if nothing."""
        return option_of(self.engine.url)

    @property
    def on_sqlite(self) -> bool:
        """Whether this is a file, not a server."""
        return self.engine.dialect.name == "sqlite"

    def now(self, ahead: float = 0.0) -> str:
        """This moment, or `ahead` seconds after it, as the tables keep it."""
        return stamp(self.clock() + ahead)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one consistent state of the database. What is changed in it is lost."""
        with told(self.place), self.engine.connect() as connection, Session(connection) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that is alone in writing; committed at the end, rolled back if anything is raised.

        Raises SystemLimit if the database is locked, full, read-only or unreachable.
        """
        with (
            told(self.place),
            self._writer,
            self.engine.connect().execution_options(writer=True) as connection,
            Session(connection, expire_on_commit=False) as session,
            session.begin(),
        ):
            session.connection()  # takes SQLite's lock now, not at the first statement
            if not self.on_sqlite:
                session.execute(text(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})"))
            yield session

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def open_store(
    where: str | Path, *, create: bool = True, clock: Callable[[], float] = time.time, busy: float = BUSY_SECONDS
) -> Store:
    """The database at a path or URL, brought to this version's tables.

    create: make it if it is not there (a PostgreSQL database itself must exist). busy: seconds to wait for a lock.

    Raises DataError if it is no label database or made by a newer version, SystemLimit if it cannot be reached,
    written or locked, RecipeError if the URL cannot be understood.
    """
    url = url_of(where)
    store = Store(_engine(url, busy), clock)
    try:
        if store.on_sqlite:
            _prepare_file(url, create)
        with told(store.place):
            _upgrade(store)
    except BaseException:
        store.close()
        raise
    return store


def default_place() -> str:
    """Where labels are kept if nobody says: in the user's data folder, away from what a web server may hand out."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(home) / "align" / "labels.db")


def url_of(where: str | Path) -> URL:
    """A path or URL as SQLAlchemy's. Raises RecipeError for another kind of database."""
    if "://" not in str(where):
        return URL.create("sqlite", database=str(Path(where).expanduser().absolute()))
    allowed = "a path to a SQLite file, or postgresql://USER@HOST/DATABASE"
    remedy = "name one of these: --db, ALIGN_LABELS, or labels: in a recipe"
    try:
        url = make_url(str(where))
    except (ArgumentError, ValueError):
        shown = re.sub("://.*@", "://***@", str(where))  # whatever stands there may be a password
        raise RecipeError(
            "the database URL cannot be understood", where=shown, allowed=allowed, remedy=remedy
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise RecipeError(
            f"there is no support for {url.drivername}", where=place_of(url), allowed=allowed, remedy=remedy
        )
    return url.set(drivername="postgresql+psycopg") if url.get_backend_name() == "postgresql" else url


def place_of(url: URL) -> str:
    """A URL for people: a file's path, or the server's address without the password."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.set(drivername=url.get_backend_name()).difference_update_query(_SECRETS).render_as_string()


def option_of(url: URL) -> str:
    """What `--db` has to say in a command: empty for the user's own database, which needs no option, and for a URL with
    a password, which may stand nowhere; that one is from ALIGN_LABELS, or its user knows it."""
    if url.password is not None or set(_SECRETS) & set(url.query):
        return ""
    return "" if url == url_of(default_place()) else place_of(url)


def option_of_name(db: str) -> str:
    """What `--db` has to say in a command about the database that a path or URL names: as `option_of`."""
    return option_of(url_of(db)) if db else ""


_SECRETS = ("password", "sslpassword")
"""What a URL's query may say that nobody else is to read."""


def stamp(seconds: float) -> str:
    """Seconds since 1970 as UTC text of fixed width, which sorts by time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextmanager
def told(place: str) -> Iterator[None]:
    """Turns what a database says into our errors."""
    try:
        yield
    except DBAPIError as error:
        raise _explained(error, place) from error
    except OverflowError as error:
        if "SQLite INTEGER" not in str(error):
            raise
        raise _unfit() from error


def _engine(url: URL, busy: float) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            # Autocommit, so that `BEGIN IMMEDIATE` is ours to say.
            arguments: dict[str, Any] = {"timeout": busy, "isolation_level": None, "check_same_thread": False}
        else:
            arguments = {"connect_timeout": max(2, int(busy)), "options": f"-c lock_timeout={int(busy * 1000)}"}
        # The connection used last is taken first: each keeps pages in memory, so that one is warm and the rest small.
        engine = create_engine(url, connect_args=arguments, pool_size=16, max_overflow=16, pool_use_lifo=True)
    except (NoSuchModuleError, ModuleNotFoundError):
        raise SystemLimit(
            "the driver for PostgreSQL is not installed",
            where=place_of(url),
            remedy="pip install 'rlhf-align[postgres]'",
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    _use_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-2000"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: Any) -> None:
    """A file's journal mode is set once; the busy timeout does not hold for it, if several processes start at once."""
    until = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writer") else "BEGIN")


def _prepare_file(url: URL, create: bool) -> None:
    path = Path(url.database or "")
    if path.exists():
        # What is in the file is SQLite's to look at: closing it here would drop the locks of every other connection
        # of this process (sqlite.org/howtocorrupt.html, 2.2).
        if path.is_dir():
            raise no_database(str(path))
        return
    if not create:
        raise DataError(
            "there is no label database here",
            where=str(path),
            remedy=f"make one: {typed('labels', 'import', 'FILE', project='NAME', db=option_of(url))}",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # names and password hashes are nobody else's
    except OSError as error:
        raise SystemLimit(
            f"the label database cannot be made: {error.strerror}", where=str(path), remedy="name another with --db"
        ) from None


def _upgrade(store: Store) -> None:
    """Run the migrations that are missing; nothing if the newest is there, which costs one query."""
    head = newest_revision()
    with store.engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        found = _revision(connection, tables, store.place)
        if found == head:
            return
    with store._writer, store.engine.connect().execution_options(writer=True) as connection, connection.begin():
        if not store.on_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})"))
        _revision(connection, inspect(connection).get_table_names(), store.place)
        from alembic import command

        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection, tables: list[str], place: str) -> str:
    """The revision the database is of; empty for an empty database."""
    if "alembic_version" not in tables or "ranking" not in tables:
        if tables:
            raise DataError(
                f"this database holds other tables ({', '.join(sorted(tables)[:3])}), and no labels",
                where=place,
                remedy="name an empty database, or one that this tool made",
            )
        return ""
    found = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    if not list((MIGRATIONS / "versions").glob(f"{found}_*.py")):
        raise DataError(
            f"the label database is of revision {found}, made by a newer version of this tool",
            where=place,
            allowed=f"revisions up to {newest_revision()}",
            remedy="install that version, or restore a backup that this one made",
        )
    return found


def newest_revision() -> str:
    """The revision of this version's tables. Migrations are named by their number, so that this needs no alembic."""
    return max(file.name.split("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def _config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


UNREACHED, REACH = "the database server cannot be reached", "start it, or look at host and port in the URL"
# What a database says, as a pattern -> what is wrong, and what to do.
_SAYS: tuple[tuple[str, str, str], ...] = (
    ("locked", "another process is writing to the label database and does not end",
     "stop it, or wait and try again; nothing was saved by this attempt"),
    ("lock timeout", "another process is writing to the label database and does not end",
     "stop it, or wait and try again; nothing was saved by this attempt"),
    ("disk is full", "the disk of the label database is full", "free space, and submit again"),
    ("no space left", "the disk of the label database is full", "free space, and submit again"),
    ("readonly database", "the label database may not be written",
     "look at the permissions of the file and its folder"),
    ("read-only transaction", "the label database may not be written", "connect to the server that takes writes"),
    ("unable to open", "the label database cannot be opened", "look at the permissions of the file and its folder"),
    ("disk i/o error", "the disk of the label database fails", "look at the disk; restore a backup if it is broken"),
    ("password authentication", "the database server does not take this name and password", "look at the URL"),
    ('role ".*" does not exist', "the database server has no user of this name",
     "name another in the URL, or make this one: {createuser}"),
    ("does not exist", "the database does not exist", "create it: {createdb}"),
    ("connect", UNREACHED, REACH),
)  # fmt: skip


def _explained(error: DBAPIError, place: str) -> Exception:
    said = str(error.orig)
    low = said.lower()
    if "not a database" in low:
        return no_database(place)
    if "malformed" in low:
        remedy = f"restore a backup: {restoring(url_of(place))}"
        return DataError("the label database is damaged", where=place, allowed=said, remedy=remedy)
    kind = type(error).__name__
    if kind == "DataError":
        return _unfit()
    if kind in ("OperationalError", "InternalError") or error.connection_invalidated:
        for words, found, remedy in _SAYS:
            if re.search(words, low):
                return SystemLimit(f"{found} ({said.splitlines()[0]})", where=place, remedy=_filled(remedy, place))
        if kind == "OperationalError" and error.statement is None:  # it said so before anything was asked of it
            return SystemLimit(f"{UNREACHED} ({said.splitlines()[0]})", where=place, remedy=REACH)
    return error


def restoring(url: URL) -> str:
    """The command that puts a backup in the place of what is there."""
    return typed("labels", "restore", "BACKUP", replace=True, db=option_of(url))


def _filled(remedy: str, place: str) -> str:
    """A remedy with the commands that make a user or a database on the server that the URL names."""
    if "{create" not in remedy:
        return remedy
    url = make_url(place)
    host = url.host or url.query.get("host")
    server = [*(("-h", str(host)) if host else ()), *(("-p", str(url.port)) if url.port else ())]
    owner = ["-U", url.username] if url.username else []
    return remedy.format(
        createuser=shlex.join(["createuser", *server, url.username or "NAME"]),
        createdb=shlex.join(["createdb", *server, *owner, url.database or url.username or "NAME"]),
    )


def no_database(place: str) -> DataError:
    """What is said of a folder, or of a file that is something else."""
    if Path(place).is_dir():
        remedy = f"name a file: --db {shlex.quote(str(Path(place) / 'labels.db'))}"
        return DataError("this is no label database, it is a folder", where=place, remedy=remedy)
    remedy = f"name another file with --db; if it was one, restore a backup: {restoring(url_of(place))}"
    return DataError("this is no label database", where=place, remedy=remedy)


def _unfit() -> DataError:
    return DataError(
        "a text or number is not one that the database can hold", allowed="text without NUL, numbers of 32 bits"
    )
