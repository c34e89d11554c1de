"""One stage in a process of its own, forked from a server that has imported torch and the trainers.

Importing those takes ten seconds, a fork some hundredths; memory goes back to the system after each stage, and a crash
takes one stage down. The child talks through a pipe: progress, lines to show, and at the end figures or an error. A
second pipe tells it that we are gone: a child without parent would write into a folder that the next run wants.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from align.artifacts import LOGS, read_artifact
from align.errors import AlignError, SystemLimit, from_dict
from align.recipe.schema import Lora, StageBase

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
"""Set before the libraries are imported, since they read these on import. Nothing phones home."""

LOG = f"{LOGS}/stage.log"


@dataclass(frozen=True)
class Job:
    """One stage to run: its settings, the folders it reads by role, the folder it writes, and its context."""

    settings: StageBase
    inputs: dict[str, list[str]]
    out: str
    seed: int
    recipe_folder: str
    precision: str
    default_lora: Lora | None
    checkpoint_seconds: float
    report_to: str


@dataclass(frozen=True)
class Done:
    """What a stage reports when it ends well. peak_memory_mb: resident memory, or the card's if there is one."""

    metrics: dict[str, Any]
    peak_memory_mb: float
    device: str


Event = Callable[[str, tuple[Any, ...]], None]
"""Called in our process with `progress` (what, done, total, note) or `say` (text,)."""


class Worker:
    """The server that stages are forked from. It starts with the first stage, so that a finished run never waits."""

    def __init__(self, log: Path, offline: bool) -> None:
        self.log, self.offline = log, offline
        self.context = multiprocessing.get_context("forkserver")
        self.started = False

    def start(self) -> None:
        """Start the server (once). What it prints while importing goes to the log, not to the terminal."""
        if self.started:
            return
        os.environ.update(QUIET)
        if self.offline:
            os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
        self.context.set_forkserver_preload(["align.warm"])
        with _terminal_to(self.log):
            forkserver.ensure_running()
        self.started = True

    def run(self, job: Job, event: Event) -> Done:
        """Run a stage and wait for it. Raises the user error it met, SystemLimit if it was killed.

        KeyboardInterrupt ends the stage's process; what it has finished stays in its partial folder.
        """
        self.start()
        ours, theirs = self.context.Pipe(duplex=False)
        watched, held = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_child, args=(job, theirs, watched), daemon=True)
        with _plain_main():
            process.start()
        theirs.close()
        watched.close()
        try:
            return _listen(ours, event, job)
        except EOFError:
            process.join()
            raise _killed(process.exitcode, job) from None
        finally:
            held.close()
            ours.close()
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def _listen(pipe: Connection, event: Event, job: Job) -> Done:
    while True:
        kind, *values = pipe.recv()
        if kind == "done":
            return Done(*values)
        if kind == "error":
            raise from_dict(values[0])
        if kind == "crash":
            raise StageCrash(job.settings.name, values[0])
        event(kind, tuple(values))


class StageCrash(Exception):
    """A stage failed in a way nobody foresaw: our mistake, shown with its traceback."""

    def __init__(self, stage: str, trace: str) -> None:
        super().__init__(stage, trace)
        self.stage, self.trace = stage, trace


def _killed(code: int | None, job: Job) -> AlignError:
    name = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
    return SystemLimit(
        f"the stage's process ended without a word ({name}); SIGKILL as a rule means that memory ran out",
        where=f"stage {job.settings.name}",
        remedy="lower micro_batch, max_length or batch_size, then run again: it continues",
    )


def _child(job: Job, pipe: Connection, watched: Connection) -> None:
    """The stage's process, from fork to exit."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # our parent decides when to stop
    threading.Thread(target=_die_with_parent, args=(watched,), daemon=True).start()
    out = Path(job.out)
    try:
        _wait_for_lock(out)
        _redirect_to(out / LOG)
        pipe.send(("done", *_run(job, pipe)))
    except BaseException as error:
        traceback.print_exc()
        user = as_user_error(error, out)
        pipe.send(("error", user.to_dict()) if user else ("crash", traceback.format_exc()))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _run(job: Job, pipe: Connection) -> tuple[dict[str, Any], float, str]:
    import torch

    from align.contract import Context, Inputs
    from align.models.device import device_name, pick_device
    from align.stages import run_stage

    last = 0.0

    def progress(what: str, done: int, total: int, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.1 or done >= total:  # a bar that moves ten times a second is smooth enough
            last = now
            pipe.send(("progress", what, done, total, note))

    context = Context(
        seed=job.seed,
        recipe_folder=Path(job.recipe_folder),
        precision=job.precision,
        default_lora=job.default_lora,
        checkpoint_seconds=job.checkpoint_seconds,
        report_to=job.report_to,
        progress=progress,
        say=lambda text: pipe.send(("say", text)),
    )
    inputs = Inputs({role: [read_artifact(Path(p)) for p in paths] for role, paths in job.inputs.items()})
    device = pick_device()
    metrics = run_stage(job.settings, inputs, Path(job.out), context)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return metrics, round(peak, 1), device_name(device)


def as_user_error(error: BaseException, folder: Path) -> AlignError | None:
    """The user error behind an exception: itself, a full disk, no permission, memory; None if it is our mistake."""
    if isinstance(error, AlignError):
        return error
    full = SystemLimit(
        "the disk is full",
        where=str(folder),
        remedy="free some space, then run again: it continues from the last checkpoint",
    )
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        return full
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        place = str(getattr(error, "filename", None) or folder)
        return SystemLimit(
            "no permission to write", where=place, remedy="change the folder's owner, or choose another with --runs"
        )
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return SystemLimit(
            "memory ran out", where=str(folder), remedy="lower micro_batch or max_length, then run again: it continues"
        )
    with contextlib.suppress(OSError):
        # torch.save reports a full disk as a failed write of its own, without the system's word for it.
        if isinstance(error, RuntimeError) and "write" in str(error) and shutil.disk_usage(folder).free < 2**20:
            return full
    return None


def _die_with_parent(watched: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        watched.recv()
    os._exit(1)


def _wait_for_lock(out: Path, seconds: float = 30.0) -> None:
    """Wait until no other process works in this folder; one whose parent was killed goes within moments."""
    lock = out / "resume" / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_CREAT | os.O_RDWR)
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return  # held until this process ends
        except BlockingIOError:
            if time.monotonic() > end:
                raise SystemLimit(
                    "another process works in this folder", where=str(out), remedy="end it, then run again"
                ) from None
            time.sleep(0.05)


def _redirect_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


@contextlib.contextmanager
def _terminal_to(log: Path) -> Iterator[None]:
    """Let a process started in this block print into `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    _redirect_to(log)
    try:
        yield
    finally:
        for target, old in zip((1, 2), saved, strict=True):
            os.dup2(old, target)
            os.close(old)


@contextlib.contextmanager
def _plain_main() -> Iterator[None]:
    """Keep multiprocessing from running our `__main__` again in the child: a stage needs nothing from it."""
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    for name in kept:
        setattr(main, name, None)
    if "__file__" in kept:
        del main.__file__
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)
