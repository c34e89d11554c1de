"""About how many items are left for a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from labeling_app.incoming import import_labels
from labeling_app.labels import submit
from labeling_app.queue import next_item
from labeling_app.saving import Options
from labeling_app.store.database import Store
from labeling_app.views import ItemView
from tests.labeling_app.world import answers_row, asked, made, person, ranked, ranking, write


def test_how_many_are_left_for_a_person(either: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by the turn, and anew after some turns: what others ranked meanwhile is left out then."""
    monkeypatch.setattr("labeling_app.remaining.TURNS", 3)
    project = made(either, tmp_path, items=9, overlap=1)
    ann, bob = person(either, "ann"), person(either, "bob")
    told = []
    for turn in range(5):
        view = asked(either, ann, project)
        told.append((view.mine, view.left))
        assert asked(either, ann, project).left == view.left  # a reload is no turn
        submit(either, ann, ranking(view))
        if turn == 1:
            ranked(either, bob, project)
            ranked(either, bob, project)
    assert told == [(0, 9), (1, 8), (2, 7), (3, 4), (4, 3)]
    eve = person(either, "eve", "reviewer")
    view = asked(either, eve, project)
    assert view.left == 2
    monkeypatch.setattr("labeling_app.remaining.MOST_TURNS", 0)
    assert asked(either, eve, project).left is None
    decided = next_item(either, eve, project.id, "adjudicate", item=1)
    assert isinstance(decided, ItemView) and decided.left is None


def test_the_count_does_not_tell_which_item_is_a_test(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=30, gold_share=0.5)
    gold = [answers_row(1000 + n) | {"id": f"g{n}", "ranks": [1, 2, 3, 4]} for n in range(10)]
    import_labels(store, project, write(tmp_path / "g.jsonl", gold), Options(gold=True))
    ann, told, tests = person(store, "ann"), [], 0
    for _ in range(20):
        view = asked(store, ann, project)
        told.append(view.left)
        tests += int(view.prompt[0].content.split()[1]) >= 1000
        submit(store, ann, ranking(view))
    assert tests and told == list(range(told[0] or 0, (told[0] or 0) - 20, -1))
