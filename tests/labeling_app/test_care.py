"""Backup, restore, verification."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from align.errors import AlignError, DataError, SystemLimit
from labeling_app.outgoing import export
from labeling_app.projects import get_project
from labeling_app.queue import next_item
from labeling_app.store.care import backup, restore, verify
from labeling_app.store.database import Store, open_store
from tests.labeling_app.world import made, person, ranked
from tests.runs import call


def test_a_backup_holds_what_was_there_while_people_work(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path), person(store, "ann")
    ranked(store, ann, project)
    with store.read() as session:  # someone is reading
        session.execute(text("SELECT count(*) FROM ranking")).scalar()
        copy = backup(store, tmp_path / "copy.db")
    ranked(store, ann, project)
    restored, _ = restore(copy, str(tmp_path / "restored.db"))
    assert verify(restored).rankings == 1 and verify(store).rankings == 2
    assert verify(restored).faults == ()
    next_item(restored, ann, project.id)
    restored.close()
    assert copy.stat().st_mode & 0o077 == 0


def test_restoring_in_place_keeps_what_was_there(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path), person(store, "ann")
    copy = backup(store, tmp_path / "copy.db")
    ranked(store, ann, project)
    where = str(tmp_path / "labels.db")
    with pytest.raises(SystemLimit, match="there is a label database already"):
        restore(copy, where)
    for name, rankings in (("labels.db.before-restore", 1), ("labels.db.before-restore1", 0)):
        store.close()
        store, kept = restore(copy, where, replace=True)
        assert verify(store).rankings == 0
        assert kept == tmp_path / name and kept.stat().st_mode & 0o077 == 0
        before = open_store(kept, create=False)
        assert verify(before).rankings == rankings  # which was in the log beside the file
        before.close()
    store.close()


def test_nothing_is_restored_under_a_server_that_is_at_work(store: Store, tmp_path: Path) -> None:
    """It would go on saving into a file that has no name any more."""
    project, ann = made(store, tmp_path), person(store, "ann")
    copy = backup(store, tmp_path / "copy.db")
    ranked(store, ann, project)
    with pytest.raises(SystemLimit, match="another process has this label database open"):
        restore(copy, str(tmp_path / "labels.db"), replace=True)
    ranked(store, ann, project)
    assert verify(store).rankings == 2 and verify(store).faults == ()
    assert not list(tmp_path.glob("*before-restore*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("spoil", [b"\xff" * 4096, b""], ids=["bytes", "empty"])
def test_a_damaged_database_is_replaced_and_kept(store: Store, tmp_path: Path, spoil: bytes) -> None:
    made(store, tmp_path, items=50)
    copy = backup(store, tmp_path / "copy.db")
    store.close()
    path = tmp_path / "labels.db"
    bad = path.read_bytes()[:4096] + spoil if spoil else b""
    path.write_bytes(bad)
    restored, kept = restore(copy, str(path), replace=True)
    assert verify(restored).items == 50 and kept is not None and kept.read_bytes() == bad
    restored.close()


def test_a_server_is_backed_up_and_restored(new_database: Any, tmp_path: Path) -> None:
    if not shutil.which("pg_dump"):
        pytest.skip("pg_dump is not installed (apt-get install postgresql-client)")
    store = open_store(new_database())
    project = made(store, tmp_path)
    ranked(store, person(store, "ann"), project)
    first = export(store, project, tmp_path / "one.jsonl")
    place, copy = new_database(), backup(store, tmp_path / "copy.dump")
    restored, _ = restore(copy, place)
    with pytest.raises(SystemLimit, match="there is a label database already"):
        restore(copy, place)
    assert export(restored, project, tmp_path / "two.jsonl").sha256 == first.sha256
    assert verify(restored).faults == ()
    restored.close()
    store.close()


@pytest.fixture
def place(new_database: Any, tmp_path: Path) -> str:
    """A PostgreSQL database with one ranking, and its backup in `copy.dump`; nobody is connected."""
    if not shutil.which("pg_dump"):
        pytest.skip("pg_dump is not installed (apt-get install postgresql-client)")
    place: str = new_database()
    store = open_store(place)
    ranked(store, person(store, "ann"), made(store, tmp_path))
    backup(store, tmp_path / "copy.dump")
    store.close()
    return place


def more(place: str) -> None:
    store = open_store(place)
    ranked(store, person(store, "bob"), get_project(store, "p"))
    store.close()


def test_restoring_a_server_keeps_what_was_there(place: str, tmp_path: Path, new_database: Any) -> None:
    more(place)
    for number, name in ((2, "copy.dump.before-restore"), (1, "copy.dump.before-restore1")):
        store, kept = restore(tmp_path / "copy.dump", place, replace=True)
        assert (verify(store).rankings, verify(store).faults) == (1, ())
        store.close()
        assert kept == tmp_path / name and kept.stat().st_mode & 0o077 == 0
        before, _ = restore(kept, new_database())
        assert verify(before).rankings == number
        before.close()
    said = call("labels", "restore", tmp_path / "copy.dump", "--db", place, "--replace")
    assert (said.code, said.out.split("; ")[1]) == (
        0,
        f"what was there is kept in {tmp_path}/copy.dump.before-restore2\n",
    )


def test_nothing_is_restored_on_a_server_that_others_use(place: str, tmp_path: Path) -> None:
    """What the app saved meanwhile would be nowhere."""
    app = open_store(place)
    ranked(app, person(app, "bob"), get_project(app, "p"))
    with pytest.raises(SystemLimit, match="others are connected to this label database .1.") as caught:
        restore(tmp_path / "copy.dump", place, replace=True)
    assert caught.value.remedy.startswith("stop the app") and "***" not in caught.value.where
    assert verify(app).rankings == 2 and not list(tmp_path.glob("*before-restore*"))
    app.close()


def test_a_server_is_as_it_was_after_a_restore_that_failed(place: str, tmp_path: Path) -> None:
    more(place)
    whole = (tmp_path / "copy.dump").read_bytes()
    (tmp_path / "cut.dump").write_bytes(whole[:-200])
    with pytest.raises(SystemLimit, match="pg_restore failed") as caught:
        restore(tmp_path / "cut.dump", place, replace=True)
    assert "as it was" in caught.value.remedy
    store = open_store(place, create=False)
    assert (verify(store).rankings, verify(store).faults) == (2, ())
    store.close()
    assert not list(tmp_path.glob("*before-restore*"))


def test_a_backup_goes_into_a_database_of_its_own_kind(place: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a backup of a PostgreSQL database") as caught:
        restore(tmp_path / "copy.dump", str(tmp_path / "new.db"))
    assert caught.value.remedy.endswith("copy.dump --db postgresql://USER@HOST/NAME")
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(DataError, match="no backup of a PostgreSQL database") as caught:
        restore(backup(store, tmp_path / "copy.db"), place, replace=True)
    assert caught.value.remedy.endswith("copy.db --db FILE")


def damaged(copy: Path) -> Path:
    data = bytearray(copy.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    (copy.parent / "damaged.db").write_bytes(data)
    return copy.parent / "damaged.db"


def changed(copy: Path) -> Path:
    """Someone dropped the trigger and changed a label's event."""
    store = open_store(copy, create=False)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER event_no_update")
        connection.exec_driver_sql("UPDATE event SET actor = 'someone else' WHERE id = 1")
    store.close()
    return copy


def text_file(copy: Path) -> Path:
    copy.write_text("no database")
    return copy


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(damaged, "damaged"), (changed, "damaged: 1 triggers"), (text_file, "this is no backup: this is no label"),
     (lambda copy: copy.with_name("gone.db"), "no such backup")],
    ids=["bytes", "log", "text", "missing"],
)  # fmt: skip
def test_a_backup_that_is_none_takes_nothings_place(store: Store, tmp_path: Path, spoil: Any, said: str) -> None:
    made(store, tmp_path, items=50)
    bad = spoil(backup(store, tmp_path / "copy.db"))
    store.close()
    before = (tmp_path / "labels.db").read_bytes()
    with pytest.raises(DataError, match=said):
        restore(bad, str(tmp_path / "labels.db"), replace=True)
    assert (tmp_path / "labels.db").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("file", "said", "remedy"),
    [
        ("gone/x.db", "folder is not there", "mkdir -p {}/gone"),
        ("/proc/x.db", "cannot be written", "somewhere else"),
        ("file/x.db", "cannot be written", "somewhere else"),
    ],
)
def test_a_place_that_takes_no_backup(either: Store, tmp_path: Path, file: str, said: str, remedy: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemLimit, match=said) as caught:
        backup(either, tmp_path / file)
    assert caught.value.where == str(tmp_path / file) and remedy.format(tmp_path) in caught.value.remedy


def test_a_folder_is_no_place_for_a_database(store: Store, tmp_path: Path) -> None:
    copy = backup(store, tmp_path / "copy.db")
    with pytest.raises(SystemLimit, match="cannot be restored"):
        restore(copy, str(copy / "labels.db"))
    (tmp_path / "folder").mkdir()
    for replace in (False, True):
        with pytest.raises(DataError, match="it is a folder") as caught:
            restore(copy, str(tmp_path / "folder"), replace=replace)
    db = caught.value.remedy.partition("--db ")[2]
    restore(copy, db)[0].close()
    assert verify(open_store(db, create=False)).faults == ()


def test_a_backup_has_a_name(store: Store) -> None:
    with pytest.raises(SystemLimit, match="name is empty"):
        backup(store, Path(""))


def test_a_backup_replaces_no_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    with pytest.raises(AlignError, match="a file of this name"):
        backup(store, tmp_path / "x.db")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE item SET done = done + 1", "item 1 counts 2 rankings where 1 stand, and 1 turns where 1 are"),
        ("UPDATE item SET taken = taken + 3", "item 2 counts 0 rankings where 0 stand, and 3 turns where 0 are"),
        ("DROP TRIGGER ranking_no_delete", "1 triggers are gone"),
    ],
)
def test_verify_finds(store: Store, tmp_path: Path, statement: str, said: str) -> None:
    ranked(store, person(store, "ann"), made(store, tmp_path))
    assert verify(store).faults == ()
    with store.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert said in verify(store).faults
