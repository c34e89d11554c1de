"""Accuracy of reward models and of what needs none."""

from __future__ import annotations

import pytest

from align.data.comparisons import Comparison
from align.data.records import prompt_key
from align.evaluation.reward_accuracy import accuracy, longer_wins, tfidf_baseline
from tests.tiny import talk


def pair(question: str, chosen: str, rejected: str) -> Comparison:
    prompt = talk(question)
    return Comparison(prompt, talk("", chosen)[1:], talk("", rejected)[1:], prompt_key(prompt))


def test_a_margin_of_zero_is_half_right() -> None:
    pairs = [pair("a", "x", "y"), pair("a", "x", "z"), pair("b", "x", "y"), pair("c", "x", "y")]
    found = accuracy(pairs, [0.5, -0.1, 0.0, 2.0])
    assert (found["rate"], found["pairs"]) == (2.5 / 4, 4)
    assert found["low"] <= found["rate"] <= found["high"]


def test_the_interval_knows_whose_pairs_go_together() -> None:
    """One prompt: nothing is known about others, and resampling it changes nothing."""
    assert accuracy([pair("a", "x", "y")] * 9, [1.0] * 5 + [-1.0] * 4) == {
        "rate": pytest.approx(5 / 9), "low": pytest.approx(5 / 9), "high": pytest.approx(5 / 9), "pairs": 9,
    }  # fmt: skip


def test_longer_wins_by_hand() -> None:
    assert longer_wins([pair("a", "long", "x"), pair("b", "x", "long"), pair("c", "ab", "cd")]) == 0.5


GOOD = ["blue is kind", "kind and true", "a kind word", "kind kind is good", "so kind of you"]
BAD = ["red is rude", "rude and false", "a rude word", "rude rude is bad", "so rude of you"]


def test_tfidf_learns_what_words_tell() -> None:
    train = [pair(str(i), g, b) for i, (g, b) in enumerate(zip(GOOD, BAD, strict=True))]
    heldout = [pair("h", "this is kind", "this is rude"), pair("i", "the rude one", "the kind one")]
    assert tfidf_baseline(train, heldout[:1]) == 1.0
    assert tfidf_baseline(train, heldout[1:]) == 0.0
    assert tfidf_baseline(train, heldout) == 0.5
    assert tfidf_baseline(train, [pair("x", "unheard words", "other things")]) == 0.5, "nothing known: half"


def test_tfidf_takes_no_side_by_order() -> None:
    """Turned round, every comparison is decided the other way: there is no constant that favours one side."""
    train = [pair(str(i), g, b) for i, (g, b) in enumerate(zip(GOOD, BAD, strict=True))]
    heldout = [pair("h", "kind of rude and good", "rude but kind word"), pair("i", "a good one", "a false one")]
    turned = [Comparison(p.prompt, p.rejected, p.chosen, p.group) for p in heldout]
    first, second = tfidf_baseline(train, heldout), tfidf_baseline(train, turned)
    assert first is not None and second is not None and first + second == pytest.approx(1)


def test_tfidf_without_words_or_rows() -> None:
    assert tfidf_baseline([pair("a", "once", "twice")], [pair("b", "x", "y")]) is None, "no word comes twice"
    assert tfidf_baseline([], [pair("b", "x", "y")]) is None
    assert tfidf_baseline([pair("a", "once", "twice")], []) is None
