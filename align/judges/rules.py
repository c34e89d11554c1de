"""A judge in a Python file: `score(prompt, answer, reference, tags) -> float`, and optionally `measures(...)`."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from align.data.chat import as_dicts
from align.data.records import Message
from align.errors import DataError


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
                allowed="def score(prompt, answer, reference=None, tags=()) -> float",
            )

    def score(self, prompt: Sequence[Message], answer: str, reference: Any = None, tags: Sequence[str] = ()) -> float:
        """The judge's number for one answer; higher is better. Raises DataError if it is none."""
        value = self._call("score", prompt, answer, reference, tags)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(
                f"score() gave {value!r} for the answer {answer[:60]!r}",
                where=str(self.path),
                allowed="a finite number, higher is better",
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
                f"measures() gave {found!r} for the answer {answer[:60]!r}",
                where=str(self.path),
                allowed="a dictionary of names and finite numbers",
            )
        return {str(k): float(v) for k, v in found.items()}

    def _call(self, name: str, prompt: Sequence[Message], answer: str, reference: Any, tags: Sequence[str]) -> Any:
        try:
            return getattr(self.module, name)(as_dicts(prompt), answer, reference, tuple(tags))
        except Exception as error:  # the user's code may raise anything
            raise DataError(
                f"{name}() failed with {type(error).__name__}: {error}, for the answer {answer[:60]!r} to "
                f"{prompt[-1].content[:60]!r}",
                where=f"{self.path}:{_line(error)}",
                remedy="mend the rules file, then run again",
            ) from error


def _line(error: BaseException) -> int:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace.tb_lineno if trace else 0


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("align_rules_" + path.stem, path)
    if spec is None or spec.loader is None:
        raise DataError("this is no Python file", where=str(path), allowed="a file ending in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise DataError(
            f"the rules file cannot be imported: {type(error).__name__}: {error}", where=str(path)
        ) from error
    return module
