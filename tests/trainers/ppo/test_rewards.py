"""Rewards: functions and their mistakes, reward models of any tokenizer, scales, weights, disagreement."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from align.data.records import Message
from align.errors import DataError, TrainingError
from align.judges.reward import SCALE, RewardJudge
from align.recipe.schema import Reward
from align.trainers.ppo.rewards import Episode, make_rewards
from tests import tiny

pytestmark = tiny.THIRD_PARTY


@dataclass
class Settings:
    uncertainty_coef: float = 0.0
    missing_eos_penalty: float = 1.0
    score_clip: float | None = 10.0


def episode(text: str, finished: bool = True, **row: Any) -> Episode:
    return Episode([Message(role="user", content="Say yes.")], [1, 2], [3, 4], text, finished, row)


def score(reward: Any, *episodes: Episode, weights: list[float] | None = None, **settings: Any) -> list[float]:
    return make_rewards(reward, weights, Settings(**settings), "fp32")(list(episodes)).total


def length(completions: list[str]) -> list[float]:
    return [float(len(c)) for c in completions]


def test_a_function_gets_what_it_names() -> None:
    seen: dict[str, Any] = {}

    def known(prompts: Any, completions: Any, reference: Any, completion_ids: Any) -> list[float]:
        seen.update(prompts=prompts, completions=completions, reference=reference, ids=completion_ids)
        return [1.0] * len(completions)

    def anything(completions: Any, **columns: Any) -> list[int]:
        seen["columns"] = sorted(columns)
        return [2] * len(completions)

    total = score([known, anything], episode("a", reference="x", tags=["t"]), weights=[1.0, 0.5])
    assert total == [2.0]
    assert seen["prompts"] == [[{"role": "user", "content": "Say yes."}]]
    assert (seen["completions"], seen["reference"], seen["ids"]) == (["a"], ["x"], [[3, 4]])
    assert seen["columns"] == ["completion_ids", "prompts", "reference", "tags"]


def test_an_answer_without_an_end_is_worth_less() -> None:
    assert score(length, episode("ab"), episode("ab", finished=False)) == [2.0, 1.0]
    assert score(length, episode("ab", finished=False), missing_eos_penalty=0.0) == [2.0]


def nan(completions: list[str]) -> list[float]:
    return [0.0] * (len(completions) - 1) + [math.nan]


def none(completions: list[str]) -> list[None]:
    return [None for _ in completions]


def few(completions: list[str]) -> list[float]:
    return [1.0]


def broken(completions: list[str]) -> list[float]:
    return [1 / 0 for _ in completions]


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (nan, r"the reward function nan gave nan for the answer 'second'"),
        (none, r"the reward function none gave None for the answer 'first'"),
        (few, r"the reward function few gave 1 values for 2 answers"),
        (broken, r"the reward function broken failed with ZeroDivisionError: division by zero"),
    ],
)
def test_mistakes_of_a_function_are_named(function: Callable[..., Any], found: str) -> None:
    with pytest.raises(TrainingError, match=found) as caught:
        score(function, episode("first"), episode("second"))
    assert caught.value.where
    if function is broken:
        assert "test_rewards.py:" in caught.value.where


def test_errors_that_users_can_mend_pass_unchanged() -> None:
    def judge(completions: list[str]) -> list[float]:
        raise DataError("the rules file is wrong", where="judge.py")

    with pytest.raises(DataError, match="the rules file is wrong"):
        score(judge, episode("a"))


@pytest.mark.parametrize(
    ("reward", "weights", "found"),
    [
        ([], None, "the rewards are"),
        ([length, length], None, "the rewards are"),
        ([length], [1.0, 2.0], "2 reward_weights for 1 rewards"),
        (3, None, "a reward is int"),
    ],
)
def test_rewards_that_are_none(reward: Any, weights: Any, found: str) -> None:
    with pytest.raises(TrainingError, match=found):
        make_rewards(reward, weights, Settings(), "fp32")


def reward_model(runs: Path, family: str, name: str = "reward", **changes: Any) -> Path:
    """A reward model trained for two steps."""
    runs.mkdir(exist_ok=True)
    data = tiny.data_artifact(runs, f"{name}-pairs", "preferences", tiny.preferences())
    settings = Reward(name=name, kind="reward", model="base", data="pairs", max_steps=2, batch_size=4, max_length=128,
                      learning_rate=5e-2, **changes)  # fmt: skip
    return tiny.run_in(runs, settings, {"model": [tiny.base_of(runs, family, f"{name}-base")], "data": [data]}).path


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_reward_model_scores_text_whatever_its_tokenizer(family: str, tmp_path: Path) -> None:
    folder = reward_model(tmp_path, family)
    judge = RewardJudge(folder)
    texts = ["Yes.", "No, it is blue."]
    raw = judge.score_all([(episode(t).prompt, t) for t in texts])
    assert raw[0] != raw[1]
    scale = json.loads((folder / SCALE).read_text("utf-8"))
    wanted = [(r - scale["mean"]) / scale["std"] for r in raw]
    assert score(str(folder), *map(episode, texts)) == pytest.approx(wanted, abs=1e-4)


def test_a_scale_is_that_of_the_preferred_answers(tmp_path: Path) -> None:
    """Mean 0 and deviation 1 over the answers that won in training."""
    folder = reward_model(tmp_path, "llama")
    judge = RewardJudge(folder)
    won = [(p.prompt, p.chosen[0].content) for p in tiny.preferences()]  # type: ignore[attr-defined]
    raw = judge.score_all(won)
    mean = sum(raw) / len(raw)
    scale = json.loads((folder / SCALE).read_text("utf-8"))
    assert scale["answers"] == 8
    assert scale["mean"] == pytest.approx(mean, abs=1e-4)
    assert scale["std"] == pytest.approx((sum((r - mean) ** 2 for r in raw) / len(raw)) ** 0.5, abs=1e-4)


def test_without_a_stored_scale_the_first_answers_make_it(tmp_path: Path) -> None:
    folder = reward_model(tmp_path, "llama")
    (folder / SCALE).unlink()
    rewards = make_rewards(folder, None, Settings(), "fp32")
    first = rewards([episode(t) for t in tiny.GOOD]).total
    assert sum(first) == pytest.approx(0, abs=1e-4)
    assert sum(v * v for v in first) / len(first) == pytest.approx(1, abs=1e-3)
    kept = rewards.state()
    rewards([episode(t) for t in tiny.BAD])
    assert rewards.state() == kept
    again = make_rewards(folder, None, Settings(), "fp32")
    again.restore(kept)
    assert again([episode(t) for t in tiny.GOOD]).total == first


def test_disagreement_between_reward_models_costs(tmp_path: Path) -> None:
    """Two models: the mean of their normal scores, less the deviation between them, which is half their distance."""
    folders = [reward_model(tmp_path / n, family, n) for n, family in (("one", "llama"), ("two", "gpt2"))]
    made = [episode(t) for t in tiny.GOOD[:3]]
    one, two = (score(f, *made) for f in folders)
    weights = [0.5, 0.5]
    plain = score(folders, *made, weights=weights)
    assert plain == pytest.approx([(a + b) / 2 for a, b in zip(one, two, strict=True)])
    careful = score(folders, *made, weights=weights, uncertainty_coef=1.0)
    assert careful == pytest.approx([min(a, b) for a, b in zip(one, two, strict=True)], abs=1e-5)


def test_disagreement_between_heads_costs(tmp_path: Path) -> None:
    """One model of four heads: its mean counts, less the deviation that the judge tells."""
    folder = reward_model(tmp_path, "llama", heads=4)
    made = [episode(t) for t in tiny.GOOD[:3]]
    spread = RewardJudge(folder).spread_all([(e.prompt, e.text) for e in made])
    assert min(spread) > 0
    plain, careful = score(str(folder), *made), score(str(folder), *made, uncertainty_coef=0.5)
    assert careful == pytest.approx([p - 0.5 * s for p, s in zip(plain, spread, strict=True)], abs=1e-4)
    rewards = make_rewards(folder, None, Settings(), "fp32")
    kept = rewards.state()
    rewards.restore(kept)
    assert len(rewards.scales["reward"].heads) == 4


def test_one_head_cannot_disagree(tmp_path: Path) -> None:
    folder = reward_model(tmp_path, "llama")
    for rewards in (folder, lambda completions: [1.0] * len(completions)):
        with pytest.raises(TrainingError, match="nobody can disagree here") as caught:
            score(rewards, episode("Yes."), uncertainty_coef=0.5)
        assert caught.value.where == "uncertainty_coef"


def test_normal_scores_are_clipped(tmp_path: Path) -> None:
    folder = reward_model(tmp_path, "llama")
    (folder / SCALE).write_text(json.dumps({"mean": 100.0, "std": 0.01}))
    assert score(folder, episode("Yes.")) == [-10.0]
    assert score(folder, episode("Yes."), score_clip=None)[0] < -1000
