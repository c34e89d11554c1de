"""Held-out rows: by prompt, by a hash, and whatever the order of the file."""

from __future__ import annotations

import random

import pytest

from align.data.importers import Imported
from align.data.records import Preference, Prompt, Record, Text
from align.data.split import group_key, split, split_imported
from align.errors import DataError


def prompts(n: int, start: int = 0) -> list[Prompt]:
    return [Prompt.model_validate({"prompt": [{"role": "user", "content": f"q{i}"}]}) for i in range(start, start + n)]


def groups(sizes: list[int]) -> list[Preference]:
    def row(i: int, k: int) -> Preference:
        turn = [{"role": "assistant", "content": str(k)}]
        prompt = [{"role": "user", "content": f"q{i}"}]
        return Preference.model_validate({"prompt": prompt, "chosen": turn, "rejected": turn, "id": f"{i}-{k}"})

    return [row(i, k) for i, size in enumerate(sizes) for k in range(size)]


def ids(records: list[Prompt] | list[Preference] | list[Record] | list[Text]) -> list[str]:
    return [record.id for record in records]


def test_nothing_is_held_out_without_a_holdout() -> None:
    assert split(prompts(3), 0, 7) == (prompts(3), [])


def test_all_is_held_out_where_all_is_asked_for() -> None:
    assert split(prompts(1), "all", 7) == ([], prompts(1))


def test_a_number_is_reached_exactly_and_the_order_stays() -> None:
    records = prompts(2312)
    train, heldout = split(records, 412, 7)
    assert len(heldout) == 412 and len(train) == 1900
    out = set(ids(heldout))
    assert ids(train) == [record.id for record in records if record.id not in out]
    assert ids(heldout) == [record.id for record in records if record.id in out]


def test_a_share_is_about_met() -> None:
    _, heldout = split(prompts(2000), 0.1, 7)
    assert 160 <= len(heldout) <= 240, "200 expected, standard deviation 13"


@pytest.mark.parametrize("holdout", [0.2, 30])
def test_the_order_of_the_file_decides_nothing(holdout: float) -> None:
    records = prompts(100)
    shuffled = random.Random(1).sample(records, len(records))
    assert set(ids(split(records, holdout, 7)[1])) == set(ids(split(shuffled, holdout, 7)[1]))


@pytest.mark.parametrize("holdout", [0.2, 30])
def test_the_seed_decides(holdout: float) -> None:
    assert ids(split(prompts(100), holdout, 7)[1]) != ids(split(prompts(100), holdout, 8)[1])


@pytest.mark.parametrize("holdout", [0.3, 20, 21])
def test_no_prompt_is_on_both_sides(holdout: float) -> None:
    records = groups([1, 2, 3] * 20)
    train, heldout = split(records, holdout, 7)
    assert train and heldout
    assert not {group_key(r) for r in train} & {group_key(r) for r in heldout}


def test_a_number_is_filled_with_groups_that_fit() -> None:
    _, heldout = split(groups([1, 5, 5, 5, 1]), 7, 7)
    assert len(heldout) == 7
    _, heldout = split(groups([3, 2, 4]), 1, 7)
    assert len(heldout) == 2, "no prompt has a single row: the smallest group"


def test_files_with_the_same_share_agree_on_common_prompts() -> None:
    a, b = split(prompts(300), 0.3, 7)[1], split(prompts(300, start=150), 0.3, 7)[1]
    common = set(ids(prompts(150, start=150)))
    assert set(ids(a)) & common == set(ids(b)) & common


def test_small_files_keep_one_prompt_on_each_side() -> None:
    for share in (0.0001, 0.9999):
        train, heldout = split(prompts(2), share, 7)
        assert len(train) == len(heldout) == 1


def test_texts_are_split_by_their_id() -> None:
    texts = [Text(text=f"t{i}") for i in range(50)]
    train, heldout = split(texts, 10, 7)
    assert len(heldout) == 10 and len(train) == 40


def test_the_split_is_the_same_on_every_machine() -> None:
    """The figures are SHA-256 by definition: a change here would move prompts of existing runs into training."""
    assert [r.prompt[0].content for r in split(prompts(12), 3, 7)[1]] == ["q7", "q8", "q11"]


@pytest.mark.parametrize(("holdout", "n"), [(5, 5), (9, 5), (0.5, 1)])
def test_nothing_left_to_train_on(holdout: float, n: int) -> None:
    with pytest.raises(DataError, match=r"leaves nothing to train on(?s:.*)lower `holdout:`"):
        split(prompts(n), holdout, 7)


def test_a_number_that_is_none() -> None:
    with pytest.raises(DataError, match=r"holdout 1\.5 is neither a share nor a number of rows"):
        split(prompts(5), 1.5, 7)


def test_lines_stay_with_their_records() -> None:
    records: list[Record] = list(prompts(10))
    imported = Imported("prompts", records, list(range(1, 20, 2)), "x.jsonl", "align")
    train, heldout = split_imported(imported, 3, 7)
    assert len(heldout.records) == 3 and train.path == "x.jsonl"
    for part in (train, heldout):
        assert part.lines == [2 * records.index(r) + 1 for r in part.records]
    with pytest.raises(DataError, match=r"x\.jsonl"):
        split_imported(imported, 10, 7)
