"""Fixtures shared by the tests of whole runs."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runs import Outcome, make_world, scratch, spawn
from tests.sockets import blocked

# A shell's background job ignores Control-C, and its children would as well: some tests send it to them.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class World:
    """A folder with the tiny recipe, its data, and (after a run) `runs/tiny`."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def run(self) -> Path:
        return self.runs / "tiny"


@dataclass(frozen=True)
class Finished(World):
    """The world after one undisturbed run, what the command printed, and the network calls that were tried."""

    outcome: Outcome
    network: Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no process is left alone with one at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def finished() -> Iterator[Finished]:
    """The tiny recipe, run once through the real command line with the network cut off. Not to be written to."""
    folder = scratch()
    make_world(folder)
    record = folder / "network.txt"
    outcome = spawn("run", "tiny.yaml", cwd=folder, env=blocked(folder / "site", record))
    assert outcome.code == 0, outcome.err
    yield Finished(folder, outcome, record)
    shutil.rmtree(folder)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The tiny recipe and its data; nothing has run."""
    make_world(tmp_path / "world")
    return World(tmp_path / "world")


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> World:
    """A copy of the finished run, to do something to."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    return World(tmp_path / "copy")
