"""Who sees what next."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from labeling_app.errors import Refused
from labeling_app.incoming import import_labels
from labeling_app.labels import skip, submit
from labeling_app.people import people
from labeling_app.projects import get_project, make_project
from labeling_app.queue import Nothing, leave, next_item, renew
from labeling_app.saving import Options
from labeling_app.store.care import verify
from labeling_app.store.database import Store
from labeling_app.store.models import Item, Lease
from labeling_app.submission import Skip
from labeling_app.views import ItemView
from tests.labeling_app.backends import Clock
from tests.labeling_app.world import answers_row, asked, by_text, made, person, ranked, ranking, write


def texts(view: ItemView) -> list[str]:
    return [answer.text for answer in view.answers]


def test_an_open_item_stays_open_across_a_reload(either: Store, tmp_path: Path) -> None:
    project, ann = made(either, tmp_path), person(either, "ann")
    assert asked(either, ann, project) == asked(either, ann, project)


def test_two_people_are_not_in_each_others_way(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=2, overlap=1)
    ann, bob, eve = (person(either, name) for name in ("ann", "bob", "eve"))
    assert asked(either, ann, project).prompt != asked(either, bob, project).prompt
    assert next_item(either, eve, project.id) == Nothing("others-are-at-it", 2)


def test_overlap_and_never_one_prompt_twice(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=5, overlap=2)
    seen: Counter[str] = Counter()
    for name in ("ann", "bob", "eve"):
        who, mine = person(either, name), set()
        while isinstance(view := next_item(either, who, project.id), ItemView):
            assert view.prompt[0].content not in mine
            mine.add(view.prompt[0].content)
            seen[view.prompt[0].content] += 1
            submit(either, who, ranking(view))
    assert seen == {f"question {n}": 2 for n in range(5)}
    assert next_item(either, person(either, "dan"), project.id) == Nothing("all-ranked")
    assert get_project(either, "p").states == {"done": 5}


def test_one_prompt_in_two_items_is_seen_once(store: Store, tmp_path: Path) -> None:
    """Two models' answers to one prompt, in rows of their own."""
    rows = [answers_row(0), {**answers_row(0, count=3), "id": "other"}]
    project = make_project(store, "p", gold_share=0.0, overlap=1)
    import_labels(store, project, write(tmp_path / "a.jsonl", rows))
    ann, bob = person(store, "ann"), person(store, "bob")
    ranked(store, ann, project)
    assert next_item(store, ann, project.id) == Nothing("all-ranked")
    assert isinstance(next_item(store, bob, project.id), ItemView)


def test_a_lease_ends_by_itself(either: Store, tmp_path: Path, clock: Clock) -> None:
    project = made(either, tmp_path, items=1, lease_seconds=60.0)
    ann, bob = person(either, "ann"), person(either, "bob")
    view = asked(either, ann, project)
    clock.seconds += 59
    assert isinstance(next_item(either, bob, project.id), Nothing)
    renew(either, ann, view.lease)
    clock.seconds += 59
    assert isinstance(next_item(either, bob, project.id), Nothing)
    clock.seconds += 2
    assert asked(either, bob, project).prompt == view.prompt
    with pytest.raises(Refused, match="no longer open") as caught:
        renew(either, ann, view.lease)
    assert caught.value.code == "lease-over"


def test_late_work_is_kept(either: Store, tmp_path: Path, clock: Clock) -> None:
    """Both rankings stand: that of the person whose lease ran out, and that of the one who got the item next."""
    project = made(either, tmp_path, items=1, lease_seconds=60.0)
    ann, bob = person(either, "ann"), person(either, "bob")
    late = asked(either, ann, project)
    clock.seconds += 61
    soon = asked(either, bob, project)
    submit(either, ann, ranking(late))
    submit(either, bob, ranking(soon))
    assert verify(either).faults == ()
    with either.read() as session:
        assert session.execute(select(Item.done, Item.taken, Item.state)).one() == (2, 2, "done")


def test_the_same_person_gets_a_lapsed_item_again(either: Store, tmp_path: Path, clock: Clock) -> None:
    project, ann = made(either, tmp_path, items=1), person(either, "ann")
    first = asked(either, ann, project)
    clock.seconds += 1_000
    again = asked(either, ann, project)
    assert (again.lease, texts(again)) == (first.lease, texts(first))
    leave(either, ann, again.lease)
    assert asked(either, ann, project).lease == first.lease


def test_a_skipped_item_goes_to_someone_else(either: Store, tmp_path: Path) -> None:
    project, ann = made(either, tmp_path, items=1), person(either, "ann")
    view = asked(either, ann, project)
    skip(either, ann, Skip(lease=view.lease, token="skipped-1", reason="unsure", comment="I do not know"))
    assert next_item(either, ann, project.id) == Nothing("all-ranked")
    assert asked(either, person(either, "bob"), project).prompt == view.prompt


def test_priority_then_begun_then_import_order(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=4, overlap=2)
    with store.write() as session:
        session.execute(update(Item).where(Item.uid == "i3").values(priority=5))
    ann, bob = person(store, "ann"), person(store, "bob")
    order = []
    for who in (ann, ann, bob, bob, bob):
        view = asked(store, who, project)
        order.append(view.prompt[0].content[-1])
        submit(store, who, ranking(view))
    assert order == ["3", "0", "3", "0", "1"]


def test_one_far_ahead_of_all_others_still_finds_items(store: Store, tmp_path: Path, monkeypatch: Any) -> None:
    """More begun items than the window holds, all of them begun by the same person; and priorities below the top."""
    monkeypatch.setattr("labeling_app.queue.BEGUN_WINDOW", 2)
    project = made(store, tmp_path, items=8, overlap=2)
    ann, bob = person(store, "ann"), person(store, "bob")
    for _ in range(8):
        ranked(store, ann, project)
    assert isinstance(next_item(store, ann, project.id), Nothing)
    with store.write() as session:
        session.execute(update(Item).where(Item.uid == "i0").values(priority=5))
    assert [ranked(store, bob, project).version for _ in range(8)] == [1] * 8


def test_a_page_cannot_know_whose_answer_is_whose(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path)
    view = asked(either, person(either, "ann"), project)
    told = json.dumps(asdict(view))
    with either.read() as session:
        item = session.execute(select(Item).where(Item.uid == "i0")).scalar_one()
    for answer in item.answers:
        assert answer["text"] in told
        assert answer["model"] not in told and f'"{answer["id"]}"' not in told
    assert "secret" not in told and "gold" not in told


def test_the_order_of_answers_is_each_persons_own_and_recorded(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=1, overlap=50)
    orders = set()
    for number in range(20):
        view = asked(either, person(either, f"p{number}"), project)
        with either.read() as session:
            lease = session.execute(select(Lease).where(Lease.uid == view.lease)).scalar_one()
            item = session.get_one(Item, lease.item_id)
        assert texts(view) == [item.answers[at]["text"] for at in lease.shown]
        orders.add(tuple(lease.shown))
    assert len(orders) > 8  # 20 draws of 24 orders: fewer than 9 different ones happens once in 3,000 times


def gold_rows(folder: Path, items: int) -> Path:
    rows = [answers_row(1000 + n) | {"id": f"g{n}", "ranks": [1, 2, 3, 4], "annotator": "expert"} for n in range(items)]
    return write(folder / "gold.jsonl", rows)


def test_gold_questions_are_mixed_in_and_look_like_others(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=200, gold_share=0.2)
    import_labels(store, project, gold_rows(tmp_path, 60), Options(gold=True))
    ann, bob = person(store, "ann"), person(store, "bob")
    kinds = [int(asked_and_ranked(store, ann, project).split()[1]) >= 1000 for _ in range(100)]
    assert 8 <= sum(kinds) <= 34  # 20 expected; further off happens once in 1,000 times
    assert any(kinds[:50]) and any(kinds[50:])
    with store.read() as session:
        assert set(session.execute(select(Item.state).where(Item.gold.is_not(None))).scalars()) == {"gold"}
    # A gold question is for everybody, however many had it.
    assert any(int(asked_and_ranked(store, bob, project).split()[1]) >= 1000 for _ in range(40))


def asked_and_ranked(store: Store, who: Any, project: Any) -> str:
    view = asked(store, who, project)
    submit(store, who, ranking(view))
    return view.prompt[0].content


def test_a_reviewer_decides_where_annotators_disagree(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=2, overlap=2, adjudicate_below=0.5)
    ann, bob, eve = person(either, "ann"), person(either, "bob"), person(either, "eve", "reviewer")
    with pytest.raises(Refused, match="not for them") as caught:
        next_item(either, ann, project.id, "adjudicate")
    assert caught.value.code == "not-allowed"
    assert isinstance(next_item(either, eve, project.id, "adjudicate"), Nothing)
    for order in ([1, 2, 3, 4], [1, 2, 3, 4]):  # ann on both items; bob disagrees on the first only
        ranked(either, ann, project, order)
    for order in ([4, 3, 2, 1], [1, 2, 3, 4]):
        ranked(either, bob, project, order)
    assert get_project(either, "p").states == {"adjudicate": 1, "done": 1}
    view = asked(either, eve, project, "adjudicate")
    assert view.task == "adjudicate" and len(view.opinions) == 2
    names = {answer.key: answer.text.split()[1] for answer in view.answers}
    assert [{names[k]: rank for k, rank in o.ranks.items()} for o in view.opinions] == [
        {"0": 1, "1": 2, "2": 3, "3": 4},
        {"0": 4, "1": 3, "2": 2, "3": 1},
    ]
    assert "u_" not in json.dumps(asdict(view))
    assert isinstance(next_item(either, person(either, "joe", "admin"), project.id, "adjudicate"), Nothing)
    submit(either, eve, ranking(view, by_text(view, [1, 1, 2, 2])))
    assert get_project(either, "p").states == {"settled": 1, "done": 1}
    assert verify(either).faults == ()


def test_another_overlap_reopens_items(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path, items=2, overlap=1), person(store, "ann")
    ranked(store, ann, project)
    make_project(store, "p", overlap=2)
    assert get_project(store, "p").states == {"open": 2}
    make_project(store, "p", overlap=1)
    assert get_project(store, "p").states == {"done": 1, "open": 1}


def test_twenty_people_at_once(either: Store, tmp_path: Path) -> None:
    """Every item is ranked by exactly as many as it needs, nobody sees one twice, nothing is lost or counted twice."""
    people, items, overlap = 20, 30, 3
    project = made(either, tmp_path, items=items, overlap=overlap)
    accounts = [person(either, f"p{n}") for n in range(people)]
    receipts: list[tuple[int, str, str]] = []
    failed: list[BaseException] = []

    def work(who: Any) -> None:
        try:
            while isinstance(view := next_item(either, who, project.id), ItemView):
                receipt = submit(either, who, ranking(view))
                receipts.append((who.id, view.prompt[0].content, receipt.ranking))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert Counter(prompt for _, prompt, _ in receipts) == {f"question {n}": overlap for n in range(items)}
    assert len({(who, prompt) for who, prompt, _ in receipts}) == items * overlap
    assert len({uid for _, _, uid in receipts}) == items * overlap
    assert verify(either).faults == ()


def test_what_one_has_ranked_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=1, overlap=2)
    ann, bob = person(store, "ann"), person(store, "bob")
    asked(store, bob, project)
    ranked(store, ann, project)
    assert next_item(store, ann, project.id) == Nothing("all-ranked")
    assert next_item(store, person(store, "eve"), project.id) == Nothing("others-are-at-it", 1)


def steps_of(store: Store, call: Any) -> int:
    """Hundreds of steps that SQLite's machine takes for a call."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    def watch(driver: Any, *_: Any) -> None:
        driver.set_progress_handler(count, 100)

    event.listen(store.engine, "checkout", watch)
    call()
    event.remove(store.engine, "checkout", watch)
    return taken


def far_ahead(store: Store, folder: Path, items: int) -> tuple[Any, Any, Any]:
    """A project whose last item is at bob and eve, and someone who has ranked all the others."""
    project = made(store, folder, items=items, overlap=2)
    rows = [answers_row(n) | {"id": f"r{n}", "ranks": [1, 2, 3, 4], "annotator": "far"} for n in range(items - 1)]
    import_labels(store, project, write(folder / "r.jsonl", rows))
    far = next(person for person in people(store) if person.pseudonym == "far")
    last = update(Item).where(Item.uid == f"i{items - 1}")
    with store.write() as session:
        session.execute(last.values(priority=1))
    leases = [asked(store, person(store, name), project).lease for name in ("bob", "eve")]
    with store.write() as session:
        session.execute(last.values(priority=0))
    return project, far, leases


def test_someone_who_has_seen_all_is_told_so_at_once(store: Store, tmp_path: Path) -> None:
    """The first answer walks past all that was seen; those after it do not, and find the one item that came free."""
    project, far, leases = far_ahead(store, tmp_path, 3000)

    def ask() -> None:
        assert next_item(store, far, project.id) == Nothing("others-are-at-it", 2)

    walk = steps_of(store, ask)
    again = steps_of(store, ask)
    assert walk > 300 and again < walk / 4  # 2,999 items of ten steps and more; the window of 200 remains
    leave(store, person_named(store, "bob"), leases[0])
    assert steps_of(store, lambda: asked(store, far, project)) < walk / 2  # counting one's own rankings included
    assert asked(store, far, project).prompt[0].content == "question 2999"


@pytest.mark.parametrize("how", ["leave", "expire", "skip", "import", "overlap", "own"])
def test_what_comes_free_is_found_by_who_has_seen_the_rest(
    either: Store, tmp_path: Path, clock: Clock, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling_app.queue.BEGUN_WINDOW", 2)
    project, far, leases = far_ahead(either, tmp_path, 8)
    bob = person_named(either, "bob")
    assert isinstance(next_item(either, far, project.id), Nothing)
    assert isinstance(next_item(either, far, project.id), Nothing)
    if how == "leave":
        leave(either, bob, leases[0])
    elif how == "expire":
        clock.seconds += 1_000
    elif how == "skip":
        skip(either, bob, Skip(lease=leases[0], token="token-skip", reason="unsure"))
    elif how == "import":
        rows = [answers_row(9)]
        import_labels(either, project, write(tmp_path / "low.jsonl", rows), Options(priority=-1))
    elif how == "overlap":
        make_project(either, "p", overlap=3)
    else:
        leave(either, bob, leases[0])
        leave(either, far, asked(either, far, project).lease)
    view = asked(either, far, project)
    assert view.prompt[0].content == ("question 9" if how == "import" else "question 7")
    submit(either, far, ranking(view))
    assert verify(either).faults == ()


def test_more_is_left_than_is_kept(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item once, each by one of two who are both past the window, whatever is remembered."""
    monkeypatch.setattr("labeling_app.queue.BEGUN_WINDOW", 1)
    monkeypatch.setattr("labeling_app.leftover.KEPT", 2)
    project = made(store, tmp_path, items=12, overlap=3)
    everyone = [person(store, name) for name in ("ann", "bob", "eve")]
    seen: Counter[tuple[str, str]] = Counter()
    for turn in range(36):
        who = everyone[0] if turn < 7 else everyone[turn % 3]
        if isinstance(view := next_item(store, who, project.id), ItemView):
            seen[who.name, view.prompt[0].content] += 1
            submit(store, who, ranking(view))
    for who in everyone * 2:
        while isinstance(view := next_item(store, who, project.id), ItemView):
            seen[who.name, view.prompt[0].content] += 1
            submit(store, who, ranking(view))
    assert seen == {(who.name, f"question {n}"): 1 for who in everyone for n in range(12)}


def person_named(store: Store, name: str) -> Any:
    return next(person for person in people(store) if person.name == name)


def test_a_reviewer_decides_about_an_item_of_their_choice(either: Store, tmp_path: Path) -> None:
    """Any item that is ranked, at whatever agreement; not one that is still being ranked, nor one's own."""
    project = made(either, tmp_path, items=3, overlap=2)
    ann, bob = person(either, "ann"), person(either, "bob")
    eve, joe = person(either, "eve", "reviewer"), person(either, "joe", "admin")
    for who in (ann, ann, bob, bob):
        ranked(either, who, project)
    with either.read() as session:
        ids = list(session.execute(select(Item.id).order_by(Item.id)).scalars())
    assert isinstance(next_item(either, eve, project.id, "adjudicate"), Nothing)
    assert isinstance(next_item(either, eve, project.id, "adjudicate", ids[2]), Nothing)
    first = next_item(either, eve, project.id, "adjudicate", ids[0])
    view = next_item(either, eve, project.id, "adjudicate", ids[1])  # another than the one that is open
    assert isinstance(first, ItemView) and isinstance(view, ItemView)
    assert [v.prompt[0].content for v in (first, view)] == ["question 0", "question 1"] and len(view.opinions) == 2
    assert isinstance(next_item(either, joe, project.id, "adjudicate", ids[1]), Nothing)
    submit(either, eve, ranking(view))
    assert get_project(either, "p").states == {"done": 1, "open": 1, "settled": 1}
    with pytest.raises(Refused, match="not for them"):
        next_item(either, ann, project.id, "adjudicate", ids[0])
    assert verify(either).faults == ()
