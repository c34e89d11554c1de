"""The model card: made from manifests, honest about what was not measured, free of this machine's paths."""

from __future__ import annotations

import json

import pytest
from ruamel.yaml import YAML

from align.errors import DataError
from align.report.model_card import model_card
from tests.report.conftest import PEOPLE, RECIPE, RunFolder


def front_matter(card: str) -> dict[str, object]:
    _, text, _ = card.split("---\n", 2)
    loaded = YAML(typ="safe", pure=True).load(text)
    assert isinstance(loaded, dict)
    return loaded


def test_a_model_made_from_scratch(finished: RunFolder) -> None:
    card = model_card(finished.path, "dpo")
    assert front_matter(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["align", "text-generation", "from-scratch", "sft", "dpo"],
        "model_name": "tiny-assistant",
    }
    stages = [line for line in card.splitlines() if line.startswith("### ")]
    assert [s.split()[1] for s in stages] == ["base", "sft", "answers", "rankings", "dpo"]
    assert "its base model was made from scratch" in card
    assert "`beta: 0.1`" in card and "seed 1234" in card
    assert "| demos | demonstrations | 540 rows, 60 held-out rows | `" in card
    assert "| win rate against sft | baseline | 81.2 % (76.0–86.0 %) |" in card
    assert "| harmful refused | 55.0 % | 97.5 % |" in card
    assert "They rest on 240 held-out prompts" in card


def test_the_baseline(finished: RunFolder) -> None:
    assert "It is the baseline that the others are compared with." in model_card(finished.path, "sft")


def test_a_policy_nobody_evaluated(finished: RunFolder) -> None:
    card = model_card(finished.path, "base")
    assert "Nothing was measured on held-out prompts" in card
    assert "It was not compared with any other policy" in card


@pytest.mark.parametrize(("path", "named"), [("Qwen/Qwen3-0.6B", True), ("/home/someone/models/secret", False)])
def test_the_base_model_is_named_if_others_can_get_it(folder: RunFolder, path: str, named: bool) -> None:
    folder.add("base", "policy", "source", {"policy.json": json.dumps({"path": path})}, settings={"path": path})
    settings = {"by": {"rules": "/home/someone/judge.py"}}
    folder.stage("sft", "sft", {"model": ["base"]}, {"w": "1"}, settings=settings)
    card = model_card(folder.path, "sft")
    assert front_matter(card).get("base_model") == (path if named else None)
    assert "someone" not in card and "`by.rules: judge.py`" in card


def test_whose_labels_a_model_learnt_from(folder: RunFolder) -> None:
    """By pseudonym and hash; where they are kept is nobody's business who gets the model."""
    folder.stage("rankings", "rank", {}, {"train.jsonl": "{}\n"}, metrics=PEOPLE)
    folder.stage("dpo", "dpo", {"data": ["rankings"]}, {"w": "1"})
    card = model_card(folder.path, "dpo")
    wanted = "`rankings` are labels of people: `u_5` 5, `u_6` 6 rankings; their export has SHA-256 `fb5ad53329750000`."
    assert wanted in card and "team s.db" not in card


def test_text_from_data_does_not_break_the_table(finished: RunFolder) -> None:
    file = finished.path / "result" / "evaluation.json"
    figures = json.loads(file.read_text("utf-8"))
    figures["models"][1]["measures"] = {"a|b <i>\n[x](y)": {"value": 0.5, "n": 1}}
    file.write_text(json.dumps(figures), "utf-8")
    assert r"| a\|b \<i\> \[x\](y) | – | 50.0 % |" in model_card(finished.path, "dpo")


def test_the_judges_folder_stays_out(finished: RunFolder) -> None:
    file = finished.path / "result" / "evaluation.json"
    file.write_text(file.read_text("utf-8").replace("rules judge.py", "rules /home/someone/my/judge.py"), "utf-8")
    card = model_card(finished.path, "dpo")
    assert "judged by rules judge.py." in card and "someone" not in card


def test_there_is_no_such_artifact(finished: RunFolder) -> None:
    with pytest.raises(DataError, match="no finished artifact 'ppo'"):
        model_card(finished.path, "ppo")
    assert "ppo" not in RECIPE
