"""The contract of a stage: what it is given, and what it gives back.

    def run(settings: PPOSettings, inputs: Inputs, out: Path, context: Context) -> Metrics

A stage reads its inputs' folders and writes into `out`. The pipeline makes `out`, seals it and handles the rest.
State to resume from lives in `out / RESUME`, which is removed on sealing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align.artifacts import RESUME as RESUME
from align.artifacts import Artifact
from align.data.files import read_records
from align.data.records import Record
from align.errors import DataError
from align.recipe.schema import Learning, Lora

Metrics = dict[str, Any]
"""A stage's closing figures by name: numbers, short texts, tables of these, and `NAME_interval` as [low, high]."""

DOCTOR = "doctor"
"""A table among the figures: what the data doctor found, code -> rows; of a stage's inputs `NAME.code` -> rows."""

TRAIN, HELDOUT = "train.jsonl", "heldout.jsonl"


@dataclass(frozen=True)
class Inputs:
    """The sealed artifacts a stage reads, by role, in the recipe's order."""

    by_role: dict[str, list[Artifact]]

    def all(self, role: str) -> list[Artifact]:
        """Every artifact in a role; none if the recipe leaves it out."""
        return self.by_role.get(role, [])

    def one(self, role: str) -> Artifact:
        """The artifact in a role that takes one."""
        (artifact,) = self.by_role[role]
        return artifact


@dataclass
class Interrupt:
    """The user's wish to stop. A stage that can end at a good place sets `can_wait` meanwhile and looks at `asked`."""

    can_wait: bool = False
    asked: bool = False


@dataclass
class Building:
    """Whether a trainer is being made from the stage's arguments: what a library refuses meanwhile is the user's."""

    now: bool = False


class Interrupted(Exception):
    """A stage has ended at a good place, because the user asked."""


@dataclass(frozen=True)
class Context:
    """What a stage needs to know besides its settings."""

    seed: int
    recipe_folder: Path
    """Paths in the recipe are relative to it."""
    precision: Any = "auto"
    default_lora: Lora | None = field(default_factory=Lora)
    """The recipe's `lora:`; None is full fine-tuning."""
    checkpoint_seconds: float = 120.0
    report_to: str = "none"
    progress: Callable[[str, int, int, str], None] = lambda what, done, total, note: None
    """Called with what is being done, units done, units in all, and a short note such as the loss."""
    say: Callable[[str], None] = lambda text: None
    """Called with a line the user should read, such as how many rows were cut."""
    interrupt: Interrupt = field(default_factory=Interrupt)
    building: Building = field(default_factory=Building)
    counted: dict[str, int] = field(default_factory=dict)
    """What helpers of the stage count on the way; it stands in the stage's figures."""

    def lora_of(self, settings: Learning) -> Lora | None:
        """The LoRA settings a training stage asks for, the recipe's default folded in; None for full fine-tuning."""
        if settings.lora == "none":
            return None
        return settings.lora if isinstance(settings.lora, Lora) else self.default_lora


def training_rows(inputs: Inputs) -> list[Record]:
    """The records to train on, of all that is read as `data`. Raises DataError if every one is held out."""
    found = [record for artifact in inputs.all("data") for record in rows(artifact, TRAIN)]
    if not found:
        raise DataError(
            "no row is left to train on: all are held out",
            where=", ".join(artifact.name for artifact in inputs.all("data")),
            remedy="lower `holdout:` of the source that they come from, or read another",
        )
    return found


def rows(artifact: Artifact, split: str) -> list[Record]:
    """The records of a data artifact's split (TRAIN or HELDOUT); none if it has no such split."""
    path = artifact.path / split
    return read_records(path, artifact.kind) if path.exists() else []
