"""run_recipe(): resolve, then skip or run, then seal; stage after stage.

Killed at any moment and run again, it continues: sealed artifacts are skipped, a partial folder of the same key is
taken up where it stopped, one of another key is started anew.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import importlib.metadata
import os
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from align.artifacts import (
    KEY_FILE,
    LOGS,
    MANIFEST,
    REPORT,
    RESUME,
    WAITING,
    Artifact,
    Manifest,
    finish_seal,
    read_artifact,
    seal,
)
from align.data.files import write_bytes
from align.errors import AlignError, RecipeError, SystemLimit, TrainingError
from align.recipe import words
from align.recipe.check import check_recipe
from align.recipe.load import Loaded
from align.recipe.plan import Step, key_of, make_plan
from align.recipe.schema import Lora, StageBase
from align.recipe.wiring import people_of
from align.sources import (
    HASHES,
    MODELS,
    HashCache,
    check_sources,
    fresh_partial,
    local_model,
    prepare_sources,
    sealed_as,
    source_keys,
)
from align.waiting import Ask, Waiting, ask_people, check_goals, desk_of, look, rows_of
from align.whole import check_inputs
from align.worker import LOG, Done, Job, StageCrash, Worker, as_user_error, wait_for_folder

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "tokenizers", "rlhf-align")
"""Versions that a manifest records: those that can change what a stage makes."""

WORKER_LOG = ".worker.log"
"""What the server that stages are forked from prints; kept only where a run failed."""
LOCK = ".lock"
"""Held while a run works in its folder. These names start with a dot, which no artifact's can."""


class Display(Protocol):
    """What a run tells while it goes; `align/console.py` draws it in a terminal."""

    def say(self, text: str) -> None: ...

    def stage(self, step: Step, number: int, total: int) -> None: ...

    def progress(self, what: str, done: int, total: int, note: str) -> None: ...

    def sealed(self, step: Step, artifact: Artifact) -> None: ...


@dataclass(frozen=True)
class RunResult:
    """A run that is finished, or waits for people. ran: names of the steps that were not skipped."""

    folder: Path
    order: list[str]
    artifacts: dict[str, Artifact]
    ran: list[str]
    waiting: Waiting | None = None


@dataclass(frozen=True)
class Wishes:
    """How a run is to go. again: stages that run although they are sealed. wait: for people, instead of ending."""

    again: Collection[str] = ()
    wait: bool = False


def run_recipe(loaded: Loaded, runs: Path, display: Display, wishes: Wishes = Wishes()) -> RunResult:
    """Run what is not sealed yet. Raises the AlignError of the stage that fails; everything before it stays sealed.

    A stage that fails leaves no folder behind, unless there is work to continue from (a full disk, memory, an
    interrupt): that stays in `NAME.partial/`.
    """
    for warning in check_recipe(loaded):
        display.say(warning)
    recipe = loaded.recipe
    _check_names(loaded, wishes.again)
    run = runs / recipe.name
    with system_errors(run):
        cache = HashCache(run / HASHES)
        keys = source_keys(recipe, loaded.path.parent, cache)  # a missing file is told before a folder is made
        made = _make_folder(run)
        try:
            cache.save()
            with locked(run):
                try:
                    return _run(loaded, run, keys, display, wishes)
                except Exception:
                    if made:
                        _remove_if_nothing_done(run)
                    raise
        except Exception:
            for folder in made:
                with contextlib.suppress(OSError):  # a folder that holds something stays
                    folder.rmdir()
            raise


def _check_names(loaded: Loaded, again: Collection[str]) -> None:
    stages = [stage.name for stage in loaded.recipe.stages]
    for name in again:
        if name not in stages:
            hint = words.did_you_mean(name, stages)
            raise RecipeError(
                f"there is no stage `{name}`", where="--again", allowed=words.listing(stages), remedy=hint
            )


def _make_folder(run: Path) -> list[Path]:
    """Make the run folder. Returns the folders that were not there before, the innermost first."""
    there = next(place for place in (run, *run.absolute().parents) if place.exists())
    if not there.is_dir():
        raise RecipeError("this is a file, and runs are kept in a folder", where=str(there), remedy="change --runs")
    made = [place for place in (run, *run.parents) if not place.exists()]
    run.mkdir(parents=True, exist_ok=True)
    return made


def _run(loaded: Loaded, run: Path, keys: dict[str, str], display: Display, wishes: Wishes) -> RunResult:
    recipe, folder = loaded.recipe, loaded.path.parent
    finish_interrupted_seals(run)
    artifacts = prepare_sources(recipe, folder, run, keys, display.say)
    _keep_recipe(run / "recipe.yaml", loaded.text)
    models = [s for s in recipe.sources.values() if s.kind in MODELS]
    worker = Worker(run / WORKER_LOG, offline=all(local_model(s, folder) for s in models))
    order = [*recipe.sources, *(stage.name for stage in recipe.stages)]
    data = {name: rows_of(a) for name, a in artifacts.items() if a.kind not in MODELS}
    check_goals(loaded, run, make_plan(loaded, run, keys, wishes.again), data, wishes.again)
    ran: list[str] = []
    for number, stage in enumerate(recipe.stages, 1):
        # Planned anew before each stage: what an input came out as is known only now.
        step = next(s for s in make_plan(loaded, run, keys, wishes.again) if s.name == stage.name)
        if step.state == "sealed":
            artifacts[step.name] = read_artifact(run / step.name)
            _leftover(run / f"{step.name}.partial", step, display)
            continue
        display.stage(step, number, len(recipe.stages))
        settings: StageBase = stage
        if people_of(stage) is not None:
            desk = desk_of(loaded, stage, run, wishes.again)
            ask = Ask(loaded, stage, step, artifacts[step.reads["answers"][0]], _prepare_partial(run, step), desk)
            settings, waiting = ask_people(ask, display, wishes.wait)
            if waiting is not None:
                return RunResult(run, order, artifacts, ran, waiting)
        artifacts[step.name] = _run_stage(loaded, settings, step, artifacts, worker, display)
        ran.append(step.name)
        display.sealed(step, artifacts[step.name])
    (run / WORKER_LOG).unlink(missing_ok=True)
    return RunResult(run, order, artifacts, ran)


def finish_interrupted_seals(run: Path) -> None:
    """Put in place what a kill between the renames of `seal` left under another name."""
    for partial in run.glob("*.partial"):
        if (partial / MANIFEST).exists():
            finish_seal(partial)
    for old in run.glob("*.old"):
        final = old.with_suffix("")
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(old, final)


def _keep_recipe(file: Path, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        if file.read_text("utf-8") == text:
            return
    write_bytes(file, text.encode())


def _run_stage(
    loaded: Loaded, stage: StageBase, step: Step, artifacts: dict[str, Artifact], worker: Worker, display: Display
) -> Artifact:
    run, recipe = worker.log.parent, loaded.recipe
    inputs = {role: [artifacts[name] for name in names] for role, names in step.reads.items()}
    check_inputs(artifact for found in inputs.values() for artifact in found)  # first: work to continue from stays
    partial = _prepare_partial(run, step)
    job = Job(
        settings=stage,
        inputs={role: [str(a.path.resolve()) for a in found] for role, found in inputs.items()},
        out=str(partial.resolve()),
        seed=step.seed,
        recipe_folder=str(loaded.path.parent.resolve()),
        precision=recipe.precision,
        default_lora=recipe.lora if isinstance(recipe.lora, Lora) else None,
        checkpoint_seconds=recipe.checkpoint_seconds,
        report_to=recipe.report_to,
    )
    started = now()
    clock = time.monotonic()

    def event(kind: str, values: tuple[Any, ...]) -> None:
        if kind == "say":
            display.say(f"{stage.name}: {values[0]}")
        else:
            display.progress(*values)

    try:
        done = worker.run(job, event)
    except (AlignError, StageCrash) as error:
        _clean_up(run, partial, error)
        raise
    manifest = _manifest(step, inputs, done)
    manifest.started, manifest.ended = started, now()
    manifest.seconds = round(time.monotonic() - clock, 2)
    artifact = seal(partial, manifest)
    failed_log(run, stage.name).unlink(missing_ok=True)
    return artifact


def _prepare_partial(run: Path, step: Step) -> Path:
    """The folder to work in: what there is to continue from, or an empty one. Waits for a killed run's last stage."""
    partial = run / f"{step.name}.partial"
    wait_for_folder(partial)
    if step.state != "continue":
        fresh_partial(run, step.name)
        (partial / KEY_FILE).write_text(step.key, "utf-8")
        return partial
    for path in partial.iterdir():
        # Half-written results would be sealed with the rest if the stage did not happen to write over them.
        if path.name not in (RESUME, KEY_FILE, LOGS):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return partial


def _leftover(partial: Path, step: Step, display: Display) -> None:
    """Work on a sealed stage that is not asked for any more: a wait for people ends, other work is told of."""
    if (partial / WAITING).exists():
        with contextlib.suppress(FileNotFoundError):
            os.utime(partial.parent / REPORT, (0, 0))  # it tells of that wait, and is made anew when this run ends
        shutil.rmtree(partial)
    elif partial.is_dir():
        goes_on = f"--again {step.name} goes on, or delete it"
        what = goes_on if key_of(partial) == step.key else "of other settings; nothing here needs it, delete it"
        display.say(f"{step.name} is sealed, and {partial} holds unfinished work: {what}")


def _manifest(step: Step, inputs: dict[str, list[Artifact]], done: Done) -> Manifest:
    return Manifest(
        name=step.name,
        kind=step.makes,
        made_by=step.kind,
        settings=step.settings,
        seed=step.seed,
        key=step.key,
        inputs={role: [a.entry() for a in found] for role, found in inputs.items()},
        metrics=done.metrics,
        versions=versions(),
        git=git_commit(),
        device=done.device,
        peak_memory_mb=done.peak_memory_mb,
    )


def _clean_up(run: Path, partial: Path, error: AlignError | StageCrash) -> None:
    """Remove a failed stage's folder, unless the machine stopped it and it can go on; its log is kept beside it."""
    if isinstance(error, StageCrash | TrainingError):
        with contextlib.suppress(OSError):
            shutil.copyfile(partial / LOG, failed_log(run, partial.stem))
    if not isinstance(error, SystemLimit | StageCrash):
        shutil.rmtree(partial, ignore_errors=True)


def failed_log(run: Path, name: str) -> Path:
    """Where the log of a stage that failed is kept until the stage is sealed."""
    return run / f"{name}.failed.log"


def _remove_if_nothing_done(run: Path) -> None:
    """Remove a run folder made by this call in which nothing was sealed and nothing can be continued."""
    if not any(run.glob(f"*/{MANIFEST}")) and not any(run.glob("*.partial")):
        shutil.rmtree(run, ignore_errors=True)


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder. Raises SystemLimit if another run holds it; a killed run's hold goes with it."""
    handle = os.open(run / LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemLimit(
            "another align run works in this folder",
            where=str(run),
            remedy="wait for it to end, or change `name:` in the recipe, or keep this run elsewhere with --runs",
        ) from None
    else:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def system_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder, met in this process, into the user error it is."""
    try:
        yield
    except OSError as error:
        user = as_user_error(error, folder)
        if user is None:
            raise
        raise user from error


def versions() -> dict[str, str]:
    """Versions of the packages that can change what a stage makes; those not installed are absent."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_commit() -> str | None:
    """The commit of the folder the command runs in, with `+` if files differ from it; None outside a checkout."""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=5)
        if commit.returncode:
            return None
        dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def check_run(loaded: Loaded, runs: Path) -> tuple[list[str], list[Step]]:
    """Everything that can be known without running: (warnings, what each step would do). Makes no folder.

    Raises RecipeError, DataError or ModelError as `run_recipe` would before its first stage.
    """
    warnings = check_recipe(loaded)
    recipe, folder = loaded.recipe, loaded.path.parent
    run = runs / recipe.name
    with system_errors(run):
        cache = HashCache(run / HASHES)
        keys = source_keys(recipe, folder, cache)
        cache.save()
        splits = check_sources(recipe, folder, run, keys, warnings.append)
        sealed = {name: artifact for name, key in keys.items() if (artifact := sealed_as(run / name, key))}
        data = {name: rows_of(a) for name, a in sealed.items() if a.kind not in MODELS}
        data |= {name: len(split.train.records) + len(split.heldout.records) for name, split in splits.items()}
        steps = make_plan(loaded, run, keys)
        check_goals(loaded, run, steps, data)
        return warnings, look(loaded, run, steps)
