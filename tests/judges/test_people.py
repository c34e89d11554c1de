"""People as a judge: what is published, when a goal is met, what comes back, and what is said of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from align.artifacts import Artifact, Manifest, hash_file, seal
from align.contract import HELDOUT, TRAIN, rows
from align.data import annotators
from align.data.records import Answers
from align.errors import DataError, RecipeError, SystemLimit
from align.judges import desk as desks
from align.judges import people as judge
from align.judges.desk import Desk
from align.judges.people import Collected, Progress
from align.recipe.schema import People
from labeling_app.incoming import import_labels
from labeling_app.labels import skip, undo
from labeling_app.outgoing import Filter, export
from labeling_app.people import change_person, create_person, invite, local_person
from labeling_app.projects import get_project, make_project
from labeling_app.saving import Options
from labeling_app.store.care import verify
from labeling_app.store.database import Store, open_store
from labeling_app.store.models import Item
from labeling_app.submission import Skip
from tests.annotators import account, backwards, in_order, rank
from tests.labeling_app.world import answers_row, asked, write


def answers(folder: Path, train: int = 8, heldout: int = 2, first: int = 0, count: int = 3) -> Artifact:
    """A sealed artifact of so many prompts, numbered from `first`."""
    partial = folder / f"answers{first}-{train}.partial"
    partial.mkdir(parents=True)
    numbers = range(first, first + train + heldout)
    write(partial / TRAIN, [answers_row(n, count) for n in numbers[:train]])
    if heldout:
        write(partial / HELDOUT, [answers_row(n, count) for n in numbers[train:]])
    return seal(partial, Manifest(name="answers", kind="answers", made_by="sample", key=f"k{first}"))


def records(artifact: Artifact) -> dict[str, list[Answers]]:
    return {s: [r for r in rows(artifact, s) if isinstance(r, Answers)] for s in (TRAIN, HELDOUT)}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(str(tmp_path / "labels.db"), "run/rankings", True)


@pytest.fixture
def store(desk: Desk) -> Iterator[Store]:
    opened = open_store(desk.database)
    yield opened
    opened.close()


def publish(desk: Desk, people: People, artifact: Artifact, guidelines: str = "") -> Progress:
    published = judge.publish(desk, people, artifact, guidelines, 7)
    try:
        return published.progress()
    finally:
        published.close()


def collect(desk: Desk, people: People, artifact: Artifact, folder: Path) -> Collected:
    return judge.collect(judge.resolved(people, desk), records(artifact), folder)


def states(store: Store, desk: Desk) -> dict[str, str]:
    with store.read() as session:
        numbered = session.execute(select(Item.uid, Item.state).order_by(Item.id))
        return {uid: state for uid, state in numbered}


def test_published_once_however_often(desk: Desk, store: Store, tmp_path: Path) -> None:
    """Each prompt once, with its split; held-out ones are spread, since people may rank only the first few."""
    artifact = answers(tmp_path, train=8, heldout=2)
    for _ in range(3):
        assert publish(desk, People(), artifact) == Progress(0, 10, 1, 10, 0, 0, 0, None, None, 0)
    with store.read() as session:
        splits = session.execute(select(Item.split).order_by(Item.id)).scalars().all()
    assert splits == [*["train"] * 4, "heldout"] * 2
    assert get_project(store, desk.project).guidelines_version == 1
    publish(desk, People(overlap=2, gold_share=0.25), artifact, "Be kind.")
    project = get_project(store, desk.project)
    assert (project.guidelines, project.settings.overlap, project.settings.gold_share) == ("Be kind.", 2, 0.25)


def test_only_items_that_enough_people_ranked_count(desk: Desk, store: Store, tmp_path: Path) -> None:
    artifact, people = answers(tmp_path), People(rankings=8, overlap=2)
    publish(desk, people, artifact)
    assert rank(store, desk.project, account(store, "ann")) == 10
    found = publish(desk, people, artifact)
    assert (found.counted, found.extra, found.met) == (0, 10, False)
    assert found.words() == "0 of 8 rankings, by 2 people each; 10 more on items that need another person"
    assert rank(store, desk.project, account(store, "bob"), most=3) == 3
    assert (found := publish(desk, people, artifact)).counted == 6 and not found.met
    rank(store, desk.project, account(store, "bob"), most=1)
    assert (found := publish(desk, people, artifact)).counted == 8 and found.met
    assert found.words() == "goal met: 14 rankings, 8 asked for" and found.left() == ""
    project = get_project(store, desk.project)
    undo(store, account(store, "bob"), project.id)
    assert publish(desk, people, artifact).counted == 6


def test_items_that_nobody_is_left_for(desk: Desk, store: Store, tmp_path: Path) -> None:
    """The one person there is has skipped an item: without a word, the run would wait for ever."""
    artifact, me = answers(tmp_path, 2, 1), local_person(store)
    publish(desk, People(), artifact)
    project = get_project(store, desk.project)
    assert "too few people" not in publish(desk, People(), artifact).words()
    view = asked(store, me, project)
    skip(store, me, Skip(lease=view.lease, token="token-skip", reason="unsure"))
    found = publish(desk, People(), artifact)
    assert found.words().endswith(
        "too few people left who have not seen 1 prompt: add people, take back skips, or ask for `rankings: 2`"
    )
    assert "too few people" not in publish(desk, People(rankings=2), artifact).words()
    create_person(store, "ann", "a long password")
    found = publish(desk, People(), artifact)
    assert (found.stuck, found.left()) == (0, "")
    invite(store)
    rank(store, desk.project, me, most=2)
    assert (publish(desk, People(), artifact).stuck, publish(desk, People(overlap=2), artifact).stuck) == (0, 0)


def test_who_can_still_rank(desk: Desk, store: Store, tmp_path: Path) -> None:
    """By name, so that one knows whom to ask; nobody, where all have seen what is missing."""
    artifact, people = answers(tmp_path, 2, 1), People(overlap=2)
    ann, bob, eve = (create_person(store, name, "a long password") for name in ("ann", "bob", "eve"))
    assert publish(desk, people, artifact).left() == "", "nothing is held up yet"
    rank(store, desk.project, ann)
    rank(store, desk.project, bob, most=1)
    found = publish(desk, people, artifact)
    assert (found.left(), found.held_up) == ("bob 2 items, eve 2 items", False)
    project = get_project(store, desk.project)
    for number, person in enumerate((bob, eve, eve)):
        lease = asked(store, person, project).lease
        skip(store, person, Skip(lease=lease, token=f"token-{number:03}", reason="unsure"))
    found = publish(desk, people, artifact)
    assert (found.stuck, found.left(), found.held_up) == (1, "bob 1 item", True)
    change_person(store, "bob", active=False)
    assert publish(desk, people, artifact).left() == "nobody has an item left"
    assert publish(desk, People(rankings=2, overlap=2), artifact).left() == "", "enough for this goal"


def test_a_goal_of_agreement(desk: Desk, store: Store, tmp_path: Path) -> None:
    artifact, people = answers(tmp_path), People(rankings=4, overlap=2, agreement=0.5)
    publish(desk, people, artifact)
    rank(store, desk.project, account(store, "ann"))
    rank(store, desk.project, account(store, "bob"), backwards, most=2)
    found = publish(desk, people, artifact)
    assert (found.counted, found.agreement, found.met) == (4, 0.0, False)
    assert found.words().endswith("; agreement 0.00 of 0.5")
    rank(store, desk.project, account(store, "bob"), in_order, most=2)
    assert (found := publish(desk, people, artifact)).agreement == 0.5 and found.met
    rank(store, desk.project, account(store, "bob"), backwards)
    found = publish(desk, people, artifact)
    assert found.agreement == 0.2 and not found.met
    assert found.words().endswith("every item is ranked: raise overlap, or lower agreement")


def test_answers_that_were_sampled_anew(desk: Desk, store: Store, tmp_path: Path) -> None:
    """People see the new ones only; what was ranked stays, and counts when the older answers come back."""
    older, newer, people = answers(tmp_path, 2, 1), answers(tmp_path, 2, 1, first=5), People()
    publish(desk, people, older)
    rank(store, desk.project, account(store, "ann"), most=2)
    assert publish(desk, people, newer).counted == 0
    before, after = dict.fromkeys(["i0", "i1"], "done") | {"i2": "closed"}, dict.fromkeys(["i5", "i6", "i7"], "open")
    assert states(store, desk) == before | after
    assert rank(store, desk.project, account(store, "ann")) == 3
    made = collect(desk, people, newer, tmp_path / "scratch")
    assert [len(made.rankings[s]) for s in (TRAIN, HELDOUT)] == [2, 1]
    found = publish(desk, people, older)
    assert (found.counted, found.needed) == (2, 3)
    assert states(store, desk) == {name: "open" if name == "i2" else "done" for name in before | after}
    assert verify(store).faults == ()


def test_a_project_that_is_shared_keeps_its_other_items(desk: Desk, store: Store, tmp_path: Path) -> None:
    shared = Desk(desk.database, "team", False)
    publish(shared, People(), answers(tmp_path, 2, 0))
    publish(shared, People(), answers(tmp_path, 2, 0, first=5))
    assert set(states(store, shared).values()) == {"open"}


def test_what_comes_back(desk: Desk, store: Store, tmp_path: Path) -> None:
    """Figures by hand: three items by two people, who agree on two of them and are opposed on one."""
    artifact, people = answers(tmp_path, 2, 1), People(overlap=2, guidelines="g.md")
    publish(desk, people, artifact, "Be kind.")
    gold = answers_row(9, 3) | {"id": "gold", "ranks": [1, 2, 3], "annotator": "lead"}
    project = make_project(store, desk.project, gold_share=0.0)
    import_labels(store, project, write(tmp_path / "gold.jsonl", [gold]), Options(gold=True))
    tested = gold | {"id": "tested", "ranks": [1, 3, 2], "annotator": "u_tested"}
    import_labels(store, project, write(tmp_path / "tested.jsonl", [tested]))
    ann, bob = account(store, "ann"), account(store, "bob")
    assert rank(store, desk.project, ann) == 3 and rank(store, desk.project, bob, in_order, most=2) == 2
    rank(store, desk.project, bob, backwards)
    made = collect(desk, people, artifact, tmp_path / "scratch")
    counts = {ann.pseudonym: 3, bob.pseudonym: 3}
    assert [len(made.rankings[s]) for s in (TRAIN, HELDOUT)] == [4, 2]
    assert {r.annotator for r in made.rankings[TRAIN]} == set(counts)
    figures = made.figures
    assert (figures["items"], figures["overlapping_items"], figures["annotators"]) == (3, 3, counts)
    assert figures["decisions"] == 0
    everything = [r for found in made.rankings.values() for r in found]
    assert figures["agreement"] == round(annotators.agreement(everything).rate or 0, 4)
    assert figures["agreement"] == 0.6667 and figures["tau_b"] == 0.3333 and figures["alpha_interval"] == []
    assert figures["guidelines_version"] == 1 and figures["project"] == desk.project
    assert figures["gold"] == {"u_tested": 0.6667} and figures["gold_accuracy"] == 0.6667
    again = export(store, get_project(store, desk.project), tmp_path / "same.jsonl", "rankings",
                   Filter(upto=figures["upto"]))  # fmt: skip
    assert again.sha256 == figures["export_sha256"] == hash_file(tmp_path / "same.jsonl")


def test_a_reviewer_is_no_evidence_of_agreement(desk: Desk, store: Store, tmp_path: Path) -> None:
    artifact, people = answers(tmp_path, 1, 0), People()
    publish(desk, people, artifact)
    project = get_project(store, desk.project)
    row = answers_row(0, 3)
    labels = [
        row | {"id": "a", "ranks": [1, 2, 3], "annotator": "u_a"},
        row | {"id": "r", "ranks": [3, 2, 1], "annotator": "u_r", "meta": {"task": "adjudicate"}},
    ]
    import_labels(store, project, write(tmp_path / "labels.jsonl", labels))
    figures = collect(desk, people, artifact, tmp_path / "scratch").figures
    assert figures["annotators"] == {"u_a": 1, "u_r": 1} and figures["decisions"] == 1
    assert (figures["agreement"], figures["agreement_unknown"]) == (None, "one annotator only")


def test_what_people_say_later(desk: Desk, store: Store, tmp_path: Path) -> None:
    artifact, people = answers(tmp_path), People(rankings=2)
    publish(desk, people, artifact)
    ann = account(store, "ann")
    rank(store, desk.project, ann, most=2)
    figures = collect(desk, people, artifact, tmp_path / "scratch").figures
    assert judge.later(desk, artifact, figures) == (False, "")
    rank(store, desk.project, ann, most=3)
    said = "3 rankings more than when this stage was sealed"
    assert judge.later(desk, artifact, figures) == (True, said)
    project = get_project(store, desk.project)
    for _ in range(4):
        undo(store, ann, project.id)
    assert judge.later(desk, artifact, figures) == (True, "1 ranking taken back or changed since it was sealed")
    store.close()
    Path(desk.database).unlink()
    assert judge.later(desk, artifact, figures)[0] is False
    said = f"is not known: there is no label database here ({desk.database})"
    assert judge.later(desk, artifact, figures)[1].endswith(said)


def check(desk: Desk, items: int = 10, **asked: Any) -> None:
    judge.check_goal(People(**asked), desk, items, "recipe.yaml:7")


def test_goals_that_can_never_be_met(desk: Desk, store: Store, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe.yaml:7(.|\n)*21 rankings are asked for, and there can be 20"):
        check(desk, rankings=21, overlap=2)
    check(desk, rankings=20, overlap=2)  # nobody has an account yet, and accounts can be made
    create_person(store, "ann", "a long password")
    with pytest.raises(
        RecipeError, match=r"ranked by 2 people, and there are 1(.|\n)*align labels users add NAME --db"
    ):
        check(desk, overlap=2)
    invite(store)
    check(desk, overlap=2)
    with pytest.raises(RecipeError, match="there are 2"):
        check(desk, overlap=3)
    project = make_project(store, desk.project)
    label = answers_row(0, 3) | {"ranks": [1, 2, 3], "annotator": "u_imported"}
    import_labels(store, project, write(tmp_path / "labels.jsonl", [label]))
    check(desk, overlap=3)  # whoever ranked already counts
    with pytest.raises(RecipeError, match="can be 10: 10 items by 1 people"):
        publish(desk, People(rankings=11), answers(tmp_path))


def test_databases_that_cannot_be_used(desk: Desk, store: Store, tmp_path: Path) -> None:
    check(Desk(str(tmp_path / "new.db"), "p", True))
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(SystemLimit, match="the database server cannot be reached"):
        check(Desk("postgresql://nobody@127.0.0.1:1/none", "p", True))
    (tmp_path / "other.db").write_text("no database")
    with pytest.raises(DataError, match="this is no label database"):
        check(Desk(str(tmp_path / "other.db"), "p", True))
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DataError, match="made by a newer version"):
        check(desk)


def test_a_database_that_another_process_holds(desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeling_app.store.database.open_store.__kwdefaults__", {
        **(open_store.__kwdefaults__ or {}), "busy": 0.2
    })  # fmt: skip
    with store.write(), pytest.raises(SystemLimit, match="another process is writing to the label database"):
        check(desk)


def desk_in(people: People, folder: Path) -> Desk:
    return desks.desk_at(desks.named(people, folder), people, "run", "rankings")


def test_where_labels_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGN_LABELS", "postgresql://me:secret@host/db?password=secret&sslmode=require")
    desk = desk_in(People(), tmp_path)
    assert (desk.project, desk.own, desk.told, desks.has_password(desk)) == ("run/rankings", True, True, True)
    place = desks.place_of(desk.database)
    assert place == "postgresql://me@host/db?sslmode=require" == desks.place_of(place)
    commands = [*desks.opening(desk, 2), desks.adding(desk), desks.in_shell(desk, ["align", "run"])]
    assert "secret" not in "".join(commands)
    assert commands[0] == "align label --project run/rankings --accounts"
    monkeypatch.setenv("ALIGN_LABELS", "postgresql://me@host/db")
    assert desks.adding(desk_in(People(), tmp_path)).endswith("NAME --db postgresql://me@host/db")
    desk = desk_in(People(labels="my labels.db", project="the team"), tmp_path)
    assert desk == Desk(str(tmp_path / "my labels.db"), "the team", False)
    command, address = desks.opening(desk, 1)
    assert command == f"align label --db '{tmp_path}/my labels.db' --project 'the team'"
    assert address == "http://127.0.0.1:7860/app?project=the%20team"
    assert desks.in_shell(desk, ["align", "run", "my recipe"]) == "align run 'my recipe'", "the recipe names it"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGN_LABELS", "team s.db")
    desk = desk_in(People(), tmp_path / "elsewhere")
    assert desk.database == str(tmp_path / "team s.db"), "a relative path is of the folder one stands in"
    assert desks.in_shell(desk, ["align", "run", "r"]) == f"ALIGN_LABELS='{tmp_path}/team s.db' align run r"
    monkeypatch.delenv("ALIGN_LABELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    desk = desk_in(People(), tmp_path)
    assert (desk.database, desk.told) == (str(tmp_path / "align" / "labels.db"), False)


def test_what_a_run_keeps(tmp_path: Path) -> None:
    assert desks.kept(tmp_path) == {}
    desks.keep(tmp_path, "a", Desk("postgresql://me:secret@host/db", "p", True))
    desks.keep(tmp_path, "b", Desk(str(tmp_path / "b.db"), "p", True))
    assert desks.kept(tmp_path) == {"a": "postgresql://me@host/db", "b": str(tmp_path / "b.db")}
    (tmp_path / "run").mkdir()
    desks.keep(tmp_path / "run", "a", Desk(str(tmp_path / "a.db"), "p", True))
    shutil.copytree(tmp_path / "run", tmp_path / "elsewhere" / "run")
    assert desks.kept(tmp_path / "elsewhere" / "run") == {"a": str(tmp_path / "a.db")}, "it stayed where it was"
    (tmp_path / "elsewhere" / "a.db").touch()
    assert desks.kept(tmp_path / "elsewhere" / "run") == {"a": str(tmp_path / "elsewhere" / "a.db")}, "it came along"
    (tmp_path / desks.KEPT).write_text("{")
    with pytest.raises(DataError, match="where people rank cannot be read"):
        desks.kept(tmp_path)


def test_nothing_of_the_app_is_loaded_before_people_are_asked() -> None:
    code = "import sys, align.waiting; print(sorted({'sqlalchemy', 'torch', 'gradio', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
