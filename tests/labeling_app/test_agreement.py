"""Agreement, against numbers worked out by hand and against the definition that reward models are measured by."""

from __future__ import annotations

import math

import numpy as np
import pytest

from align.data.annotators import agreement
from align.data.records import Answer, Message, Ranking
from labeling_app.agreement import (
    Ranks,
    _coincidences,
    agreement_of,
    alpha_of,
    kendall_tau_b,
    krippendorff_alpha,
    pair_agreement,
)


def random_items(count: int = 60, noise: float = 0.7, seed: int = 0) -> list[list[tuple[str, list[int | None]]]]:
    """Three people with a taste in common, ranks with gaps left out, and some answers unranked."""
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(count):
        truth, item = rng.normal(size=4), []
        for name in ("ann", "bob", "eve"):
            seen = np.round(truth + noise * rng.normal(size=4), 1)
            levels = sorted(set(seen), reverse=True)
            ranks: list[int | None] = [levels.index(value) + 1 for value in seen]
            if rng.random() < 0.2:
                ranks[rng.integers(4)] = None
            item.append((name, ranks))
        items.append(item)
    return items


@pytest.mark.parametrize(
    ("a", "b", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3], [1, 3, 2], 1 / 3),
        ([1, 1, 2], [1, 2, 3], 2 / math.sqrt(2 * 3)),  # 2 concordant, 1 tied in a only
        ([1, None, 2, 3], [1, 9, 3, 2], 1 / 3),
        ([1, 1, 1], [1, 2, 3], None),
        ([1, None, 2], [None, 1, 2], None),
    ],
)
def test_tau_b(a: Ranks, b: Ranks, tau: float | None) -> None:
    assert kendall_tau_b(a, b) == (None if tau is None else pytest.approx(tau, abs=1e-12))


def test_alpha_by_hand() -> None:
    """Two people, two items of two answers: one agreed, one reversed. Values 1 and 2 four times each; of 8 pairable
    values the coincidences are o11 = 2, o22 = 2, o12 = o21 = 2. With two values every metric is nominal:
    alpha = 1 - (8 - 1) · 4 / (4·4 + 4·4) = 1 - 28/32."""
    alpha, reason = krippendorff_alpha([[[1, 2], [1, 2]], [[1, 2], [2, 1]]])
    assert alpha == pytest.approx(1 - 28 / 32, abs=1e-12) and reason == ""


def test_alpha_is_one_in_agreement() -> None:
    assert krippendorff_alpha([[[1, 2, 3], [1, 2, 3]]])[0] == pytest.approx(1.0)


def test_alpha_of_the_interval_is_the_librarys() -> None:
    items = [[ranks for _, ranks in item] for item in random_items()]
    table, size = _coincidences(items)
    (ours,) = alpha_of(table.sum(axis=0, keepdims=True), size)
    theirs, _ = krippendorff_alpha(items)
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    ("rankings", "share"),
    [
        ([[1, 2, 3], [1, 2, 3]], 1.0),
        ([[1, 2, 3], [3, 2, 1]], 0.0),
        ([[1, 2, 3], [1, 3, 2]], 2 / 3),
        ([[1, 2], [1, 1]], 0.5),
        ([[1, 1], [1, 1]], None),
        ([[1, 2, None], [None, 1, 2]], None),
        ([[1, 2]], None),
    ],
)
def test_pairs(rankings: list[Ranks], share: float | None) -> None:
    assert pair_agreement(rankings) == (None if share is None else pytest.approx(share))


def test_percent_is_what_reward_models_are_measured_by() -> None:
    items = random_items()
    records = [
        Ranking(
            prompt=[Message(role="user", content=f"q{number}")],
            answers=[Answer(id=str(k), text=f"a{k}") for k in range(4)],
            ranks=ranks,
            annotator=name,
        )
        for number, item in enumerate(items)
        for name, ranks in item
    ]
    found = agreement_of(items).percent
    wanted = agreement(records)
    assert found.value == pytest.approx(wanted.rate, abs=1e-12)
    assert found.items == len(wanted.judged)


def test_intervals_hold_the_figure_and_shrink() -> None:
    few, many = agreement_of(random_items(30)), agreement_of(random_items(480))
    for name in ("alpha", "tau_b", "percent"):
        a, b = getattr(few, name), getattr(many, name)
        assert a.low < a.value < a.high and b.low < b.value < b.high
        # Sixteen times the items: a quarter of the width, give or take what thirty items tell.
        assert 0.15 < (b.high - b.low) / (a.high - a.low) < 0.4


def test_no_interval_where_resampling_shows_no_doubt() -> None:
    """Of few items, or of items that all came out the same: `1.00 to 1.00` would be a certainty nobody has."""
    for items in (random_items(9), [[("ann", [1, 2, 3]), ("bob", [1, 2, 3])]] * 40):
        found = agreement_of(items)
        for figure in (found.alpha, found.tau_b, found.percent):
            assert figure.value is not None and (figure.low, figure.high) == (None, None)
    assert agreement_of(random_items(10)).percent.low is not None


def test_an_interval_covers_the_truth() -> None:
    """What annotators of this noise agree on in the long run lies in 95 of 100 intervals of 40 items."""
    truth = agreement_of(random_items(4000, seed=99)).percent.value
    assert truth is not None
    found = [agreement_of(random_items(40, seed=s)).percent for s in range(100)]
    inside = sum(f.low <= truth <= f.high for f in found if f.low is not None and f.high is not None)
    assert 88 <= inside <= 100


def test_figures_are_the_same_each_time() -> None:
    assert agreement_of(random_items()) == agreement_of(random_items())


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "no rankings"),
        ([[("ann", [1, 2])]], "one annotator only"),
        ([[("ann", [1, 2]), ("ann", [1, 2])]], "one annotator only"),
        ([[("ann", [1, 2])], [("bob", [1, 2])]], "no two annotators ranked the same answers"),
    ],
)
def test_undefined_without_overlap(items: list[list[tuple[str, Ranks]]], reason: str) -> None:
    found = agreement_of(items)
    assert {(f.value, f.reason) for f in (found.alpha, found.tau_b, found.percent)} == {(None, reason)}


def test_undefined_where_all_tie() -> None:
    found = agreement_of([[("ann", [1, 1, 1]), ("bob", [1, 1, 1])]])
    assert found.alpha.value is None and "same rank" in found.alpha.reason
    assert found.tau_b.value is None and "ties all" in found.tau_b.reason
    assert found.percent.value is None and "only ties" in found.percent.reason


def test_ranks_may_be_any_numbers() -> None:
    """Imported ranks may be scores; an ordinal measure sees their order alone, in as much memory."""
    items = random_items(20)
    scores = {rank: 1_000 * rank**7 for rank in range(1, 5)}
    scored = [[(name, [scores.get(rank or 0) for rank in ranks]) for name, ranks in item] for item in items]
    assert agreement_of(scored).alpha == agreement_of(items).alpha
