"""What an import says and does about files and rows it does not take, and about tests and equal answers."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from align.artifacts import Manifest, seal
from labeling_app.incoming import import_labels
from labeling_app.projects import get_project, list_projects, make_project
from labeling_app.saving import Options
from labeling_app.store.care import verify
from labeling_app.store.database import Store, open_store
from labeling_app.store.models import Event
from tests.labeling_app.world import answers_row, write
from tests.runs import ROOT, call

ARGILLA = {"id": "1", "fields": {"prompt": "q", "answer-1": "a", "answer-2": "b"}, "metadata": {}, "responses": []}
LABEL_STUDIO = {"data": {"prompt": "q", "answers": []}, "annotations": []}


def test_a_file_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    db, bad = tmp_path / "new" / "l.db", write(tmp_path / "bad.jsonl", [answers_row(0), answers_row(1, count=1)])
    assert call("labels", "import", bad, "--project", "p", "--db", db).code == 3
    assert not db.parent.exists()
    call("labels", "import", write(tmp_path / "good.jsonl", [answers_row(0)]), "--project", "good", "--db", db)
    assert call("labels", "import", bad, "--project", "p", "--db", db).code == 3
    assert call("label", bad, "--db", db).code == 3
    store = open_store(db)
    assert [project.slug for project in list_projects(store)] == ["good"]
    store.close()


def test_rows_that_nobody_can_rank_are_left_out_if_that_is_wished(tmp_path: Path) -> None:
    rows = [answers_row(0), answers_row(1, count=1), answers_row(2), answers_row(3, count=12)]
    file = write(tmp_path / "a.jsonl", rows)
    file.write_text(file.read_text() + "{broken\n" + json.dumps(answers_row(4)) + "\n")
    command = ["labels", "import", file, "--project", "p", "--db", tmp_path / "l.db", "--kind", "answers"]
    stopped = call(*command)
    assert stopped.code == 3
    assert "there is 1 answer, and people can rank 2 to 9" in stopped.err and "--broken drop" in stopped.err
    outcome = call(*command, "--broken", "drop")
    assert outcome.out.splitlines()[:2] == ["p: 3 items and 0 rankings added; 0 there already", "3 rows left out:"]
    told = [line.split("a.jsonl:")[1].split(",")[0].split(":")[0] for line in outcome.out.splitlines()[2:]]
    assert told == ["2", "4", "5"]


@pytest.mark.parametrize("rows", [["{broken"], [json.dumps(answers_row(1, count=1))], ['{"prompt": 1, "answers": []}']])
def test_the_remedy_for_a_broken_row_is_the_command_that_leaves_it_out(tmp_path: Path, rows: list[str]) -> None:
    """Whatever is wrong with a row: `align data check` finds nothing in some that an import refuses."""
    file, db = tmp_path / "my answers.jsonl", tmp_path / "l.db"
    file.write_text("\n".join([json.dumps(answers_row(0)), *rows, ""]))
    given = ["labels", "import", file, "--project", "my project", "--overlap", "2", "--kind", "answers", "--db", db]
    for command in (given, ["label", file, "--project", "my project", "--overlap", "2", "--db", db]):
        refused = call(*command)
        assert refused.code == 3 and "data check" not in refused.err and not db.exists()
        remedy = refused.err.partition("leave them out: align ")[2].strip()
        assert remedy.endswith("--broken drop")
        outcome = call(*shlex.split(remedy))
        assert (outcome.code, outcome.out[:18]) == (0, "my project: 1 item"), outcome.err
        db.unlink()  # which the refused command has not made


def test_rows_of_one_line_are_left_out_one_by_one(store: Store, tmp_path: Path) -> None:
    """A JSON array on one line: what is broken there is one of its rows, not the line."""
    responses = [{"user_id": "u", "values": {"ranking": {"value": ["answer-1", "answer-2"]}}}]
    nobody = [{"user_id": None, "values": {"ranking": {"value": ["answer-1", "answer-2"]}}}]
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps([ARGILLA | {"responses": nobody}, ARGILLA | {"responses": responses}]))
    project = make_project(store, "p")
    done = import_labels(store, project, file, Options(shape="argilla", broken="drop"))
    assert (done.rankings, len(done.left_out)) == (1, 1) and "nobody is named" in done.left_out[0]


def test_a_file_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [answers_row(1, count=1)])
    outcome = call("labels", "import", file, "--project", "p", "--db", tmp_path / "l.db", "--broken", "drop")
    assert outcome.code == 3 and "there is 1 answer" in outcome.err
    assert "mend the rows; there is no other to import" in outcome.err


@pytest.mark.parametrize(
    ("name", "text", "shape"),
    [
        ("a.json", json.dumps([ARGILLA]), "argilla"),
        ("l.json", json.dumps([LABEL_STUDIO]), "label-studio"),
        ("c.csv", "ranking,annotator\n", "csv"),
    ],
)
def test_a_file_of_another_tool_is_told_by_its_look(tmp_path: Path, name: str, text: str, shape: str) -> None:
    (tmp_path / name).write_text(text)
    db = tmp_path / "l.db"
    for more in ([], ["--kind", "rankings"]):
        outcome = call("labels", "import", tmp_path / name, "--project", "p", "--db", db, *more)
        kind = "".join(f" {word}" for word in more)
        assert outcome.code == 3 and f"{name} --project p{kind} --db {db} --shape {shape}\n" in outcome.err


def test_a_kind_that_cannot_be_told_is_asked_for_by_this_command(tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", [{"what": 1}])
    outcome = call("labels", "import", file, "--project", "p", "--db", tmp_path / "l.db")
    assert outcome.code == 3 and "say it: --kind KIND" in outcome.err and "data check" not in outcome.err


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    outcome = call("label", tmp_path / "quickstrt", "--db", tmp_path / "l.db")
    assert outcome.code == 3 and "there is no such file or folder" in outcome.err
    assert f"did you mean `{tmp_path / 'quickstart'}`?" in outcome.err
    assert f"do:      look what is there: ls {tmp_path}\n" in outcome.err
    outcome = call("label", tmp_path / "gone" / "quickstart", "--db", tmp_path / "l.db")
    assert outcome.code == 3 and "do:      make a run: align run RECIPE\n" in outcome.err


def test_a_prompt_that_is_text_is_told_what_it_should_be(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [answers_row(0) | {"prompt": "What is 2 + 2?"}])
    outcome = call("labels", "import", file, "--project", "p", "--db", tmp_path / "l.db")
    assert outcome.code == 3 and 'allowed: a list of messages: [{"role": "user", "content": "..."}, ...]' in outcome.err


def test_equal_answers_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [answers_row(0), answers_row(1)]
    rows[1]["answers"][3]["text"] = rows[1]["answers"][0]["text"]
    outcome = call("labels", "import", write(tmp_path / "a.jsonl", rows), "--project", "p", "--db", tmp_path / "l.db")
    assert outcome.out.splitlines()[1] == "note: in 1 row two answers have the same text; people can tie them"


def test_tests_are_counted_and_need_no_annotator(tmp_path: Path) -> None:
    """Of three rows one is new to the project; the same file again changes nothing."""
    command = ["--project", "p", "--db", tmp_path / "l.db"]
    call("labels", "import", write(tmp_path / "a.jsonl", [answers_row(n) for n in range(2)]), *command)
    gold = write(tmp_path / "g.jsonl", [answers_row(n) | {"ranks": [1, 2, 3, 4]} for n in range(3)])
    first = call("labels", "import", gold, *command, "--gold")
    assert first.out == "p: 3 items became test questions (1 of them new); 0 there already\n"
    again = call("labels", "import", gold, *command, "--gold")
    assert again.out == "p: 0 items and 0 rankings added; 3 there already\n"
    without = call("labels", "import", gold, *command)
    assert without.code == 3 and "`annotator` is missing" in without.err
    assert "if these are test questions: align labels import" in without.err and "--gold; else" in without.err


def gold(folder: Path, *ranks: list[int | None]) -> Path:
    """A file of test questions."""
    return write(folder / "g.jsonl", [answers_row(n) | {"ranks": given} for n, given in enumerate(ranks)])


def test_other_ranks_for_a_test_are_refused_or_corrected(tmp_path: Path) -> None:
    """They would turn what annotators were told about themselves into its opposite."""
    db = tmp_path / "l.db"
    command = ["labels", "import", tmp_path / "g.jsonl", "--project", "p", "--gold", "--db", db]
    gold(tmp_path, [1, 2, 3, 4])
    assert call(*command).code == 0
    gold(tmp_path, [1, 3, 5, 7])
    assert call(*command).out == "p: 0 items and 0 rankings added; 1 there already\n"  # the same truth
    gold(tmp_path, [4, 3, 2, 1], [1, 2, 3, 4])
    refused = call(*command, "--overlap", 3)
    assert refused.code == 3 and "g.jsonl:1, field ranks" in refused.err
    assert "its ranks are [1, 2, 3, 4], not [4, 3, 2, 1]; nothing was imported" in refused.err
    listed = call("labels", "projects", "list", "--db", db)
    assert "1 item," in listed.out and "overlap 1;" in listed.out
    remedy = refused.err.partition("correct the test question: align ")[2].strip()
    assert remedy.endswith("--correct")
    assert call(*shlex.split(remedy)).out == (
        "p: 1 item became a test question (1 of them new); 1 test question corrected; 0 there already\n"
        "p: each item is ranked by 3 annotators\n"
    )
    assert call(*command).out == "p: 0 items and 0 rankings added; 2 there already\n"
    assert "overlap 3;" in call("labels", "projects", "list", "--db", db).out  # the remedy has it, too
    store = open_store(db)
    with store.read() as session:
        event = session.execute(select(Event).where(Event.kind == "correct-gold")).scalar_one()
        assert event.payload == {"before": [1, 2, 3, 4], "ranks": [4, 3, 2, 1]}
    assert verify(store).faults == ()
    store.close()


def test_an_overlap_that_does_not_fit_is_told_before_anything_is_made(tmp_path: Path) -> None:
    gold(tmp_path, [1, 2, 3, 4])
    command = ["labels", "import", tmp_path / "g.jsonl", "--project", "p", "--gold", "--db", tmp_path / "l.db"]
    outcome = call(*command, "--overlap", 5000)
    assert outcome.code == 2 and "`overlap` is 5000" in outcome.err and not (tmp_path / "l.db").exists()


def test_only_test_questions_are_corrected(tmp_path: Path) -> None:
    gold(tmp_path, [1, 2, 3, 4])
    outcome = call("labels", "import", tmp_path / "g.jsonl", "--project", "p", "--correct", "--db", tmp_path / "l.db")
    assert outcome.code == 2 and "do:      add --gold" in outcome.err and not (tmp_path / "l.db").exists()


@pytest.mark.parametrize("more", [[], ["--broken", "drop"]], ids=["", "drop"])
def test_a_file_of_tests_that_contradicts_itself_is_refused(tmp_path: Path, more: list[str]) -> None:
    rows: list[dict[str, Any]] = [
        answers_row(n) | {"id": str(line), "ranks": [1, 2, 3, 4]} for line, n in enumerate((0, 1, 0))
    ]
    command = ["labels", "import", tmp_path / "g.jsonl", "--project", "p", "--gold", "--db", tmp_path / "l.db", *more]
    rows[2]["ranks"] = [4, 3, 2, 1]
    write(tmp_path / "g.jsonl", rows)
    outcome = call(*command)
    assert outcome.code == 3 and "g.jsonl:3, field ranks" in outcome.err
    assert "g.jsonl:1 asks the same, and its ranks say otherwise" in outcome.err and not (tmp_path / "l.db").exists()
    rows[2]["answers"].reverse()  # now it says the same
    write(tmp_path / "g.jsonl", rows)
    told = "p: 2 items became test questions (2 of them new); 1 there already, or twice in the file\n"
    assert call(*command).out == told


@pytest.mark.parametrize("ranks", [[1, 1, 1, 1], [None, 1, None, None], [None] * 4])
def test_a_test_that_asks_nothing_is_refused(tmp_path: Path, ranks: list[int | None]) -> None:
    gold(tmp_path, [1, 3, 3, 3], ranks)
    command = ["labels", "import", tmp_path / "g.jsonl", "--project", "p", "--gold", "--db", tmp_path / "l.db"]
    outcome = call(*command)
    assert outcome.code == 3 and "g.jsonl:2, field ranks" in outcome.err and "asks nothing" in outcome.err
    assert "--broken drop" in outcome.err and not (tmp_path / "l.db").exists()
    assert call(*command, "--broken", "drop").out.startswith("p: 1 item became a test question (1 of them new)")


def test_an_artifact_that_nobody_can_rank_is_refused(tmp_path: Path) -> None:
    """A policy has no lines to read; and a run is more than one artifact."""
    run = tmp_path / "run"
    for name, kind in (("sft", "policy"), ("answers", "answers")):
        (run / f"{name}.partial").mkdir(parents=True)
        if kind == "answers":
            write(run / f"{name}.partial" / "train.jsonl", [answers_row(0)])
        seal(run / f"{name}.partial", Manifest(name=name, kind=kind, made_by="test", key="k"))
    more = ["--db", tmp_path / "l.db"]
    for words in (["labels", "import", run / "sft", "--project", "p"], ["label", run / "sft"]):
        outcome = call(*words, *more)
        assert outcome.code == 3 and "policy cannot be labelled" in outcome.err
        assert f"do:      name the answers of this run: {run / 'answers'}\n" in outcome.err
    outcome = call("labels", "import", run, "--project", "p", *more)
    assert outcome.code == 3 and "this is a run, not one of its stages" in outcome.err
    assert f"do:      name its answers: {run / 'answers'}\n" in outcome.err and not (tmp_path / "l.db").exists()
    assert call("labels", "import", run / "answers", "--project", "p", *more).code == 0
    (run / "answers" / "train.jsonl").unlink()
    outcome = call("labels", "import", run / "answers", "--project", "p", *more)
    assert outcome.code == 3 and "this artifact has lost its files" in outcome.err


def test_the_gold_row_of_the_readme_is_one(store: Store, tmp_path: Path) -> None:
    (row,) = re.findall(r'^    (\{"prompt": .*"ranks": .*\})$', (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    file = write(tmp_path / "gold.jsonl", [json.loads(row)])
    assert import_labels(store, make_project(store, "p"), file, Options(gold=True)).gold == 1
    assert get_project(store, "p").states == {"gold": 1}
    assert verify(store).faults == ()
