"""What runs, what is skipped, and what is left behind: the whole pipeline on a tiny recipe."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from align.artifacts import Manifest, content_hash, list_files, read_artifact, seal
from align.pipeline import finish_interrupted_seals
from tests.conftest import Finished, World
from tests.runs import (
    ROOT,
    SOURCES,
    STAGES,
    Outcome,
    artifacts,
    ask,
    call,
    changed,
    command,
    contents,
    environment,
    leftovers,
    make_world,
    write_rows,
)


def run(world: World, *more: str) -> Outcome:
    return call("run", world.recipe, "--runs", world.runs, "--json", *more)


def ran(world: World, *more: str) -> list[str]:
    """The stages that a run did not skip."""
    outcome = run(world, *more)
    assert outcome.code == 0, outcome.err
    names: list[str] = outcome.json["ran"]
    return names


def states(world: World) -> dict[str, tuple[str, str]]:
    """What `align check` says each step would do, and why."""
    outcome = call("check", world.recipe, "--runs", world.runs, "--json")
    assert outcome.code == 0, outcome.err
    return {s["name"]: (s["state"], s["why"]) for s in outcome.json["steps"]}


def to_do(world: World) -> list[str]:
    return [name for name, (state, _) in states(world).items() if state != "sealed"]


# --- a finished run ------------------------------------------------------------------------------------------------


def test_a_run_leaves_these_files_and_no_other(finished: Finished) -> None:
    assert leftovers(finished.run) == []
    files = {p.relative_to(finished.run).as_posix() for p in finished.run.rglob("*") if p.is_file()}
    model = {"config.json", "generation_config.json", "model.safetensors"}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    logs = {"manifest.json", "logs/stage.log"}
    trained = logs | {"logs/metrics.jsonl"} | tokenizer
    expected = {
        "corpus": {"train.jsonl", "manifest.json"},
        "demos": {"train.jsonl", "heldout.jsonl", "manifest.json"},
        "prompts": {"train.jsonl", "heldout.jsonl", "manifest.json"},
        "base": trained | model,
        "sft": trained | model,
        "answers": logs | {"train.jsonl", "heldout.jsonl"},
        "rankings": logs | {"train.jsonl", "heldout.jsonl"},
        "reward": trained | {"adapter_config.json", "adapter_model.safetensors", "policy.json", "scale.json"},
        "dpo": trained | {"adapter_config.json", "adapter_model.safetensors", "policy.json"},
        "result": logs | {"evaluation.json", "answers.jsonl"},
        "final": logs | tokenizer | model | {"README.md"},
    }
    wanted = {f"{name}/{file}" for name, inside in expected.items() for file in inside}
    assert files == wanted | {"recipe.yaml", "report.html", ".lock", ".hashes.json"}


def test_manifests_say_where_everything_comes_from(finished: Finished) -> None:
    made = artifacts(finished.run)
    for name, artifact in made.items():
        manifest = artifact.manifest
        assert manifest.name == name
        assert manifest.content == content_hash(list_files(artifact.path))
        for entries in manifest.inputs.values():
            for entry in entries:
                assert entry == made[entry.name].entry()
    assert {e.name for entries in made["result"].manifest.inputs.values() for e in entries} == {
        "sft", "dpo", "prompts", "reward", "rankings"
    }  # fmt: skip
    dpo = made["dpo"].manifest
    assert dpo.seconds > 0 and dpo.peak_memory_mb > 100 and dpo.started <= dpo.ended
    assert {"torch", "transformers", "trl"} <= set(dpo.versions)
    assert made["demos"].manifest.metrics["heldout_rows"] == 4


@pytest.mark.slow
def test_two_runs_of_one_recipe_give_equal_content(finished: Finished, tmp_path: Path) -> None:
    """Also in another folder, and in another process: no path and no time is part of what is made."""
    make_world(tmp_path / "elsewhere")
    other = World(tmp_path / "elsewhere")
    assert ran(other) == STAGES
    assert contents(other.run) == contents(finished.run)


def test_nothing_made_names_a_folder_of_this_machine(finished: Finished) -> None:
    for name in [*SOURCES, *STAGES]:
        for file in list_files(finished.run / name):
            if not file.path.startswith("logs/"):
                made = (finished.run / name / file.path).read_bytes()
                assert str(finished.folder).encode() not in made, f"{name}/{file.path}"


def test_hidden_files_are_no_content_and_may_be_broken_or_gone(copy: World) -> None:
    for name, text in ((".hashes.json", "[1, 2"), (".worker.log", "noise"), (".lock", "")):
        (copy.run / name).write_text(text)
    assert to_do(copy) == []
    (copy.run / ".hashes.json").write_text('["a list"]')
    assert ran(copy) == []
    known = json.loads((copy.run / ".hashes.json").read_text())
    assert {Path(file).name for file in known} >= {"corpus.jsonl", "demos.jsonl"}
    for name in (".hashes.json", ".lock"):
        (copy.run / name).unlink()
    assert ran(copy) == []
    assert not (copy.run / ".worker.log").exists()


# --- skipping ------------------------------------------------------------------------------------------------------


def test_a_second_run_does_nothing(copy: World) -> None:
    assert to_do(copy) == []  # and fills the cache of hashes, in which the files of the copy are new
    before = {p: p.stat().st_mtime_ns for p in copy.run.rglob("*") if p.is_file()}
    outcome = call("run", copy.recipe, "--runs", copy.runs)
    assert outcome.code == 0
    assert "nothing to do" in outcome.err
    assert {p: p.stat().st_mtime_ns for p in copy.run.rglob("*") if p.is_file()} == before


def test_work_that_was_begun_again_is_told_of(copy: World) -> None:
    """`--again` was interrupted, and is not asked for any more: nothing is removed, and the table says `unfinished`."""
    partial = copy.run / "reward.partial"
    (partial / "resume").mkdir(parents=True)
    for key, said in ((read_artifact(copy.run / "reward").manifest.key, "--again reward goes on"), ("x", "of other")):
        (partial / "KEY").write_text(key)
        outcome = call("run", copy.recipe, "--runs", copy.runs)
        assert outcome.code == 0 and (partial / "KEY").read_text() == key
        assert f"reward is sealed, and {partial} holds unfinished work: {said}" in outcome.err
        assert "unfinished" in outcome.out


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        (("max_steps: 6", "max_steps: 7"), STAGES),
        (("per_prompt: 3", "per_prompt: 2"), ["answers", "rankings", "reward", "dpo", "result", "final"]),
        (("name: reward, kind: reward, model: sft", "name: reward, kind: reward, lora: none, model: sft"),
         ["reward", "result"]),
        (("name: dpo, kind: dpo,", "name: dpo, kind: dpo, beta: 0.3,"), ["dpo", "result", "final"]),
        (("data: rankings, max_new_tokens: 8", "data: rankings, max_new_tokens: 6"), ["result"]),
        (("seed: 3", "seed: 4"), ["demos", *STAGES]),
        (("holdout: 4", "holdout: 3"), ["demos", *STAGES[1:]]),
        (("lora: {r: 2, alpha: 4}", "lora: {r: 4, alpha: 4}"), ["reward", "dpo", "result", "final"]),
        (("seed: 3", "seed: 3\ncheckpoint_seconds: 5"), []),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_changed_setting_concerns_its_stage_and_those_after(
    copy: World, change: tuple[str, str], runs: list[str]
) -> None:
    copy.recipe.write_text(changed(change))
    assert to_do(copy) == runs


def test_only_what_changed_runs(copy: World) -> None:
    before = contents(copy.run)
    copy.recipe.write_text(changed(("name: dpo, kind: dpo,", "name: dpo, kind: dpo, learning_rate: 0.01,")))
    assert states(copy)["dpo"] == ("run", "`learning_rate` changed from 2e-05 to 0.01")
    assert ran(copy) == ["dpo", "result", "final"]
    after = contents(copy.run)
    assert {"dpo", "final"} <= {n for n in before if before[n] != after[n]} <= {"dpo", "result", "final"}
    assert leftovers(copy.run) == []
    assert ran(copy) == []


def test_a_stage_put_in_between_changes_no_other(copy: World) -> None:
    before = {n: (a.manifest.seed, a.manifest.key, a.manifest.content) for n, a in artifacts(copy.run).items()}
    copy.recipe.write_text(
        changed(("  - {name: answers,", "  - {name: early, kind: export, model: sft}\n  - {name: answers,"))
    )
    assert ran(copy) == ["early"]
    after = {n: (a.manifest.seed, a.manifest.key, a.manifest.content) for n, a in artifacts(copy.run).items()}
    assert after == before
    assert read_artifact(copy.run / "early").kind == "export"


def test_a_changed_rules_file_ranks_again(copy: World) -> None:
    judge = copy.folder / "judge.py"
    judge.write_text(judge.read_text().replace("% 97", "% 89"))
    assert to_do(copy) == ["rankings", "reward", "dpo", "result", "final"]
    assert states(copy)["rankings"] == ("run", "the rules file judge.py changed")


def test_a_changed_data_file_is_read_again(copy: World) -> None:
    with (copy.folder / "prompts.jsonl").open("a") as out:
        out.write(json.dumps({"prompt": ask("one more")}) + "\n")
    assert to_do(copy) == ["prompts", "answers", "rankings", "reward", "dpo", "result", "final"]
    assert states(copy)["prompts"] == ("run", "what its path holds changed")


def test_a_touched_data_file_is_not(copy: World) -> None:
    os.utime(copy.folder / "prompts.jsonl", (1, 1))
    assert to_do(copy) == []


def test_what_is_gone_from_a_sealed_artifact_is_made_again(copy: World) -> None:
    before = contents(copy.run)
    (copy.run / "sft" / "model.safetensors").unlink()
    with (copy.run / "prompts" / "heldout.jsonl").open("a") as out:
        out.write("\n")
    (copy.run / "dpo" / "logs" / "metrics.jsonl").unlink()  # nothing was made of it
    found = states(copy)
    assert found["sft"] == ("run", "`model.safetensors` is gone")
    assert found["prompts"] == ("run", "`heldout.jsonl` is not as it was sealed")
    assert ran(copy) == ["sft"]
    assert contents(copy.run) == before


def test_a_stage_reads_nothing_that_was_altered(copy: World) -> None:
    """Its manifest would say that it came of what was sealed."""
    file = copy.run / "answers" / "train.jsonl"
    sealed = file.read_bytes()
    file.write_bytes(sealed.replace(b"?", b"!", 1))  # a glance does not see it: the size is the same
    assert file.read_bytes() != sealed and to_do(copy) == []
    before = (copy.run / "rankings" / "manifest.json").read_bytes()
    outcome = run(copy, "--again", "rankings")
    assert outcome.code == 3, outcome.err
    assert outcome.json["found"] == "`train.jsonl` of the artifact `answers` is not as it was sealed"
    assert outcome.json["remedy"] == "make it again: align run RECIPE --again answers"
    assert (copy.run / "rankings" / "manifest.json").read_bytes() == before
    assert ran(copy, "--again", "answers", "--again", "rankings") == ["answers", "rankings"]


def flip(file: Path) -> None:
    """Another last byte: the size is the same."""
    held = file.read_bytes()
    file.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))


def begin(copy: World, name: str) -> Path:
    """As if this stage, now sealed, had been killed at a checkpoint while it was made again; the checkpoint."""
    checkpoint = copy.run / f"{name}.partial" / "resume" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint.parents[1] / "KEY").write_text(artifacts(copy.run)[name].manifest.key)
    return checkpoint


def test_a_stage_reads_no_adapter_whose_base_was_altered(copy: World) -> None:
    flip(copy.run / "sft" / "model.safetensors")  # `dpo` is an adapter on it
    outcome = run(copy, "--again", "final")
    assert outcome.code == 3, outcome.err
    assert outcome.json["found"] == "`model.safetensors` of the artifact `sft` is not as it was sealed"
    assert ran(copy, "--again", "sft", "--again", "final") == ["sft", "final"]


def test_work_to_continue_from_outlives_an_altered_input(copy: World) -> None:
    checkpoint = begin(copy, "dpo")
    shutil.rmtree(copy.run / "dpo")
    flip(copy.run / "sft" / "model.safetensors")
    assert run(copy).code == 3
    assert checkpoint.is_dir() and states(copy)["dpo"] == ("continue", "unfinished")


def test_what_replaces_an_altered_artifact_is_continued(copy: World) -> None:
    begin(copy, "dpo")
    assert to_do(copy) == []
    (copy.run / "dpo" / "adapter_model.safetensors").unlink()
    assert states(copy)["dpo"] == ("continue", "unfinished")


@pytest.mark.parametrize(
    "change", [{"files": None}, {"files": [{"path": "x"}]}, {"inputs": None}, {"inputs": {"data": [1]}}], ids=str
)
def test_a_manifest_of_another_form_is_told(copy: World, change: dict[str, Any]) -> None:
    file = copy.run / "final" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert states(copy)["final"] == ("run", "new")
    outcome = run(copy)
    assert outcome.code == 3 and outcome.json["where"] == str(file)
    assert re.fullmatch(r"the manifest cannot be read: [a-z0-9.]+: [\w ]+", outcome.json["found"])
    assert outcome.json["remedy"] == "delete the folder and run again"
    shutil.rmtree(copy.run / "final")
    assert ran(copy) == ["final"]


def test_an_error_leaves_the_older_artifact(copy: World) -> None:
    before = (copy.run / "rankings" / "manifest.json").read_bytes()
    (copy.folder / "judge.py").write_text("def score(*given, **named):\n    return 'good'\n")
    outcome = run(copy)
    assert outcome.code == 3
    assert "score() gave 'good'" in outcome.json["found"]
    assert (copy.run / "rankings" / "manifest.json").read_bytes() == before
    assert [name for name in leftovers(copy.run) if name != ".worker.log"] == []


def test_a_run_folder_can_be_moved(copy: World, tmp_path: Path) -> None:
    """The adapter finds its base beside itself, and nothing is made again."""
    shutil.move(copy.runs, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "tiny" / "final")
    outcome = call("run", copy.recipe, "--runs", tmp_path / "moved", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["ran"] == ["final"]


def test_the_worlds_folder_can_be_moved(copy: World, tmp_path: Path) -> None:
    shutil.move(copy.folder, tmp_path / "other")
    assert to_do(World(tmp_path / "other")) == []


# --- interrupted ---------------------------------------------------------------------------------------------------


def test_two_runs_at_once(copy: World) -> None:
    with (copy.run / ".lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        outcome = run(copy)
    assert outcome.code == 6
    assert outcome.json["found"] == "another align run works in this folder"
    assert outcome.json["where"] == str(copy.run)
    assert "`name:`" in outcome.json["remedy"] and "--runs" in outcome.json["remedy"]
    assert ran(copy) == []


def test_an_unlocked_first_run_is_not_removed_by_a_second(world: World) -> None:
    """The second must not tidy up what the first has begun."""
    world.run.mkdir(parents=True)
    with (world.run / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(world).code == 6
    assert (world.run / ".lock").exists()


def test_control_c_stops_and_the_same_command_continues(finished: Finished, copy: World) -> None:
    shutil.rmtree(copy.run / "final")
    slow = copy.folder / "judge.py"
    rules = slow.read_text()
    slow.write_text("import time\n" + rules.replace("    return sum", "    time.sleep(30)\n    return sum"))
    process = subprocess.Popen(
        command("run", copy.recipe, "--runs", copy.runs), env=environment(), stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    log = copy.run / "rankings.partial" / "logs" / "stage.log"
    wait_until(log.exists, process)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; the same command goes on" in err
    assert "Traceback" not in err
    assert (copy.run / "rankings" / "manifest.json").exists()
    slow.write_text(rules)
    assert ran(copy) == ["final"]  # the old rules: the older rankings still hold
    assert contents(copy.run) == contents(finished.run)


def test_control_c_in_training_keeps_the_steps_done(finished: Finished, copy: World) -> None:
    long = changed(("data: demos, max_steps: 4", "data: demos, max_steps: 3000"))
    copy.recipe.write_text(long)
    process = subprocess.Popen(
        command("run", copy.recipe, "--runs", copy.runs), env=environment(), stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    log = copy.run / "sft.partial" / "logs" / "metrics.jsonl"
    wait_until(lambda: log.exists() and log.read_text().count("\n") > 20, process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping where it can continue" in err and "Traceback" not in err
    (kept,) = (copy.run / "sft.partial").rglob("checkpoint-*/complete")
    step = int(kept.parent.name.split("-")[1])
    assert 5 <= step < 3000
    copy.recipe.write_text(long.replace("3000", str(step + 2)))  # another key: begins anew
    assert states(copy)["sft"][0] == "run"
    copy.recipe.write_text(long)
    assert states(copy)["sft"][0] == "continue"
    with subprocess.Popen(
        command("run", copy.recipe, "--runs", copy.runs), env=environment(), stderr=subprocess.PIPE, text=True
    ) as again:
        assert again.stderr is not None
        assert any(f"continues from step {step}" in line for line in again.stderr)
        again.kill()


def wait_until(happened: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Poll until `happened()`; fail if the process ends before."""
    assert callable(happened)
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, "the process ended before it was to be stopped"
        assert time.monotonic() < end, "nothing happened for too long"
        time.sleep(0.005)


KILLED_IN_SEAL = """\
import os, signal, sys
from pathlib import Path
from align.artifacts import Manifest, seal

replace, calls = os.replace, []

def dying(source, target):
    calls.append(source)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = dying
seal(Path(sys.argv[1]), Manifest(name="a", kind="prompts", made_by="source", key="new"))
"""


@pytest.mark.parametrize(("call_number", "kept"), [(1, "old"), (2, "new"), (3, "new")])
def test_killed_while_sealing(tmp_path: Path, call_number: int, kept: str) -> None:
    """Before the manifest stands, before the older folder moves, and between the two renames."""
    for key, text in (("old", "before"), ("new", "after")):
        partial = tmp_path / "a.partial"
        (partial / "resume").mkdir(parents=True)
        (partial / "resume" / "checkpoint").write_text("much work")
        (partial / "KEY").write_text(key)
        (partial / "train.jsonl").write_text(text)
        if key == "old":
            seal(partial, Manifest(name="a", kind="prompts", made_by="source", key="old"))
    done = subprocess.run([sys.executable, "-c", KILLED_IN_SEAL, str(partial), str(call_number)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    finish_interrupted_seals(tmp_path)
    found = read_artifact(tmp_path / "a")
    assert found.manifest.key == kept
    assert (found.path / "train.jsonl").read_text() == {"old": "before", "new": "after"}[kept]
    assert [f.path for f in found.manifest.files] == ["train.jsonl"]
    assert sorted(p.name for p in found.path.iterdir()) == ["manifest.json", "train.jsonl"]
    assert sorted(p.name for p in tmp_path.iterdir()) == (["a", "a.partial"] if kept == "old" else ["a"])
    if kept == "old":  # the work is not lost: it is continued from its checkpoint
        assert (partial / "resume" / "checkpoint").read_text() == "much work"
        assert (partial / "KEY").read_text() == "new"


def test_killed_after_both_renames(tmp_path: Path) -> None:
    """The older folder, moved aside, is removed by the next run."""
    for name in ("a", "a.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(name)
    finish_interrupted_seals(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "train.jsonl").read_text() == "a"


def test_half_written_files_of_a_killed_stage_are_not_sealed(copy: World) -> None:
    """A temporary file that a kill left would change the content of what the continued stage makes."""
    before = contents(copy.run)
    key = read_artifact(copy.run / "rankings").manifest.key
    shutil.rmtree(copy.run / "rankings")
    partial = copy.run / "rankings.partial"
    (partial / "resume").mkdir(parents=True)
    (partial / "KEY").write_text(key)
    (partial / ".train.jsonl.123.tmp").write_text("half")
    assert states(copy)["rankings"] == ("continue", "unfinished")
    assert ran(copy) == ["rankings"]
    assert contents(copy.run) == before


def test_work_of_other_settings_is_not_continued(copy: World) -> None:
    shutil.rmtree(copy.run / "rankings")
    partial = copy.run / "rankings.partial"
    partial.mkdir()
    (partial / "KEY").write_text("of something else")
    (partial / "stray.jsonl").write_text("stale")
    assert ran(copy) == ["rankings"]
    assert not (copy.run / "rankings" / "stray.jsonl").exists()


def test_a_source_put_aside_by_its_data(copy: World) -> None:
    """Broken data stops the run before anything is written over."""
    write_rows(copy.folder / "demos.jsonl", [{"messages": []}])
    before = (copy.run / "demos" / "manifest.json").read_bytes()
    assert run(copy).code == 3
    assert (copy.run / "demos" / "manifest.json").read_bytes() == before
    assert leftovers(copy.run) == []
