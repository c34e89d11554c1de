"""Import and export: nothing is lost on the way, and every export can be made again."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from align.artifacts import Manifest, seal
from align.data.files import read_records, row_of
from align.data.records import Answers, Feedback, Preference, Ranking, pairs_of
from align.errors import AlignError, DataError
from labeling_app.goals import changed_since, gold_accuracy, items_named, keys_of_answers
from labeling_app.incoming import import_labels
from labeling_app.labels import submit, undo
from labeling_app.outgoing import Filter, Shape, export, newest_version
from labeling_app.projects import ProjectInfo, get_project, make_project
from labeling_app.queue import Nothing, next_item
from labeling_app.saving import InShape, Options
from labeling_app.store.care import verify
from labeling_app.store.database import Store, open_store
from labeling_app.store.models import ExportRow, Item
from labeling_app.submission import Edit, Flag
from tests.labeling_app.world import answers_row, asked, by_text, made, person, ranked, ranking, write

NASTY = [
    "=cmd|' /C calc'!A0", "'quoted", "+1", "-2", "@x", "\t", "line\nbreak\r\n", 'a "quote", and a comma',
    "NUL \x00 inside", "\u202eright to left", "zero\u200bwidth", "👩‍👩‍👧 emoji", "<img src=x onerror=alert(1)>", "",
]  # fmt: skip


def labelled(store: Store, folder: Path) -> ProjectInfo:
    """Rankings with everything a page can say, of texts that files have trouble with; some undone, some tied."""
    rows = []
    for number, text in enumerate(NASTY):
        row = answers_row(number)
        row["answers"][0]["text"] += text
        row["prompt"].insert(0, {"role": "system", "content": text})
        rows.append(row | {"tags": ["t", text], "reference": {"right": text}})
    project = make_project(store, "p", gold_share=0.0, overlap=2)
    import_labels(store, project, write(folder / "nasty.jsonl", rows))
    for name in ("ann", "bob"):
        who = person(store, name)
        for text in NASTY:
            view = asked(store, who, project)
            key = view.answers[0].key
            submit(
                store,
                who,
                ranking(
                    view,
                    [2, 1, None, 1],
                    comment=text,
                    ratings={key: {"helpful": 3}},
                    edit=Edit(key=key, text="better " + text) if text else None,
                    flags=[Flag(key=key, code="harmful", note=text)],
                    seconds=1.5,
                ),
            )
        undo(store, who, project.id)
    return project


def test_a_line_is_what_our_records_write(either: Store, tmp_path: Path) -> None:
    """The export puts JSON together from its parts; it must be what `write_records` would have written."""
    project = labelled(either, tmp_path)
    done = export(either, project, tmp_path / "out.jsonl")
    lines = done.path.read_text("utf-8").split("\n")[:-1]
    records = read_records(done.path, "rankings")
    assert len(records) == done.rows == 2 * len(NASTY) - 2
    assert [json.dumps(row_of(record), ensure_ascii=False) for record in records] == lines
    assert done.sha256 == hashlib.sha256(done.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("shape", "read_as", "suffix"),
    [("rankings", "align", "jsonl"), ("argilla", "argilla", "json"), ("label-studio", "label-studio", "json"),
     ("csv", "csv", "csv")],
)  # fmt: skip
def test_export_import_export_gives_the_same_bytes(
    either: Store, tmp_path: Path, shape: Shape, read_as: InShape, suffix: str
) -> None:
    first = export(either, labelled(either, tmp_path), tmp_path / f"one.{suffix}", shape)
    other = open_store(tmp_path / "other.db")
    project = make_project(other, "q")
    counted = import_labels(other, project, first.path, Options(shape=read_as))
    assert counted.rankings == 2 * len(NASTY) - 2
    second = export(other, project, tmp_path / f"two.{suffix}", shape)
    assert second.path.read_bytes() == first.path.read_bytes()
    assert verify(other).faults == ()
    other.close()


def test_the_same_export_again_whatever_came_since(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=3, overlap=2, adjudicate_below=0.5)
    ann, bob, eve = person(either, "ann"), person(either, "bob"), person(either, "eve", "reviewer")
    ranked(either, ann, project, [1, 2, 3, 4])
    ranked(either, ann, project, [1, 2, 3, 4])
    made_first = [export(either, project, tmp_path / "out.jsonl")]
    ranked(either, bob, project, [4, 3, 2, 1])
    undo(either, ann, project.id)
    made_first.append(export(either, project, tmp_path / "out.jsonl", only=Filter(decided=True)))
    submit(either, eve, ranking(asked(either, eve, project, "adjudicate")))
    made_first.append(export(either, project, tmp_path / "out.jsonl", only=Filter(decided=True)))
    undo(either, eve, project.id)
    for first in made_first:
        assert export(either, project, tmp_path / "again.jsonl", only=first.filter).sha256 == first.sha256
    with either.read() as session:
        kept = session.execute(select(ExportRow).order_by(ExportRow.id)).scalars().all()
    assert [row.rows for row in kept] == [2, 2, 1] * 2, "after one person, after two who disagree, after a decision"
    assert kept[0].sha256 == kept[3].sha256 and kept[0].filter["upto"] == 2


def test_an_item_that_becomes_a_test_stays_in_older_exports(either: Store, tmp_path: Path) -> None:
    project = made(either, tmp_path, items=3, overlap=2)
    ann, bob = person(either, "ann"), person(either, "bob")
    for _ in range(2):
        ranked(either, ann, project, [1, 2, 3, 4])
    before = export(either, project, tmp_path / "before.jsonl")
    items = items_named(either, project.id, keys_of_answers(_answers(tmp_path / "answers.jsonl")))
    right = answers_row(0) | {"id": "g", "ranks": [2, 1, 3, 4], "annotator": "boss"}
    gold = write(tmp_path / "gold.jsonl", [right])
    import_labels(either, project, gold, Options(gold=True))
    after = export(either, project, tmp_path / "after.jsonl")
    assert (before.rows, after.rows) == (2, 1) and after.filter.upto > before.filter.upto
    assert changed_since(either, project.id, items, before.filter.upto) == (0, 1)
    import_labels(either, project, gold, Options(gold=True))
    assert newest_version(either, project.id) == after.filter.upto  # it was a test already
    undo(either, ann, project.id)
    ranked(either, bob, project, [1, 2, 3, 4])
    for first in (before, after):
        assert export(either, project, tmp_path / "again.jsonl", only=first.filter).sha256 == first.sha256
    assert gold_accuracy(either, project.id, before.filter.upto) == {}
    assert gold_accuracy(either, project.id, after.filter.upto) == {ann.pseudonym: (5.0, 6.0)}
    assert verify(either).faults == () and get_project(either, "p").states["gold"] == 1


def _answers(path: Path) -> list[Answers]:
    return [record for record in read_records(path, "answers") if isinstance(record, Answers)]


def test_a_filter(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path, items=2, overlap=2, adjudicate_below=0.5)
    ann, bob, eve = person(store, "ann"), person(store, "bob"), person(store, "eve", "reviewer")
    ranked(store, ann, project, [1, 2, 3, 4])
    ranked(store, bob, project, [4, 3, 2, 1])
    ranked(store, ann, project, [1, 2, 3, 4])
    view = asked(store, eve, project, "adjudicate")
    submit(store, eve, ranking(view, by_text(view, [2, 1, 3, 3])))

    def who(only: Filter) -> list[tuple[str, list[int | None]]]:
        done = export(store, project, tmp_path / "out.jsonl", only=only)
        return [(r.annotator, r.ranks) for r in read_records(done.path, "rankings") if isinstance(r, Ranking)]

    a, b, e = ann.pseudonym, bob.pseudonym, eve.pseudonym
    one, two, judged = [1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 3, 3]
    assert who(Filter()) == [(a, one), (b, two), (e, judged), (a, one)]
    assert who(Filter(decided=True)) == [(e, judged), (a, one)]
    assert who(Filter(annotators=(b,))) == [(b, two)]
    with pytest.raises(DataError, match="no annotator has"):
        who(Filter(annotators=("nobody",)))
    assert not list(tmp_path.glob(".*"))


def test_preferences_and_feedback(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path, items=1), person(store, "ann")
    view = asked(store, ann, project)
    key = next(answer.key for answer in view.answers if answer.text.startswith("answer 1"))
    submit(store, ann, ranking(view, by_text(view, [2, 1, 2, 3]), edit=Edit(key=key, text="best"), comment="c"))
    export(store, project, tmp_path / "p.jsonl", "preferences")
    preferences = [r for r in read_records(tmp_path / "p.jsonl", "preferences") if isinstance(r, Preference)]
    said = [(p.chosen[0].content.split(" to")[0], p.rejected[0].content.split(" to")[0]) for p in preferences]
    assert said == [
        ("answer 0", "answer 3"), ("answer 1", "answer 0"), ("answer 1", "answer 2"), ("answer 1", "answer 3"),
        ("answer 2", "answer 3"), ("best", "answer 1"),
    ]  # fmt: skip
    assert {p.source for p in preferences} == {ann.pseudonym}
    export(store, project, tmp_path / "f.jsonl", "feedback")
    feedback = [r for r in read_records(tmp_path / "f.jsonl", "feedback") if isinstance(r, Feedback)]
    assert [(f.completion[0].content[:8], f.label, f.edit) for f in feedback] == [
        ("answer 1", True, "best"),
        ("answer 3", False, None),
    ]


def test_importing_twice_adds_nothing(either: Store, tmp_path: Path) -> None:
    project = labelled(either, tmp_path)
    file = export(either, project, tmp_path / "out.jsonl").path
    again = import_labels(either, project, file)
    assert (again.items, again.rankings, again.there) == (0, 0, 2 * len(NASTY) - 2)
    assert import_labels(either, project, tmp_path / "nasty.jsonl").there == len(NASTY)


def test_an_artifact_with_its_splits(store: Store, tmp_path: Path) -> None:
    partial = tmp_path / "answers.partial"
    partial.mkdir()
    write(partial / "train.jsonl", [answers_row(n) for n in range(3)])
    write(partial / "heldout.jsonl", [answers_row(9)])
    artifact = seal(partial, Manifest(name="answers", kind="answers", made_by="sample", key="k"))
    project = make_project(store, "p")
    assert import_labels(store, project, artifact.path).items == 4
    with store.read() as session:
        splits = session.execute(select(Item.uid, Item.split).order_by(Item.id)).all()
    assert splits == [("i0", "train"), ("i1", "train"), ("i2", "train"), ("i9", "heldout")]


def test_prompts_wait_for_their_answers(either: Store, tmp_path: Path) -> None:
    project, ann = make_project(either, "p", gold_share=0.0), person(either, "ann")
    prompts = [{key: row[key] for key in ("id", "prompt")} for row in map(answers_row, range(2))]
    assert import_labels(either, project, write(tmp_path / "p.jsonl", prompts)).items == 2
    assert next_item(either, ann, project.id) == Nothing("empty")
    done = import_labels(either, project, write(tmp_path / "a.jsonl", [answers_row(1)]))
    assert (done.items, done.filled) == (0, 1)
    assert asked(either, ann, project).prompt[0].content == "question 1"
    assert get_project(either, "p").states == {"empty": 1, "open": 1}
    assert import_labels(either, project, tmp_path / "p.jsonl").there == 2


def test_someone_who_ranked_in_a_file_is_not_asked_again(store: Store, tmp_path: Path) -> None:
    project = make_project(store, "p", overlap=2, gold_share=0.0)
    rows = [answers_row(0) | {"id": f"r{n}", "ranks": [1, 2, 3, 4 - n], "annotator": "ann"} for n in range(2)]
    assert import_labels(store, project, write(tmp_path / "r.jsonl", rows)).rankings == 2
    assert get_project(store, "p").states == {"open": 1}  # one person, so another is needed
    out = export(store, project, tmp_path / "out.jsonl")
    assert [json.loads(line)["id"] for line in out.path.read_text().splitlines()] == ["r0", "r1"]
    assert verify(store).faults == ()


def test_answers_in_another_order_are_the_same_item(store: Store, tmp_path: Path) -> None:
    row = answers_row(0)
    turned = {**row, "answers": row["answers"][::-1]}
    project = make_project(store, "p")
    rows = [
        row | {"id": "r0", "ranks": [1, 2, 3, 4], "annotator": "ann"},
        turned | {"id": "r1", "ranks": [1, 2, 3, 4], "annotator": "bob"},
    ]
    assert import_labels(store, project, write(tmp_path / "r.jsonl", rows)).items == 1
    out = export(store, project, tmp_path / "out.jsonl").path
    first, second = (r for r in read_records(out, "rankings") if isinstance(r, Ranking))
    assert second.ranks == [4, 3, 2, 1]
    better = {(a.text, b.text) for a, b, _ in pairs_of(first)}
    assert better == {(b.text, a.text) for a, b, _ in pairs_of(second)}


def row_with(**change: Any) -> dict[str, Any]:
    return answers_row(1) | change


A = answers_row(1)["answers"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps(row_with(answers=A[:1])), "there is 1 answer, and people can rank 2 to 9"),
        (json.dumps(row_with(answers=[])), "an empty list"),
        (json.dumps(answers_row(1, count=12)), "there are 12 answers"),
        (json.dumps(row_with(answers=[A[0], A[0]])), "two answers have the id 1-0"),
        (json.dumps(row_with(answers=[{"id": "x", "text": 3}, A[0]])), "the number"),
        (json.dumps(row_with(id="x" * 201)), "`id` has 201 characters"),
        (json.dumps(row_with(id="a\x00")), "`id` has 2 characters"),
        (json.dumps(row_with(answers=[{"id": "x", "text": "\ud800"}, A[0]])), "text that is valid Unicode|surrogate"),
        ("{broken", "JSON"),
        (b"\xff\xfe broken", "UTF-8"),
    ],
)
def test_what_cannot_be_labelled_is_refused_by_file_and_line(
    store: Store, tmp_path: Path, text: str | bytes, said: str
) -> None:
    good = json.dumps(answers_row(0)).encode() + b"\n"
    file = tmp_path / "bad.jsonl"
    file.write_bytes(good + (text.encode() if isinstance(text, str) else text) + b"\n")
    project = make_project(store, "p")
    with pytest.raises(DataError) as caught:
        import_labels(store, project, file, Options(kind="answers"))
    assert caught.value.where.startswith(f"{file}:2")
    assert any(word in str(caught.value) for word in said.split("|")), str(caught.value)
    assert get_project(store, "p").states == {}  # nothing of the file, not even its good line


def test_long_and_strange_answers_come_back_as_they_are(either: Store, tmp_path: Path) -> None:
    texts = ["x" * 200_000, *NASTY]
    answers = [{"id": str(n), "text": text} for n, text in enumerate(texts[:9])]
    rows = [row_with(answers=answers), {**row_with(answers=answers[:2]), "prompt": [{"role": "user", "content": "q2"}]}]
    project, ann = make_project(either, "p", gold_share=0.0), person(either, "ann")
    import_labels(either, project, write(tmp_path / "long.jsonl", rows))
    view = asked(either, ann, project)
    assert sorted(answer.text for answer in view.answers) == sorted(texts[:9])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s, p, f: import_labels(s, p, f / "answers.jsonl", Options(gold=True)), "gold questions are made from"),
        (lambda s, p, f: import_labels(s, p, f / "gone.jsonl"), "does not exist"),
        (lambda s, p, f: import_labels(s, p, f / "answers.jsonl", Options(kind="feedback")), "cannot be labelled"),
        (lambda s, p, f: import_labels(s, p, f / "answers.jsonl", Options(shape="argilla")), "`fields` is missing"),
        (lambda s, p, f: export(s, p, f / "x.jsonl", "csv"), "not written to .jsonl"),
        (lambda s, p, f: export(s, p, f / "x.jsonl"), "there is no label to export"),
        (lambda s, p, f: get_project(s, "q"), "no project `q`"),
        (lambda s, p, f: make_project(s, "p", overlap=0), "`overlap` is 0\nallowed: 1 to 1000\n"),
        (lambda s, p, f: make_project(s, "p", lease_seconds=0.0), "allowed: more than 0\n"),
        (lambda s, p, f: make_project(s, "p", attributes=[""]), "at least 1 character\nallowed: up to 12 names"),
        (lambda s, p, f: make_project(s, "p", hidden=1), "allowed: true or false\n"),
        (lambda s, p, f: make_project(s, "p", overlapp=2), "Extra inputs"),
    ],
)
def test_wrong_requests(store: Store, tmp_path: Path, call: Any, said: str) -> None:
    project = made(store, tmp_path)
    with pytest.raises(AlignError, match=said) as caught:
        call(store, project, tmp_path)
    assert caught.value.where


def test_label_studio_without_buckets_is_one_order(store: Store, tmp_path: Path) -> None:
    """As its Ranker writes a single list."""
    task = {
        "data": {
            "prompt": "q",
            "answers": [{"id": "a", "title": "", "body": "x"}, {"id": "b", "title": "", "body": "y"}],
        },
        "annotations": [
            {"completed_by": 7, "result": [{"type": "ranker", "value": {"ranker": {"rank": ["b", "a"]}}}]},
            {"completed_by": {"id": 8}, "result": []},
        ],
    }
    (tmp_path / "ls.json").write_text(json.dumps([task]))
    project = make_project(store, "p")
    assert import_labels(store, project, tmp_path / "ls.json", Options(shape="label-studio")).rankings == 1
    (found,) = read_records(export(store, project, tmp_path / "o.jsonl").path, "rankings")
    assert isinstance(found, Ranking) and (found.annotator, found.ranks) == ("7", [2, 1])


def test_csv_cells_that_a_spreadsheet_would_run(store: Store, tmp_path: Path) -> None:
    done = export(store, labelled(store, tmp_path), tmp_path / "out.csv", "csv")
    with done.path.open(encoding="utf-8", newline="") as source:
        cells = [cell for row in csv.reader(source) for cell in row]
    assert "'=cmd|' /C calc'!A0" in cells
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


def test_an_export_of_nobody_names_those_there_are(either: Store, tmp_path: Path) -> None:
    project, ann, out = made(either, tmp_path), person(either, "ann"), tmp_path / "x.jsonl"
    person(either, "bob")
    ranked(either, ann, project)
    with pytest.raises(DataError, match="no annotator has the pseudonym `ann`") as caught:
        export(either, project, out, only=Filter(annotators=(ann.pseudonym, "ann")))
    assert caught.value.allowed == ann.pseudonym and caught.value.where == "--annotator ann"
    assert caught.value.remedy.endswith(f"--annotator {ann.pseudonym}")
    with pytest.raises(DataError) as caught:
        export(either, project, out, only=Filter(annotators=("zoe",)))
    assert caught.value.remedy.startswith("see: align labels users list")
    assert not out.exists()


def test_an_export_of_a_split_that_is_not_there_names_those_there_are(store: Store, tmp_path: Path) -> None:
    project = made(store, tmp_path)
    with pytest.raises(DataError, match="no item is of the split `train`") as caught:
        export(store, project, tmp_path / "x.jsonl", only=Filter(split="train"))
    assert caught.value.allowed.startswith("none:") and caught.value.remedy == "leave out --split"
    with store.write() as session:
        session.execute(update(Item).where(Item.id == 1).values(split="heldout"))
    with pytest.raises(DataError) as caught:
        export(store, project, tmp_path / "x.jsonl", only=Filter(split="train"))
    assert (caught.value.allowed, caught.value.remedy) == ("heldout", "name one of these: --split heldout")
