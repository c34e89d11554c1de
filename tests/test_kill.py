"""SIGKILL at any moment: the same command continues, and what comes out is what an undisturbed run makes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from align.contract import RESUME
from align.trainers.progress import COMPLETE
from tests.conftest import World
from tests.runs import SOURCES, STAGES, artifacts, call, changed, command, contents, environment, leftovers, make_world

pytestmark = pytest.mark.slow

RECIPE = changed(
    ("seed: 3", "seed: 3\ncheckpoint_seconds: 0.1"),
    ("max_steps: 6", "max_steps: 40"),
    ("max_steps: 4,", "max_steps: 30,"),
    ("per_prompt: 3", "per_prompt: 6"),
    ("model: sft, data: rankings, max_steps: 3, batch_size: 4, max_length: 128}\n  - {name: dpo",
     "model: sft, data: rankings, max_steps: 30, batch_size: 4, max_length: 128}\n  - {name: dpo"),
    ("name: dpo, kind: dpo, model: sft, data: rankings, max_steps: 3",
     "name: dpo, kind: dpo, model: sft, data: rankings, max_steps: 30"),
    ("  - {name: result",
     "  - {name: ppo, kind: ppo, model: sft, prompts: prompts, reward: reward, max_steps: 24, batch_size: 4,\n"
     "     ppo_epochs: 2, minibatches: 1, evaluate_every: 2, max_new_tokens: 6}\n  - {name: result"),
)  # fmt: skip
"""Long enough for a kill to find each stage at work."""
MADE = [*SOURCES, *STAGES, "ppo"]

SECONDS = 120


@dataclass(frozen=True)
class Kill:
    """One kill: of which stage, when, and whom. `goes_on`: what the next run must say of this stage."""

    stage: str
    moment: str
    whom: str
    happened: Callable[[Path], bool]
    goes_on: str = ""


def checkpoint(least: int) -> Callable[[Path], bool]:
    """A checkpoint of at least that step was written whole."""
    return lambda partial: any(
        int(p.name.split("-")[1]) >= least and (p / COMPLETE).exists() for p in (partial / RESUME).glob("checkpoint-*")
    )


def half_checkpoint(least: int) -> Callable[[Path], bool]:
    """A checkpoint is being written: its folder is there, and an earlier one is whole."""

    def happened(partial: Path) -> bool:
        found = {int(p.name.split("-")[1]): p for p in (partial / RESUME).glob("checkpoint-*")}
        last = max(found, default=0)
        return last >= least and len(found) > 1 and not (found[last] / COMPLETE).exists()

    return happened


def batches(name: str, count: int) -> Callable[[Path], bool]:
    """So many batches of this policy's answers were kept."""

    def happened(partial: Path) -> bool:
        file = partial / RESUME / f"{name}.jsonl"
        return file.exists() and file.read_bytes().count(b"\n") >= count

    return happened


def begun(partial: Path) -> bool:
    """The stage's process writes its log."""
    return (partial / "logs" / "stage.log").exists()


def writing(name: str) -> Callable[[Path], bool]:
    """A file of what the stage makes is there."""
    return lambda partial: (partial / name).exists()


KILLS = [
    Kill("base", "while a checkpoint is written", "run", half_checkpoint(2), "continues from step"),
    Kill("base", "after a checkpoint", "stage", checkpoint(12), "continues from step"),
    Kill("sft", "after a checkpoint", "run", checkpoint(4), "continues from step"),
    Kill("answers", "after two batches", "run", batches("sft", 2)),
    Kill("answers", "after four batches", "stage", batches("sft", 4)),
    Kill("rankings", "when it has begun", "run", begun),
    Kill("reward", "while a checkpoint is written", "stage", half_checkpoint(3), "continues from step"),
    Kill("dpo", "after a checkpoint", "run", checkpoint(6), "continues from step"),
    Kill("dpo", "while it is saved", "run", writing("adapter_config.json")),
    Kill("ppo", "after an evaluation", "run", checkpoint(7), "continues from step"),
    Kill("ppo", "after another one", "stage", checkpoint(15), "continues from step"),
    Kill("result", "between two policies", "run", batches("sft", 1)),
    Kill("final", "while it is saved", "stage", writing("config.json")),
]


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def stages_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The process that the server forked, if there is one now: it is no child of the run itself."""
    return [p for p in descendants(process) if parent_of(p) not in (None, process.pid)]


def parent_of(process: psutil.Process) -> int | None:
    """Asked of each process itself: of two lists of processes, one may have begun or ended in between."""
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def run_and_kill(world: World, kill: Kill, log: Path, first: str = "") -> None:
    """Start a run, wait for the moment, kill, and see that nothing of it stays alive.

    first: what the run must have said before that moment counts.
    """
    partial = world.run / f"{kill.stage}.partial"
    with log.open("w") as said:
        process = subprocess.Popen(
            command("run", world.recipe, "--runs", world.runs), env=environment(), stdout=said, stderr=said, text=True
        )
    end = time.monotonic() + SECONDS
    # What was waited for may be there from the run before, if that was killed late: there must be a stage, too, and
    # it must have said how it goes on.
    while not (first in log.read_text() and kill.happened(partial) and (stages := stages_of(process))):
        assert process.poll() is None, f"{kill}: the run ended first\n{log.read_text()}"
        assert time.monotonic() < end, f"{kill}: it never happened\n{log.read_text()}"
        time.sleep(0.001)
    family = descendants(process)
    if kill.whom == "run":
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    else:
        os.kill(stages[0].pid, signal.SIGKILL)
        assert process.wait(30) == 6, log.read_text()
        assert "the stage's process ended without a word" in log.read_text()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive, f"{kill}: {alive} outlived the run"


@pytest.mark.timeout(1500)  # fifteen runs, each of which imports the libraries; minutes where the machine is shared
def test_killed_at_any_moment(tmp_path: Path) -> None:
    whole = World(tmp_path / "whole")
    make_world(whole.folder, RECIPE.replace("checkpoint_seconds: 0.1", "checkpoint_seconds: 1000"))
    assert call("run", whole.recipe, "--runs", whole.runs, "--quiet").code == 0
    world = World(tmp_path / "killed")
    make_world(world.folder, RECIPE)
    log = tmp_path / "said.txt"
    kept = b""
    for number, kill in enumerate(KILLS):
        before = KILLS[number - 1] if number else None
        # One that began anew never says so, and the run ends, or the time does, before it may be killed.
        run_and_kill(world, kill, log, f"{before.stage}: {before.goes_on}" if before and before.goes_on else "")
        assert not (world.run / kill.stage).exists(), f"{kill}: it was finished before it could be killed"
        answers = world.run / "answers.partial" / RESUME / "sft.jsonl"
        if kill.stage == "answers":
            assert answers.read_bytes().startswith(kept), "finished batches were sampled again"
            kept = answers.read_bytes()[: answers.read_bytes().rfind(b"\n") + 1]
    done = call("run", world.recipe, "--runs", world.runs, "--json")
    assert done.code == 0, done.err
    assert done.json["ran"] == ["final"]
    assert contents(world.run, MADE) == contents(whole.run, MADE)
    assert leftovers(world.run) == []
    for name, artifact in artifacts(whole.run, MADE).items():
        ours = artifacts(world.run, MADE)[name].manifest
        assert [f.path for f in ours.files] == [f.path for f in artifact.manifest.files], name


def test_killed_while_made_anew_leaves_the_older(copy: World, tmp_path: Path) -> None:
    """A changed setting, a kill in the middle: until the new artifact is whole, the older one stands."""
    older = (copy.run / "dpo" / "manifest.json").read_bytes()
    recipe = changed(
        ("seed: 3", "seed: 3\ncheckpoint_seconds: 0"),
        ("model: sft, data: rankings, max_steps: 3, batch_size: 4, max_length: 128}\n  - {name: result",
         "model: sft, data: rankings, max_steps: 20, batch_size: 4, max_length: 128}\n  - {name: result"),
    )  # fmt: skip
    copy.recipe.write_text(recipe)
    run_and_kill(copy, Kill("dpo", "after a checkpoint", "run", checkpoint(3)), tmp_path / "said.txt")
    assert (copy.run / "dpo" / "manifest.json").read_bytes() == older
    done = call("run", copy.recipe, "--runs", copy.runs, "--json")
    assert done.code == 0, done.err
    assert done.json["ran"] == ["dpo", "result", "final"]
    assert "dpo: continues from step" in done.err or done.err == ""
    assert (copy.run / "dpo" / "manifest.json").read_bytes() != older
    assert leftovers(copy.run) == []
    assert sorted(p.name for p in copy.run.iterdir() if (p / "manifest.json").exists()) == sorted(
        ["corpus", "demos", "prompts", *STAGES]
    )
