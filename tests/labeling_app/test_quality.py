"""The dashboard's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import HTTPException, Request
from sqlalchemy import select

from labeling_app.errors import Refused
from labeling_app.incoming import import_labels
from labeling_app.labels import skip, submit, undo
from labeling_app.pages import reviewer_of
from labeling_app.people import local_person, script_token
from labeling_app.quality import gold_score, quality_of
from labeling_app.recent import Figures
from labeling_app.saving import Options
from labeling_app.store.database import Store
from labeling_app.store.models import PersonRow
from labeling_app.submission import Skip
from tests.labeling_app.backends import Clock
from tests.labeling_app.world import answers_row, asked, by_text, made, person, ranked, ranking, write


def test_a_project_in_numbers(either: Store, tmp_path: Path, clock: Clock) -> None:
    project = made(either, tmp_path, items=4, overlap=2)
    ann, bob, eve = person(either, "ann"), person(either, "bob"), person(either, "eve", "reviewer")
    for order, seconds in (([1, 2, 3, 4], 10.0), ([1, 2, 3, 4], 20.0), ([1, 2, 3, 4], 60.0)):
        ranked(either, ann, project, order, seconds=seconds)
    undo(either, ann, project.id)
    clock.seconds += 86_400
    ranked(either, ann, project, [1, 2, 3, 4], seconds=90.0)
    ranked(either, bob, project, [1, 2, 3, 4], seconds=30.0)
    ranked(either, bob, project, [4, 3, 2, 1], seconds=30.0)
    view = asked(either, bob, project)
    skip(either, bob, Skip(lease=view.lease, token="token-skip", reason="unsure"))
    found = quality_of(either, eve, project.id)
    assert found.rankings == 5 and found.needed == 3  # item 2 once, item 3 twice
    assert found.seconds_left == 3 * 30.0  # median of 10, 20, 90, 30, 30
    assert found.states == {"done": 2, "open": 1, "untouched": 1}
    assert sorted(found.by_day.values()) == [2, 3]
    by_name = {a.pseudonym: a for a in found.annotators}
    assert (by_name[ann.pseudonym].rankings, by_name[ann.pseudonym].pace) == (3, 20.0)
    assert (by_name[bob.pseudonym].rankings, by_name[bob.pseudonym].skipped) == (2, 1)
    assert [d.agreement for d in found.disputes] == [0.0, 1.0] and found.disputes[0].uid == "i1"
    assert found.agreement.percent.value == pytest.approx(0.5) and found.agreement.overlapping == 2


def test_what_reviewers_decide_is_no_annotators_ranking(store: Store, tmp_path: Path) -> None:
    """Quick decisions hurry nobody's time left, and a skipped one makes no annotator."""
    project = made(store, tmp_path, items=3, overlap=2, adjudicate_below=0.9)
    ann, bob, eve = person(store, "ann"), person(store, "bob"), person(store, "eve", "reviewer")
    for _ in range(2):
        ranked(store, ann, project, [1, 2, 3, 4], seconds=40.0)
        ranked(store, bob, project, [4, 3, 2, 1], seconds=60.0)
    submit(store, eve, ranking(asked(store, eve, project, "adjudicate"), seconds=1.0))
    left = asked(store, eve, project, "adjudicate")
    skip(store, eve, Skip(lease=left.lease, token="token-skip", reason="unsure"))
    found = quality_of(store, eve, project.id)
    assert (found.rankings, found.counted, found.needed) == (4, 4, 2)
    assert (found.pace, found.seconds_left) == (50.0, 100.0)
    assert {one.pseudonym for one in found.annotators} == {ann.pseudonym, bob.pseudonym}
    assert sum(found.by_day.values()) == 4 and found.states["settled"] == 1


def test_an_annotator_sees_no_dashboard(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path)
    with pytest.raises(Refused) as caught:
        quality_of(store, person(store, "ann"), project.id)
    assert caught.value.code == "not-allowed"


def test_gold_accuracy_counts_what_gold_prefers(store: Store, tmp_path: Path) -> None:
    """gold 1, 2, 2: two strict comparisons for each answer; ann has both right, bob one wrong and one tie."""
    assert gold_score([1, 3, 2], [1, 2, 2]) == (2.0, 2.0)
    assert gold_score([1, 1, 2], [2, 2, 1]) == (0.0, 2.0)
    assert gold_score([2, 1, 2], [1, 2, 2]) == (0.5, 2.0)
    assert gold_score([1, None, 2], [1, 2, 2]) == (1.0, 1.0)
    project = made(store, tmp_path, items=40, gold_share=0.5)
    rows = [answers_row(100, 3) | {"id": "g", "ranks": [1, 2, 2], "annotator": "expert"}]
    import_labels(store, project, write(tmp_path / "g.jsonl", rows), Options(gold=True))
    ann, eve = person(store, "ann"), person(store, "eve", "admin")
    while True:
        view = asked(store, ann, project)
        submit(store, ann, ranking(view, by_text(view, [2, 1, 2, 3][: len(view.answers)])))
        if len(view.answers) == 3:
            break
    figures = quality_of(store, eve, project.id)
    assert figures.tests == 1 and figures.rankings == figures.counted + 1
    (found,) = figures.annotators
    assert (found.gold, found.gold_count) == (0.25, 2)
    with store.read() as session:
        assert "expert" not in session.execute(select(PersonRow.pseudonym)).scalars().all()


def test_place_bias_of_someone_who_takes_the_first(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=12, overlap=2)
    ann, bob, eve = person(store, "ann"), person(store, "bob"), person(store, "eve", "reviewer")
    for _ in range(12):
        ranked(store, ann, project)  # the order shown, whatever it is
        ranked(store, bob, project, [1, 2, 3, 4])  # the same answer, wherever it stands
    by_name = {a.pseudonym: a for a in quality_of(store, eve, project.id).annotators}
    assert by_name[ann.pseudonym].first_best == 1.0 and by_name[ann.pseudonym].first_chance == 0.25
    first = by_name[bob.pseudonym].first_best
    assert first is not None and first < 0.75


def test_place_bias_is_what_chance_does_not_explain(store: Store, tmp_path: Path) -> None:
    """12 of 12 at a chance of 1 in 4: the exact interval begins at 0.025 ** (1 / 12)."""
    project = made(store, tmp_path, items=12, overlap=2)
    ann, bob, eve = person(store, "ann"), person(store, "bob"), person(store, "eve", "reviewer")
    for number in range(12):
        ranked(store, ann, project)
        view = asked(store, bob, project)
        first_every_fourth = [1, 2, 3, 4] if number % 4 == 0 else [2, 1, 3, 4]
        submit(store, bob, ranking(view, first_every_fourth))
    by_name = {a.pseudonym: a for a in quality_of(store, eve, project.id).annotators}
    biased, fair = by_name[ann.pseudonym], by_name[bob.pseudonym]
    assert (biased.first_count, biased.first_high, biased.place_bias) == (12, 1.0, True)
    assert biased.first_low == pytest.approx(0.025 ** (1 / 12))
    assert (fair.first_best, fair.first_chance, fair.place_bias) == (0.25, 0.25, False)


def test_ranks_over_time(store: Store, tmp_path: Path, clock: Clock) -> None:
    """40 rankings in 4 blocks: in the first 20 the answer shown first is best, in the others the one shown last."""
    project, ann, eve = made(store, tmp_path, items=41), person(store, "ann"), person(store, "eve", "reviewer")
    assert quality_of(store, eve, project.id).over_time == ()
    for number in range(40):
        clock.seconds += 60
        submit(store, ann, ranking(asked(store, ann, project), [1, 2, 3, 3] if number < 20 else [4, 3, 2, 1]))
    found = quality_of(store, eve, project.id)
    assert found.over_answers == 4 and [block.rankings for block in found.over_time] == [10] * 4
    assert [block.ranks for block in found.over_time] == [(1, 2, 3, 3)] * 2 + [(4, 3, 2, 1)] * 2
    assert [block.mean for block in found.over_time] == [2.25, 2.25, 2.5, 2.5]
    assert found.over_time[0].end < found.over_time[1].start


def test_disputes_say_which_item_it_is(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=2, overlap=2, adjudicate_below=0.5)
    ann, bob, eve = person(store, "ann"), person(store, "bob"), person(store, "eve", "reviewer")
    for who, order in ((ann, [1, 2, 3, 4]), (ann, [1, 2, 3, 4]), (bob, [1, 2, 3, 4]), (bob, [4, 3, 2, 1])):
        ranked(store, who, project, order)
    found = quality_of(store, eve, project.id)
    assert [(d.prompt, d.state) for d in found.disputes] == [("question 1", "adjudicate"), ("question 0", "done")]
    assert (found.counted, found.needed, found.pace) == (4, 0, 3.0)


def test_figures_are_kept_until_labels_come_and_computing_is_affordable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = made(store, tmp_path, items=9)
    ann, eve = person(store, "ann"), person(store, "eve", "reviewer")
    figures = Figures(store)
    with pytest.raises(Refused):
        figures.of(ann, project.id)
    assert figures.of(eve, project.id)["rankings"] == 0
    ranked(store, ann, project)
    monkeypatch.setattr("labeling_app.recent.SHARE", 1e-9)  # it is never affordable again
    old = figures.of(eve, project.id)
    assert old["rankings"] == 0 and old["age"] > 0
    monkeypatch.setattr("labeling_app.recent.SHARE", 1e9)  # it is at once
    assert figures.of(eve, project.id)["rankings"] == 1
    kept = figures._kept[project.id]
    figures.of(eve, project.id)
    assert figures._kept[project.id] is kept  # nothing is new: not computed again
    ranked(store, ann, project)
    figures._turn.acquire()  # someone else computes: what there was is shown
    assert figures.of(eve, project.id)["rankings"] == 1
    figures._turn.release()
    assert figures.of(eve, project.id)["rankings"] == 2


def test_the_quality_page_opens_for_reviewers_and_the_one_local_person(store: Store) -> None:
    person(store, "ann"), person(store, "eve", "reviewer")
    opens = reviewer_of(store)

    def asks(name: str) -> Request:
        token = f"Bearer {script_token(store, name)}".encode() if name else b""
        return Request({"type": "http", "headers": [(b"authorization", token)]})

    assert opens(asks("eve")) == "eve" and opens(asks("")) is None
    with pytest.raises(HTTPException) as caught:
        opens(asks("ann"))
    assert caught.value.status_code == 403
    assert reviewer_of(store, local_person(store))(asks("")) == "local"


def test_an_admin_sees_whose_pseudonym_it_is_and_a_reviewer_does_not(store: Store, tmp_path: Path) -> None:
    """Annotators of an imported file have no account, and so no name."""
    project, ann = made(store, tmp_path), person(store, "ann")
    ranked(store, ann, project)
    rows = [answers_row(9) | {"ranks": [1, 2, 3, 4], "annotator": "someone"}]
    import_labels(store, project, write(tmp_path / "r.jsonl", rows))
    figures = Figures(store)
    assert figures.of(person(store, "joe", "admin"), project.id)["names"] == {ann.pseudonym: "ann"}
    told = figures.of(person(store, "eve", "reviewer"), project.id)
    assert told["names"] == {} and {one["pseudonym"] for one in told["annotators"]} == {ann.pseudonym, "someone"}
