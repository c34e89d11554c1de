"""Recipes that learn from scores: ppo, grpo, rloo. What fits, and what is said where it does not."""

from __future__ import annotations

import re

import pytest

from align.errors import RecipeError
from align.recipe.check import check_recipe
from align.recipe.load import Loaded
from align.recipe.wiring import references, rules_files
from tests.recipe.conftest import Make

LAST = "  - {name: result,"
SWAP = "  - {{name: better, kind: {kind}, model: sft, prompts: prompts, reward: {reward}}}\n"


def with_stage(make: Make, reward: str, kind: str = "ppo", more: str = "") -> Loaded:
    stage = SWAP.format(kind=kind, reward=reward + more)
    return make((LAST, stage + LAST))


@pytest.mark.parametrize("kind", ["ppo", "grpo", "rloo"])
@pytest.mark.parametrize("reward", ["reward", "{rules: judge.py}", "[reward, {rules: judge.py}]"])
def test_one_word_swaps_the_kind(make: Make, kind: str, reward: str) -> None:
    loaded = with_stage(make, reward, kind)
    check_recipe(loaded)
    stage = loaded.recipe.stages[-2]
    assert references(stage).get("reward", []) == (["reward"] if "reward" in reward.replace("reward:", "") else [])
    assert list(rules_files(stage).values()) == (["judge.py"] if "judge" in reward else [])


@pytest.mark.parametrize(
    ("reward", "more", "said"),
    [
        ("[{rules: judge.py}, rewad]", "", r"reward\[1\] .*\n.*`rewad`(.|\n)*did you mean `reward`"),
        ("dpo", "", "`reward` reads `dpo`, which is of kind policy"),
        ("{rules: jugde.py}", "", r"reward\.rules(.|\n)*did you mean `judge.py`"),
        ("[{rules: jugde.py}]", "", r"reward\[0\]\.rules"),
        ("[]", "", "reward: is an empty list"),
        ("reward", ", reward_weights: [1, 2]", "2 entries for 1 rewards"),
        ("reward", ", minibatches: 65", "minibatches 65 is more than the 64 episodes"),
        ("reward", ", trainer: {temperature: 2}", "use `temperature` of the stage"),
        ("reward", ", trainer: {clip_range: 2}", "did you mean `cliprange`"),
        ("reward", ", value: own", "'auto', 'separate' or 'shared'|auto, separate"),
    ],
)
def test_mistakes_are_named(make: Make, reward: str, more: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe(with_stage(make, reward, more=more))
    assert re.search(said, str(caught.value)), str(caught.value)
