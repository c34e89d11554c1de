"""The losses: numbers derived by hand, limits in which they meet, gradients, and ties as evidence."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from align.trainers.ranking_reward.losses import Ranked, bradley_terry, compared, plackett_luce, tie_start

NONE = torch.empty(0)


def ranked(*rankings: list[float | None], margin: float = 0.0) -> Ranked:
    width = max(len(r) for r in rankings)
    full = [[*r, *[None] * (width - len(r))] for r in rankings]
    ranks = torch.tensor([[0.0 if x is None else float(x) for x in r] for r in full])
    return Ranked(ranks, torch.tensor([[x is not None for x in r] for r in full]), torch.full((len(full),), margin))


def one(loss: Any, scores: list[float], ranks: list[float | None], ties: str, log_tie: Tensor, **more: Any) -> float:
    return float(loss(torch.tensor([scores]), ranked(ranks, **more), ties, log_tie)[0])


def test_bradley_terry_by_hand() -> None:
    """Worths 4 and 1: the first wins with 4/5, whichever way it is written."""
    scores = [math.log(4), 0.0]
    assert one(bradley_terry, scores, [1, 2], "drop", NONE) == pytest.approx(math.log(5 / 4))
    assert one(bradley_terry, scores, [3, 1], "drop", NONE) == pytest.approx(math.log(5))
    assert one(bradley_terry, scores, [1, 2], "drop", NONE, margin=math.log(2)) == pytest.approx(math.log(3 / 2))
    assert one(bradley_terry, scores, [1, 1], "drop", NONE) == 0


def test_davidson_by_hand() -> None:
    """Worths 4 and 1, nu 3: win, tie, loss as 4 : 3 * sqrt(4) : 1."""
    log_nu, scores = torch.tensor([math.log(3)]), [math.log(4), 0.0]
    for ranks, share in (([1, 2], 4 / 11), ([1, 1], 6 / 11), ([2, 1], 1 / 11)):
        assert one(bradley_terry, scores, ranks, "davidson", log_nu) == pytest.approx(-math.log(share))


def test_rao_kupper_by_hand() -> None:
    """Worths 4 and 1, theta 2: win 4/(4+2), loss 1/(1+8), tie the rest."""
    log_eta, scores = torch.tensor([math.log(math.log(2))]), [math.log(4), 0.0]
    for ranks, share in (([1, 2], 2 / 3), ([2, 1], 1 / 9), ([1, 1], 2 / 9)):
        assert one(bradley_terry, scores, ranks, "rao_kupper", log_eta) == pytest.approx(-math.log(share), abs=1e-6)


@pytest.mark.parametrize("ties", ["davidson", "rao_kupper"])
def test_what_can_happen_to_a_comparison_adds_up_to_1(ties: str) -> None:
    log_tie = torch.tensor([0.3])
    for gap in (-30.0, -2.0, 0.0, 0.7, 30.0):
        total = sum(math.exp(-one(bradley_terry, [gap, 0.0], r, ties, log_tie)) for r in ([1, 2], [2, 1], [1, 1]))
        assert total == pytest.approx(1, abs=1e-5)


def test_a_ranking_counts_once_whatever_its_length() -> None:
    """All scores equal: ln 2 for two answers and for five; unranked ones and padding say nothing."""
    said = ranked([1, 2], [3, 1, 2, 5, 4], [None, 2, 1, None, None])
    scores = torch.zeros(3, 5)
    scores[2, 0] = scores[2, 3] = 50.0
    assert bradley_terry(scores, said, "drop", NONE).tolist() == pytest.approx([math.log(2)] * 3)


def test_plackett_luce_by_hand() -> None:
    """Worths 4, 2, 1 in the order b, a, c: 2/7, then 4/5; two choices."""
    scores = [math.log(4), math.log(2), 0.0]
    wanted = -math.log(2 / 7 * 4 / 5) / 2
    assert one(plackett_luce, scores, [2, 1, 3], "drop", NONE) == pytest.approx(wanted)
    assert one(plackett_luce, scores, [2, 1, 3], "davidson", NONE) == pytest.approx(wanted)
    assert one(plackett_luce, [*scores, 9.0], [5, 1, 7, None], "davidson", NONE) == pytest.approx(wanted)


def test_davidson_luce_by_hand() -> None:
    """Worths 4, 1, 1, delta_2 = 3: a and b together first, then c with no choice.

    Sets: a 4, b 1, c 1, ab 3*2, ac 3*2, bc 3*1: 6 of 21. Then all three ways to rank b and c below a.
    """
    scores, delta = [math.log(4), 0.0, 0.0], torch.tensor([math.log(3)])
    assert one(plackett_luce, scores, [1, 1, 2], "davidson", delta) == pytest.approx(-math.log(6 / 21))
    assert one(plackett_luce, scores, [1, 2, 3], "davidson", delta) == pytest.approx(-math.log(4 / 21 * 1 / 5) / 2)
    assert one(plackett_luce, scores, [1, 2, 2], "davidson", delta) == pytest.approx(-math.log(4 / 21 * 3 / 5) / 2)


def test_davidson_luce_is_the_sum_over_all_sets() -> None:
    """Five answers, ties of up to three: against sets written out one by one."""
    torch.manual_seed(0)
    scores, log_tie = torch.randn(5, dtype=torch.float64), torch.tensor([0.4, -0.7], dtype=torch.float64)
    ranks: list[float | None] = [2, 1, 2, 2, 3]
    log_delta = [0.0, *log_tie.tolist()]

    def worth(chosen: tuple[int, ...]) -> float:
        return math.exp(log_delta[len(chosen) - 1] + float(scores[list(chosen)].mean()))

    def choice(chosen: tuple[int, ...], of: list[int]) -> float:
        sets = [s for n in (1, 2, 3) for s in itertools.combinations(of, n)]
        return -math.log(worth(chosen) / sum(worth(s) for s in sets))

    wanted = (choice((1,), [0, 1, 2, 3, 4]) + choice((0, 2, 3), [0, 2, 3, 4])) / 2
    found = plackett_luce(scores[None], ranked(ranks), "davidson", log_tie)
    assert float(found[0]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("ties", ["drop", "davidson"])
@pytest.mark.parametrize("ranks", [[1, 2], [2, 1], [1, 1]])
@pytest.mark.parametrize("margin", [0.0, 0.8])
def test_of_two_answers_both_losses_are_one(ties: str, ranks: list[float | None], margin: float) -> None:
    log_tie = torch.tensor([0.5])
    both = [one(loss, [0.9, -0.4], ranks, ties, log_tie, margin=margin) for loss in (bradley_terry, plackett_luce)]
    assert both[0] == pytest.approx(both[1], abs=1e-6)


@pytest.mark.parametrize("ties", ["drop", "davidson"])
def test_losers_are_lifted_by_the_margin(ties: str) -> None:
    """In every choice what stays behind counts as if its score were higher."""
    log_tie = torch.tensor([0.2])
    found = one(plackett_luce, [1.0, 0.5, -1.0], [1, 2, 3], ties, log_tie, margin=0.6)
    parts = [
        one(plackett_luce, [1.0, 1.1, -0.4], [1, 2, 3], ties, log_tie) * 2
        - one(plackett_luce, [1.1, -0.4], [1, 2], ties, log_tie),
        one(plackett_luce, [0.5, -0.4], [1, 2], ties, log_tie),
    ]
    assert found == pytest.approx(sum(parts) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [
        ("all", {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}),
        ("best_vs_rest", {(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)}),
        ("best_vs_worst", {(0, 1), (0, 2), (1, 3), (2, 3)}),
        ("adjacent", {(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)}),
    ],
)
def test_which_comparisons_count(pairs: str, wanted: set[tuple[int, int]]) -> None:
    """Ranks 1, 4, 4, 1: two best and two worst; a fifth has no rank. Rank 4 follows 1: they are neighbours."""
    if pairs in ("adjacent", "best_vs_rest"):
        wanted = wanted | {(1, 2)} if pairs == "adjacent" else wanted
    found = compared(ranked([1, 4, 4, 1, None]), pairs)[0].nonzero().tolist()
    assert {(i, j) for i, j in found} == wanted


def test_neighbouring_ranks() -> None:
    found = compared(ranked([1, 3, 7, 3]), "adjacent")[0].nonzero().tolist()
    assert sorted(map(tuple, found)) == [(0, 1), (0, 3), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("loss", "ties", "log_tie"),
    [
        (bradley_terry, "drop", []), (bradley_terry, "davidson", [0.1]), (bradley_terry, "rao_kupper", [-0.4]),
        (plackett_luce, "drop", []), (plackett_luce, "davidson", [0.1, -0.5]),
    ],
)  # fmt: skip
def test_gradients_are_those_of_differences(loss: Any, ties: str, log_tie: list[float]) -> None:
    said = ranked([1, 2, 2, 4], [None, 1, 1, 2], margin=0.3)
    scores = torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    parameter = torch.tensor(log_tie, dtype=torch.float64, requires_grad=bool(log_tie))
    said = Ranked(said.ranks.double(), said.ranked, said.margins.double())
    inputs = (scores, parameter) if log_tie else (scores,)
    assert torch.autograd.gradcheck(lambda s, p=parameter: loss(s, said, ties, p), inputs)


@pytest.mark.parametrize("loss", [bradley_terry, plackett_luce])
@pytest.mark.parametrize("ties", ["drop", "davidson"])
def test_far_scores_stay_numbers(loss: Any, ties: str) -> None:
    scores = torch.tensor([[300.0, -300.0, 0.0, 0.0]], requires_grad=True)
    value = loss(scores, ranked([3, 1, 2, 2]), ties, torch.tensor([0.0]))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(scores.grad).all()
    assert float(value.detach()) > 100


@pytest.mark.parametrize("ties", ["davidson", "rao_kupper"])
@pytest.mark.parametrize("loss", ["bradley_terry", "plackett_luce"])
def test_the_tie_parameter_starts_where_equal_scores_have_it(loss: str, ties: str) -> None:
    """At equal scores no other value is likelier, for the rankings it was made from."""
    if (loss, ties) == ("plackett_luce", "rao_kupper"):
        return
    said = ranked([1, 1, 2], [1, 2, 3], [2, 2, 1], [1, 2, 2])
    start = tie_start(said, loss, ties, torch.ones(4)).requires_grad_()
    scores = torch.zeros(4, 3)
    value = bradley_terry(scores, said, ties, start) if loss == "bradley_terry" else plackett_luce(
        scores, said, ties, start)  # fmt: skip
    if loss == "bradley_terry":
        value.mean().backward()
        assert start.grad is not None
        assert start.grad.abs().max() < 1e-5
    else:  # counts are raised by a half, so that a size nobody chose does not start at minus infinity
        assert start.shape == (1,)
        assert -1.0 < float(start[0].detach()) < 0.5


def test_no_ties_no_parameter() -> None:
    strict = ranked([1, 2, 3])
    for loss, ties in (("bradley_terry", "davidson"), ("plackett_luce", "davidson"), ("bradley_terry", "drop")):
        assert len(tie_start(strict, loss, ties, torch.ones(1))) == 0


# --- ties are evidence -----------------------------------------------------------------------------------------------

ITEMS, RANKINGS, K = 24, 300, 4


def drawn(seed: int) -> tuple[Tensor, Tensor, Ranked]:
    """Utilities, and rankings of four answers each: answers closer than a threshold, noise included, tie."""
    generator = torch.Generator().manual_seed(seed)
    utilities = torch.randn(ITEMS, generator=generator) * 1.5
    asked = torch.stack([torch.randperm(ITEMS, generator=generator)[:K] for _ in range(RANKINGS)])
    noisy = utilities[asked] - torch.log(torch.empty(RANKINGS, K).exponential_(generator=generator))
    ranks = torch.zeros(RANKINGS, K)
    for row in range(RANKINGS):
        order = noisy[row].argsort(descending=True).tolist()
        rank = 1
        for place, (i, before) in enumerate(zip(order, [None, *order], strict=False)):
            if before is not None and noisy[row, before] - noisy[row, i] > 1.2:
                rank = place + 1
            ranks[row, i] = rank
    return utilities, asked, Ranked(ranks, torch.ones(RANKINGS, K, dtype=torch.bool), torch.zeros(RANKINGS))


def fitted(asked: Tensor, said: Ranked, loss: str, ties: str) -> Tensor:
    """Scores of highest likelihood, with a weak pull to 0 as any trained model has."""
    scores = torch.zeros(ITEMS, requires_grad=True)
    log_tie = tie_start(said, loss, ties, torch.ones(RANKINGS)).requires_grad_()
    optimizer = torch.optim.LBFGS([scores, log_tie] if len(log_tie) else [scores], max_iter=60)
    value = bradley_terry if loss == "bradley_terry" else plackett_luce

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = value(scores[asked], said, ties if len(log_tie) else "drop", log_tie).mean()
        total = total + 1e-3 * scores.square().mean()
        total.backward()
        return total

    optimizer.step(closure)
    return scores.detach()


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


@pytest.mark.parametrize(
    ("loss", "ties"),
    [("bradley_terry", "davidson"), ("bradley_terry", "rao_kupper"), ("plackett_luce", "davidson")],
)
def test_modelled_ties_beat_dropped_and_split_ones(loss: str, ties: str) -> None:
    """Over five seeds: correlation with the utilities at least 0.95, and above that without the ties' evidence."""
    found: dict[str, list[float]] = {"modelled": [], "dropped": [], "split": []}
    for seed in range(5):
        utilities, asked, said = drawn(seed)
        generator = torch.Generator().manual_seed(seed + 100)
        split = Ranked(said.ranks + torch.rand(said.ranks.shape, generator=generator) / 2, said.ranked, said.margins)
        found["modelled"].append(correlation(fitted(asked, said, loss, ties), utilities))
        found["dropped"].append(correlation(fitted(asked, said, loss, "drop"), utilities))
        found["split"].append(correlation(fitted(asked, split, loss, "drop"), utilities))
    means = {name: sum(values) / 5 for name, values in found.items()}
    assert min(found["modelled"]) >= 0.95
    assert means["modelled"] > means["dropped"] + 0.002
    assert means["modelled"] > means["split"] + 0.002
