"""The tree of user errors, and the exit code of each.

    AlignError          1   something the user can mend; the base of the tree
    ├── RecipeError     2   the recipe, or the way a command was called
    ├── DataError       3   a data file, or a record in it
    ├── ModelError      4   a model folder, tokenizer, adapter or chat template
    ├── TrainingError   5   training went wrong (NaN loss, zero trained tokens)
    └── SystemLimit     6   the machine: disk full, no permission, folder in use

A run that waits for people to rank is no error: it says what it waits for, and ends with 7. Anything else that escapes
is our own mistake: it is shown with its traceback and exits with 70.

Each error says where it is, what was found there, what is allowed, and what to do next. The command line is the one
place that catches and prints them (`align/cli.py`); nobody else formats an error.
"""

from __future__ import annotations


class AlignError(Exception):
    """A mistake the user can mend.

    found: what is wrong, a full sentence without the place.  where: `file:line`, a field path or a folder.
    allowed: what would be accepted.  remedy: the next command to type or the line to change.
    """

    exit_code = 1

    def __init__(self, found: str, *, where: str = "", allowed: str = "", remedy: str = "") -> None:
        super().__init__(found, where, allowed, remedy)
        self.found, self.where, self.allowed, self.remedy = found, where, allowed, remedy

    def __str__(self) -> str:
        rows = [("where", self.where), ("found", self.found), ("allowed", self.allowed), ("do", self.remedy)]
        return "\n".join(f"{label + ':':<9}{text}" for label, text in rows if text)

    def to_dict(self) -> dict[str, str]:
        """The error as plain text fields, for `--json` and for the pipe between a stage's process and ours."""
        return {
            "error": type(self).__name__,
            "where": self.where,
            "found": self.found,
            "allowed": self.allowed,
            "remedy": self.remedy,
        }


class RecipeError(AlignError):
    """The recipe is wrong, or a command was called with arguments that do not fit."""

    exit_code = 2


class DataError(AlignError):
    """A data file is missing, broken, or holds records that cannot be used."""

    exit_code = 3


class ModelError(AlignError):
    """A model folder, tokenizer, adapter or chat template cannot be used."""

    exit_code = 4


class TrainingError(AlignError):
    """Training ran and failed: the loss is not a number, no token is trained, the reference is not the SFT policy."""

    exit_code = 5


class SystemLimit(AlignError):
    """The machine refused: the disk is full, a folder cannot be written, another run holds the lock."""

    exit_code = 6


def unreadable(path: object) -> SystemLimit:
    """The error for a file that is there and may not be read."""
    return SystemLimit("no permission to read", where=str(path), remedy=f"chmod u+r {path}")


def counted(count: int, thing: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {thing}{'s' * (count != 1)}"


KINDS = {c.__name__: c for c in (AlignError, RecipeError, DataError, ModelError, TrainingError, SystemLimit)}


def from_dict(fields: dict[str, str]) -> AlignError:
    """The inverse of `AlignError.to_dict`."""
    kind = KINDS[fields["error"]]
    return kind(fields["found"], where=fields["where"], allowed=fields["allowed"], remedy=fields["remedy"])
