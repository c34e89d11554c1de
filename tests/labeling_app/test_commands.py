"""`align labels ...`."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from labeling_app.people import login, who
from labeling_app.store.database import open_store
from labeling_app.store.models import ExportRow
from tests.labeling_app.world import answers_row, write
from tests.runs import call, environment, spawn


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database with two items ranked by two people, made by the commands."""
    rows = [
        answers_row(n) | {"id": f"r{n}{who}", "ranks": [1, 2, 3, 4], "annotator": who}
        for n in range(2)
        for who in ("ann", "bob")
    ]
    file = write(tmp_path / "rankings.jsonl", rows)
    outcome = call("labels", "import", file, "--project", "p", "--overlap", "2", "--db", tmp_path / "l.db")
    assert (outcome.code, outcome.err) == (0, "")
    said = "p: 2 items and 4 rankings added; 0 there already\np: each item is ranked by 2 annotators\n"
    assert outcome.out == said
    return tmp_path / "l.db"


def test_export_says_how_to_make_it_again(db: Path, tmp_path: Path) -> None:
    first = call("labels", "export", tmp_path / "o.jsonl", "--project", "p", "--db", db, "--json").json
    assert first["rows"] == 4 and first["upto"] == 4
    more = write(tmp_path / "more.jsonl", [answers_row(0) | {"ranks": [4, 3, 2, 1], "annotator": "eve"}])
    assert call("labels", "import", more, "--project", "p", "--db", db).code == 0
    assert call("labels", "export", tmp_path / "o.jsonl", "--project", "p", "--db", db, "--json").json["rows"] == 5
    again = ["labels", "export", tmp_path / "o2.jsonl", "--project", "p", "--db", db, "--upto", "4", "--json"]
    assert call(*again).json["sha256"] == first["sha256"]
    only = ["labels", "export", tmp_path / "o3.csv", "--project", "p", "--db", db, "--shape", "csv"]
    assert call(*only, "--annotator", "ann").out.startswith("2 records written")


@pytest.mark.parametrize(
    ("words", "kept"),
    [(["--decided"], {"decided": True}), (["--gold"], {"gold": True}), (["--upto", "3"], {"upto": 3})],
    ids=str,
)
def test_an_export_is_of_what_is_asked_for(db: Path, tmp_path: Path, words: list[str], kept: dict[str, object]) -> None:
    assert call("labels", "export", tmp_path / "o.jsonl", "--project", "p", "--db", db, *words).code == 0
    store = open_store(db)
    with store.read() as session:
        found = session.execute(select(ExportRow.filter)).scalar_one()
    store.close()
    assert found == {"annotators": [], "split": "", "gold": False, "decided": False, "upto": 4} | kept


def test_backup_restore_verify(db: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert call("labels", "backup", copy, "--db", db).out == f"{copy}\n"
    assert call("labels", "restore", copy, "--db", tmp_path / "new.db").code == 0
    assert call("labels", "verify", "--db", tmp_path / "new.db").out.startswith("2 items, 4 versions of rankings")
    store = open_store(db)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE item SET done = 0")
    store.close()
    outcome = call("labels", "verify", "--db", db, "--json")
    assert outcome.code == 3 and len(outcome.json["faults"]) == 2
    restoring = f"align labels restore BACKUP --replace --db {db}\n"
    assert f"\ndo       restore a backup made before that: {restoring}" in call("labels", "verify", "--db", db).out
    outcome = call("labels", "backup", tmp_path / "bad.db", "--db", db)
    assert (outcome.code, outcome.out) == (3, f"{tmp_path / 'bad.db'}\n") and (tmp_path / "bad.db").exists()
    assert "the database is damaged, and so is this copy: item 1 counts 0 rankings" in outcome.err
    assert outcome.err.endswith(restoring)


def test_accounts(db: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery\n")
    added = call("labels", "users", "add", "Ann", "--role", "reviewer", "--db", db, "--password-file", secret)
    assert added.out.startswith("ann is reviewer, and u_")
    store = open_store(db)
    _, token = login(store, "ann", "correct horse battery", "a")
    assert call("labels", "users", "change", "ann", "--inactive", "--db", db).out.endswith("may not log in\n")
    assert who(store, token) is None
    store.close()
    listed = call("labels", "users", "list", "--db", db, "--json").json["users"]
    assert [(u["name"], u["role"], u["active"]) for u in listed if u["name"] == "ann"] == [("ann", "reviewer", False)]
    path = call("labels", "users", "invite", "--role", "admin", "--db", db)
    assert re.fullmatch(r"/join/[\w-]{43}\n", path.out) and "goes after the app's address" in path.err
    link = call("labels", "users", "invite", "--db", db, "--origin", "https://labels.example.org/")
    assert re.fullmatch(r"https://labels\.example\.org/join/[\w-]{43}\n", link.out) and link.err == ""


def test_accounts_of_an_openid_provider(db: Path) -> None:
    added = call("labels", "users", "add", "Zoe", "--oidc", "Zoe@Example.org", "--db", db)
    assert (added.code, added.out[:17]) == (0, "zoe is annotator,")
    assert call("labels", "users", "add", "yan", "--oidc", "yan@example.org", "--db", db).code == 0
    listed = call("labels", "users", "list", "--db", db)
    assert "  zoe@example.org\n" in listed.out and "  yan@example.org\n" in listed.out
    changed = call("labels", "users", "change", "yan", "--oidc", "why@example.org", "--db", db)
    assert changed.out.endswith("logs in at the provider as why@example.org\n")
    taken = call("labels", "users", "change", "yan", "--oidc", "zoe@example.org", "--db", db)
    assert taken.code == 1 and "is the e-mail of zoe already" in taken.err
    remedy = taken.err.partition("take it from them first: align ")[2].strip()
    assert remedy == f"labels users change zoe --oidc '' --db {db}"
    assert call(*shlex.split(remedy)).code == 0
    assert call("labels", "users", "change", "yan", "--oidc", "zoe@example.org", "--db", db).code == 0


def test_nobody_has_an_account_yet(tmp_path: Path) -> None:
    file, db = write(tmp_path / "a.jsonl", [answers_row(0)]), tmp_path / "l.db"
    assert call("labels", "import", file, "--project", "p", "--db", db).code == 0
    listed = call("labels", "users", "list", "--db", db)
    assert listed.out == f"nobody has an account; make one: align labels users add NAME --db {db}\n"


def test_a_password_without_a_terminal(tmp_path: Path) -> None:
    command = ["labels", "users", "add", "x", "--db", tmp_path / "l.db"]
    outcome = spawn(*command, cwd=tmp_path, stdin=subprocess.DEVNULL, start_new_session=True)
    assert outcome.code == 2 and "do:      put it into a file: --password-file FILE" in outcome.err
    assert "Warning" not in outcome.err and "interrupted" not in outcome.err
    assert outcome.out == "password:\n"  # whose line ends before the error's begins
    assert not (tmp_path / "l.db").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["verify", "--db", "none.db"], 3, "there is no label database here"),
        (["export", "o.jsonl", "--project", "q", "--db", "l.db"], 3, "no project `q`"),
        (["export", "o.jsonl", "--project", "p", "--db", "l.db", "--shape", "rankins"], 2, "did you mean `rankings`"),
        (["import", "rankings.jsonl", "--project", "p", "--db", "l.db", "--shape", "x"], 2, "argilla"),
        (["import", "rankings.jsonl", "--project", "p", "--db", "l.db", "--kind", "foo"], 2, "answers, rankings\n"),
        (["users", "add", "x", "--role", "boss", "--db", "l.db"], 2, "annotator, reviewer, admin"),
        (["users", "change", "nobody", "--role", "admin", "--db", "l.db"], 1, "l.db\n"),
        (["users", "token", "nobody", "--db", "l.db"], 1, "see: align labels users list --db "),
        (["users", "add", "x", "--oidc", "x", "--db", "l.db"], 1, "no e-mail"),
        (["users", "change", "nobody", "--oidc", "x@y", "--db", "l.db"], 1, "nobody called nobody"),
        (["users", "add", "x", "--password-file", "gone", "--db", "l.db"], 2, "cannot be read: No such file"),
        (["users", "add", "x", "--password-file", "gone", "--db", "l.db"], 2, "do:      name another: --password-file"),
        (["import", "rankings.jsonl", "--project", "", "--db", "l.db"], 2, "do:      name one: --project NAME"),
        (["projects", "set", "p", "--guidelines", "gone.md", "--db", "l.db"], 3, "cannot be read: No such file"),
        (["projects", "list", "--db", "."], 3, "do:      name a file: --db /"),
        (["users", "invite", "--origin", "labels.example.org", "--db", "l.db"], 2, "is no origin"),
        (["verify", "--db", "mysql://x/y"], 2, "no support for mysql"),
    ],
)
def test_mistakes(db: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str) -> None:
    monkeypatch.chdir(db.parent)
    outcome = call("labels", *words)
    assert outcome.code == code and said in outcome.err and "Traceback" not in outcome.err


def test_the_database_may_be_named_once(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGN_LABELS", str(db))
    assert call("labels", "verify").code == 0


def test_the_default_place_is_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = write(tmp_path / "a.jsonl", [answers_row(0)])
    assert call("labels", "import", file, "--project", "p").code == 0
    assert (tmp_path / "data" / "align" / "labels.db").stat().st_mode & 0o077 == 0


def test_no_command_imports_torch_or_gradio(db: Path) -> None:
    code = (
        "import sys; from align.cli import _main; "
        f"code = _main(['labels', 'export', 'x.jsonl', '--project', 'p', '--db', {json.dumps(str(db))}]); "
        "heavy = {'torch', 'transformers', 'gradio', 'matplotlib', 'sklearn', 'fastapi'} & set(sys.modules); "
        "sys.exit(code or f'{heavy} imported' if heavy else code)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=db.parent, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
