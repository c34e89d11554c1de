"""Accuracy of reward models and of what needs none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from align.data.comparisons import Comparison
from align.data.records import Answer, Preference, Ranking, prompt_key
from align.evaluation.reward_accuracy import (
    OTHER_TAGS,
    accuracy,
    annotator_agreement,
    by_length,
    by_tag,
    longer_wins,
    tfidf_baseline,
    ties,
)
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
    """One prompt: nothing is known about others, however many pairs it gives."""
    found = accuracy([pair("a", "x", "y")] * 9, [1.0] * 5 + [-1.0] * 4)
    assert (found["rate"], found["pairs"]) == (pytest.approx(5 / 9), 9)
    assert found["low"] < 0.01 and found["high"] > 0.99


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


def tagged(number: int, *tags: str, chosen: str = "x") -> Comparison:
    return replace(pair(f"q{number}", chosen, "0123456789"), tags=tags)


def test_tags_with_few_pairs_stand_together() -> None:
    """20 of `a`, half of them right; 2 of `b` and 1 of `c`, of which one has both, all right; one without a tag."""
    pairs = [tagged(i, "a") for i in range(20)]
    pairs += [tagged(20, "b", "c"), tagged(21, "b"), tagged(22)]
    found = by_tag(pairs, [1.0, -1.0] * 10 + [1.0, 1.0, -1.0])
    assert {tag: (part["rate"], part["pairs"]) for tag, part in found.items()} == {"a": (0.5, 20), OTHER_TAGS: (1.0, 2)}
    assert found["a"]["low"] < 0.5 < found["a"]["high"]


def test_length_in_three_parts() -> None:
    """Rejected answers have 10 characters: 9 and 11 are within a tenth of the longer one, 8 and 12 are not."""
    lengths = [8, 9, 10, 11, 12, 40]
    pairs = [tagged(n, chosen="y" * n) for n in lengths]
    found = by_length(pairs, [-1.0, 1.0, 0.0, -1.0, 1.0, 1.0])
    assert {name: (part["rate"], part["pairs"]) for name, part in found.items()} == {
        "chosen is shorter": (0.0, 1),
        "about equal": (0.5, 3),
        "chosen is longer": (1.0, 2),
    }


def judged(question: str, annotator: str, ranks: list[int | None]) -> Ranking:
    answers = [Answer(id=text, text=text) for text in "abc"[: len(ranks)]]
    return Ranking(prompt=talk(question), answers=answers, ranks=ranks, annotator=annotator)


def test_agreement_has_an_interval_over_prompts() -> None:
    rankings = [judged(f"q{i}", "ann", [1, 2]) for i in range(40)]
    rankings += [judged(f"q{i}", "bob", [1, 2] if i < 30 else [2, 1]) for i in range(40)]
    found = annotator_agreement(rankings)
    assert (found["rate"], found["comparisons"], found["annotators"], found["reason"]) == (0.75, 40, 2, "")
    # 1.96 standard errors of a share of 40 prompts.
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 40) ** 0.5, rel=0.15)
    assert found["ceiling"] == pytest.approx((1 + 0.5**0.5) / 2)


def test_agreement_that_is_not_known_says_why() -> None:
    preference = Preference(prompt=talk("q"), chosen=talk("", "x")[1:], rejected=talk("", "y")[1:])
    found = annotator_agreement([preference])
    assert found["rate"] is None and found["low"] is None and "do not say who" in found["reason"]
    assert annotator_agreement([judged("q", "ann", [1, 2])])["reason"] == "one annotator only"


def test_ties_are_counted() -> None:
    assert ties([judged("q", "ann", [1, 1, 1]), judged("r", "ann", [1, 2, 2]), judged("s", "bob", [1, None, 1])]) == 5
