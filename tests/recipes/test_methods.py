"""The recipes of one method each: kto, orpo, simpo, ipo, grpo and rloo raise the held-out score.

They begin alike, so the first one's base, SFT policy, answers and rankings are lent to the others.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from align.recipe.check import check_recipe
from align.recipe.load import load_recipe
from tests.recipes.test_recipes import RECIPES
from tests.runs import environment, spawn

METHODS = ("kto", "orpo", "simpo", "ipo", "grpo", "rloo")
SHARED = ("corpus", "demos", "prompts", "base", "sft", "answers", "rankings")


def lend(runs: Path, name: str) -> None:
    """Give the run `name` what an earlier run of another method has made."""
    for earlier in METHODS[: METHODS.index(name)]:
        for made in SHARED:
            if (runs / earlier / made).is_dir() and not (runs / name / made).exists():
                shutil.copytree(runs / earlier / made, runs / name / made)


def result_of(runs: Path, name: str) -> dict[str, Any]:
    figures = json.loads((runs / name / "result" / "evaluation.json").read_text("utf-8"))
    found = {model["name"]: model for model in figures["models"]}
    assert list(found) == ["sft", name]
    return found[name]  # type: ignore[no-any-return]


def test_they_begin_alike() -> None:
    loaded = {name: load_recipe(RECIPES[name]) for name in METHODS}
    assert [check_recipe(one) for one in loaded.values()] == [[]] * len(METHODS), "there are warnings"
    recipes = {name: one.recipe for name, one in loaded.items()}
    shared = {s.name: s for s in recipes["kto"].stages if s.name in SHARED}
    for name, recipe in recipes.items():
        assert recipe.seed == recipes["kto"].seed and recipe.sources == recipes["kto"].sources
        *before, method, result = recipe.stages
        assert (method.name, result.name) == (name, "result")
        assert {s.name: s for s in before}.items() <= shared.items()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("in_full") / "runs"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", METHODS)
def test_the_held_out_score_rises(name: str, runs: Path) -> None:
    """Against the SFT policy, on held-out prompts: even the low end of the interval is above an even match."""
    lend(runs, name)
    done = spawn("run", name, "--runs", runs, "--json", cwd=runs.parent, timeout=1700, env=environment())
    assert done.code == 0, done.err
    found = result_of(runs, name)
    assert found["win_rate"]["low"] > 0.5, found
    sft = json.loads((runs / name / "result" / "evaluation.json").read_text("utf-8"))["models"][0]
    assert found["score"] > sft["score"]
