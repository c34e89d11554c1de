"""What a recipe waits for, on both databases; and a project named RUN/STAGE over HTTP."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from alembic import command
from fastapi.testclient import TestClient
from sqlalchemy import event

from labeling_app.goals import agreement_on, changed_since, gold_accuracy, items_named, show_only, standing, voices
from labeling_app.incoming import import_labels
from labeling_app.labels import skip, submit, undo
from labeling_app.outgoing import newest_version
from labeling_app.people import accept, change_person, create_person, invite, local_person, people
from labeling_app.projects import get_project, make_project
from labeling_app.quality import quality_of
from labeling_app.queue import Nothing, next_item
from labeling_app.saving import Options
from labeling_app.server import create_app
from labeling_app.store.care import verify
from labeling_app.store.database import Store, _config, open_store
from labeling_app.store.models import Item
from labeling_app.submission import Skip
from tests.labeling_app.world import answers_row, asked, made, person, ranked, ranking, write

PASSWORD = "correct horse battery"


def test_how_far_items_are(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=4, overlap=2)
    ann, bob = person(either, "ann"), person(either, "bob")
    with either.read() as session:
        keys = {item.uid: item.key for item in session.query(Item)}
    ours = items_named(either, project.id, {keys["i0"], keys["i1"], keys["i2"], "of another project"})
    assert len(ours) == 3
    first = ranked(either, ann, project, [1, 2, 3, 4])
    for _ in range(3):
        ranked(either, ann, project, [1, 2, 3, 4])
    ranked(either, bob, project, [4, 3, 2, 1])
    view = asked(either, bob, project)
    skip(either, bob, Skip(lease=view.lease, token="token-skip", reason="unsure"))
    now = standing(either, project.id, ours, 2)
    assert (now.items, now.complete, now.extra, now.skipped) == (3, 1, 2, 1)
    assert now.version == newest_version(either, project.id) and first.version == 1
    assert agreement_on(either, project.id, ours).percent.value == 0.0
    before = now.version
    assert changed_since(either, project.id, ours, before) == (0, 0)
    undo(either, ann, project.id)  # item 3 is not ours
    assert changed_since(either, project.id, ours, before) == (0, 0)
    undo(either, ann, project.id)
    assert changed_since(either, project.id, ours, before) == (0, 1)
    ranked(either, ann, project, [1, 2, 3, 4])
    assert changed_since(either, project.id, ours, before) == (1, 1)


def twice() -> list[dict[str, object]]:
    """Two rankings of one item by one annotator, who is not of one mind."""
    return [answers_row(0) | {"id": f"r{n}", "ranks": ranks, "annotator": "ann"}
            for n, ranks in enumerate([[1, 2, 3, 4], [4, 3, 2, 1]])]  # fmt: skip


def test_who_ranks_an_item_twice_is_one_person(either: Store, tmp_path: Path) -> None:
    project = make_project(either, "p", overlap=2, gold_share=0.0, adjudicate_below=0.5)
    import_labels(either, project, write(tmp_path / "r.jsonl", twice()))
    with either.read() as session:
        items = {item.id for item in session.query(Item)}
    now = standing(either, project.id, items, 2)
    assert (now.complete, now.extra) == (0, 1) and agreement_on(either, project.id, items).overlapping == 0
    ranked(either, person(either, "bob"), project, [4, 3, 2, 1])
    figures = agreement_on(either, project.id, items)
    assert standing(either, project.id, items, 2).complete == 1
    assert (figures.overlapping, figures.percent.value) == (1, 1.0)  # what ann said last
    assert get_project(either, "p").states == {"done": 1} and verify(either).faults == ()
    shown = quality_of(either, person(either, "eve", "reviewer"), project.id)
    assert shown.counted == 2 and [(d.agreement, d.annotators) for d in shown.disputes] == [(1.0, 2)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_that_counted_them_twice(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    where = request.getfixturevalue("new_database")() if kind == "postgresql" else str(tmp_path / "l.db")
    store = open_store(where)
    project = make_project(store, "p", overlap=2)
    other = answers_row(1) | {"id": "o", "ranks": [1, 2, 3, 4], "annotator": "bob"}
    import_labels(store, project, write(tmp_path / "r.jsonl", [*twice(), other]))
    with store.write() as session:
        first = session.query(Item).order_by(Item.id).first()
        assert first is not None
        first.taken, first.done, first.state = 2, 2, "done"
    assert len(verify(store).faults) == 1
    with store.engine.connect().execution_options(writer=True) as connection, connection.begin():
        config = _config()
        config.attributes["connection"] = connection
        command.stamp(config, "0003")
    store.close()
    again = open_store(where)
    assert verify(again).faults == () and get_project(again, "p").states == {"open": 2}
    again.close()


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_is_saved_while_one_looks_is_counted_or_newer(either: Store, tmp_path: Path, at: int) -> None:
    """Whoever waits asks again once there is a newer version: one that was missed and is no newer is waited for."""
    project, ann = made(either, tmp_path, items=2), person(either, "ann")
    with either.read() as session:
        items = {item.id for item in session.query(Item)}
    ranked(either, ann, project)
    looking, queries = [True], [0]

    def between(*_: object) -> None:
        queries[0] += looking[0]
        if looking[0] and queries[0] == at:
            looking[0] = False
            ranked(either, ann, project)
            looking[0] = True

    event.listen(either.engine, "before_cursor_execute", between)
    now = standing(either, project.id, items, 1)
    event.remove(either.engine, "before_cursor_execute", between)
    assert queries[0] >= 3
    newest = newest_version(either, project.id)
    assert newest == 2 and (now.complete == 2 or now.version < newest)


def test_items_put_away_and_shown_again(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=3)
    ann, bob = person(either, "ann"), person(either, "bob")
    ranked(either, ann, project)
    assert show_only(either, project.id, set()) == 2
    assert isinstance(next_item(either, bob, project.id), Nothing)
    with either.read() as session:
        everything = {item.id for item in session.query(Item)}
    assert show_only(either, project.id, everything) == 0
    assert get_project(either, "p").states == {"done": 1, "open": 2}
    ranked(either, bob, project)


def test_the_same_prompts_with_other_answers(either: Store, tmp_path: Path) -> None:
    """Answers sampled anew are for the same few people, who have seen every prompt in the items put away."""
    project, ann = made(either, tmp_path, items=2), person(either, "ann")
    older = {1, 2}
    for _ in older:
        ranked(either, ann, project)
    rows = [answers_row(number) for number in range(2)]
    for row in rows:
        row["answers"] = [answer | {"id": f"{answer['id']}-new"} for answer in row["answers"]]
    import_labels(either, project, write(tmp_path / "newer.jsonl", rows))
    assert next_item(either, ann, project.id) == Nothing("all-ranked"), "both are there: nobody sees a prompt twice"
    with either.read() as session:
        newer = {item.id for item in session.query(Item)} - older
    show_only(either, project.id, newer)
    ranked(either, ann, project)
    ranked(either, ann, project)
    assert standing(either, project.id, newer, 1).complete == 2
    show_only(either, project.id, older)
    assert next_item(either, ann, project.id) == Nothing("all-ranked"), "what they ranked does not come again"
    assert verify(either).faults == ()


def test_another_overlap_while_items_are_put_away(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path, items=2), person(store, "ann")
    ranked(store, ann, project)
    show_only(store, project.id, {1})
    make_project(store, "p", overlap=2)
    show_only(store, project.id, {1, 2})
    for name in ("ann", "bob", "eve"):
        who = ann if name == "ann" else person(store, name)
        while not isinstance(next_item(store, who, project.id), Nothing):
            ranked(store, who, project)
    assert standing(store, project.id, {1, 2}, 2).complete == 2


def test_what_a_reviewer_decided_is_complete_and_what_one_should_goes_to_more_people(
    store: Store, tmp_path: Path
) -> None:
    project = made(store, tmp_path, items=2, overlap=2, adjudicate_below=0.9)
    ann, bob, lead = person(store, "ann"), person(store, "bob"), person(store, "lead", "reviewer")
    for order in ([1, 2, 3, 4], [4, 3, 2, 1]):
        for _ in range(2):
            ranked(store, ann if order[0] == 1 else bob, project, order)
    submit(store, lead, ranking(asked(store, lead, project, "adjudicate")))
    make_project(store, "p", overlap=3)
    assert standing(store, project.id, {1, 2}, 3).complete == 1
    ranked(store, person(store, "eve"), project)
    assert standing(store, project.id, {1, 2}, 3).complete == 2
    assert get_project(store, "p").states == {"settled": 1, "adjudicate": 1}


def test_who_logs_in_by_a_provider_can_rank(store: Store) -> None:
    create_person(store, "ann", PASSWORD, "admin")
    create_person(store, "bob", None, email="bob@example.org")
    person(store, "closed-to-all")
    assert voices(store, "p") == 2
    change_person(store, "bob", active=False)
    assert voices(store, "p") == 1


def test_how_many_can_rank(either: Store, tmp_path: Path) -> None:
    assert voices(either, "p") is None
    create_person(either, "ann", PASSWORD, "admin")
    assert voices(either, "p") == 1
    token = invite(either)
    assert voices(either, "p") == 2
    accept(either, token, "bob", PASSWORD)
    assert voices(either, "p") == 2
    label = answers_row(0) | {"ranks": [1, 2, 3, 4], "annotator": "u_imported"}
    import_labels(either, make_project(either, "p"), write(tmp_path / "labels.jsonl", [label]))
    assert (voices(either, "p"), voices(either, "another")) == (3, 2)
    change_person(either, "bob", active=False)
    assert (voices(either, "p"), voices(either, "another")) == (2, 1)
    change_person(either, "bob", active=True)
    import_labels(either, get_project(either, "p"), write(tmp_path / "answers.jsonl", [answers_row(1)]))
    ranked(either, next(one for one in people(either) if one.name == "bob"), get_project(either, "p"))
    change_person(either, "bob", active=False)
    assert (voices(either, "p"), voices(either, "another")) == (3, 1), "what they ranked counts"


def test_accuracy_on_test_questions_as_of_a_version(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=2)
    gold = answers_row(5) | {"ranks": [1, 2, 3, 4], "annotator": "lead"}
    import_labels(either, project, write(tmp_path / "gold.jsonl", [gold]), Options(gold=True))
    one = gold | {"id": "one", "ranks": [1, 2, 4, 3], "annotator": "u_a"}
    import_labels(either, project, write(tmp_path / "one.jsonl", [one]))
    upto = newest_version(either, project.id)
    import_labels(either, project, write(tmp_path / "two.jsonl", [one | {"id": "two", "annotator": "u_b"}]))
    assert gold_accuracy(either, project.id, upto) == {"u_a": (5.0, 6.0)}
    assert gold_accuracy(either, project.id, 0) == {"u_a": (5.0, 6.0), "u_b": (5.0, 6.0)}


def test_a_project_whose_name_has_a_slash(store: Store, tmp_path: Path) -> None:
    """RUN/STAGE, as recipes name them, is one part of an address."""
    project = make_project(store, "run/rankings", gold_share=0.0)
    import_labels(store, project, write(tmp_path / "answers.jsonl", [answers_row(0)]))
    here = "http://testserver"
    app = create_app(store, origins=[here], only=local_person(store))
    with TestClient(app, base_url=here) as client:
        answer = client.post(f"/api/v1/projects/{quote('run/rankings', safe='')}/next", headers={"origin": here})
        assert answer.status_code == 200 and answer.json()["item"]["prompt"][0]["content"] == "question 0"
        other = client.get(f"/api/v1/projects/{quote('run/other', safe='')}/quality")
        assert (other.status_code, other.json()["error"]["code"]) == (404, "no-project")
