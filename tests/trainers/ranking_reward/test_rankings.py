"""Records become rankings of tokens: what is merged, cut, left out, weighed, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from align.data.records import Answer, Preference, Ranking
from align.errors import DataError
from align.models.load import ModelRef, load_tokenizer
from align.trainers.ranking_reward.batches import judged, token_rows
from align.trainers.ranking_reward.rankings import MOST_ANSWERS, RankedPrompt, read_rankings
from tests import tiny
from tests.tiny import talk

GOOD, BAD, SO = "Paris.", "Bread.", "It is so."


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    folder = str(tiny.tiny_folder("llama"))
    return load_tokenizer(ModelRef(folder, folder))


def ranking(texts: list[str], ranks: list[int | None], annotator: str = "a", question: str = "Why?") -> Ranking:
    answers = [Answer(id=str(i), text=text) for i, text in enumerate(texts)]
    return Ranking(prompt=talk(question), answers=answers, ranks=ranks, annotator=annotator)


def read(tokenizer: Any, *rows: Any, ties: bool = True, max_length: int = 128) -> tuple[list[RankedPrompt], list[str]]:
    return read_rankings(rows, tokenizer, max_length, ties)


def test_all_that_is_said_of_a_prompt_stands_together(tokenizer: Any) -> None:
    """Two annotators and a preference over the same answers: three answers, three judgements, one prompt."""
    preference = Preference(prompt=talk("Why?"), chosen=talk("", SO)[1:], rejected=talk("", BAD)[1:])
    (one,), notes = read(
        tokenizer, ranking([GOOD, BAD], [1, 2]), ranking([BAD, SO, GOOD], [3, None, 1], "b"), preference
    )
    assert [tokenizer.decode(ids[:-1]) for ids in one.answer_ids] == [GOOD, BAD, SO]
    assert [j.ranks for j in one.judgements] == [(1, 2, None), (1, 3, None), (None, 2, 1)]
    assert notes == []


def test_the_same_answer_twice_has_the_mean_of_its_ranks(tokenizer: Any) -> None:
    (one,), _ = read(tokenizer, ranking([GOOD, BAD, GOOD, SO], [1, 2, 4, None]))
    assert len(one.answer_ids) == 3
    assert one.judgements[0].ranks == (2.5, 2, None)


def test_rankings_that_say_nothing_are_left_out_and_counted(tokenizer: Any) -> None:
    good = ranking([GOOD, BAD], [1, 2])
    tied = ranking([GOOD, BAD], [1, 1], question="Who?")
    alone = ranking([GOOD, BAD], [None, 1], question="When?")
    found, notes = read(tokenizer, good, tied, alone)
    assert (len(found), notes) == (2, ["1 ranking left out: no two answers compared"])
    found, notes = read(tokenizer, good, tied, alone, ties=False)
    assert (len(found), notes) == (1, ["2 rankings left out: no two answers compared"])


@pytest.mark.parametrize("ties", [True, False])
def test_nothing_but_ties_is_no_comparison(tokenizer: Any, ties: bool) -> None:
    with pytest.raises(DataError, match="no comparison is left to train on: the rankings hold only ties"):
        read(tokenizer, ranking([GOOD, BAD], [1, 1]), ranking([GOOD, GOOD], [1, 2], question="Who?"), ties=ties)


def test_answers_that_cutting_makes_equal(tokenizer: Any) -> None:
    long = "Yes. " * 40
    with pytest.raises(DataError, match="cutting removes every difference"):
        read(tokenizer, ranking([long + "a", long + "b"], [1, 2]), max_length=32)
    (one,), notes = read(tokenizer, ranking([long, "No."], [1, 2]), max_length=32)
    assert one.cut
    assert max(len(one.prompt_ids) + len(ids) for ids in one.answer_ids) == 32
    assert notes == ["1 prompt with answers cut to max_length 32"]


def test_someone_who_contradicts_themself_is_one_person(tokenizer: Any) -> None:
    """Their two rankings of the same answers share one weight; another's of other answers does not."""
    (one,), _ = read(
        tokenizer, ranking([GOOD, BAD], [1, 2]), ranking([BAD, GOOD], [1, 2]), ranking([GOOD, SO], [1, 2], "b")
    )
    assert [j.weight for j in one.judgements] == [0.5, 0.5, 1.0]
    assert [j.ranks for j in one.judgements] == [(1, 2, None), (2, 1, None), (1, None, 2)]


def test_a_prompt_with_too_many_answers_is_divided(tokenizer: Any) -> None:
    rows = [ranking([f"{i} yes", f"{i} no"], [1, 2]) for i in range(MOST_ANSWERS)]
    found, _ = read(tokenizer, *rows)
    assert [len(p.answer_ids) for p in found] == [MOST_ANSWERS, MOST_ANSWERS]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Why?", "answers": [GOOD, BAD], "ranks": [1, 2, 3]}, "ranks has 3 entries for 2 answers"),
        ({"prompt": "Why?", "answers": [GOOD, BAD], "ranks": [0, 1]}, "a rank below 1"),
        ({"prompt": "Why?", "answers": [GOOD, BAD], "ranks": [1, "best"]}, "ranks.1: Input should be a valid integer"),
        ({"prompt": "Why?", "answers": [GOOD, BAD], "ranks": [1, float("nan")]}, "ranks.1"),
        ({"prompt": "Why?", "answers": [GOOD], "ranks": [1]}, "answers: List should have at least 2"),
        ({"prompt": "Why?", "answers": [GOOD, BAD]}, "ranks: Field required"),
        ({"prompt": "Why?", "chosen": GOOD}, "rejected: Field required"),
        ("Why?", "the row is a str"),
    ],
)
def test_what_is_no_ranking_is_refused_by_row(tokenizer: Any, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tokenizer, ranking([GOOD, BAD], [1, 2]), row)
    assert "train_dataset row 2" in str(caught.value)


def test_a_batch_names_every_answer_by_its_place(tokenizer: Any) -> None:
    found, _ = read(
        tokenizer, ranking([GOOD, BAD], [2, 1]), ranking([GOOD, BAD, SO], [1, 2, None], "b", "Who?"),
        ranking([BAD, SO], [1, 1], "a", "Who?"),
    )  # fmt: skip
    batch = judged(found, 0.5)
    assert batch["answers"].tolist() == [[0, 1], [2, 3], [3, 4]]
    assert batch["ranks"].tolist() == [[2, 1], [1, 2], [1, 1]]
    assert batch["ranked"].all()
    shared, alone = (token_rows(found, share, 7) for share in (True, False))
    assert (len(shared["input_ids"]), len(alone["input_ids"])) == (2, 5)
    for rows in (shared, alone):
        ends = rows["input_ids"][rows["rows"], rows["columns"]]
        assert torch.equal(ends, torch.tensor([ids[-1] for p in found for ids in p.answer_ids]))
    start = len(found[0].prompt_ids)
    last = shared["position_ids"][shared["rows"], shared["columns"]]
    assert last[:2].tolist() == [start + len(ids) - 1 for ids in found[0].answer_ids]
