"""Files of other tools, and odd ones of our own: taken as they are meant, or refused with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.data.files import read_records
from align.data.records import Ranking
from align.errors import DataError
from labeling_app.incoming import import_labels
from labeling_app.outgoing import Filter, export
from labeling_app.projects import ProjectInfo, make_project
from labeling_app.quality import quality_of
from labeling_app.saving import Imported, InShape, Options
from labeling_app.shapes import CSV_COLUMNS
from labeling_app.store.database import Store
from tests.labeling_app.world import answers_row, made, person, ranked, write

FIELDS = {"prompt": "q", "response-1": "a", "response-2": "b"}
ORDER = [{"value": "response-2", "rank": 1}, {"value": "response-1", "rank": 2}]


def argilla(responses: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "1", "fields": FIELDS | fields, "metadata": {}, "responses": responses}


def response(user: Any, value: list[Any]) -> dict[str, Any]:
    return {"user_id": user, "status": "submitted", "values": {"ranking": {"value": value}}}


def label_studio(**change: Any) -> dict[str, Any]:
    result = [{"type": "ranker", "value": {"ranker": {"rank": ["2", "1"]}}}]
    answers = [{"id": "1", "title": "", "body": "a"}, {"id": "2", "title": "", "body": "b"}]
    return {
        "data": {"prompt": "q", "answers": answers},
        "annotations": [{"completed_by": 7, "result": result} | change, {"completed_by": 8, "result": result}],
    }


def take(store: Store, folder: Path, row: dict[str, Any], shape: InShape) -> Imported:
    file = folder / "theirs.json"
    file.write_text(json.dumps([row]))
    return import_labels(store, make_project(store, "p"), file, Options(shape=shape))


def out(store: Store, folder: Path, project: ProjectInfo) -> list[tuple[str, list[int | None]]]:
    found = read_records(export(store, project, folder / "out.jsonl").path, "rankings")
    return [(one.annotator, one.ranks) for one in found if isinstance(one, Ranking)]


@pytest.mark.parametrize(
    "responses",
    [
        [response("u", ORDER)],
        [response("u", [{"value": "response-2"}, {"value": "response-1"}])],
        {"ranking": [{"value": ["response-2", "response-1"], "user_id": "u"}]},
    ],
    ids=["server", "without ranks", "sdk"],
)
def test_argilla_as_its_server_and_its_sdk_write_it(store: Store, tmp_path: Path, responses: Any) -> None:
    take(store, tmp_path, argilla(responses), "argilla")
    assert out(store, tmp_path, make_project(store, "p")) == [("u", [2, 1])]


def test_what_a_person_skipped_in_label_studio_is_no_label(store: Store, tmp_path: Path) -> None:
    assert take(store, tmp_path, label_studio(was_cancelled=True), "label-studio").rankings == 1


@pytest.mark.parametrize(
    ("shape", "row", "said"),
    [
        ("argilla", argilla([response(None, ORDER)]), "nobody is named"),
        ("argilla", argilla([response("u", ORDER)], context="C"), "`context` is neither the prompt nor ranked"),
        ("label-studio", label_studio(completed_by=None), "nobody is named"),
        ("label-studio", label_studio(completed_by={"first_name": "Ann"}), "nobody is named"),
    ],
)
def test_a_foreign_label_that_would_be_taken_for_another(
    store: Store, tmp_path: Path, shape: InShape, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        take(store, tmp_path, row, shape)
    assert caught.value.where.startswith(f"{tmp_path / 'theirs.json'}:1")
    assert "align data check" not in caught.value.remedy, "it does not read this shape"


@pytest.mark.parametrize("change", [lambda line: line + ',"x"', lambda line: line.rpartition(",")[0]])
def test_a_csv_row_with_other_cells_than_columns(store: Store, tmp_path: Path, change: Any) -> None:
    project = made(store, tmp_path, items=1)
    ranked(store, person(store, "ann"), project)
    head, first, *rest = export(store, project, tmp_path / "out.csv", "csv").path.read_text().splitlines()
    (tmp_path / "in.csv").write_text("\n".join([head, change(first), *rest]))
    with pytest.raises(DataError, match="cells than there are columns") as caught:
        import_labels(store, project, tmp_path / "in.csv", Options(shape="csv"))
    assert caught.value.where == f"{tmp_path / 'in.csv'}:2"


def test_a_csv_without_a_column(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(",".join(name for name in CSV_COLUMNS if name not in ("rank", "time")) + "\n")
    with pytest.raises(DataError, match="; missing: rank, time") as caught:
        import_labels(store, make_project(store, "p"), tmp_path / "in.csv", Options(shape="csv"))
    assert "name the columns so" in caught.value.remedy


@pytest.mark.parametrize(
    ("field", "value"),
    [("seconds", -1.0), ("margin", -2.0), ("edit", {"text": "t"}), ("edit", {"answer": "no such", "text": "t"})],
)
def test_a_ranking_that_exports_and_figures_stumble_over(store: Store, tmp_path: Path, field: str, value: Any) -> None:
    row = answers_row(0) | {"ranks": [1, 2, 3, 4], "annotator": "ann", field: value}
    with pytest.raises(DataError) as caught:
        import_labels(store, make_project(store, "p"), write(tmp_path / "r.jsonl", [row]))
    assert caught.value.where.endswith(f"r.jsonl:1, field {field}")


@pytest.mark.parametrize("ranks", [[None] * 4, [1, None, None, None]])
def test_a_ranking_that_compares_nothing(store: Store, tmp_path: Path, ranks: list[int | None]) -> None:
    row = answers_row(0) | {"ranks": ranks, "annotator": "ann"}
    with pytest.raises(DataError, match="a ranking compares two or more") as caught:
        import_labels(store, make_project(store, "p"), write(tmp_path / "r.jsonl", [row]))
    assert caught.value.where.endswith("r.jsonl:1, field ranks")


@pytest.mark.parametrize(
    ("field", "said"),
    [("responses", "`responses` is a list of 4, and answers stand in `answers`"),
     ("completions", "none of 4 answers has a rank")],
)  # fmt: skip
def test_answers_under_another_name(store: Store, tmp_path: Path, field: str, said: str) -> None:
    row = answers_row(0)
    row[field] = row.pop("answers")
    file, project = write(tmp_path / "a.jsonl", [row]), make_project(store, "p")
    with pytest.raises(DataError, match=said) as caught:
        import_labels(store, project, file)
    assert '"answers": [{"id": "a", "text"' in caught.value.allowed
    assert import_labels(store, project, file, Options(kind="prompts")).lines("p")[1:] == [
        "1 prompt waiting for answers: import a file with the same prompts and answers"
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("keywords", ["one", "two"]), ("scores", [0.5, 1.0]), ("responses", [1, 2]), ("responses", ["one"]),
     ("candidates", [{"name": "one"}, {"name": "two"}]), ("responses", ["", ""])],
)  # fmt: skip
def test_a_list_beside_a_prompt_that_holds_no_answers(store: Store, tmp_path: Path, field: str, value: Any) -> None:
    row = answers_row(0) | {field: value}
    del row["answers"]
    done = import_labels(store, make_project(store, "p"), write(tmp_path / "p.jsonl", [row]))
    assert (done.kind, done.items) == ("prompts", 1)


def test_the_first_list_of_answers_is_named(store: Store, tmp_path: Path) -> None:
    texts = ["one", "two"]
    more = {"keywords": texts, "candidates": [{"content": text} for text in texts], "answers_of_b": texts}
    row = answers_row(0) | more
    del row["answers"]
    with pytest.raises(DataError, match="`candidates` is a list of 2"):
        import_labels(store, make_project(store, "p"), write(tmp_path / "p.jsonl", [row]))


def test_nobody_is_biased_by_places_that_nobody_knows(store: Store, tmp_path: Path) -> None:
    rows = [answers_row(n) | {"ranks": [1, 2, 3, 4], "annotator": "ann", "id": f"r{n}"} for n in range(20)]
    rows += [row | {"id": f"{row['id']}-bob", "annotator": "bob"} for row in rows]
    for row in rows[20:]:
        row["meta"] = {"shown_order": [answer["id"] for answer in row["answers"]]}
    project = make_project(store, "p")
    import_labels(store, project, write(tmp_path / "r.jsonl", rows))
    found = quality_of(store, person(store, "lead", "reviewer"), project.id)
    assert {one.pseudonym: (one.place_bias, one.first_count) for one in found.annotators} == {
        "ann": (False, 0),
        "bob": (True, 20),
    }
    assert sum(block.rankings for block in found.over_time) == 20


def test_an_export_of_a_version_still_to_come_is_of_the_newest(store: Store, tmp_path: Path) -> None:
    project, ann = made(store, tmp_path), person(store, "ann")
    ranked(store, ann, project)
    first = export(store, project, tmp_path / "a.jsonl", only=Filter(upto=1_000_000))
    assert first.filter.upto == 1
    ranked(store, ann, project)
    assert export(store, project, tmp_path / "b.jsonl", only=first.filter).sha256 == first.sha256
