"""A run that waits for people: it ends with 7 or stays, goes on when they have ranked, and never changes by itself."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

import align.waiting
from align.artifacts import Manifest, hash_file, read_artifact
from align.contract import HELDOUT, TRAIN, rows
from align.data.records import Ranking
from labeling_app.labels import undo
from labeling_app.people import change_person, create_person
from labeling_app.projects import get_project
from labeling_app.store.care import verify
from labeling_app.store.database import Store, open_store
from labeling_app.store.models import Item, Project, RankingRow
from tests.annotators import account, in_order, rank
from tests.labeling_app.world import answers_row
from tests.runs import Outcome, call, command, environment, write_rows

PEOPLE = "{rankings: 8, overlap: 2, labels: labels.db}"
RECIPE = """\
name: asked
seed: 1
sources:
  answers: {kind: answers, path: answers.jsonl, holdout: 3}
stages:
  - {name: rankings, kind: rank, answers: answers, by: {people: %s}}
"""
PROJECT = "asked/rankings"


@dataclass(frozen=True)
class Asked:
    """A folder with a recipe that asks people, and nothing that needs training."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "asked.yaml"

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "asked"

    @property
    def manifest(self) -> Manifest:
        return read_artifact(self.run / "rankings").manifest

    def write(self, people: str) -> None:
        self.recipe.write_text(RECIPE % people)

    def align(self, *arguments: str) -> Outcome:
        first, *rest = arguments
        return call(first, self.recipe, "--runs", self.run.parent, *rest)

    def step(self) -> dict[str, Any]:
        """The people's stage in `align check`."""
        done = self.align("check", "--json")
        assert done.code == 0, done.err
        return next(s for s in done.json["steps"] if s["name"] == "rankings")

    def store(self) -> Store:
        return open_store(self.folder / "labels.db")

    def rank(self, name: str, most: int | None = None) -> int:
        store = self.store()
        try:
            return rank(store, PROJECT, account(store, name), in_order, most)
        finally:
            store.close()

    def made(self) -> list[Ranking]:
        artifact = read_artifact(self.run / "rankings")
        return [r for split in (TRAIN, HELDOUT) for r in rows(artifact, split) if isinstance(r, Ranking)]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    write_rows(tmp_path / "answers.jsonl", [answers_row(n, 3) for n in range(10)])
    world = Asked(tmp_path)
    world.write(PEOPLE)
    return world


def test_a_run_waits_and_goes_on(asked: Asked) -> None:
    assert asked.step()["state"] == "run"
    assert not (asked.folder / "labels.db").exists(), "a check makes nothing"
    waits = asked.align("run")
    assert waits.code == 7, waits.err
    lines = waits.out.splitlines()[-5:]
    page = "http://127.0.0.1:7860/app?project=asked/rankings"
    assert lines == [
        "rankings waits for people: 0 of 8 rankings, by 2 people each",
        f"first:      align labels users add NAME --db {asked.folder}/labels.db  (for each of 2 people)",
        f"rank them:  align label --db {asked.folder}/labels.db --project asked/rankings --accounts",
        f"the page:   {page}",
        f"then:       align run {asked.recipe} --runs {asked.run.parent}",
    ]
    other = call("label", asked.run)
    assert other.code == 2 and "waits for people to rank in its own project, asked/rankings" in other.err
    assert f"do:      open that one: {lines[2].partition(':  ')[2]}" in other.err

    asked.rank("ann", 5)
    again = asked.align("run", "--json")
    assert (again.code, again.json["ran"], list(again.json["artifacts"])) == (7, [], ["answers"])
    told = again.json["waiting"]
    assert (told["stage"], told["rankings"], told["needed"], told["address"]) == ("rankings", 0, 8, page)
    assert told["words"].endswith("5 more on items that need another person")
    step = asked.step()
    assert (step["state"], step["why"]) == ("waits", told["words"])
    report = (asked.run / "report.html").read_text("utf-8")
    assert 'class="state waiting"' in report and "rankings waits for people: 0 of 8 rankings" in report

    asked.rank("bob", 4)
    assert asked.step()["state"] == "continue" and asked.step()["why"] == "goal met: 9 rankings, 8 asked for"
    done = asked.align("run", "--json")
    assert done.code == 0, done.err
    assert "waiting" not in done.json and done.json["ran"] == ["rankings"]
    figures = asked.manifest.metrics
    assert (figures["rankings"], figures["items"], figures["agreement"], figures["alpha"]) == (9, 5, 1.0, 1.0)
    assert sorted(figures["annotators"].values()) == [4, 5] and figures["upto"] == 9
    assert {r.annotator for r in asked.made()} == set(figures["annotators"])
    assert "doctor" not in figures, "what the ranking page keeps is no misspelt column"
    report = (asked.run / "report.html").read_text("utf-8")
    assert "<dt>agreement</dt><dd>1.00</dd>" in report
    assert not list(asked.run.glob("*.partial"))
    told = re.search(r'the same file again</span> <code class="whole">align (.*?)</code>', report)
    assert told is not None
    asked.rank("bob", 2)
    out = asked.folder / "again.jsonl"
    assert call(*shlex.split(told[1].replace("labels.jsonl", str(out)))).code == 0
    assert hash_file(out) == figures["export_sha256"] and f"<code>{hash_file(out)[:12]}</code>" in report


def test_who_has_ranked_and_left_counts(asked: Asked) -> None:
    """A goal that is met stays met when an account is closed."""
    asked.align("run")
    store = asked.store()
    for name in ("ann", "bob"):
        rank(store, PROJECT, create_person(store, name, "a long password"), in_order, 4)
    change_person(store, "bob", active=False)
    store.close()
    done = asked.align("run", "--json")
    assert (done.code, len(asked.made())) == (0, 8), done.err


def test_later_labels_are_told_and_taken_when_asked_for(asked: Asked) -> None:
    asked.write("{rankings: 2, labels: labels.db}")
    assert asked.align("run").code == 7
    asked.rank("ann", 2)
    assert asked.align("run").code == 0
    assert asked.step()["state"] == "sealed" and asked.step()["why"] == ""
    before = asked.manifest
    asked.rank("ann", 3)
    assert asked.align("run", "--json").json["ran"] == []
    assert asked.manifest == before, "a finished run changes by nobody's wish but the user's"
    step = asked.step()
    order = f"align run {asked.recipe} --runs {asked.run.parent} --again rankings"
    said = f"3 rankings more than when this stage was sealed; to take them: {order}"
    assert (step["state"], step["why"]) == ("later", said)
    assert f"note: rankings: {said}" in asked.align("check").out
    wrong = asked.align("run", "--again", "ranking")
    assert wrong.code == 2 and "did you mean `rankings`?" in wrong.err
    done = asked.align("run", "--again", "rankings", "--json")
    assert (done.code, done.json["ran"], asked.manifest.metrics["rankings"]) == (0, ["rankings"], 5)
    assert asked.step()["state"] == "sealed"


def test_labels_taken_back_leave_the_older_stage_until_there_are_enough(asked: Asked) -> None:
    asked.write("{rankings: 2, labels: labels.db}")
    assert asked.align("run").code == 7
    asked.rank("ann", 2)
    assert asked.align("run").code == 0
    before = asked.manifest
    store = asked.store()
    undo(store, account(store, "ann"), get_project(store, PROJECT).id)
    store.close()
    assert asked.step()["why"].startswith("1 ranking taken back or changed since it was sealed; to take them: ")
    again = asked.align("run", "--again", "rankings")
    then = f"then:       align run {asked.recipe} --runs {asked.run.parent} --again rankings\n"
    assert again.code == 7 and then in again.out
    assert (asked.run / "rankings.partial").is_dir() and asked.manifest == before
    done = asked.align("run", "--json")
    assert (done.code, done.json["ran"], asked.manifest) == (0, [], before)
    assert not (asked.run / "rankings.partial").exists(), "nobody asks for more any longer"
    page = (asked.run / "report.html").read_text("utf-8")
    assert "labels export" in page and "waits for people" not in page, "it is of what is sealed"


def test_a_run_that_stays_goes_on_by_itself(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align.waiting, "POLL_SECONDS", 0.05)
    errors: list[BaseException] = []

    def play() -> None:
        try:
            until(lambda: published(asked))
            for name in ("ann", "bob"):
                asked.rank(name, 4)
        except BaseException as error:
            errors.append(error)

    people = threading.Thread(target=play, daemon=True)
    people.start()
    done = asked.align("run", "--wait", "--json")
    people.join(60)
    assert errors == [] and done.code == 0, done.err
    assert done.json["ran"] == ["rankings"] and len(asked.made()) == 8
    assert "rankings waits for people: 0 of 8" in done.err and "Ctrl-C stops waiting, and loses nothing" in done.err
    assert "rankings: goal met: 8 rankings, 8 asked for; the run goes on" in done.err


def test_who_stops_waiting_is_told_that_nothing_is_lost(asked: Asked) -> None:
    words = command("run", asked.recipe, "--runs", asked.run.parent, "--wait")
    run = subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        until(lambda: published(asked) or run.poll() is not None)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    go_on = f"align run {asked.recipe} --runs {asked.run.parent}"
    assert f"stopped waiting; no ranking is lost, and people can go on. When they have: {go_on}" in said
    assert "Traceback" not in said


@pytest.fixture
def shell(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Another shell: what it has in ALIGN_LABELS, or nothing. The recipe names no database."""
    asked.write("{rankings: 2}")
    monkeypatch.setenv("XDG_DATA_HOME", str(asked.folder / "usual"))

    def opened(labels: str) -> None:
        monkeypatch.setenv("ALIGN_LABELS", labels) if labels else monkeypatch.delenv("ALIGN_LABELS", raising=False)

    opened(str(asked.folder / "labels.db"))
    return opened


def test_a_shell_that_names_no_database(asked: Asked, shell: Callable[[str], None]) -> None:
    """The run knows where its labels are, before it is sealed and after; and so do the commands that it prints."""
    waits = asked.align("run")
    database, runs = asked.folder / "labels.db", asked.run.parent
    then = f"ALIGN_LABELS={database} align run {asked.recipe} --runs {runs}"
    assert waits.code == 7 and waits.out.splitlines()[-1] == f"then:       {then}"
    asked.rank("ann", 1)
    shell("")
    assert asked.step()["why"] == "1 of 2 rankings"
    asked.write("{rankings: 1}")  # another key: the work in progress is begun anew, but not elsewhere
    done = asked.align("run", "--json")
    assert (done.code, len(asked.made())) == (0, 1), done.err
    asked.rank("ann", 3)
    later = f"3 rankings more than when this stage was sealed; to take them: {then} --again rankings"
    for labels in ("", str(asked.folder / "other.db"), str(database)):
        shell(labels)
        assert (asked.step()["state"], asked.step()["why"]) == ("later", later), labels
    shell("")
    assert asked.align("run", "--again", "rankings").code == 0 and len(asked.made()) == 4
    assert not (asked.folder / "usual").exists() and not (asked.folder / "other.db").exists()
    database.rename(asked.folder / "away.db")
    said = f"whether there are later labels is not known: there is no label database here ({database})"
    assert (asked.step()["state"], asked.step()["why"]) == ("sealed", said)
    assert f"note: rankings: {said}" in asked.align("check").out


def test_a_shell_that_names_another_database(asked: Asked, shell: Callable[[str], None]) -> None:
    """Nothing is published a second time by itself; both ways on are told as commands, and work."""
    asked.align("run")
    asked.rank("ann", 2)
    first, other = asked.folder / "labels.db", asked.folder / "other one.db"
    shell(str(other))
    whole = f"align run {asked.recipe} --runs {asked.run.parent}"
    for order in ("run", "check"):
        done = asked.align(order)
        assert done.code == 2 and not other.exists(), done.err
        said = f"the answers of `rankings` were put before people in {first}, and ALIGN_LABELS names {other} now"
        assert said in done.err and f"{asked.recipe}:6" in done.err
        assert f"go on there: ALIGN_LABELS={first} {whole}" in done.err
        assert f"in the other one, too: ALIGN_LABELS='{other}' {whole} --again rankings" in done.err
    moved = asked.align("run", "--again", "rankings")
    assert moved.code == 7 and f"rankings: before people in {other} from now on; " in moved.err, moved.err
    assert f"{first} stays there, and does not count here. Back to it: ALIGN_LABELS={first} {whole} --ag" in moved.err
    again = asked.align("run")
    assert again.code == 7 and "from now on" not in again.err, "it is remembered"
    shell(str(first))
    assert asked.align("run").code == 2
    assert asked.align("run", "--again", "rankings").code == 0 and len(asked.made()) == 2


def test_later_labels_are_taken_from_where_they_are(asked: Asked, shell: Callable[[str], None]) -> None:
    """Sealed with the user's own database and begun anew in another one: the command names the one with the labels."""
    shell("")
    usual, other = asked.folder / "usual/align/labels.db", asked.folder / "other.db"
    assert asked.align("run").code == 7 and usual.exists()
    store = open_store(usual)
    rank(store, PROJECT, account(store, "ann"), in_order, 2)
    assert asked.align("run").code == 0
    rank(store, PROJECT, account(store, "ann"), in_order, 3)
    store.close()
    whole = f"align run {asked.recipe} --runs {asked.run.parent} --again rankings"
    assert asked.step()["why"].endswith(f"to take them: {whole}"), "the user's own database needs no name"
    shell(str(other))
    assert asked.step()["why"].endswith(f"to take them: ALIGN_LABELS={usual} {whole}")
    assert asked.align("run", "--again", "rankings").code == 7, "it waits in the other one"
    shell("")
    assert asked.step()["why"].endswith(f"to take them: ALIGN_LABELS={usual} {whole}")
    shell(str(usual))
    done = asked.align("run", "--again", "rankings", "--json")
    assert (done.code, done.json["ran"], len(asked.made())) == (0, ["rankings"], 5), done.err


def test_a_recipe_that_names_another_database(asked: Asked) -> None:
    asked.align("run")
    asked.write("{rankings: 8, overlap: 2, labels: other.db}")
    done = asked.align("run")
    assert done.code == 2 and f"set `labels:` back to {asked.folder}/labels.db; or" in done.err
    assert not (asked.folder / "other.db").exists()


def test_a_database_that_is_gone_is_not_made_anew(asked: Asked) -> None:
    asked.write("{rankings: 2, labels: labels.db}")
    asked.align("run")
    asked.rank("ann", 2)
    (asked.folder / "labels.db").rename(asked.folder / "away.db")
    done = asked.align("run")
    assert done.code == 3 and "it is no longer there" in done.err and "--again rankings" in done.err
    assert "put it back (align labels restore BACKUP --db " in done.err
    assert not (asked.folder / "labels.db").exists()
    assert asked.align("run", "--again", "rankings").code == 7, "who wants to start anew may"


def test_a_goal_that_was_raised_waits_again(asked: Asked) -> None:
    asked.write("{rankings: 2, labels: labels.db}")
    asked.align("run")
    asked.rank("ann", 2)
    assert asked.align("run").code == 0
    asked.write("{rankings: 4, labels: labels.db, guidelines: guide.md}")
    (asked.folder / "guide.md").write_text("Be kind.")
    assert asked.align("run").code == 7
    step = asked.step()
    assert (step["state"], step["why"]) == ("waits", "2 of 4 rankings")
    assert read_artifact(asked.run / "rankings").manifest.metrics["rankings"] == 2, "the older one stands meanwhile"
    (asked.folder / "guide.md").write_text("Be kind, and short.")
    assert asked.step()["why"].startswith("`by.people.guidelines` changed")
    assert asked.align("run").code == 7
    store = asked.store()
    assert get_project(store, PROJECT).guidelines == "Be kind, and short."
    store.close()


@pytest.mark.parametrize(
    ("people", "code", "said"),
    [
        ("{rankings: 21, overlap: 2, labels: labels.db}", 2, "21 rankings are asked for, and there can be 20"),
        ("{agreement: 0.6, labels: labels.db}", 2, "overlap: 2 or more"),
        ("{overlapp: 2}", 2, "unknown key `overlapp`"),
        ("{guidelines: none.md}", 2, "`none.md` cannot be read"),
        ("{labels: 'postgresql://a:b@c/d'}", 2, "the URL holds a password"),
        ("{labels: 'mysql://a@c/d'}", 2, "`labels` is c/d"),
        ("{labels: 'postgresql://a@127.0.0.1:1/d'}", 6, "the database server cannot be reached"),
        ("{labels: answers.jsonl}", 3, "this is no label database"),
        ("{labels: newer.db}", 3, "made by a newer version"),
    ],
)
def test_what_can_be_known_is_told_before_anything_runs(asked: Asked, people: str, code: int, said: str) -> None:
    if "newer" in people:
        store = open_store(asked.folder / "newer.db")
        with store.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        store.close()
    asked.write(people)
    for order in ("check", "run"):
        done = asked.align(order)
        assert (done.code, said in done.err) == (code, True), done.err
    assert not (asked.run / "rankings.partial").exists()


def test_too_many_answers_for_a_page(asked: Asked) -> None:
    stage = "\n  - {name: more, kind: sample, model: base, prompts: answers, per_prompt: 12}"
    recipe = (RECIPE % PEOPLE).replace("sources:", "sources:\n  base: {kind: policy, path: some/model}")
    recipe = recipe.replace("stages:", "stages:" + stage).replace("answers: answers, by", "answers: more, by")
    asked.recipe.write_text(recipe)
    done = asked.align("check")
    assert done.code == 2 and "`more` samples 12 answers a prompt" in done.err and "`per_prompt: 9`" in done.err


def test_the_page_shows_as_many_answers_as_a_recipe_may_ask_for() -> None:
    from align.recipe.ask_people import MOST_ANSWERS
    from labeling_app import projects

    assert MOST_ANSWERS == projects.MOST_ANSWERS


def until(happened: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def items(asked: Asked) -> int:
    """How many items are published."""
    if not (asked.folder / "labels.db").exists():
        return 0
    store = asked.store()
    try:
        with store.read() as session:
            return session.execute(select(func.count()).select_from(Item)).scalar_one()
    finally:
        store.close()


def published(asked: Asked) -> bool:
    return items(asked) == 10 and (asked.run / "rankings.partial" / "resume" / "waiting.json").exists()


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Asked]:
    """So many answers that a kill finds them half published."""
    write_rows(tmp_path / "answers.jsonl", [answers_row(n, 3) for n in range(4000)])
    world = Asked(tmp_path)
    world.write("{rankings: 60, overlap: 2, labels: labels.db}")
    yield world


def kill_when(asked: Asked, happened: Callable[[], bool]) -> None:
    """Start a run that stays, and kill it at that moment."""
    words = command("run", asked.recipe, "--runs", asked.run.parent, "--wait", "--quiet")
    process = subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until(lambda: happened() or process.poll() is not None, 240)
        assert process.poll() is None, "the run ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


@pytest.mark.timeout(1200)
def test_killed_while_it_publishes_and_while_it_waits(many: Asked) -> None:
    """Every item once, every ranking once, and the run goes on with all of them."""
    waiting = many.run / "rankings.partial" / "resume" / "waiting.json"
    kill_when(many, lambda: items(many) >= 500)
    half = items(many)
    assert 500 <= half < 4000, "it was killed in the middle"
    assert many.rank("ann", 20) == 20
    kill_when(many, lambda: items(many) == 4000 and waiting.exists())
    many.rank("bob", 20)
    seen = waiting.stat().st_mtime_ns
    kill_when(many, lambda: waiting.exists() and waiting.stat().st_mtime_ns != seen)
    for name in ("ann", "bob"):
        many.rank(name, 10)
    done = many.align("run", "--json")
    assert done.code == 0, done.err
    store = many.store()
    try:
        assert verify(store).faults == ()
        with store.read() as session:
            keys = session.execute(select(Item.key)).scalars().all()
            assert session.execute(select(func.count()).select_from(Project)).scalar_one() == 1
            saved = session.execute(select(RankingRow.uid)).scalars().all()
    finally:
        store.close()
    assert len(keys) == len(set(keys)) == 4000
    assert Counter(r.id for r in many.made()) == Counter(saved) and len(saved) == 60
    assert many.manifest.metrics["items"] == 30
