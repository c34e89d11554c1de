"""The command line: exit codes, JSON, quiet, help, and what happens to mistakes of both kinds."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

import align.pipeline
from align.cli import app
from align.errors import DataError, ModelError, RecipeError, SystemLimit, TrainingError
from align.recipe.find import shipped_recipes
from align.worker import StageCrash
from tests.conftest import Finished, World
from tests.runs import SOURCES, STAGES, call, changed, command, environment, spawn


def all_commands() -> list[tuple[str, Any]]:
    """Every command with its words, those of groups included."""
    found: list[tuple[str, Any]] = []

    def walk(command: Any, words: str) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            found.append((f"{words} {name}".strip(), inner))
            walk(inner, f"{words} {name}".strip())

    walk(typer.main.get_command(app), "")
    return found


COMMANDS = all_commands()


def test_the_commands_are_those_of_the_readme() -> None:
    names = [name for name, _ in COMMANDS]
    assert {"run", "check", "report", "schema", "new", "data check", "data convert", "data stats"} <= set(names)


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_and_option_is_documented(name: str, command: Any) -> None:
    assert command.help and command.help.strip().endswith("."), f"{name} has no sentence of help"
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


def test_help_names_the_exit_codes() -> None:
    outcome = spawn("--help", cwd=Path("."))
    text = " ".join(outcome.out.split())
    codes = {e.__name__: e.exit_code for e in (RecipeError, DataError, ModelError, TrainingError, SystemLimit)}
    assert codes == {"RecipeError": 2, "DataError": 3, "ModelError": 4, "TrainingError": 5, "SystemLimit": 6}
    for code, word in ((0, "done"), (2, "recipe"), (3, "data"), (4, "model"), (5, "training"), (6, "the machine")):
        assert re.search(rf"\b{code} {word}", text), f"{code} {word} is not in: {text}"
    assert "7 waiting for people" in text and "70 a fault of ours" in text and "130 interrupted" in text


def test_version() -> None:
    from align import __version__

    outcome = call("--version")
    assert (outcome.code, outcome.out.strip()) == (0, f"align {__version__}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["--wrong"], "No such option: --wrong"),
        (["ruin"], "No such command 'ruin'"),
        (["run", "a.yaml", "--runs"], "requires an argument"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], said: str) -> None:
    outcome = call(*arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [["check"], ["run"], ["report"], ["data", "check"], ["new", "quickstart", "--into"], ["check", "a", "--runs"]],
)
def test_a_path_that_is_too_long(world: World, arguments: list[str]) -> None:
    given = [str(world.recipe) if word == "a" else word for word in arguments]
    outcome = call(*given, "x" * 5000)
    assert outcome.code in (2, 6), outcome.err
    assert "Traceback" not in outcome.err and len(outcome.err) < 1000
    assert "too long" in outcome.err and "do: " in outcome.err


def test_no_arguments_show_the_help() -> None:
    outcome = call()
    assert outcome.code in (0, 2)
    assert "Commands:" in outcome.out + outcome.err


def test_an_unknown_recipe() -> None:
    outcome = call("run", "quickstrat")
    assert outcome.code == 2
    assert "there is no such recipe" in outcome.err and "a shipped recipe" in outcome.err


def test_errors_as_json(world: World) -> None:
    world.recipe.write_text(changed(("seed: 3", "sede: 3")))
    outcome = call("check", world.recipe, "--json")
    assert outcome.code == 2
    assert outcome.json["error"] == "RecipeError"
    assert outcome.json["where"].endswith("tiny.yaml:2 sede")
    assert "`sede`" in outcome.json["found"] and "`seed`" in outcome.json["remedy"]
    assert "unknown key `sede`" in outcome.err


def test_check_as_json(finished: Finished) -> None:
    outcome = call("check", finished.recipe, "--runs", finished.runs, "--json")
    assert outcome.code == 0
    assert outcome.json["ok"] is True
    assert [step["name"] for step in outcome.json["steps"]] == [*SOURCES, *STAGES]
    assert {step["state"] for step in outcome.json["steps"]} == {"sealed"}


def test_run_as_json_prints_nothing_else(finished: Finished) -> None:
    outcome = spawn("run", "tiny.yaml", "--json", cwd=finished.folder)
    assert outcome.code == 0
    assert outcome.json["ran"] == []
    assert outcome.json["run"] == "runs/tiny"
    assert list(outcome.json["artifacts"]) == [*SOURCES, *STAGES]
    assert outcome.json["artifacts"]["base"]["made_by"] == "pretrain"
    assert outcome.err == ""


def test_data_check_as_json(world: World) -> None:
    outcome = call("data", "check", world.folder / "demos.jsonl", "--json")
    assert outcome.code == 0
    assert (outcome.json["rows"], outcome.json["errors"]) == (12, 0)


def test_schema_is_json() -> None:
    outcome = call("schema")
    assert outcome.code == 0
    assert {"name", "sources", "stages"} <= set(outcome.json["properties"])


def test_what_a_run_prints(finished: Finished) -> None:
    lines = finished.outcome.err.splitlines()
    assert [line for line in lines if line.startswith("[")] == [
        f"[{i}/8] {kind} {name}"
        for i, (name, kind) in enumerate(
            zip(STAGES, ["pretrain", "sft", "sample", "rank", "reward", "dpo", "evaluate", "export"], strict=True), 1
        )
    ]
    assert finished.outcome.out.splitlines()[-1] == "report: runs/tiny/report.html"


def test_quiet_prints_the_result_only(copy: World) -> None:
    (copy.run / "rankings").rename(copy.folder / "gone")
    outcome = call("run", copy.recipe, "--runs", copy.runs, "--quiet")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert "report: " in outcome.out


def test_a_run_of_a_finished_recipe_says_so(finished: Finished) -> None:
    outcome = call("run", finished.recipe, "--runs", finished.runs)
    assert outcome.code == 0
    assert "nothing to do: every stage is sealed" in outcome.err


def test_report_of_an_unfinished_run(copy: World) -> None:
    for name in ("dpo", "result", "final"):
        (copy.run / name).rename(copy.folder / name)
    (copy.run / "report.html").unlink()
    outcome = call("report", copy.run)
    assert outcome.code == 0, outcome.err
    page = copy.run / "report.html"
    assert outcome.out.strip() == str(page)
    assert "not yet" in page.read_text()


def test_report_of_nothing(tmp_path: Path) -> None:
    outcome = call("report", tmp_path)
    assert outcome.code == 3
    assert "there is no run to report on" in outcome.err


def test_an_older_report_is_written_again(copy: World) -> None:
    """As a run leaves it that is killed between its last stage and its report."""
    import os

    page = copy.run / "report.html"
    page.write_text("old")
    os.utime(page, (1, 1))
    assert call("run", copy.recipe, "--runs", copy.runs).code == 0
    assert page.read_text() != "old"


def test_new_lists_what_ships() -> None:
    outcome = call("new")
    assert outcome.code == 0
    names = [line.split()[0] for line in outcome.out.splitlines()]
    assert names == list(shipped_recipes())
    assert all(len(line.split()) > 3 for line in outcome.out.splitlines()), "a recipe without its goal"


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_a_copied_recipe_is_well_formed(tmp_path: Path, name: str) -> None:
    made = call("new", name, "--into", tmp_path / "mine")
    assert made.code == 0, made.err
    copied = Path(made.out.splitlines()[0])
    assert copied == tmp_path / "mine" / f"{name}.yaml"
    assert f"next: align check {copied}" in made.out
    outcome = call("check", copied, "--runs", tmp_path / "runs", "--json")
    if outcome.code == 2 and "there is no `" in outcome.err:
        pytest.skip("the recipe reads data that does not ship with it")
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "runs").exists()


def test_new_overwrites_nothing(tmp_path: Path) -> None:
    name = next(iter(shipped_recipes()))
    assert call("new", name, "--into", tmp_path).code == 0
    outcome = call("new", name, "--into", tmp_path)
    assert outcome.code == 2
    assert "nothing is overwritten" in outcome.err


def test_a_fault_of_ours_shows_its_traceback(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise ZeroDivisionError("a mistake in align")

    monkeypatch.setattr(align.pipeline, "run_recipe", broken)
    outcome = call("run", finished.recipe)
    assert outcome.code == 70
    assert "Traceback" in outcome.err and "ZeroDivisionError: a mistake in align" in outcome.err
    assert "this is a fault in align" in outcome.err


def test_a_crash_of_a_stage_shows_the_traceback_of_its_process(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crashed(*given: object) -> None:
        raise StageCrash("dpo", "Traceback of the stage's process")

    monkeypatch.setattr(align.pipeline, "run_recipe", crashed)
    outcome = call("run", finished.recipe)
    assert outcome.code == 70
    assert outcome.err.startswith("Traceback of the stage's process")


def test_a_reader_that_stops_early_is_no_fault() -> None:
    process = subprocess.Popen(command("schema"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert process.stdout and process.stderr
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() in (0, 1)
    assert err == ""


def test_output_is_unicode(world: World) -> None:
    rows = [{"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好！"}]}]
    file = world.folder / "zh.jsonl"
    file.write_text(json.dumps(rows[0]) + "\n")
    outcome = call("data", "convert", file, world.folder / "out.jsonl")
    assert outcome.code == 0
    assert "您好！" in (world.folder / "out.jsonl").read_text("utf-8")
