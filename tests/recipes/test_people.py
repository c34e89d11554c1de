"""recipes/people.yaml on a tiny model: a script plays two annotators, and the run goes on to the report by itself."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from align.artifacts import read_artifact
from align.recipe.check import check_recipe
from align.recipe.load import load_recipe
from align.recipe.wiring import people_of
from labeling_app.people import create_person
from labeling_app.store.database import open_store
from labeling_app.views import ItemView
from tests.annotators import rank
from tests.recipes.test_recipes import RECIPES, in_small
from tests.runs import ROOT, command, environment, spawn

RANKINGS = 48


def test_it_is_the_quickstart_but_for_who_ranks() -> None:
    loaded = load_recipe(RECIPES["people"])
    assert check_recipe(loaded) == []
    ours, theirs = ({s.name: s for s in one.recipe.stages} for one in (loaded, load_recipe(RECIPES["quickstart"])))
    assert list(ours) == list(theirs) and loaded.recipe.sources == load_recipe(RECIPES["quickstart"]).recipe.sources
    different = {name for name in ours if ours[name] != theirs[name]}
    assert different == {"rankings", "reward", "dpo", "ppo", "final"}
    asked = people_of(ours["rankings"])
    assert asked is not None and asked.overlap == 2 and asked.rankings == 400


def judge() -> Any:
    """The quickstart's judge, told what the annotators know: a question's reference."""
    spec = importlib.util.spec_from_file_location("judge", ROOT / "recipes" / "quickstart" / "judge.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    known = {}
    for name in ("prompts.jsonl", "prompts-heldout.jsonl"):
        for line in (ROOT / "recipes" / "quickstart" / name).read_text("utf-8").splitlines():
            row = json.loads(line)
            known[row["prompt"][-1]["content"]] = row.get("reference"), row["tags"]

    def score(view: ItemView, text: str) -> float:
        question = view.prompt[-1].content
        # What a model says after two steps is noise that the rules cannot tell apart: shorter is a little better.
        return float(module.score([], text, *known[question])) - len(text) / 20

    return score


def small(folder: Path) -> Path:
    """The recipe in small, with a label database in the folder and fewer rankings."""
    for name in ("quickstart", "people"):
        shutil.copytree(ROOT / "recipes" / name, folder / name)
    path = in_small("people", folder)
    yaml = YAML()
    recipe = yaml.load(path)
    (stage,) = (s for s in recipe["stages"] if s["name"] == "rankings")
    stage["by"]["people"] |= {"rankings": RANKINGS, "labels": "labels.db"}
    yaml.dump(recipe, path)
    return path


def stays(recipe: Path, log: Path) -> subprocess.Popen[str]:
    """A run that waits for people, once it does."""
    words = command("run", recipe, "--runs", recipe.parent / "runs", "--wait", "--json")
    with log.open("w") as said:
        run = subprocess.Popen(
            words, cwd=recipe.parent, env=environment(), stdout=subprocess.PIPE, stderr=said, text=True
        )
    while "waits for people" not in log.read_text():
        assert run.poll() is None, log.read_text()
        time.sleep(0.2)
    return run


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_chain_with_people(tmp_path: Path) -> None:
    recipe, database = small(tmp_path), tmp_path / "labels.db"
    store = open_store(database)
    people = [create_person(store, name, "a long password") for name in ("ann", "bob")]
    first = stays(recipe, tmp_path / "first.txt")
    rank(store, "people/rankings", people[0], judge(), RANKINGS // 4, noise=0.3)
    first.kill()
    first.communicate()
    run = stays(recipe, tmp_path / "second.txt")
    for person, most in zip(people, (RANKINGS // 4, RANKINGS // 2), strict=True):
        assert rank(store, "people/rankings", person, judge(), most, noise=0.3) == most
    out, _ = run.communicate(timeout=2400)
    assert run.returncode == 0, (tmp_path / "second.txt").read_text()
    assert json.loads(out)["ran"] == ["rankings", "reward", "dpo", "ppo", "result", "final"]

    folder = tmp_path / "runs" / "people"
    figures = read_artifact(folder / "rankings").manifest.metrics
    assert figures["annotators"] == dict.fromkeys(sorted(p.pseudonym for p in people), RANKINGS // 2)
    assert 0.5 < figures["agreement"] < 1 and figures["guidelines_version"] == 1
    assert 0 < len((folder / "rankings" / "heldout.jsonl").read_text().splitlines()) < RANKINGS
    (reward,) = json.loads((folder / "result" / "evaluation.json").read_text("utf-8"))["reward"]
    # The same definition twice: of the labels when they were sealed, and beside the reward model that learnt from them.
    assert reward["agreement"]["rate"] == pytest.approx(figures["agreement"], abs=0.05)
    assert reward["agreement"]["annotators"] == 2 and reward["agreement"]["ceiling"] > reward["agreement"]["rate"]
    page = re.sub(r"\s+", " ", (folder / "report.html").read_text("utf-8"))
    assert "another annotator" in page and "2 annotators agree in" in page

    rank(store, "people/rankings", people[0], judge(), 3)
    store.close()
    again = spawn("run", recipe, "--runs", tmp_path / "runs", "--json", cwd=tmp_path)
    assert (again.code, again.json["ran"]) == (0, [])
    checked = spawn("check", recipe, "--runs", tmp_path / "runs", "--json", cwd=tmp_path)
    (step,) = (s for s in checked.json["steps"] if s["name"] == "rankings")
    assert step["state"] == "later" and step["why"].startswith("3 rankings more than when this stage was sealed")
