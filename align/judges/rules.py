"""A judge in a Python file: `score(prompt, answer, reference, tags) -> float`, and optionally `measures(...)`."""

from __future__ import annotations

import importlib.util
import math
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from align.data.chat import as_dicts
from align.data.records import Message
from align.errors import DataError

MEND = "mend the rules file, then run again"
SIGNATURE = "def score(prompt, answer, reference=None, tags=()) -> float"


class RulesJudge:
    """The functions of a rules file, with errors that name the file and the prompt.

    Raises DataError if the file cannot be imported or defines no `score`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = _load(path)
        if not callable(getattr(self.module, "score", None)):
            raise DataError(
                "the rules file defines no function `score`",
                where=str(path),
                allowed=SIGNATURE,
                remedy=f"define it in {path.name}",
            )

    def score(self, prompt: Sequence[Message], answer: str, reference: Any = None, tags: Sequence[str] = ()) -> float:
        """The judge's number for one answer; higher is better. Raises DataError if it is none."""
        value = self._call("score", prompt, answer, reference, tags)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(
                f"score() gave {value!r} for {_which(prompt, answer)}",
                where=str(self.path),
                allowed="a finite number, higher is better",
                remedy=f"{MEND}; give answers that cannot be scored a low number",
            )
        return float(value)

    def measures(
        self, prompt: Sequence[Message], answer: str, reference: Any = None, tags: Sequence[str] = ()
    ) -> dict[str, float]:
        """The judge's further figures for one answer; empty if the file defines no `measures`.

        Raises DataError if they are no numbers.
        """
        if not callable(getattr(self.module, "measures", None)):
            return {}
        found = self._call("measures", prompt, answer, reference, tags)
        if not isinstance(found, dict) or not all(
            isinstance(v, int | float) and math.isfinite(v) for v in found.values()
        ):
            raise DataError(
                f"measures() gave {found!r} for {_which(prompt, answer)}",
                where=str(self.path),
                allowed="a dictionary of names and finite numbers",
                remedy=MEND,
            )
        return {str(k): float(v) for k, v in found.items()}

    def _call(self, name: str, prompt: Sequence[Message], answer: str, reference: Any, tags: Sequence[str]) -> Any:
        try:
            return getattr(self.module, name)(as_dicts(prompt), answer, reference, tuple(tags))
        except Exception as error:  # the user's code may raise anything
            inside = _line(error, self.module.__file__)
            raise DataError(
                f"{name}() failed with {type(error).__name__}: {error}, for {_which(prompt, answer)}",
                where=f"{self.path}:{inside}" if inside else str(self.path),
                allowed="" if inside else f"a function that takes these: {SIGNATURE}",
                remedy=MEND,
            ) from error


def _which(prompt: Sequence[Message], answer: str) -> str:
    return f"the answer {answer[:60]!r} to {prompt[-1].content[:60]!r}"


def _line(error: BaseException, file: str | None) -> int:
    """The last line of the rules file on the way to an error; 0 if none is, as where the arguments do not fit."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return (lines[-1] if lines else 0) or 0


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("align_rules_" + path.stem, path)
    if spec is None or spec.loader is None:
        raise DataError(
            "this is no Python file", where=str(path), allowed="a file ending in .py", remedy="name another file"
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise DataError(
            f"the rules file cannot be imported: {type(error).__name__}: {error}", where=str(path), remedy=MEND
        ) from error
    return module
