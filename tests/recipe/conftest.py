"""A small recipe that is right, with the files it names, and a way to change one thing in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from align.recipe.load import Loaded, load_recipe

GOOD = """\
# a comment
name: demo
seed: 7
sources:
  base: {kind: policy, path: Qwen/Qwen3-0.6B}
  demos: {kind: demonstrations, path: demos.jsonl}
  prompts: {kind: prompts, path: prompts.jsonl, holdout: 0.25}
stages:
  - {name: sft, kind: sft, model: base, data: demos}
  - {name: answers, kind: sample, model: sft, prompts: prompts}
  - {name: rankings, kind: rank, answers: answers, by: {rules: judge.py}}
  - {name: reward, kind: reward, model: sft, data: rankings}
  - name: dpo
    kind: dpo
    model: sft
    data: rankings
    beta: 0.2
  - {name: result, kind: evaluate, models: [sft, dpo], prompts: prompts, judge: reward}
"""

Make = Callable[..., Loaded]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that GOOD names."""
    for name in ("demos.jsonl", "prompts.jsonl"):
        (tmp_path / name).write_text("")
    (tmp_path / "judge.py").write_text("def score(*given): ...\n")
    return tmp_path


@pytest.fixture
def make(folder: Path) -> Make:
    """make((old, new), ...) loads GOOD with each old text replaced by the new one."""

    def make_one(*changes: tuple[str, str], text: str = GOOD) -> Loaded:
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the recipe"
            text = text.replace(old, new)
        path = folder / "demo.yaml"
        path.write_text(text, "utf-8")
        return load_recipe(path)

    return make_one
