"""A stage in a process of its own: what comes back from it, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
import time
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
import pytest

from align.errors import DataError, SystemLimit
from align.recipe.schema import ByRules, Rank
from align.worker import LOCK, QUIET, Job, StageCrash, Worker, as_user_error, hold_folder, wait_for_folder
from tests.conftest import Finished

Seen = list[tuple[str, tuple[Any, ...]]]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "run" / ".worker.log", offline=True)


@pytest.fixture
def job(finished: Finished, tmp_path: Path) -> Job:
    """Rank the finished run's answers by the judge in `tmp_path`."""
    shutil.copy(finished.folder / "judge.py", tmp_path / "judge.py")
    return Job(
        settings=Rank(name="rankings", kind="rank", answers="answers", by=ByRules(rules="judge.py")),
        inputs={"answers": [str(finished.run / "answers")]},
        out=str(tmp_path / "run" / "rankings.partial"),
        seed=1,
        recipe_folder=str(tmp_path),
        precision="auto",
        default_lora=None,
        checkpoint_seconds=60,
        report_to="none",
    )


def judge(job: Job, body: str) -> None:
    """Replace the judge by a function of this body."""
    Path(job.recipe_folder, "judge.py").write_text(
        f"import os, sys, signal\n\ndef score(*given, **named):\n    {body}\n"
    )


def test_a_stage_gives_figures_and_tells_how_far_it_is(worker: Worker, job: Job, finished: Finished) -> None:
    seen: Seen = []
    done = worker.run(job, lambda kind, values: seen.append((kind, values)))
    assert done.metrics["rankings"] == 18 and done.metrics["comparisons"] == 54
    assert done.peak_memory_mb > 100
    assert seen[-1] == ("progress", ("judging", 6, 6, ""))
    assert (Path(job.out) / "train.jsonl").read_text() == (finished.run / "rankings" / "train.jsonl").read_text()


def test_the_environment_of_this_process_stays(worker: Worker, job: Job) -> None:
    before = dict(os.environ)
    judge(job, "return float(os.environ['HF_HUB_DISABLE_TELEMETRY'])")
    assert worker.run(job, lambda kind, values: None).metrics["tied_share"] == 1.0
    assert dict(os.environ) == before
    assert not set(QUIET) & (set(os.environ) - set(before))


def test_what_a_stage_prints_goes_to_its_log(worker: Worker, job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    judge(job, "print('hello from the judge'); os.write(2, b'and from C\\n'); return 1.0")
    worker.run(job, lambda kind, values: None)
    log = (Path(job.out) / "logs" / "stage.log").read_text()
    assert "hello from the judge" in log and "and from C" in log
    assert capfd.readouterr() == ("", "")


def test_a_user_error_comes_back_as_it_was_raised(worker: Worker, job: Job) -> None:
    judge(job, "raise KeyError('colour')")
    with pytest.raises(DataError, match="score\\(\\) failed with KeyError: 'colour'") as caught:
        worker.run(job, lambda kind, values: None)
    assert caught.value.where == f"{job.recipe_folder}/judge.py:4"
    assert caught.value.remedy == "mend the rules file, then run again"
    assert "KeyError" in (Path(job.out) / "logs" / "stage.log").read_text()


def test_a_mistake_of_ours_comes_back_with_its_traceback(worker: Worker, job: Job) -> None:
    with pytest.raises(StageCrash) as caught:
        worker.run(replace(job, inputs={}), lambda kind, values: None)
    assert caught.value.stage == "rankings"
    assert "Traceback" in caught.value.trace and "KeyError: 'answers'" in caught.value.trace


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os._exit(3)", "exit code 3"),
    ],
)
def test_a_process_that_just_ends(worker: Worker, job: Job, body: str, said: str) -> None:
    judge(job, body)
    with pytest.raises(SystemLimit, match=f"ended without a word \\({said}\\)") as caught:
        worker.run(job, lambda kind, values: None)
    assert caught.value.where == "stage rankings"
    assert "run again: it continues" in caught.value.remedy


def test_a_process_that_is_killed_before_it_has_read_its_job(worker: Worker, job: Job) -> None:
    worker.start()
    server = psutil.Process(forkserver._forkserver._forkserver_pid)

    def kill() -> None:
        while not (stages := server.children()):
            pass
        for stage in stages:
            stage.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(SystemLimit, match="ended without a word \\(before it began\\)") as caught:
        worker.run(replace(job, recipe_folder="x" * 300_000_000), lambda kind, values: None)  # long to read
    killer.join()
    assert caught.value.where == "stage rankings" and "run again: it continues" in caught.value.remedy
    assert worker.run(job, lambda kind, values: None).metrics["rankings"] == 18


def test_the_next_stage_works_after_one_that_died(worker: Worker, job: Job) -> None:
    judge(job, "os._exit(3)")
    with pytest.raises(SystemLimit):
        worker.run(job, lambda kind, values: None)
    judge(job, "return float(len(given[1]))")
    assert worker.run(job, lambda kind, values: None).metrics["rankings"] == 18


def test_an_error_in_our_own_process_ends_the_stage(worker: Worker, job: Job) -> None:
    """As Control-C does: whatever is raised here, no process is left behind."""
    pid = Path(job.recipe_folder) / "pid"
    write = f"os.path.exists({str(pid)!r}) or open({str(pid)!r}, 'w').write(str(os.getpid()))"
    judge(job, f"import time; {write}; time.sleep(0.2); return 1.0")

    def stop(kind: str, values: tuple[Any, ...]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(job, stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


# --- the folder is held --------------------------------------------------------------------------------------------


def test_a_folder_in_use_is_waited_for(tmp_path: Path) -> None:
    handle = hold_folder(tmp_path)
    timer = threading.Timer(0.4, os.close, [handle])
    started = time.monotonic()
    timer.start()
    wait_for_folder(tmp_path)
    assert time.monotonic() - started > 0.3
    timer.join()


def test_a_folder_in_use_for_too_long(tmp_path: Path) -> None:
    (tmp_path / LOCK).parent.mkdir()
    with (tmp_path / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SystemLimit, match="another process works in this folder"):
            hold_folder(tmp_path, seconds=0.1)


def test_a_folder_that_nobody_held(tmp_path: Path) -> None:
    wait_for_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- whose fault it is ---------------------------------------------------------------------------------------------


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (Exception("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "no permission to write"),
        (OSError(errno.EROFS, "Read-only file system", "/a/b"), "no permission to write"),
        (OutOfMemoryError("CUDA out of memory"), "memory ran out"),
        (MemoryError(), "memory ran out"),
    ],
)
def test_what_the_machine_refused(tmp_path: Path, error: Exception, said: str) -> None:
    user = as_user_error(error, tmp_path)
    assert isinstance(user, SystemLimit)
    assert user.found == said
    assert user.where == ("/a/b" if "permission" in said else str(tmp_path))
    assert user.remedy


@pytest.mark.parametrize("error", [KeyError("a"), RuntimeError("failed writing file"), OSError(errno.EIO, "I/O error")])
def test_what_is_a_mistake_of_ours(tmp_path: Path, error: Exception) -> None:
    """A failed write on a disk with space is one of them."""
    assert as_user_error(error, tmp_path) is None
    assert list(tmp_path.glob("*/*")) == []


def test_a_user_error_is_itself(tmp_path: Path) -> None:
    error = DataError("found", where="here")
    assert as_user_error(error, tmp_path) is error
