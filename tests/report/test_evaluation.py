"""Evaluations: the sentence they are summed up in, and which prompts are shown."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from align.artifacts import read_artifact
from align.errors import DataError
from align.report.collect import read_run
from align.report.evaluation import (
    AnsweredPrompt,
    Evaluation,
    choose,
    evaluations,
    headline,
    read_answers,
    read_evaluation,
)
from align.report.pictures import measures, rewards, win_rates
from tests.report.conftest import EVALUATION, RunFolder, answered, fill


def changed(**fields: Any) -> Evaluation:
    return Evaluation.model_validate({**copy.deepcopy(EVALUATION), **fields})


def test_headline() -> None:
    said = "dpo wins 81 % against sft on 240 held-out prompts (95 % interval 76–86 %)"
    assert headline(changed()) == said + "."
    unclear = changed()
    rate = unclear.models[1].win_rate
    assert rate is not None
    rate.low = 0.49
    assert headline(unclear).endswith("(95 % interval 49–86 %): no clear difference.")


def test_headline_of_a_reward_model_alone() -> None:
    assert headline(changed(models=[])) == (
        "reward prefers the better answer in 90 % of 517 held-out pairs (95 % interval 87–93 %)."
    )
    coin = changed(models=[])
    coin.reward[0].accuracy.low = 0.48
    assert headline(coin).endswith("not better than a coin.")
    coin.reward[0].accuracy.high = 0.49
    assert headline(coin).endswith("): worse than a coin.")


def test_the_best_of_several_policies_makes_the_headline() -> None:
    third = {"name": "ppo", "win_rate": {"rate": 0.9, "low": 0.85, "high": 0.94}}
    assert headline(changed(models=[*EVALUATION["models"], third])).startswith("ppo wins 90 %")


def test_bars() -> None:
    (bar,) = win_rates(changed())
    assert (bar.label, bar.width, bar.low, bar.high) == ("dpo", 81.25, 76.04, 86.04)
    groups = measures(changed())
    assert groups[0].title == "harmful refused (40 prompts)"
    assert [(b.label, b.text, b.width) for b in groups[0].bars] == [("sft", "55.0 %", 55.0), ("dpo", "97.5 %", 97.5)]
    (reward,) = rewards(changed())
    assert [(b.label, b.text) for b in reward.bars] == [
        ("reward", "90.2 %"), ("longer wins", "53.4 %"), ("shorter wins", "46.6 %"), ("TF-IDF", "71.1 %"),
    ]  # fmt: skip


def test_measures_that_are_no_shares() -> None:
    words = [{"name": n, "measures": {"words": {"value": v, "n": 3}}} for n, v in (("a", 10.0), ("b", 40.0))]
    (group,) = measures(changed(models=words))
    assert [(b.text, b.width) for b in group.bars] == [("10.0", 25.0), ("40.0", 100.0)]
    words[0]["measures"]["words"]["value"] = -1.0  # type: ignore[index]
    (group,) = measures(changed(models=words))
    assert [b.width for b in group.bars] == [None, None]


def rows(number: int = 240) -> list[AnsweredPrompt]:
    return [AnsweredPrompt.model_validate_json(line) for line in answered(number).splitlines()]


def test_twenty_prompts_are_spread_over_tags_and_differ() -> None:
    chosen = choose(rows())
    assert len(chosen) == 20
    assert [sum(r.tags == [t] for r in chosen) for t in ("fact", "harmful", "harmless", "unknown")] == [5, 5, 5, 5]
    assert all(len({a.text for a in r.answers.values()}) == 2 for r in chosen)


def test_the_choice_does_not_depend_on_the_files_order() -> None:
    assert choose(rows()) == choose(rows()[::-1])


def test_fewer_prompts_than_asked_for_are_all_shown() -> None:
    assert {r.id for r in choose(rows(7))} == {f"p{i}" for i in range(7)}


def test_a_rare_tag_is_shown() -> None:
    many = rows()
    rare = many[0].model_copy(update={"id": "rare", "tags": ["rare"]})
    assert "rare" in {r.id for r in choose([*many, rare])}


def test_answers_that_cannot_be_read(folder: RunFolder) -> None:
    fill(folder, answers=answered(2) + '{"prompt": []}\n')
    with pytest.raises(DataError, match=r"answers\.jsonl:3"):
        read_answers(read_artifact(folder.path / "result"))


def test_figures_that_cannot_be_read(finished: RunFolder) -> None:
    (finished.path / "result" / "evaluation.json").write_text(json.dumps({"models": [{"score": 1}]}), "utf-8")
    with pytest.raises(DataError, match="figures of this evaluation cannot be read"):
        read_evaluation(read_artifact(finished.path / "result"))


def test_every_evaluation_of_a_run_is_found(finished: RunFolder) -> None:
    assert [e.name for e in evaluations(read_run(finished.path))] == ["result"]
