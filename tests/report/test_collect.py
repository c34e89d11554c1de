"""The run folder as it is read: order, states, metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.errors import DataError
from align.report.collect import DONE, NOT_YET, OLD, UNFINISHED, WAITS, flatten, read_metrics, read_run
from align.report.evaluation import evaluations
from align.report.page import render
from align.report.story import facts, key_figure, lead
from tests.report.conftest import RunFolder


def test_steps_come_in_the_recipes_order(finished: RunFolder) -> None:
    run = read_run(finished.path)
    assert run.name == "tiny-assistant"
    assert [s.name for s in run.steps] == [
        "corpus", "demos", "prompts", "base", "sft", "answers", "rankings", "reward", "dpo", "result", "out",
    ]  # fmt: skip
    assert {s.state for s in run.steps} == {DONE}
    assert [s.kind for s in run.stages][:2] == ["pretrain", "sft"]


def test_a_given_order_wins(finished: RunFolder) -> None:
    names = [s.name for s in read_run(finished.path, order=["dpo", "sft"]).steps]
    assert names[-2:] == ["dpo", "sft"]


def test_without_a_recipe_the_order_is_that_of_making(folder: RunFolder) -> None:
    folder.stage("late", "sft", {}, {"a": "1"}, started="2025-01-02T00:00:00+00:00")
    folder.stage("early", "pretrain", {}, {"a": "1"}, started="2025-01-01T00:00:00+00:00")
    (folder.path / "recipe.yaml").unlink()
    assert [s.name for s in read_run(folder.path).steps] == ["early", "late"]


def test_a_run_in_progress(folder: RunFolder) -> None:
    folder.source("corpus", "corpus", 3)
    logs = folder.path / "base.partial" / "logs"
    logs.mkdir(parents=True)
    (logs / "metrics.jsonl").write_text('{"step": 1, "loss": 5.0}\n{"step": 2, "lo', "utf-8")
    steps = {s.name: s for s in read_run(folder.path).steps}
    assert [steps[n].state for n in ("corpus", "base", "sft")] == [DONE, UNFINISHED, NOT_YET]
    assert steps["base"].rows == [{"step": 1, "loss": 5.0}]
    assert steps["base"].inputs == {"data": ["corpus", "demos"]}
    assert steps["base"].settings["learning_rate"] == 2e-3
    assert steps["rankings"].settings == {"by.rules": "judge.py"}


def test_a_stage_that_waits_for_people(finished: RunFolder) -> None:
    """An older artifact of it may stand meanwhile; its figures are not shown."""
    resume = finished.path / "rankings.partial" / "resume"
    resume.mkdir(parents=True)
    told = {"words": "3 of 8 rankings", "command": "align label --project p", "then": "align run p.yaml"}
    (resume / "waiting.json").write_text(json.dumps(told))
    run = read_run(finished.path)
    step = {s.name: s for s in run.steps}["rankings"]
    assert (step.state, step.waiting, step.manifest) == (WAITS, told, None)
    assert "rankings waits for people: 3 of 8 rankings." in lead(run, evaluations(run))
    assert key_figure(step, []) == "3 of 8 rankings"
    page = render(run)
    assert "<code>align label --project p</code>" in page and 'class="state waiting"' in page
    (resume / "waiting.json").write_text('{"words": "3 o')
    assert {s.name: s for s in read_run(finished.path).steps}["rankings"].state == UNFINISHED


def test_what_was_made_from_an_older_input_is_out_of_date(finished: RunFolder) -> None:
    finished.stage("sft", "sft", {"model": ["base"], "data": ["demos"]}, {"w": "new"}, key="another")
    states = {s.name: s.state for s in read_run(finished.path).steps}
    assert [n for n, s in states.items() if s == OLD] == ["answers", "rankings", "reward", "dpo", "result", "out"]


def test_an_artifact_being_replaced_is_unfinished(finished: RunFolder) -> None:
    (finished.path / "dpo.partial").mkdir()
    run = read_run(finished.path)
    step = {s.name: s for s in run.steps}["dpo"]
    assert (step.state, step.artifact is not None, step.manifest, step.rows) == (UNFINISHED, True, None, [])
    assert dict(facts(run))["Stages"] == f"{len(run.stages) - 1} of {len(run.stages)} finished"
    assert lead(run, evaluations(run)).startswith(f"{len(run.stages) - 1} of {len(run.stages)} stages finished; next")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither recipe.yaml nor a finished artifact"):
        read_run(tmp_path)


def test_a_run_that_is_not_there(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("name: mine")
    for name, found in (
        ("mine", "this folder does not exist"),
        ("mine.yaml", "this is a file, and a report is made of a run folder"),
    ):
        with pytest.raises(DataError) as caught:
            read_run(Path(name))
        assert (caught.value.found, caught.value.remedy) == (found, "align run RECIPE makes one")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    for name in ("mine", "mine.yaml"):
        with pytest.raises(DataError, match="did you mean `runs/mine`"):
            read_run(Path(name))


def test_a_recipe_that_cannot_be_read(folder: RunFolder) -> None:
    (folder.path / "recipe.yaml").write_text("stages: [", "utf-8")
    with pytest.raises(DataError, match="the recipe of this run cannot be read"):
        read_run(folder.path)


@pytest.mark.parametrize("tail", [b'{"step": 3, "loss"', b'{"step": 3, "note": "\xe4\xb8', b""])
def test_a_last_line_cut_off_by_a_kill_is_left_out(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\n{"step": 2}\n' + tail)
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]


def test_a_whole_last_line_without_newline_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}', "utf-8")
    assert len(read_metrics(path)) == 2


@pytest.mark.parametrize("text", ['{"step": 1}\n{"ste\n{"step": 3}\n', '{"step": 1}\n{"ste\n'])
def test_any_other_broken_line_is_an_error_with_its_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"metrics\.jsonl:2\n.*not JSON"):
        read_metrics(path)


def test_a_line_that_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps([1, 2]) + "\n", "utf-8")
    with pytest.raises(DataError, match="no JSON object"):
        read_metrics(path)


def test_flatten() -> None:
    assert flatten({"lora": {"r": 8, "deep": {"x": 1}}, "by": {}, "a": [1]}) == {
        "lora.r": 8, "lora.deep.x": 1, "by": {}, "a": [1],
    }  # fmt: skip
