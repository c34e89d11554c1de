"""One stage in a process of its own, forked from a server that has imported torch and the trainers.

Importing those takes ten seconds, a fork some hundredths; memory goes back to the system after each stage, and a crash
takes one stage down. The child talks through a pipe: progress, lines to show, and at the end figures or an error. A
second pipe tells it that we are gone: a child without parent would write into a folder that the next run wants.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.artifacts import LOGS, RESUME, read_artifact
from align.errors import AlignError, SystemLimit, from_dict
from align.recipe.schema import Lora, StageBase

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from align.contract import Interrupt

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    # Threads that wait sleep instead of spinning: on a CPU shared with other work a spinning pair is many times slower.
    "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
}
"""Set before the libraries are imported, since they read these on import. Nothing phones home."""

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
"""Set if every model of the recipe is local: then no library has reason to ask a hub for anything."""

LOG = f"{LOGS}/stage.log"


LOCK = f"{RESUME}/lock"
"""Held by the process that works in a partial folder."""


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
        self.started = False

    def start(self) -> None:
        """Start the server (once). What it prints while importing goes to the log, not to the terminal."""
        if self.started:
            return
        from multiprocessing import forkserver, get_context

        self.context = get_context("forkserver")
        self.context.set_forkserver_preload(["align.warm"])
        with _environment(QUIET | OFFLINE if self.offline else QUIET), _terminal_to(self.log):
            forkserver.ensure_running()
        self.started = True

    def run(self, job: Job, event: Event) -> Done:
        """Run a stage and wait for it. Raises the user error it met, SystemLimit if it was killed.

        KeyboardInterrupt: training saves a checkpoint and ends, other stages and a second interrupt end at once; what
        is finished stays in the partial folder.
        """
        self.start()
        ours, theirs = self.context.Pipe(duplex=False)
        watched, held = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_child, args=(job, theirs, watched), daemon=True)
        with _plain_main(), _start_errors(self.log, job):
            process.start()
        theirs.close()
        watched.close()
        try:
            return _listen(ours, event, job)
        except KeyboardInterrupt:
            _ask_to_stop(process, ours, event)
            raise
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


def _ask_to_stop(process: BaseProcess, pipe: Connection, event: Event) -> None:
    """Let the stage end at a good place; returns when it has, or at the next KeyboardInterrupt."""
    if process.pid is None:
        return
    os.kill(process.pid, signal.SIGINT)
    with contextlib.suppress(KeyboardInterrupt, OSError):
        event("say", ("stopping where it can continue; interrupt again to end at once",))
        # The interrupt may have cut a message in two, so what still comes is read away unread, lest the stage block.
        while not select.select([pipe.fileno()], [], [], 0.1)[0] or os.read(pipe.fileno(), 1 << 16):
            if not process.is_alive():
                return


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
    if code is None:
        name = "before it began"
    return SystemLimit(
        f"the stage's process ended without a word ({name}); SIGKILL as a rule means that memory ran out",
        where=f"stage {job.settings.name}",
        remedy="lower micro_batch, max_length or batch_size, then run again: it continues",
    )


def _child(job: Job, pipe: Connection, watched: Connection) -> None:
    """The stage's process, from fork to exit."""
    from align.contract import Interrupt, Interrupted

    interrupt = Interrupt()

    def stop(*_: Any) -> None:
        if not interrupt.can_wait:
            os._exit(1)
        interrupt.asked = True

    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=_die_with_parent, args=(watched,), daemon=True).start()
    out = Path(job.out)
    message: tuple[Any, ...]
    try:
        hold_folder(out)  # until this process ends
        _redirect_to(out / LOG)
        message = ("done", *_run(job, pipe, interrupt))
    except Interrupted:
        os._exit(1)
    except BaseException as error:
        user = as_user_error(error, out)
        message = ("error", user.to_dict()) if user else ("crash", traceback.format_exc())
        with contextlib.suppress(OSError):  # the log may be on the disk that is full
            traceback.print_exc()
    # The log first: once our parent has the message, it ends this process.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    pipe.send(message)


def _run(job: Job, pipe: Connection, interrupt: Interrupt) -> tuple[dict[str, Any], float, str]:
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
        interrupt=interrupt,
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
    # torch.save meets a full disk with errors of its own ("unexpected pos 23680 vs 23568"), without the system's word.
    if isinstance(error, RuntimeError) and _is_full(folder):
        return full
    return None


def _is_full(folder: Path) -> bool:
    """Whether the disk takes no further megabyte. Asked by writing it: a quota does not show in the free space."""
    probe = folder / RESUME / "probe"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as out:
            out.write(bytes(2**20))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return False


def _die_with_parent(watched: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        watched.recv()
    os._exit(1)


def wait_for_folder(out: Path) -> None:
    """Wait until no stage of a killed run works in this partial folder any more. Raises SystemLimit after 30 s."""
    if (out / LOCK).exists():
        os.close(hold_folder(out))


def hold_folder(out: Path, seconds: float = 30.0) -> int:
    """Hold a partial folder until the handle returned is closed; a stage whose run was killed goes within moments.

    Raises SystemLimit if another process still holds it after `seconds`.
    """
    lock = out / LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(handle)
                raise SystemLimit(
                    "another process works in this folder", where=str(out), remedy="end it, then run again"
                ) from None
            time.sleep(0.05)


def _redirect_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
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
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a process started in this block; ours come back as they were."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _start_errors(log: Path, job: Job) -> Iterator[None]:
    """A stage that was killed before it had read its job is the machine's error, as is a server that died: as a rule
    for want of memory, while it imported."""
    try:
        yield
    except BrokenPipeError:  # the server has forked it, or there were nothing to write to
        raise _killed(None, job) from None
    except (EOFError, ConnectionError) as error:
        raise SystemLimit(
            "the server that stages are forked from ended without a word",
            where=str(log),
            allowed="about 1 GB of free memory for the libraries alone",
            remedy="look at this log for the cause, then run again",
        ) from error


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
