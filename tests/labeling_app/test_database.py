"""Opening: the tables are those of the migrations, and what is wrong with a database is said."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import case, create_engine, func, select, text, update
from sqlalchemy.exc import DatabaseError, OperationalError

from align.errors import AlignError, DataError, RecipeError, SystemLimit
from labeling_app.incoming import import_labels
from labeling_app.labels import skip, undo
from labeling_app.outgoing import export
from labeling_app.projects import get_project, make_project
from labeling_app.queue import item_of, leave
from labeling_app.store.care import verify
from labeling_app.store.database import Store, open_store, option_of, place_of, stamp, told, url_of
from labeling_app.store.events import broken_link, record_event
from labeling_app.store.models import APPEND_ONLY, Base, Event, Lease, Project, Tally
from labeling_app.submission import Skip
from tests.labeling_app.world import asked, made, person, ranked


def tables(connection: Any) -> dict[str, list[str]]:
    """Name of each table and index → the parts of its definition, in any order."""
    rows = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('table', 'index') "
        "AND name NOT LIKE 'alembic%'"
    )
    return {name: sorted(re.findall(r"[^,\s()\"]+", sql)) for name, sql in rows}


def test_the_migrations_make_the_tables_of_the_models(store: Store) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.connect() as wanted, store.engine.connect() as found:
        assert tables(found) == tables(wanted)


def test_acknowledged_means_on_disk(store: Store) -> None:
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_the_file_is_its_owners_alone(store: Store) -> None:
    assert Path(store.place).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_is_append_only_cannot_be_changed(either: Store, tmp_path: Path, table: str) -> None:
    project = made(either, tmp_path)
    ranked(either, person(either, "ann"), project)
    if table == "export":
        from labeling_app.outgoing import export

        export(either, project, tmp_path / "out.jsonl")
    for statement in (f"UPDATE {table} SET id = id + 1000", f"DELETE FROM {table}"):
        with pytest.raises(DatabaseError, match=f"{table} is append-only"), either.engine.begin() as connection:
            connection.execute(text(statement))


def test_the_event_log_shows_a_change(store: Store) -> None:
    with store.write() as session:
        for number in range(3):
            record_event(session, store.now(), "ann", "test", f"item:{number}", number=number)
    with store.read() as session:
        assert broken_link(session) is None
    with store.engine.begin() as connection:  # as someone with the file in hand would
        connection.exec_driver_sql("DROP TRIGGER event_no_update")
        connection.execute(update(Event).where(Event.id == 2).values(actor="bob"))
    with store.read() as session:
        assert broken_link(session) == 2


def test_a_transaction_that_fails_leaves_nothing(either: Store) -> None:
    with pytest.raises(ZeroDivisionError), either.write() as session:
        session.add(Project(slug="x", settings={}, created=either.now()))
        session.flush()
        _ = 1 / 0
    with either.read() as session:
        assert session.execute(select(Project)).all() == []


def test_opening_twice_at_once(tmp_path: Path) -> None:
    """Two processes that start together both find, or make, the tables."""
    failed: list[BaseException] = []

    def start() -> None:
        try:
            open_store(tmp_path / "new.db").close()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_second_store_in_a_process_takes_no_locks_away(store: Store, tmp_path: Path) -> None:
    """Whoever opens and closes the file by hand drops the locks of this process: another that ends would then take
    the log of changes away from under the first."""
    project = made(store, tmp_path, items=4)
    who = person(store, "ann")
    open_store(store.place).close()
    order = "import sys; from labeling_app.store.database import open_store; open_store(sys.argv[1]).close()"
    subprocess.run([sys.executable, "-c", order, store.place], check=True)
    ranked(store, who, project)
    after = "import sys; from labeling_app.store.database import open_store; from labeling_app.store.care import verify"
    subprocess.run([sys.executable, "-c", f"{after}; verify(open_store(sys.argv[1]))", store.place], check=True)
    counted = sqlite3.connect(store.place).execute("SELECT count(*) FROM ranking").fetchone()
    assert counted == (1,)


def tallies(store: Store) -> tuple[list[Any], list[Any]]:
    """(person, project, turns, submitted) as they are kept, and as they are."""
    done = func.sum(case((Lease.state == "submitted", 1), else_=0))
    kept = select(Tally.person_id, Tally.project_id, Tally.turns, Tally.submitted)
    there = select(Lease.person_id, Lease.project_id, func.count(), done).group_by(Lease.person_id, Lease.project_id)
    with store.read() as session:
        return tuple(sorted(map(tuple, session.execute(query))) for query in (kept, there))  # type: ignore[return-value]


def worked(store: Store, folder: Path) -> None:
    """Turns of every kind: submitted, skipped, undone, given back, imported."""
    project = made(store, folder, items=8, overlap=2)
    ann, bob = person(store, "ann"), person(store, "bob")
    for who in (ann, ann, ann, bob):
        ranked(store, who, project)
    skip(store, ann, Skip(lease=asked(store, ann, project).lease, token="token-skip", reason="unsure"))
    undo(store, ann, project.id)
    undo(store, ann, project.id)
    leave(store, bob, asked(store, bob, project).lease)
    export(store, project, folder / "out.jsonl")
    import_labels(store, make_project(store, "other"), folder / "out.jsonl")


def test_turns_are_counted(either: Store, tmp_path: Path) -> None:
    worked(either, tmp_path)
    kept, there = tallies(either)
    assert kept == there
    assert sum(submitted for *_, submitted in kept) == 6


def test_a_database_of_the_first_revision_is_counted(either: Store, tmp_path: Path) -> None:
    worked(either, tmp_path)
    kept, there = tallies(either)
    gone = ["DROP TRIGGER lease_tally_new", "DROP TRIGGER lease_tally_state"]
    if not either.on_sqlite:
        gone = ["DROP TRIGGER lease_tally ON lease", "DROP FUNCTION lease_tally"]
    with either.engine.begin() as connection:
        for statement in (
            *gone,
            "DROP TABLE tally",
            "DROP TABLE identity",
            "UPDATE alembic_version SET version_num = '0001'",
        ):
            connection.execute(text(statement))
    older = open_store(either.engine.url.render_as_string(hide_password=False))
    assert tallies(older) == (kept, there)
    ranked(older, person(older, "new"), get_project(older, "p"))
    assert tallies(older)[0] == tallies(older)[1] != kept
    assert verify(older).faults == ()
    older.close()


def test_a_newer_schema(either: Store) -> None:
    with either.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DataError, match="revision 9999, made by a newer version"):
        open_store(either.engine.url.render_as_string(hide_password=False))


def test_a_locked_database(store: Store, tmp_path: Path) -> None:
    other = open_store(tmp_path / "labels.db", busy=0.2)
    with store.write(), pytest.raises(SystemLimit, match="another process is writing") as caught, other.write():
        pass
    assert caught.value.where == str(tmp_path / "labels.db") and "try again" in caught.value.remedy
    other.close()


def test_a_locked_server(new_database: Callable[[], str]) -> None:
    url = new_database()
    store, other = open_store(url), open_store(url, busy=0.2)
    with store.write(), pytest.raises(SystemLimit, match="another process is writing"), other.write():
        pass
    store.close()
    other.close()


def test_a_full_disk(store: Store, tmp_path: Path) -> None:
    """SQLite's own limit of pages gives the error of a full disk."""
    project = made(store, tmp_path)
    who = person(store, "ann")
    ranked(store, who, project)
    pages = 0
    with store.engine.connect() as connection:
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0)

    from sqlalchemy import event

    store.engine.dispose()
    event.listen(store.engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(SystemLimit, match="disk of the label database is full"):
        for _ in range(2):
            ranked(store, who, project, comment="x" * 90_000)


def test_a_read_only_database(store: Store, tmp_path: Path) -> None:
    from sqlalchemy import event

    store.engine.dispose()
    event.listen(store.engine, "connect", lambda c, _: c.execute("PRAGMA query_only=ON"))
    with pytest.raises(SystemLimit, match="may not be written"):
        person(store, "ann")


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (id INTEGER)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("prepare", "error", "said"),
    [
        (lambda path: path.mkdir(), DataError, "no label database"),
        (lambda path: path.write_text("hello, this is text"), DataError, "no label database"),
        (foreign, DataError, r"holds other tables \(recipes\)"),
        (lambda path: None, DataError, "there is no label database here"),
    ],
    ids=["folder", "text", "other tables", "missing"],
)
def test_what_is_no_label_database(
    tmp_path: Path, prepare: Callable[[Path], None], error: type[AlignError], said: str
) -> None:
    prepare(tmp_path / "x.db")
    with pytest.raises(error, match=said) as caught:
        open_store(tmp_path / "x.db", create=False)
    assert caught.value.where.endswith("x.db") and caught.value.remedy


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    open_store(tmp_path / "x.db").close()


@pytest.mark.parametrize(("url", "said"), [("mysql://a/b", "no support for mysql"), ("://", "cannot be understood")])
def test_other_databases(url: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        url_of(url)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "nohost.invalid"])
def test_a_server_that_is_not_there(host: str) -> None:
    with pytest.raises(SystemLimit, match="cannot be reached") as caught:
        open_store(f"postgresql://ann:secret@{host}/labels", busy=1)
    assert "secret" not in str(caught.value) and caught.value.where == f"postgresql://ann:***@{host}/labels"


@pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        (("labels@", "nouser@"), "has no user", "createuser {server} nouser"),
        (("{name}", "gone"), "database does not", "createdb {server} -U labels gone"),
    ],
)
def test_a_server_without_this_user_or_database(server: str, change: tuple[str, str], said: str, remedy: str) -> None:
    with pytest.raises(SystemLimit, match=said) as caught:
        open_store(server.replace(*change).format(name="postgres"))
    folder = server.partition("host=")[2]
    assert remedy.format(server=f"-h {folder}") in caught.value.remedy


def test_the_command_that_makes_a_database_names_the_server_and_no_password() -> None:
    place = "postgresql://ann:secret@db.example.org:5433/labels"
    with pytest.raises(SystemLimit) as caught, told(place_of(url_of(place))):
        raise OperationalError(None, None, Exception('FATAL:  database "labels" does not exist'))
    assert caught.value.remedy == "create it: createdb -h db.example.org -p 5433 -U ann labels"
    assert "secret" not in str(caught.value)


def test_a_damaged_file_is_replaced_by_the_command_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_text("no database at all")
    with pytest.raises(DataError, match="this is no label database") as caught:
        open_store(tmp_path / "l.db")
    assert caught.value.remedy.endswith(f": align labels restore BACKUP --replace --db {tmp_path / 'l.db'}")


def test_a_text_that_a_database_cannot_hold(either: Store) -> None:
    with pytest.raises(DataError, match="there is no project|not one that the database can hold"):
        get_project(either, "a\x00b")


def test_a_number_that_a_database_cannot_hold(either: Store) -> None:
    with pytest.raises(DataError, match="not one that the database can hold"), either.read() as session:
        item_of(session, 2**70)


def test_times_have_one_width_and_sort() -> None:
    moments = [0.0, 1.5, 1_800_000_000.000001, 4_000_000_000.0]
    assert [len(stamp(m)) for m in moments] == [27] * 4
    assert sorted(map(stamp, moments)) == [stamp(m) for m in moments]


def test_a_command_names_no_password() -> None:
    assert option_of(url_of("postgresql://ann@host/db?x=1")) == "postgresql://ann@host/db?x=1"
    for secret in ("postgresql://ann:secret@host/db", "postgresql://ann@host/db?password=secret"):
        assert option_of(url_of(secret)) == ""


def test_a_place_names_no_password() -> None:
    assert place_of(url_of("postgresql://ann:secret@host/db")) == "postgresql://ann:***@host/db"
    assert place_of(url_of("postgresql://ann@host/db?password=secret&x=1")) == "postgresql://ann@host/db?x=1"
    with pytest.raises(RecipeError) as caught:
        url_of("postgresql://ann:secret@host:none/db")
    assert caught.value.where == "postgresql://***@host:none/db"
