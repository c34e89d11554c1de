"""What `align label` makes of its options, and what it says when it starts."""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

from align.errors import DataError, RecipeError, SystemLimit
from labeling_app.oidc.settings import Settings
from labeling_app.pages import serve
from labeling_app.people import create_person, local_person
from labeling_app.serving import Address, answers_of, build, check_port, checked_origin, told_of, who_labels
from labeling_app.store.database import Store, open_store
from tests.browser.served import free_port
from tests.conftest import Finished
from tests.labeling_app.openid import OpenId, listening
from tests.labeling_app.world import answers_row, write
from tests.runs import ROOT, call, command, environment


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://labels.example.org", "https://labels.example.org"),
        ("https://Labels.Example.org/", "https://labels.example.org"),
        ("https://labels.example.org:443", "https://labels.example.org"),
        ("http://labels.example.org:8443", "http://labels.example.org:8443"),
        ("http://[::1]:7860", "http://[::1]:7860"),
    ],
)
def test_an_origin_is_as_browsers_send_it(given: str, origin: str) -> None:
    assert checked_origin(given) == origin


@pytest.mark.parametrize(
    "given",
    ["labels.example.org", "labels.example.org:80", "http://labels.example.org/sub/", "http://", "ftp://labels",
     "http://x?y", "http://x#y", "http://ann@x", "http://x:99999", "http://[x", "*", "/", "null"],
)  # fmt: skip
def test_what_is_no_origin(given: str) -> None:
    with pytest.raises(RecipeError, match="is no origin") as caught:
        checked_origin(given)
    assert "without a path" in caught.value.allowed


def test_the_command_checks_its_origins(tmp_path: Path) -> None:
    outcome = call("label", "--accounts", "--db", tmp_path / "l.db", "--origin", "labels.example.org")
    assert outcome.code == 2 and "`labels.example.org` is no origin" in outcome.err


def test_a_provider_that_does_not_answer_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    told_of(Settings("http://127.0.0.1:1", "labels", "secret", "Our house"))
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("http://127.0.0.1:1 gives no usable answer (")
    assert "login by Our house will not work until it does" in said and "secret" not in said
    provider = OpenId()
    with listening(provider.app(), provider.port):
        told_of(provider.settings)
        assert capsys.readouterr().out == ""
        told_of(Settings(provider.issuer + "/other", "labels", "secret", "Our house"))
    assert "gives no usable answer" in capsys.readouterr().out


def test_the_remedy_for_no_account_names_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the account would go into the user's own database, and the error stay."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    usual = tmp_path / "data" / "align" / "labels.db"
    for place, option in ((tmp_path / "l.db", f" --db {tmp_path / 'l.db'}"), (usual, "")):
        store = open_store(place)
        with pytest.raises(RecipeError) as caught:
            build(store, Address("0.0.0.0"))
        store.close()
        assert caught.value.remedy == f"make one: align labels users add NAME --role admin{option}"


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (Address(accounts=True), "--accounts"),
        (Address(accounts=True, origins=("http://localhost:7860",)), "--accounts"),
        (Address(origins=("http://localhost:7860", "https://x.org")), "--origin https://x.org"),
        (Address("10.0.0.5", accounts=True, origins=("https://x.org",)), "--host 10.0.0.5"),
    ],
)
def test_the_option_that_demands_accounts_is_the_one_that_was_typed(store: Store, address: Address, where: str) -> None:
    with pytest.raises(RecipeError, match="and nobody has one") as caught:
        build(store, address)
    assert caught.value.where == where


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "nohost.invalid"])
def test_an_address_of_another_machine_is_no_matter_of_the_port(host: str) -> None:
    with pytest.raises(SystemLimit, match="the address cannot be used") as caught:
        check_port(Address(host))
    assert "--host 127.0.0.1" in caught.value.remedy and "--port" not in caught.value.remedy


def test_the_port_to_take_instead_is_one() -> None:
    for port in (65_535, 65_534):
        with socket.create_server(("127.0.0.1", port)), pytest.raises(SystemLimit) as caught:
            check_port(Address(port=port))
        assert caught.value.remedy == f"take another: --port {7860 if port == 65_535 else 65_535}"


def test_a_port_that_is_taken_is_noticed_before_the_import(tmp_path: Path) -> None:
    file, db = write(tmp_path / "a.jsonl", [answers_row(0)]), tmp_path / "l.db"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = call("label", file, "--db", db, "--port", str(taken.getsockname()[1]))
    assert outcome.code == 6 and "the port cannot be used" in outcome.err
    assert (outcome.out, call("labels", "projects", "list", "--db", db).out) == ("", "")


def test_an_overlap_is_of_a_project(tmp_path: Path) -> None:
    file, db = write(tmp_path / "a.jsonl", [answers_row(0)]), tmp_path / "l.db"
    assert call("labels", "import", file, "--project", "p", "--db", db).code == 0
    nobodys = call("label", "--overlap", "3", "--db", db)
    assert nobodys.code == 2 and "do:      name one: --project NAME" in nobodys.err
    words = ["label", "--project", "p", "--overlap", "3", "--db", str(db), "--port", str(free_port())]
    app = subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT)
    assert app.stdout is not None
    while "stop with Ctrl-C" not in (line := app.stdout.readline()):
        assert line, "it did not start"
    app.send_signal(signal.SIGINT)
    app.communicate()
    assert "overlap 3;" in call("labels", "projects", "list", "--db", db).out


def test_the_folder_above_a_run_and_a_recipe_name_the_run(finished: Finished) -> None:
    with pytest.raises(DataError, match="this is a folder of runs") as caught:
        answers_of(finished.runs)
    assert caught.value.remedy == f"name one: align label {finished.run}"
    with pytest.raises(DataError, match="the answers are in its run") as caught:
        answers_of(finished.recipe)
    assert f"align run {finished.recipe}" in caught.value.remedy


def test_who_labels_is_said_as_it_is(store: Store) -> None:
    local_person(store)
    assert who_labels(store, Address(accounts=True)) == []
    assert "no accounts:" in who_labels(store, Address())[0]
    create_person(store, "ann", "correct horse battery")
    (said,) = who_labels(store, Address())
    assert "no accounts" not in said and "--accounts for the accounts that there are" in said


@pytest.mark.parametrize("more", [[], ["--project", "p"], ["--accounts"]])
def test_a_database_that_is_not_there_is_made_by_an_import_only(tmp_path: Path, more: list[str]) -> None:
    """Its name was mistyped, or there is nothing to label."""
    db = tmp_path / "new" / "l.db"
    outcome = call("label", "--db", db, *more)
    assert outcome.code == 3 and "there is no label database here" in outcome.err
    assert f"do:      make one: align labels import FILE --project NAME --db {db}\n" in outcome.err
    assert not db.parent.exists()


HEAPS = """
import re, sys, threading
from pathlib import Path
if sys.argv[1] == "shared":
    from labeling_app.pages import share_heaps
    share_heaps()
together = threading.Barrier(13)
def keep():
    kept = [bytes(2000) for _ in range(500)]
    together.wait()
    together.wait()
threads = [threading.Thread(target=keep) for _ in range(12)]
for thread in threads:
    thread.start()
together.wait()
starts = re.findall(r"^([0-9a-f]+)-\\S+ rw-p 0+ 00:00 0 *$", Path("/proc/self/maps").read_text(), re.M)
print(sum(int(start, 16) % 2**26 == 0 for start in starts))  # glibc puts each heap but the first at such an address
together.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_threads_share_heaps() -> None:
    """Each would come to keep what the largest request took, and the app's memory would grow for hours."""

    def heaps(how: str) -> int:
        command = [sys.executable, "-c", HEAPS, how]
        return int(subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment()).stdout)

    # Twelve threads. Now and then the system puts a mapping of another kind at such an address.
    assert heaps("shared") + 3 < heaps("each")


def test_a_server_shares_heaps_before_it_has_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library takes no bound any more once it has made eight heaps."""
    done: list[str] = []
    monkeypatch.setattr("labeling_app.pages.share_heaps", lambda: done.append("shared"))
    monkeypatch.setattr("uvicorn.Server.run", lambda *_: done.append("served"))
    serve(FastAPI(), "127.0.0.1", 0)
    assert done == ["shared", "served"]
