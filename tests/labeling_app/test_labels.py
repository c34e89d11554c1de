"""Submit, skip, undo, drafts: nothing twice, nothing overwritten, nothing of another's."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from align.errors import DataError
from labeling_app.errors import Refused
from labeling_app.goals import show_only
from labeling_app.labels import Receipt, save_and_next, save_draft, skip, submit, undo
from labeling_app.people import change_person
from labeling_app.projects import get_project, make_project
from labeling_app.queue import Nothing, leave, next_item
from labeling_app.store.care import verify
from labeling_app.store.database import Store
from labeling_app.store.models import Event, Item, RankingRow
from labeling_app.submission import LONGEST_DRAFT, LONGEST_TEXT, Edit, Flag, Skip, Submission, parsed
from labeling_app.views import ItemView
from tests.labeling_app.backends import Clock
from tests.labeling_app.world import asked, by_text, made, person, ranked, ranking


def versions(store: Store) -> list[tuple[int, str, Any]]:
    with store.read() as session:
        rows = session.execute(select(RankingRow).order_by(RankingRow.id)).scalars()
        return [(row.version, row.action, row.ranks) for row in rows]


def test_a_ranking_and_the_next_item_are_one_step(either: Store, tmp_path: Path) -> None:
    project, ann = made(either, tmp_path, items=3), person(either, "ann")
    view = asked(either, ann, project)
    with pytest.raises(Refused, match="not for them"):
        save_and_next(either, ann, ranking(view), "p", "adjudicate")
    with pytest.raises(DataError, match="no project `q`"):
        save_and_next(either, ann, ranking(view), "q")
    assert versions(either) == []  # what was refused saved nothing
    receipt, found = save_and_next(either, ann, ranking(view), "p")
    assert receipt.version == 1 and [action for _, action, _ in versions(either)] == ["submit"]
    assert isinstance(found, ItemView) and found.mine == 1 and found.lease != view.lease
    assert asked(either, ann, project).lease == found.lease
    unsure = Skip(lease=found.lease, token="skipped-1", reason="unsure")
    _, last = save_and_next(either, ann, unsure, "p")
    assert isinstance(last, ItemView) and last.mine == 1
    assert save_and_next(either, ann, ranking(last), "p")[1] == Nothing("all-ranked")
    assert verify(either).faults == ()


def test_what_is_submitted_is_what_was_shown(either: Store, tmp_path: Path) -> None:
    project, ann = made(either, tmp_path, items=1), person(either, "ann")
    view = asked(either, ann, project)
    best = next(answer.key for answer in view.answers if answer.text.startswith("answer 2"))
    sent = ranking(
        view,
        by_text(view, [3, 2, 1, 2]),
        ratings={best: {"helpful": 6}},
        comment="fine \x00 \u200b é",
        edit=Edit(key=best, text="better"),
        flags=[Flag(key=best, code="harmful", note="n"), Flag(code="bad-prompt")],
    )
    submit(either, ann, sent)
    with either.read() as session:
        row = session.execute(select(RankingRow)).scalar_one()
    assert row.ranks == [3, 2, 1, 2]
    assert row.ratings == {"0-2": {"helpful": 6.0}} and row.edit == {"answer": "0-2", "text": "better"}
    assert row.comment == "fine \x00 \u200b é" and row.seconds == 3.0
    assert row.flags == [
        {"answer": "0-2", "code": "harmful", "note": "n"},
        {"answer": None, "code": "bad-prompt", "note": ""},
    ]
    assert [f"answer {id_[-1]} to 0" for id_ in row.meta["shown_order"]] == [a.text for a in view.answers]


def test_ten_simultaneous_duplicates_are_one_row(either: Store, tmp_path: Path) -> None:
    project, ann = made(either, tmp_path), person(either, "ann")
    sent = ranking(asked(either, ann, project))
    receipts: list[Receipt] = []
    threads = [threading.Thread(target=lambda: receipts.append(submit(either, ann, sent))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({receipt.ranking for receipt in receipts}) == 1
    assert sorted(receipt.repeated for receipt in receipts) == [False] + [True] * 9
    assert len(versions(either)) == 1 and verify(either).faults == ()


def test_a_second_submission_of_a_turn_is_refused(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path), person(store, "ann")
    view = asked(store, ann, project)
    submit(store, ann, ranking(view))
    with pytest.raises(Refused, match="submitted already") as caught:
        submit(store, ann, ranking(view))
    assert caught.value.code == "lease-over"


def test_anothers_lease(either: Store, tmp_path: Path) -> None:
    project, ann, bob = made(either, tmp_path), person(either, "ann"), person(either, "bob", "admin")
    view = asked(either, ann, project)
    for call in (
        lambda: submit(either, bob, ranking(view)),
        lambda: skip(either, bob, Skip(lease=view.lease, token="token-bob", reason="unsure")),
        lambda: save_draft(either, bob, view.lease, {}),
    ):
        with pytest.raises(Refused, match="no such item open for you") as caught:
            call()
        assert caught.value.code == "not-yours"
    assert versions(either) == []


def test_anothers_token(store: Store, tmp_path: Path) -> None:
    """A token is no key to another's ranking."""
    project, ann, bob = made(store, tmp_path), person(store, "ann"), person(store, "bob")
    submit(store, ann, ranking(asked(store, ann, project), token="same-token"))
    with pytest.raises(Refused, match="token belongs to another"):
        submit(store, bob, ranking(asked(store, bob, project), token="same-token"))


def test_a_person_who_may_no_longer(store: Store, tmp_path: Path) -> None:
    from labeling_app.people import change_person

    project, ann = made(store, tmp_path), person(store, "ann")
    view = asked(store, ann, project)
    gone = change_person(store, "ann", active=False)
    with pytest.raises(Refused, match="may not"):
        submit(store, gone, ranking(view))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"ranks": {"a1": 1, "a2": 2}}, "ranks"),
        ({"ranks": {"a1": 1, "a2": 2, "a3": 3, "a9": 4}}, "ranks"),
        ({"ranks": {"a1": 1, "a2": None, "a3": None, "a4": None}}, "ranks"),
        ({"ranks": {"a1": 1, "a2": 3, "a3": 3, "a4": 3}}, "ranks"),
        ({"ranks": {"a1": 2, "a2": 2, "a3": 2, "a4": 2}}, "ranks"),
        ({"moves": 0}, "moves"),
        ({"strength": 2}, "strength"),
        ({"ratings": {"a1": {"clever": 3}}}, "ratings"),
        ({"ratings": {"a1": {"helpful": 8}}}, "ratings"),
        ({"ratings": {"a7": {"helpful": 3}}}, "ratings"),
        ({"edit": {"key": "a7", "text": "x"}}, "edit"),
        ({"flags": [{"key": "a7", "code": "harmful"}]}, "flags"),
    ],
)
def test_a_ranking_that_does_not_fit(store: Store, tmp_path: Path, change: dict[str, Any], where: str) -> None:
    project, ann = made(store, tmp_path), person(store, "ann")
    view = asked(store, ann, project)
    payload = ranking(view).model_dump() | change
    with pytest.raises(Refused) as caught:
        submit(store, ann, parsed(Submission, payload))
    assert (caught.value.code, caught.value.where) == ("bad-ranking", where)
    assert versions(store) == []


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        ([], ""),
        ({"lease": "x"}, "token"),
        ({"lease": "x", "token": "short"}, "token"),
        ({"lease": "x", "token": "long-enough", "ranks": {"a1": "1"}}, "ranks.a1.constrained-int"),
        ({"lease": "x", "token": "long-enough", "ranks": {"a1": True}}, "ranks.a1.constrained-int"),
        ({"lease": "x", "token": "long-enough", "ranks": {"model": 1}}, "ranks.model.[key]"),
        ({"lease": "x", "token": "long-enough", "ranks": {}, "seconds": float("nan")}, "seconds"),
        ({"lease": "x", "token": "long-enough", "ranks": {}, "comment": "\ud800"}, "comment"),
        ({"lease": "x", "token": "long-enough", "ranks": {}, "comment": "x" * (LONGEST_TEXT + 1)}, "comment"),
        ({"lease": "x", "token": "long-enough", "ranks": {}, "moves": 1, "annotator": "bob"}, "annotator"),
        ({"lease": "x", "token": "long-enough", "ranks": {}}, "moves"),
    ],
)
def test_a_payload_that_is_no_submission(payload: Any, where: str) -> None:
    with pytest.raises(Refused) as caught:
        parsed(Submission, payload)
    assert caught.value.code == "bad-ranking"
    assert caught.value.where.startswith(where.split(".constrained")[0])


def test_a_pair_has_a_strength(store: Store, tmp_path: Path) -> None:
    from labeling_app.incoming import import_labels
    from labeling_app.projects import make_project
    from tests.labeling_app.world import answers_row, write

    project = make_project(store, "pairs", gold_share=0.0)
    import_labels(store, project, write(tmp_path / "a.jsonl", [answers_row(0, count=2)]))
    ann = person(store, "ann")
    view = asked(store, ann, project)
    submit(store, ann, ranking(view, by_text(view, [2, 1]), strength=3))
    with store.read() as session:
        assert session.execute(select(RankingRow.ranks, RankingRow.margin)).one() == ([2, 1], 3.0)


def test_undo_is_a_new_version(either: Store, tmp_path: Path) -> None:
    project, ann = made(either, tmp_path, items=1), person(either, "ann")
    view = asked(either, ann, project)
    submit(either, ann, ranking(view, by_text(view, [1, 2, 3, 4]), comment="first"))
    again = undo(either, ann, project.id)
    assert (again.lease, again.answers) == (view.lease, view.answers)
    assert again.last is not None and again.last["comment"] == "first"
    assert again.last["ranks"] == ranking(view, by_text(view, [1, 2, 3, 4])).ranks
    submit(either, ann, ranking(again, by_text(again, [4, 3, 2, 1])))
    assert versions(either) == [(1, "submit", [1, 2, 3, 4]), (2, "undo", None), (3, "submit", [4, 3, 2, 1])]
    assert verify(either).faults == ()


def test_undo_goes_further_back_and_gives_back_what_is_open(either: Store, tmp_path: Path) -> None:
    project, ann = made(either, tmp_path, items=3), person(either, "ann")
    first, second = (asked_and_submitted(either, ann, project) for _ in range(2))
    asked(either, ann, project)
    assert undo(either, ann, project.id).lease == second
    assert undo(either, ann, project.id).lease == first
    with pytest.raises(Refused, match="nothing to take back") as caught:
        undo(either, ann, project.id)
    assert caught.value.code == "nothing-to-undo"
    assert verify(either).faults == ()
    with either.read() as session:
        assert sorted(session.execute(select(Item.taken, Item.done)).all()) == [(0, 0), (0, 0), (1, 0)]


def asked_and_submitted(store: Store, who: Any, project: Any) -> str:
    view = asked(store, who, project)
    submit(store, who, ranking(view))
    return view.lease


def test_a_skip_can_be_undone(either: Store, tmp_path: Path) -> None:
    project, ann = made(either, tmp_path, items=1), person(either, "ann")
    view = asked(either, ann, project)
    skip(either, ann, Skip(lease=view.lease, token="token-skip", reason="unsure", flags=[Flag(code="bad-prompt")]))
    assert isinstance(next_item(either, ann, project.id), Nothing)
    again = undo(either, ann, project.id)
    assert again.lease == view.lease and again.last is None
    submit(either, ann, ranking(again))
    assert [action for _, action, _ in versions(either)] == ["skip", "undo", "submit"]
    assert verify(either).faults == ()


def test_what_a_reviewer_decided_is_not_undone(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=1, overlap=2, adjudicate_below=0.5)
    ann, bob, eve = person(store, "ann"), person(store, "bob"), person(store, "eve", "reviewer")
    ranked(store, ann, project, [1, 2, 3, 4])
    ranked(store, bob, project, [4, 3, 2, 1])
    submit(store, eve, ranking(asked(store, eve, project, "adjudicate")))
    with pytest.raises(Refused, match="reviewer has decided"):
        undo(store, ann, project.id)
    undo(store, eve, project.id)
    undo(store, ann, project.id)
    assert verify(store).faults == ()


def test_undoing_one_voice_of_more_than_needed_leaves_the_item_done(store: Store, tmp_path: Path, clock: Clock) -> None:
    project, ann, bob = made(store, tmp_path, items=1), person(store, "ann"), person(store, "bob")
    view = asked(store, ann, project)
    clock.seconds += 2000
    ranked(store, bob, project)
    submit(store, ann, ranking(view))
    undo(store, ann, project.id)
    leave(store, ann, view.lease)
    assert get_project(store, "p").states == {"done": 1}
    assert verify(store).faults == ()


def test_undo_does_not_bring_back_an_item_that_was_put_away(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path, items=3, overlap=2), person(store, "ann")
    ranked(store, ann, project)
    ranked(store, ann, project)
    ranked(store, person(store, "bob"), project)
    show_only(store, project.id, {3})
    for _ in range(2):
        view = undo(store, ann, project.id)
        leave(store, ann, view.lease)
    assert get_project(store, "p").states == {"closed": 2, "open": 1}
    assert verify(store).faults == ()


def test_an_undone_skip_does_not_undo_another_reviewers_decision(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=1)
    ranked(store, person(store, "ann"), project)
    eve, lea = person(store, "eve", "reviewer"), person(store, "lea", "reviewer")
    view = next_item(store, eve, project.id, "adjudicate", 1)
    assert isinstance(view, ItemView)
    skip(store, eve, Skip(lease=view.lease, token="token-skip", reason="unsure"))
    view = next_item(store, lea, project.id, "adjudicate", 1)
    assert isinstance(view, ItemView)
    submit(store, lea, ranking(view))
    with pytest.raises(Refused, match="reviewer has decided"):
        undo(store, eve, project.id)
    assert get_project(store, "p").states == {"settled": 1}
    former = change_person(store, "lea", role="annotator")
    with pytest.raises(Refused) as caught:
        undo(store, former, project.id)
    assert caught.value.code == "not-allowed", "what annotators said is shown to reviewers only"
    undo(store, lea, project.id)
    assert get_project(store, "p").states == {"done": 1}, "nobody disagreed"


def test_the_guidelines_that_were_shown_are_those_recorded(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path, items=1), person(store, "ann")
    asked(store, ann, project)
    make_project(store, "p", guidelines="Look at the facts first.")
    view = asked(store, ann, project)
    submit(store, ann, ranking(view))
    with store.read() as session:
        meta = session.execute(select(RankingRow.meta)).scalar_one()
    assert meta["guidelines"] == view.guidelines_version == 2


def test_a_draft_outlives_a_restart(either: Store, tmp_path: Path, clock: Clock) -> None:
    from labeling_app.store.database import open_store

    project, ann = made(either, tmp_path), person(either, "ann")
    view = asked(either, ann, project)
    for body in ({"order": ["a2"]}, {"order": ["a2", "a1"], "comment": "\x00 é"}):
        save_draft(either, ann, view.lease, body)
    again = open_store(either.engine.url.render_as_string(hide_password=False), clock=clock)
    assert asked(again, ann, project).draft == {"order": ["a2", "a1"], "comment": "\x00 é"}
    submit(again, ann, ranking(view))
    with pytest.raises(Refused, match="submitted already"):
        save_draft(again, ann, view.lease, {})
    assert undo(again, ann, project.id).draft is None
    again.close()


@pytest.mark.parametrize(("body", "said"), [("x" * (LONGEST_DRAFT + 1), "too long"), ("\ud800", "no JSON in UTF-8")])
def test_a_draft_that_cannot_be_kept(store: Store, tmp_path: Path, body: str, said: str) -> None:
    project, ann = made(store, tmp_path), person(store, "ann")
    with pytest.raises(Refused, match=said) as caught:
        save_draft(store, ann, asked(store, ann, project).lease, body)
    assert caught.value.code == "bad-text"


@pytest.mark.parametrize("lease", ["", "x", "\x00", "\ud800", "' OR 1=1 --", "0" * 32])
def test_a_lease_that_is_none(either: Store, lease: str) -> None:
    with pytest.raises(Refused) as caught:
        save_draft(either, person(either, "ann"), lease, {})
    assert caught.value.code == "not-yours"


def test_every_change_is_in_the_log(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path, items=1), person(store, "ann")
    ranked(store, ann, project)
    undo(store, ann, project.id)
    with store.read() as session:
        events = session.execute(select(Event.kind, Event.actor).order_by(Event.id)).all()
    assert [kind for kind, _ in events] == ["create-project", "import", "create-person", "lease", "submit", "undo"]
    assert {actor for _, actor in events[3:]} == {ann.pseudonym}
