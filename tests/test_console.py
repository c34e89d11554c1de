"""What a run shows: on a terminal a bar that moves, in a log a line now and then, and nothing more if it is quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from align import console
from align.console import Terminal


def shown(monkeypatch: pytest.MonkeyPatch, quiet: bool = False, often: float = 600.0) -> str:
    """What stands in a log after a stage has told three times how far it is."""
    monkeypatch.setattr(console, "LOG_SECONDS", often)
    out = io.StringIO()
    monkeypatch.setattr(console, "Console", lambda **given: Console(file=out, **{**given, "stderr": False}))
    with Terminal(quiet) as terminal:
        for done in range(3):
            terminal.progress("waiting for people", done, 8, "[b] more")
    return out.getvalue().strip("\n")


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"    waiting for people: {done} of 8 [b] more" for done in range(3)]
    assert shown(monkeypatch, often=0).splitlines() == lines
    assert shown(monkeypatch) == "", "not before ten minutes have gone"
    assert shown(monkeypatch, quiet=True, often=0) == ""
