"""The exam: policies against the first of them, reward models on held-out pairs."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from align.artifacts import Artifact
from align.errors import DataError
from align.judges.reward import RewardJudge
from align.recipe.schema import ByRules, Evaluate, Reward
from tests import tiny
from tests.tiny import talk

pytestmark = tiny.THIRD_PARTY

JUDGE = """\
def score(prompt, answer, reference=None, tags=()):
    return len(answer)

def measures(prompt, answer, reference=None, tags=()):
    found = {"characters": len(answer)}
    if "colour" in prompt[-1]["content"]:
        found["about colours"] = 1
    return found
"""


def settings(**changes: Any) -> Evaluate:
    values: dict[str, Any] = {"name": "result", "kind": "evaluate", "models": ["one", "two"], "prompts": "prompts",
                              "judge": ByRules(rules="judge.py"), "max_new_tokens": 6, "per_prompt": 2}  # fmt: skip
    return Evaluate(**(values | changes))


def policies(runs: Path) -> list[Artifact]:
    return [tiny.base_of(runs, "llama", "one"), tiny.base_of(runs, "gpt2", "two")]


def asked(runs: Path) -> Artifact:
    return tiny.data_artifact(runs, "prompts", "prompts", tiny.prompts()[4:], tiny.prompts()[:4])


def read(artifact: Artifact) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows = (artifact.path / "answers.jsonl").read_text("utf-8").splitlines()
    return json.loads((artifact.path / "evaluation.json").read_text("utf-8")), [json.loads(r) for r in rows]


def test_policies_are_judged_by_rules_on_heldout_prompts(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    made = tiny.run_in(tmp_path, settings(per_prompt=1), {"models": policies(tmp_path), "prompts": [asked(tmp_path)]})
    result, rows = read(made)
    assert (result["judge"], result["baseline"], result["prompts"]) == ("rules judge.py", "one", 4)
    assert [r["prompt"][-1]["content"] for r in rows] == tiny.QUESTIONS[:4]
    assert [r["reference"] for r in rows] == tiny.GOOD[:4]
    one, two = result["models"]
    assert (one["name"], one["win_rate"], two["name"]) == ("one", None, "two")
    scores = {name: [len(r["answers"][name]["text"]) for r in rows] for name in ("one", "two")}
    assert [r["answers"]["two"]["score"] for r in rows] == scores["two"]
    for model in result["models"]:
        assert model["score"] == fmean(scores[model["name"]])
        assert model["measures"]["characters"] == {"value": model["score"], "n": 4}
        assert model["measures"]["about colours"] == {"value": 1.0, "n": 1}
        assert model["mean_words"] == fmean(len(r["answers"][model["name"]]["text"].split()) for r in rows)
    wins = sum(a > b for a, b in zip(scores["two"], scores["one"], strict=True))
    ties = sum(a == b for a, b in zip(scores["two"], scores["one"], strict=True))
    assert (two["win_rate"]["wins"], two["win_rate"]["ties"]) == (wins, ties)
    assert two["win_rate"]["rate"] == (wins + ties / 2) / 4
    assert made.manifest.metrics["two_win_rate"] == two["win_rate"]["rate"]


def test_a_policy_against_itself_ties(tmp_path: Path) -> None:
    """Both are asked with the same seeds, so equal policies give equal answers."""
    (tmp_path / "judge.py").write_text(JUDGE)
    twins = [tiny.base_of(tmp_path, "llama", "one"), tiny.base_of(tmp_path, "llama", "two")]
    result, _ = read(tiny.run_in(tmp_path, settings(), {"models": twins, "prompts": [asked(tmp_path)]}))
    low, high = (pytest.approx(limit, abs=1e-4) for limit in (0.0676, 0.9324))  # Clopper and Pearson's for 2 of 4
    won = {"rate": 0.5, "low": low, "high": high, "wins": 0, "ties": 4, "losses": 0}
    assert result["models"][1]["win_rate"] == won


def trained_reward(runs: Path) -> Artifact:
    pairs = tiny.data_artifact(runs, "for-reward", "preferences", tiny.preferences())
    stage = Reward(name="reward", kind="reward", model="base", data="pairs", max_steps=3, max_length=128,
                   learning_rate=1e-2)  # fmt: skip
    return tiny.run_in(runs, stage, {"model": [tiny.base_of(runs, "llama")], "data": [pairs]})


def test_a_reward_model_judges_and_is_measured(tmp_path: Path) -> None:
    reward = trained_reward(tmp_path)
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences()[:5], tiny.preferences()[5:])
    made = tiny.run_in(
        tmp_path,
        settings(judge="reward", reward=["reward"], data="pairs", limit=3),
        {"models": policies(tmp_path), "prompts": [asked(tmp_path)], "judge": [reward], "reward": [reward],
         "data": [pairs]},
    )  # fmt: skip
    result, rows = read(made)
    assert (result["judge"], result["prompts"]) == ("reward model reward", 3)
    judge = RewardJudge(reward, "fp32")
    for row in rows:
        for answer in row["answers"].values():
            said = [(talk(row["prompt"][-1]["content"]), answer["text"])]
            assert judge.score_all(said)[0] == pytest.approx(answer["score"], abs=1e-5)
    (found,) = result["reward"]
    heldout = list(zip(tiny.QUESTIONS, tiny.GOOD, tiny.BAD, strict=True))[5:]
    good = judge.score_all([(talk(q), g) for q, g, _ in heldout])
    bad = judge.score_all([(talk(q), b) for q, _, b in heldout])
    assert found["accuracy"]["rate"] == pytest.approx(fmean(g > b for g, b in zip(good, bad, strict=True)))
    assert found["accuracy"]["pairs"] == 3
    assert found["baselines"]["longer wins"] == fmean(
        0.5 if len(g) == len(b) else len(g) > len(b) for _, g, b in heldout
    )
    assert made.manifest.metrics["reward_accuracy"] == round(found["accuracy"]["rate"], 4)


def test_a_reward_model_alone_can_be_measured(tmp_path: Path) -> None:
    pairs = tiny.data_artifact(tmp_path, "pairs", "rankings", tiny.rankings()[:5], tiny.rankings()[5:])
    stage = Evaluate(name="result", kind="evaluate", reward=["reward"], data="pairs")
    made = tiny.run_in(tmp_path, stage, {"reward": [trained_reward(tmp_path)], "data": [pairs]})
    result = json.loads((made.path / "evaluation.json").read_text("utf-8"))
    assert (result["judge"], result["baseline"], result["models"]) == (None, None, [])
    (found,) = result["reward"]
    assert found["accuracy"]["pairs"] == 6, "two strict pairs in each of three rankings"
    assert found["ties"] == 3, "one tie in each"
    assert sum(part["pairs"] for part in found["lengths"].values()) == 6 and found["tags"] == {}
    assert sum(b["pairs"] for b in found["calibration"]["curve"]) == 6
    assert found["calibration"]["temperature"] is None and "fewer than" in found["calibration"]["reason"]
    assert found["agreement"]["reason"] == "one annotator only"
    assert made.manifest.metrics["reward_ece"] == round(found["calibration"]["ece"], 4)


def test_a_file_that_only_measures_and_what_the_doctor_found_in_it(tmp_path: Path) -> None:
    """RewardBench's way: no training rows, a tag for each subset, and findings that stand in the figures again."""
    records = [r.model_copy(update={"tags": ["easy"]}) for r in tiny.preferences()]
    pairs = tiny.data_artifact(tmp_path, "bench", "preferences", [], records * 3, metrics={"doctor": {"duplicate": 16}})
    stage = Evaluate(name="result", kind="evaluate", reward=["reward"], data="bench")
    made = tiny.run_in(tmp_path, stage, {"reward": [trained_reward(tmp_path)], "data": [pairs]})
    (found,) = json.loads((made.path / "evaluation.json").read_text("utf-8"))["reward"]
    assert found["accuracy"]["pairs"] == found["tags"]["easy"]["pairs"] == 24
    assert "TF-IDF" not in found["baselines"], "nothing to train it on"
    assert found["agreement"]["reason"] == "preferences do not say who judged"
    assert made.manifest.metrics["doctor"] == {"bench.duplicate": 16}


def test_nothing_is_held_out(tmp_path: Path) -> None:
    prompts = tiny.data_artifact(tmp_path, "prompts", "prompts", tiny.prompts())
    with pytest.raises(DataError, match=r"no held-out prompt to ask(.|\n)*holdout: 0.1"):
        tiny.run_in(tmp_path, settings(), {"models": policies(tmp_path), "prompts": [prompts]})
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    stage = Evaluate(name="reward-only", kind="evaluate", reward=["reward"], data="pairs")
    with pytest.raises(DataError, match=r"no held-out comparison to measure(.|\n)*holdout: 0.1"):
        tiny.run_in(tmp_path, stage, {"reward": [tiny.base_of(tmp_path, "llama", "r")], "data": [pairs]})
