"""What a run shows in the terminal: a line per stage, a bar with time left, and the notes a user should read.

Where there is no terminal, such as in a log, a line now and then takes the bar's place: a stage may take hours, and one
that waits for people takes days.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from align.artifacts import Artifact
from align.recipe.plan import Step

LOG_SECONDS = 600.0
"""A log gets a line on how far a stage is at most so often."""


class Terminal:
    """Draws a run. `quiet` shows notes and errors only; bars appear only where there is a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("    {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self.task: TaskID | None = None
        self.doing = ""
        self.logged = time.monotonic()

    def __enter__(self) -> Terminal:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bars.stop()

    def say(self, text: str) -> None:
        """A note the user should read."""
        self.console.print(f"    note: {text}", markup=False, soft_wrap=True)

    def stage(self, step: Step, number: int, total: int) -> None:
        """A stage begins (or continues)."""
        if not self.quiet:
            why = "" if step.why == "new" else f" ({step.why})"
            self.console.print(f"[{number}/{total}] {step.kind} {step.name}{why}", markup=False, soft_wrap=True)
        self._drop_bar()
        self.logged = time.monotonic()
        self.progress("starting", 0, 1, "")

    def progress(self, what: str, done: int, total: int, note: str) -> None:
        """How far the stage is with what it does."""
        if self.task is None or what != self.doing:
            self._drop_bar()
            self.task, self.doing = self.bars.add_task(what, total=total, note=note), what
        self.bars.update(self.task, completed=done, total=total, note=note)
        if not self.quiet and not self.console.is_terminal and time.monotonic() - self.logged >= LOG_SECONDS:
            self.console.print(f"    {what}: {done} of {total} {note}".rstrip(), markup=False, soft_wrap=True)
            self.logged = time.monotonic()

    def sealed(self, step: Step, artifact: Artifact) -> None:
        """A stage is finished."""
        self._drop_bar()
        if not self.quiet:
            manifest = artifact.manifest
            self.console.print(
                f"    {manifest.seconds:.0f} s, {manifest.peak_memory_mb:.0f} MB: {figures(manifest.metrics)}",
                markup=False,
                soft_wrap=True,
            )

    def _drop_bar(self) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
        self.task = None


def figures(metrics: dict[str, object], most: int = 5) -> str:
    """The first few figures of a stage in one line."""
    shown = [(k, v) for k, v in metrics.items() if v is not None and not isinstance(v, dict | list)][:most]
    return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown)
