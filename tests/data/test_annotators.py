"""Weights, shares and agreement of annotators, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from align.data.annotators import LEAST, agreement, judgements, preferred_share, reliability
from align.data.records import Answer, Message, Ranking, prompt_key


def ranked(question: str, annotator: str, **ranks: int | None) -> Ranking:
    """A ranking of answers whose texts are the keywords."""
    return Ranking(
        prompt=[Message(role="user", content=question)],
        answers=[Answer(id=text, text=text) for text in ranks],
        ranks=list(ranks.values()),
        annotator=annotator,
    )


def key(question: str) -> str:
    return prompt_key([Message(role="user", content=question)])


def test_judgements_are_in_one_order_whatever_order_was_shown() -> None:
    found = judgements([ranked("q", "ann", y=1, x=2), ranked("q", "bob", x=1, y=1, z=None)])
    assert found == {(key("q"), "x", "y"): {"ann": [0.0], "bob": [0.5]}}


def test_equal_texts_are_not_compared() -> None:
    one = ranked("q", "ann", x=1, y=2)
    twice = one.model_copy(update={"answers": [Answer(id="1", text="x"), Answer(id="2", text="x")]})
    assert judgements([twice]) == {}


def test_without_overlap_everybody_counts_fully() -> None:
    assert reliability([ranked("q", "ann", x=1, y=2), ranked("r", "bob", x=1, y=2)]) == {"ann": 1.0, "bob": 1.0}
    assert reliability([]) == {}


def test_contradicting_oneself_is_no_overlap() -> None:
    assert reliability([ranked("q", "ann", x=1, y=2), ranked("q", "ann", x=2, y=1)]) == {"ann": 1.0}


@pytest.mark.parametrize(("count", "share"), [(1, 9.5 / 11), (10, 14 / 20)])
def test_two_who_always_disagree(count: int, share: float) -> None:
    """Neither is believed more, so each judgement is half right: p = (9 + n/2) / (10 + n)."""
    rankings = [r for i in range(count) for r in (ranked(f"q{i}", "ann", x=1, y=2), ranked(f"q{i}", "bob", x=2, y=1))]
    weight = (2 * share - 1) / 0.8
    assert reliability(rankings) == pytest.approx({"ann": weight, "bob": weight}, abs=1e-9)


def test_two_of_whom_a_part_disagrees() -> None:
    """70 of 100 agree: p solves p = (9 + 15 + 70 p²/(p² + (1-p)²)) / 110, found here by bisection."""
    rankings = []
    for i in range(100):
        other = {"x": 1, "y": 2} if i < 70 else {"x": 2, "y": 1}
        rankings += [ranked(f"q{i}", "ann", x=1, y=2), ranked(f"q{i}", "bob", **other)]
    low, high = 0.7, 0.95
    for _ in range(60):
        p = (low + high) / 2
        low, high = (p, high) if (24 + 70 * p * p / (p * p + (1 - p) ** 2)) / 110 > p else (low, p)
    found = reliability(rankings)
    assert found["ann"] == pytest.approx((2 * low - 1) / 0.8, abs=1e-6)
    assert found["bob"] == found["ann"]


def test_one_against_two_is_hardly_heard() -> None:
    rankings = []
    for i in range(20):
        rankings += [ranked(f"q{i}", name, x=1, y=2) for name in ("ann", "bob")] + [ranked(f"q{i}", "eve", x=2, y=1)]
    assert reliability(rankings) == {"ann": 1.0, "bob": 1.0, "eve": LEAST}


def test_ties_say_nothing_about_an_annotator() -> None:
    rankings = [ranked("q", "ann", x=1, y=1), ranked("q", "bob", x=1, y=2)]
    found = reliability(rankings)
    assert found["ann"] == 1.0
    assert found["bob"] == pytest.approx(1.0)


def test_shares_are_weighted_and_add_up() -> None:
    """The one disagreement of two leaves both the same weight: a half each, and the tie another half of it."""
    found = preferred_share([ranked("q", "ann", x=1, y=2), ranked("q", "bob", x=2, y=1)])
    assert found == {(key("q"), "x", "y"): 0.5, (key("q"), "y", "x"): 0.5}
    found = preferred_share([ranked("q", "ann", x=1, y=2), ranked("q", "bob", x=1, y=1)])
    assert found[key("q"), "x", "y"] == pytest.approx(0.75)


def test_who_is_trusted_less_moves_the_share_less() -> None:
    rankings = []
    for i in range(20):
        rankings += [ranked(f"q{i}", name, x=1, y=2) for name in ("ann", "bob")] + [ranked(f"q{i}", "eve", x=2, y=1)]
    assert preferred_share(rankings)[key("q0"), "x", "y"] == pytest.approx(2 / (2 + LEAST))


def test_judging_twice_counts_once() -> None:
    """Ann takes both sides (0.5 together), Bob prefers x."""
    rankings = [ranked("q", "ann", x=1, y=2), ranked("q", "ann", x=2, y=1), ranked("q", "bob", x=1, y=2)]
    weights = reliability(rankings)
    expected = (0.5 * weights["ann"] + weights["bob"]) / (weights["ann"] + weights["bob"])
    assert preferred_share(rankings)[key("q"), "x", "y"] == pytest.approx(expected)


def test_agreement_by_hand() -> None:
    """Prompt q: xy agreed (2 of 2 words), xz opposed (0 of 2), yz one tie (half of the one strict word).
    Prompt r: agreed (2 of 2)."""
    rankings = [ranked("q", "ann", x=1, y=2, z=2), ranked("q", "bob", x=2, y=3, z=1)]
    rankings += [ranked("r", name, x=1, y=2) for name in ("ann", "bob")]
    found = agreement(rankings)
    assert (found.agreed, found.judged) == ((2.5, 2.0), (5.0, 2.0))
    assert found.rate == pytest.approx(4.5 / 7)
    assert (found.comparisons, found.annotators, found.reason) == (4, 2, "")


def test_ceiling_of_annotators_who_are_right_nine_times_in_ten() -> None:
    rankings = []
    for i in range(100):  # 0.9² + 0.1² = 0.82
        other = {"x": 1, "y": 2} if i < 82 else {"x": 2, "y": 1}
        rankings += [ranked(f"q{i}", "ann", x=1, y=2), ranked(f"q{i}", "bob", **other)]
    found = agreement(rankings)
    assert found.rate == pytest.approx(0.82)
    assert found.ceiling is not None and math.isclose(found.ceiling, 0.9)


@pytest.mark.parametrize(
    ("rankings", "reason"),
    [
        ([], "no comparisons"),
        ([ranked("q", "ann", x=1, y=2)], "one annotator only"),
        ([ranked("q", "ann", x=1, y=2), ranked("r", "bob", x=1, y=2)], "no two annotators"),
        ([ranked("q", "ann", x=1, y=1), ranked("q", "bob", x=1, y=1)], "only ties"),
    ],
)
def test_where_agreement_is_not_defined(rankings: list[Ranking], reason: str) -> None:
    found = agreement(rankings)
    assert found.rate is None and found.ceiling is None
    assert reason in found.reason
