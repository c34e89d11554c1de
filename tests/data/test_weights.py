"""What comparisons count: by hand, for one annotator and for several who disagree."""

from __future__ import annotations

import pytest

from align.data.records import Answer, Preference, Ranking
from align.data.weights import weighed
from tests.tiny import talk


def ranking(ranks: list[int | None], annotator: str = "ann", prompt: str = "Why?") -> Ranking:
    answers = [Answer(id=str(i), text="abcdef"[i]) for i in range(len(ranks))]
    return Ranking(prompt=talk(prompt), answers=answers, ranks=ranks, annotator=annotator)


def said(*records: Ranking | Preference, weigh: str = "rankings", pairs: str = "all") -> dict[str, float]:
    """`better>worse` -> weight; a pair that stands twice would be lost, so there must be none."""
    found = weighed(list(records), pairs, weigh)  # type: ignore[arg-type]
    names = [f"{row.comparison.chosen_text}>{row.comparison.rejected_text}" for row in found]
    assert len(set(names)) == len(names)
    return {name: row.weight for name, row in zip(names, found, strict=True)}


def test_a_ranking_counts_once_however_many_pairs_it_gives() -> None:
    """Three answers give 3 pairs of 1/3, the preference one of 1; the mean of the four is 1/2, so all are doubled."""
    preference = Preference(prompt=talk("Who?"), chosen=talk("", "x")[1:], rejected=talk("", "y")[1:])
    found = said(ranking([1, 2, 3]), preference)
    assert found == pytest.approx({"a>b": 2 / 3, "a>c": 2 / 3, "b>c": 2 / 3, "x>y": 2.0})
    assert said(ranking([1, 2, 3]), preference, weigh="pairs") == dict.fromkeys(found, 1.0)
    assert said(ranking([1, 2, 3]), preference, pairs="best_vs_worst") == {"a>c": 1.0, "x>y": 1.0}


def test_nothing_counts_where_nothing_is_compared() -> None:
    assert said(ranking([1, 1, None])) == {}


def test_one_annotator_keeps_every_row_even_against_themselves() -> None:
    both = weighed([ranking([1, 2]), ranking([2, 1]), ranking([1, 2])], "all", "pairs")
    assert [(row.comparison.chosen_text, row.weight) for row in both] == [("a", 1.0), ("b", 1.0), ("a", 1.0)]


def test_annotators_who_disagree_become_label_smoothing() -> None:
    """Two of three prefer a, all as reliable: a>b gets 2/3 of what both rows weigh, b>a gets 1/3; the mean is 1."""
    found = said(*(ranking(r, name) for r, name in (([1, 2], "x"), ([1, 2], "y"), ([2, 1], "z"))), weigh="pairs")
    assert set(found) == {"a>b", "b>a"}
    assert sum(found.values()) == pytest.approx(2)
    assert 0.5 < found["a>b"] / 2 < 1


def test_a_tie_of_one_annotator_takes_half_a_voice() -> None:
    """x says a>b, y says they tie: without strict disagreement both are as reliable, so the share is 3/4."""
    found = said(ranking([1, 2], "x"), ranking([1, 1], "y"), weigh="pairs")
    assert found == pytest.approx({"a>b": 1.5, "b>a": 0.5})


def test_annotators_who_agree_give_one_row_with_their_weights() -> None:
    """The agreed pair weighs 2, the pair that only x judged weighs 1: scaled to the mean 1."""
    found = weighed([ranking([1, 2], "x"), ranking([1, 2], "y"), ranking([1, 2], "x", "Who?")], "all", "pairs")
    assert [row.weight for row in found] == pytest.approx([4 / 3, 2 / 3])
