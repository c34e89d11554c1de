"""Which prompts a rollout asks, how its tokens are grouped, and prompts that cannot be asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from align.data.records import Message
from align.errors import DataError
from align.trainers.ppo.rollout import collate, derived_seed, micro_batches, prompts_of_rollout, read_prompts
from tests import tiny


def test_every_prompt_is_asked_once_before_one_is_asked_again() -> None:
    asked = [i for rollout in range(5) for i in prompts_of_rollout(10, 4, rollout, seed=7)]
    assert sorted(asked[:10]) == sorted(asked[10:]) == list(range(10))
    assert asked[:10] != asked[10:]


def test_fewer_prompts_than_a_rollout_are_asked_several_times() -> None:
    assert Counter(prompts_of_rollout(3, 8, 0, seed=7)).most_common()[0][1] <= 3
    assert len(prompts_of_rollout(1, 8, 5, seed=7)) == 8


def test_a_rollout_depends_on_seed_and_number_alone() -> None:
    assert prompts_of_rollout(10, 4, 3, seed=7) == prompts_of_rollout(10, 4, 3, seed=7)
    assert [prompts_of_rollout(50, 50, 0, seed=s) for s in (1, 2)][0] != prompts_of_rollout(50, 50, 0, seed=2)
    assert derived_seed(1, "a") != derived_seed(1, "b")


@pytest.mark.parametrize("budget", [1, 20, 64, 1000])
def test_micro_batches_hold_every_sequence_once_within_the_budget(budget: int) -> None:
    lengths = [5, 17, 3, 3, 9, 30, 12, 1]
    groups = micro_batches(lengths, budget)
    assert sorted(i for g in groups for i in g) == list(range(8))
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= budget


def test_micro_batches_are_cut_where_padding_costs_more_than_another_pass() -> None:
    alike, apart = [100] * 30, [20] * 30 + [200] * 2
    assert len(micro_batches(alike, 10_000)) == 1
    assert [len(group) for group in micro_batches(apart, 10_000)] == [30, 2]
    assert len(micro_batches(apart, 10_000, "cuda")) == 2  # 32 x 200 against 30 x 20 + 2 x 200 and a pass
    assert len(micro_batches([20, 40] * 8, 10_000, "cuda")) == 1


def test_collated_rows_and_the_places_before_their_answers() -> None:
    tokens = collate([[1, 2], [3]], [[4, 5, 6], [7]], torch.device("cpu"))
    assert tokens.ids.tolist() == [[1, 2, 4, 5, 6], [3, 7, 0, 0, 0]]
    rows, columns = tokens.before_answers()
    assert (rows.tolist(), columns.tolist()) == ([0, 0, 0, 1], [1, 2, 3, 0])
    assert tokens.answers().tolist() == [4, 5, 6, 7]


def test_prompts_as_text_and_as_conversations_are_the_same() -> None:
    tokenizer = tiny.tokenizer_of("llama")
    messages = [{"role": "user", "content": "Say yes."}]
    forms: list[Any] = ["Say yes.", {"prompt": "Say yes.", "tags": ["a"]}, {"prompt": messages}]
    forms.append({"prompt": [Message(role="user", content="Say yes.")]})
    asked = read_prompts(forms, tokenizer, room=100)
    assert len({tuple(a.ids) for a in asked}) == 1
    assert asked[1].row == {"tags": ["a"]}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], "there is no prompt"),
        ([""], "row 0 has no prompt: ''"),
        ([{"prompt": []}], "row 0 has no prompt"),
        ([{"question": "a"}], "row 0 has no prompt: None"),
        (["a", "long " * 60], "a prompt has"),
    ],
)
def test_prompts_that_cannot_be_asked(rows: list[Any], found: str) -> None:
    with pytest.raises(DataError, match=found) as caught:
        read_prompts(rows, tiny.tokenizer_of("llama"), room=40)
    assert caught.value.where
