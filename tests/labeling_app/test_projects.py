"""Projects: their settings by command, what a reviewer is to decide, and that labels are never deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align.errors import DataError
from labeling_app.errors import Refused
from labeling_app.incoming import import_labels
from labeling_app.labels import skip, submit, undo
from labeling_app.projects import change_project, delete_project, get_project, list_projects, make_project
from labeling_app.queue import Nothing, next_item
from labeling_app.store.care import verify
from labeling_app.store.database import Store, open_store
from labeling_app.submission import Skip
from labeling_app.views import ItemView
from tests.labeling_app.world import answers_row, asked, made, person, ranked, ranking, write
from tests.runs import call


def disputed(store: Store, folder: Path, **settings: Any) -> tuple[Any, Any]:
    """A project with an item that ann and bob see the other way round, and one on which they agree; a reviewer."""
    project = made(store, folder, items=2, overlap=2, **settings)
    for name, first in (("ann", [1, 2, 3, 4]), ("bob", [4, 3, 2, 1])):
        who = person(store, name)
        ranked(store, who, project, first)
        ranked(store, who, project, [1, 2, 3, 4])
    return project, person(store, "eve", "reviewer")


def test_annotators_who_agree_less_than_chance_go_to_a_reviewer_by_default(either: Store, tmp_path: Path) -> None:
    assert make_project(either, "q").settings.adjudicate_below == 0.5
    project, eve = disputed(either, tmp_path, adjudicate_below=0.5)
    assert get_project(either, "p").states == {"adjudicate": 1, "done": 1}
    assert asked(either, eve, project, "adjudicate").prompt[0].content == "question 0"


def test_imported_rankings_that_disagree_go_to_a_reviewer(either: Store, tmp_path: Path) -> None:
    rows = [
        answers_row(n) | {"id": f"{n}{who}", "annotator": who, "ranks": ranks}
        for n, second in enumerate(([4, 3, 2, 1], [1, 2, 4, 3]))
        for who, ranks in (("ann", [1, 2, 3, 4]), ("bob", second))
    ]
    project = make_project(either, "p", overlap=2)
    import_labels(either, project, write(tmp_path / "r.jsonl", rows))
    assert get_project(either, "p").states == {"adjudicate": 1, "done": 1}
    assert verify(either).faults == ()


def test_someone_who_stands_twice_in_a_file_disputes_nothing_alone(store: Store, tmp_path: Path) -> None:
    rows = [
        answers_row(0) | {"id": f"{n}", "annotator": "ann", "ranks": r}
        for n, r in enumerate(([1, 2, 3, 4], [4, 3, 2, 1]))
    ]
    import_labels(store, make_project(store, "p", overlap=2), write(tmp_path / "r.jsonl", rows))
    assert change_project(store, "p", adjudicate_below=0.9).states == {"open": 1}, "it waits for a second person"
    assert change_project(store, "p", overlap=1).states == {"done": 1}


def test_another_threshold_sorts_what_was_ranked_before(either: Store, tmp_path: Path) -> None:
    project, eve = disputed(either, tmp_path)
    assert next_item(either, eve, project.id, "adjudicate") == Nothing("no-threshold")
    assert change_project(either, "p", adjudicate_below=0.4).states == {"adjudicate": 1, "done": 1}
    submit(either, eve, ranking(asked(either, eve, project, "adjudicate")))
    assert next_item(either, eve, project.id, "adjudicate") == Nothing("nothing-disputed")
    assert change_project(either, "p", adjudicate_below=1.0).states == {"settled": 1, "done": 1}
    undo(either, eve, project.id)
    assert change_project(either, "p", adjudicate_below=None).states == {"done": 2}
    assert verify(either).faults == ()


def test_a_lower_overlap_asks_a_reviewer_as_well(store: Store, tmp_path: Path) -> None:
    disputed(store, tmp_path, adjudicate_below=0.5)
    assert change_project(store, "p", overlap=3).states == {"open": 2}
    assert change_project(store, "p", overlap=2).states == {"adjudicate": 1, "done": 1}


def test_a_reviewer_decides_any_item_that_somebody_ranked(either: Store, tmp_path: Path) -> None:
    """Below no threshold, and while it waits for another annotator; never what nobody ranked, nor what they ranked."""
    project = made(either, tmp_path, items=2, overlap=3)
    ann, bob, eve = person(either, "ann"), person(either, "bob"), person(either, "eve", "reviewer")
    for who in (ann, bob):
        ranked(either, who, project)
    view = next_item(either, eve, project.id, "adjudicate", item=1)
    assert isinstance(view, ItemView) and len(view.opinions) == 2
    submit(either, eve, ranking(view))
    assert get_project(either, "p").states == {"settled": 1, "open": 1}
    undo(either, eve, project.id)
    assert get_project(either, "p").states == {"open": 2}  # it waits for its third annotator again
    assert next_item(either, eve, project.id, "adjudicate", item=2) == Nothing("not-yours-to-decide")
    joe = person(either, "joe", "reviewer")
    ranked(either, joe, project)
    assert next_item(either, joe, project.id, "adjudicate", item=1) == Nothing("not-yours-to-decide")
    assert verify(either).faults == ()


def test_a_project_without_labels_can_be_deleted(either: Store, tmp_path: Path) -> None:
    """With its items, and the turn that somebody had; the log says so, and everything still holds."""
    project, other = made(either, tmp_path, items=3), make_project(either, "other")
    import_labels(either, other, tmp_path / "answers.jsonl")
    ann = person(either, "ann")
    view = asked(either, ann, project)
    assert delete_project(either, "p") == 3
    assert [(left.slug, left.states) for left in list_projects(either)] == [("other", {"open": 3})]
    assert verify(either).faults == ()
    with pytest.raises(Refused):
        submit(either, ann, ranking(view))
    made(either, tmp_path)  # the name is free again
    assert asked(either, ann, get_project(either, "p")).prompt[0].content == "question 0"


@pytest.mark.parametrize("said", ["ranked", "skipped", "undone"])
def test_labels_are_never_deleted(store: Store, tmp_path: Path, said: str) -> None:
    project, ann = made(store, tmp_path), person(store, "ann")
    if said == "skipped":
        skip(store, ann, Skip(lease=asked(store, ann, project).lease, token="token-skip", reason="unsure"))
    else:
        ranked(store, ann, project)
    if said == "undone":
        undo(store, ann, project.id)
    with pytest.raises(DataError, match="never deleted") as caught:
        delete_project(store, "p")
    assert caught.value.remedy.endswith(f"align labels projects set p --hide --db {store.place}")
    change_project(store, "p", hidden=True)
    assert list_projects(store) == [] and [one.slug for one in list_projects(store, hidden=True)] == ["p"]
    assert get_project(store, "p").rankings == (said == "ranked")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    store = open_store(tmp_path / "l.db")
    disputed(store, tmp_path)
    store.close()
    return tmp_path / "l.db"


def test_the_commands(db: Path, tmp_path: Path) -> None:
    guide = tmp_path / "guide.md"
    guide.write_text("# Be kind")
    wanted = ["--adjudicate-below", "0.6", "--attributes", "true, short,true", "--gold-share", "0.2"]
    outcome = call("labels", "projects", "set", "p", *wanted, "--guidelines", guide, "--db", db)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == "for a reviewer to decide: 1"
    (told,) = call("labels", "projects", "list", "--db", db, "--json").json["projects"]
    assert (told["name"], told["items"], told["rankings"], told["guidelines_version"]) == ("p", 2, 4, 2)
    settings = {name: told["settings"][name] for name in ("overlap", "adjudicate_below", "attributes", "gold_share")}
    assert settings == {"overlap": 2, "adjudicate_below": 0.6, "attributes": ["true", "short"], "gold_share": 0.2}
    assert call("labels", "projects", "set", "p", "--adjudicate-below", "none", "--attributes", "none", "--db", db).out
    line = "    2 items, 4 rankings; overlap 2; no item goes to a reviewer; no ratings; gold share 0.2; with guidelines"
    assert call("labels", "projects", "list", "--db", db).out == f"p\n{line}\n"
    assert call("labels", "projects", "set", "p", "--hide", "--db", db).code == 0
    assert call("labels", "projects", "list", "--db", db).out.startswith("p  (hidden)\n")
    store = open_store(db)
    make_project(store, "empty")
    store.close()
    assert call("labels", "projects", "delete", "empty", "--db", db).out.startswith("empty deleted, with 0 items")


def test_a_project_that_is_not_there_is_one_of_those_there_are(db: Path, tmp_path: Path) -> None:
    export = ["labels", "export", tmp_path / "o.jsonl", "--project", "q"]
    for command in (["labels", "projects", "delete", "q"], export, ["label", "--project", "q"]):
        outcome = call(*command, "--db", db)
        assert outcome.code == 3 and "allowed: p\n" in outcome.err
        assert outcome.err.endswith(f"name one of those there are: align labels projects list --db {db}\n")
    empty = tmp_path / "empty.db"
    open_store(empty).close()
    assert f"do:      make it: align labels import FILE --project q --db {empty}" in call(*export, "--db", empty).err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["set", "q", "--overlap", "2"], 3, "there is no project `q`"),
        (["set", "p"], 2, "no setting is named"),
        (["set", "p", "--overlap", "0"], 2, "greater than or equal to 1"),
        (["set", "p", "--adjudicate-below", "60"], 2, "a number from 0 to 1, or none"),
        (["set", "p", "--adjudicate-below", "nan"], 2, "a number from 0 to 1, or none"),
        (["set", "p", "--gold-share", "3"], 2, "`gold_share` is 3\nallowed: 0 to 0.5\n"),
        (["set", "p", "--attributes", "kind,,true"], 2, "at least 1 character"),
        (["set", "p", "--guidelines", "gone.md"], 3, "cannot be read"),
        (["set", "p", "--guidelines", "empty.md"], 3, "are empty"),
        (["delete", "p"], 3, "never deleted"),
        (["delete", "q"], 3, "there is no project `q`"),
    ],
)
def test_mistakes(db: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str) -> None:
    monkeypatch.chdir(db.parent)
    Path("empty.md").write_text("\n")
    outcome = call("labels", "projects", *words, "--db", "l.db")
    assert outcome.code == code and said in outcome.err and "Traceback" not in outcome.err
    (told,) = call("labels", "projects", "list", "--db", "l.db", "--json").json["projects"]
    assert (told["name"], told["settings"]["overlap"], told["rankings"]) == ("p", 2, 4)
