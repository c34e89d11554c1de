"""A rules file looked at before the run: it is parsed, not executed, so that a slip in it is told at once."""

from __future__ import annotations

import ast
from pathlib import Path

from align.errors import unreadable
from align.recipe.document import Place, Problem

ALLOWED = "a Python file with score(prompt, answer, reference, tags)"
GIVEN = 4
"""Arguments that `score` is called with."""


def rules_problem(path: Path, written: str, place: Place) -> Problem | None:
    """What is wrong with the rules file at `path`; None if it parses and may define a fitting `score`.

    Raises SystemLimit if it may not be read.
    """
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except PermissionError:
        raise unreadable(path) from None
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return Problem(place, f"`{written}`{line} is not Python: {error}", ALLOWED, "mend that line")
    score = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "score"), None)
    if score is None:
        return None if _may_bring(tree, "score") else Problem(place, f"`{written}` defines no `score`", ALLOWED, "")
    given = [*score.args.posonlyargs, *score.args.args]
    if len(given) < GIVEN and not score.args.vararg:
        found = ", ".join(a.arg for a in given)
        return Problem(
            place, f"`{written}` line {score.lineno} defines score({found}), which is called with four", ALLOWED, ""
        )
    return None


def _may_bring(tree: ast.Module, name: str) -> bool:
    """Whether the file gets `name` by an assignment or an import rather than a `def`."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if any((alias.asname or alias.name) in (name, "*") for alias in node.names):
                return True
        elif not isinstance(node, ast.FunctionDef | ast.ClassDef) and any(
            isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in ast.walk(node)
        ):
            return True
    return False
