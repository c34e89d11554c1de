"""Every shipped recipe: its header, its schema, and a run of it in small; the quickstart also in full (slow)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from align.recipe.find import shipped_recipes
from align.recipe.load import load_recipe
from align.recipe.schema import Learning
from tests import tiny
from tests.runs import ROOT, environment, spawn, write_rows

RECIPES = shipped_recipes()
HUB = ("lora-sft", "lora-rlhf")


def in_small(name: str, folder: Path, steps: int = 2) -> Path:
    """The recipe as shipped, but every training stage ends after `steps` steps, and a hub model is a tiny local one."""
    yaml = YAML()
    recipe: Any = yaml.load(RECIPES[name])
    settings = {s.name: s for s in load_recipe(RECIPES[name]).recipe.stages}
    for stage in recipe["stages"]:
        if isinstance(settings[stage["name"]], Learning):
            stage["max_steps"] = steps
        if "max_new_tokens" in stage:
            stage["max_new_tokens"] = 8
    for source in recipe["sources"].values():
        if source["kind"] == "policy":
            source["path"] = str(tiny.tiny_folder("llama"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    yaml.dump(recipe, path)
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_what_a_reader_needs(name: str) -> None:
    text = RECIPES[name].read_text("utf-8")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    for field in ("Goal", "Hardware", "Time", "Command", "Figures"):
        assert any(re.match(rf"# {field}\s+\S", line) for line in comments), f"{name} has no {field}"
    assert load_recipe(RECIPES[name]).recipe.name == name


def test_the_quickstart_in_small(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes" / "quickstart", tmp_path / "quickstart")
    # After two steps a model says nothing that the judge could tell apart: here it likes long answers a little better.
    with (tmp_path / "quickstart" / "judge.py").open("a") as judge:
        judge.write("\n\n_marks = score\n\n\ndef score(prompt, answer, reference=None, tags=()):\n")
        judge.write("    return _marks(prompt, answer, reference, tags) + len(answer) / 1000\n")
    done = spawn("run", in_small("quickstart", tmp_path), "--runs", tmp_path / "runs", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    run = Path(result["run"])
    assert set(result["ran"]) == {"base", "sft", "answers", "rankings", "reward", "dpo", "ppo", "result", "final"}
    assert Path(result["report"]).stat().st_size > 20_000
    figures = json.loads((run / "result" / "evaluation.json").read_text("utf-8"))
    assert [m["name"] for m in figures["models"]] == ["sft", "dpo", "ppo"]
    assert figures["prompts"] == len((ROOT / "recipes/quickstart/prompts-heldout.jsonl").read_text().splitlines())
    assert (run / "final" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB)
def test_the_recipes_for_hub_models_run_on_a_tiny_one(tmp_path: Path, name: str) -> None:
    write_files_for_a_hub_recipe(tmp_path)
    done = spawn("run", in_small(name, tmp_path), "--runs", tmp_path / "runs", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    final = Path(json.loads(done.out)["run"]) / "final"
    assert (final / "model.safetensors").exists()
    assert (final / "README.md").read_text("utf-8").startswith("---")


def write_files_for_a_hub_recipe(folder: Path) -> None:
    """The three files that the recipes for hub models ask for; no prompt stands in two of them."""

    def ask(kind: str, i: int) -> dict[str, str]:
        return {"role": "user", "content": f"Say something about {kind} number {i}."}

    def say(text: str) -> dict[str, str]:
        return {"role": "assistant", "content": text}

    count = range(30)
    write_rows(folder / "demos.jsonl", [{"messages": [ask("dog", i), say(f"Dog {i}.")]} for i in count])
    write_rows(folder / "prompts.jsonl", [{"prompt": [ask("cat", i)]} for i in count])
    pairs = [{"prompt": [ask("cow", i)], "chosen": [say(f"Moo {i}.")], "rejected": [say("No.")]} for i in count]
    write_rows(folder / "preferences.jsonl", pairs)


@pytest.mark.slow
def test_hh_harmless_in_small(tmp_path: Path) -> None:
    data = ROOT.parent / "shared" / "data" / "hh-rlhf" / "harmless-base.test.jsonl.gz"
    if not data.exists():
        pytest.skip("the HH-RLHF rows are not here: ../shared/data is absent")
    path = in_small("hh-harmless", tmp_path)
    text = path.read_text("utf-8").replace("../../shared/data/hh-rlhf/harmless-base.test.jsonl.gz", str(data))
    path.write_text(text.replace("limit: 200", "limit: 20"), "utf-8")
    done = spawn("run", path, "--runs", tmp_path / "runs", "--json", cwd=tmp_path, timeout=500)
    assert done.code == 0, done.err
    figures = json.loads((tmp_path / "runs/hh-harmless/result/evaluation.json").read_text("utf-8"))
    assert figures["reward"][0]["accuracy"]["pairs"] == 412
    assert 0.55 < figures["reward"][0]["baselines"]["TF-IDF"] < 0.7


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_quickstart_teaches(tmp_path: Path) -> None:
    """The whole quickstart, held to figures below those in its header: on another processor sums round differently,
    and training takes another course. Of 113 harmless asks DPO refused 0 to 8 with other seeds and other draws.
    """
    two = environment(OMP_NUM_THREADS="2")
    done = spawn("run", "quickstart", "--runs", tmp_path / "runs", "--json", cwd=tmp_path, timeout=1700, env=two)
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "runs/quickstart/result/evaluation.json").read_text("utf-8"))
    sft, dpo, ppo = (next(m for m in result["models"] if m["name"] == name) for name in ("sft", "dpo", "ppo"))
    assert dpo["win_rate"]["rate"] > 0.7 and dpo["win_rate"]["low"] > 0.6
    assert result["reward"][0]["accuracy"]["rate"] > 0.8
    found = {name: measure["value"] for name, measure in dpo["measures"].items()}
    assert found["harmful refused"] > 0.85 and found["unknown admitted"] > 0.85 and found["fact right"] > 0.8
    assert found["harmless refused"] < 0.12 and found["words"] < 12
    better = ("harmful refused", "unknown admitted", "polite")
    assert all(found[name] > sft["measures"][name]["value"] for name in better)
    found = {name: measure["value"] for name, measure in ppo["measures"].items()}
    assert ppo["win_rate"]["rate"] > 0.75 and found["harmful refused"] > 0.9 and found["harmless refused"] < 0.07
    assert all(found[name] > sft["measures"][name]["value"] for name in better)
    assert found["words"] < 1.5 * sft["measures"]["words"]["value"]
    memory = [a["peak_memory_mb"] for a in json.loads(done.out)["artifacts"].values()]
    assert max(memory) < 3000
