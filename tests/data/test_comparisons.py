"""Rankings and preferences as comparisons, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from align.data.comparisons import best_as_demonstration, comparisons
from align.data.records import Answer, Demonstration, Message, Preference, Ranking, Text, prompt_key
from tests.tiny import talk


def ranking(ranks: list[int | None], texts: str = "abcd") -> Ranking:
    answers = [Answer(id=t, text=t) for t in texts[: len(ranks)]]
    return Ranking(id="r", prompt=talk("Q"), answers=answers, ranks=ranks, annotator="me", tags=["t"], margin=0.5)


def test_a_ranking_gives_every_strict_pair() -> None:
    found = comparisons([ranking([2, 1, 4, 3])])
    assert [(c.chosen_text, c.rejected_text) for c in found] == [
        ("a", "c"), ("a", "d"), ("b", "a"), ("b", "c"), ("b", "d"), ("d", "c"),
    ]  # fmt: skip
    assert {(c.group, c.margin, c.tags) for c in found} == {(prompt_key(talk("Q")), 0.5, ("t",))}


def test_ties_and_unranked_answers_give_none() -> None:
    assert [(c.chosen_text, c.rejected_text) for c in comparisons([ranking([1, 2, 2, None])])] == [
        ("a", "b"), ("a", "c"),
    ]  # fmt: skip
    assert comparisons([ranking([1, 1, 1])]) == []
    assert comparisons([ranking([None, None])]) == []


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ("all", ["ac", "ad", "bc", "bd", "cd"]),
        ("best_vs_rest", ["ac", "ad", "bc", "bd"]),
        ("best_vs_worst", ["ad"]),
        ("adjacent", ["ac", "bc", "cd"]),
    ],
)
def test_which_pairs_of_a_ranking_count(pairs: Any, found: list[str]) -> None:
    """a and b tie for the best, then c, then d; e was not ranked."""
    made = comparisons([ranking([1, 1, 2, 3, None], "abcde")], pairs)
    assert [c.chosen_text + c.rejected_text for c in made] == found
    assert comparisons([ranking([1, 1, 1])], pairs) == []
    record = Preference(prompt=talk("Q"), chosen=talk("", "good")[1:], rejected=talk("", "bad")[1:])
    assert len(comparisons([record], pairs)) == 1


def test_a_preference_is_one_comparison_of_whole_continuations() -> None:
    more = [Message(role="assistant", content="one"), Message(role="user", content="go on")]
    record = Preference(prompt=talk("Q"), chosen=[*more, *more[:1]], rejected=more[:1], margin=2.0)
    (found,) = comparisons([record])
    assert (found.chosen_text, found.rejected_text, found.margin) == ("one\ngo on\none", "one", 2.0)
    assert comparisons([Text(text="no pair")]) == []


def test_the_best_answer_is_the_example() -> None:
    best = best_as_demonstration(ranking([3, 1, 1, None]))
    assert best is not None and best.messages == talk("Q", "b"), "of two best answers the first"
    assert best_as_demonstration(ranking([None, None])) is None
    assert best_as_demonstration(Text(text="x")) is None
    kept = Demonstration(messages=talk("Q", "A"))
    assert best_as_demonstration(kept) is kept
    pair = Preference(prompt=talk("Q"), chosen=talk("", "good")[1:], rejected=talk("", "bad")[1:], tags=["t"])
    best = best_as_demonstration(pair)
    assert best is not None and (best.messages, best.tags) == (talk("Q", "good"), ["t"])
