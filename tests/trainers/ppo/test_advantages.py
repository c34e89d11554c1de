"""From scores to advantages: every number here was worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from align.trainers.ppo import advantages as adv


def t(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def test_kl_estimators_of_one_token() -> None:
    """p = 1/2, q = 1/4: k1 = ln 2, k3 = 1/2 - 1 + ln 2."""
    p, q = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    assert adv.k1(p, q).item() == pytest.approx(math.log(2))
    assert adv.k3(p, q).item() == pytest.approx(math.log(2) - 0.5)
    assert adv.k1(q, p).item() == pytest.approx(-math.log(2))
    assert adv.k3(q, p).item() == pytest.approx(1 - math.log(2))


def test_kl_estimators_are_unbiased() -> None:
    """Both means under p are KL(p, q), here 0.7 ln(0.7/0.4) + 0.3 ln(0.3/0.6)."""
    p, q = torch.tensor([0.7, 0.3]), torch.tensor([0.4, 0.6])
    wanted = 0.7 * math.log(0.7 / 0.4) + 0.3 * math.log(0.3 / 0.6)
    for estimator in (adv.k1, adv.k3):
        assert (p * estimator(p.log(), q.log())).sum().item() == pytest.approx(wanted)


def test_whitening_counts_real_tokens_of_the_whole_batch() -> None:
    """1, 2, 3 have mean 2 and variance 2/3; the padded 9 does not count and comes out 0."""
    values, mask = t([1.0, 2.0], [3.0, 9.0]), t([1.0, 1.0], [1.0, 0.0])
    step = math.sqrt(1.5)
    assert adv.whiten(values, mask).tolist() == [pytest.approx([-step, 0]), pytest.approx([step, 0])]
    kept = adv.whiten(values, mask, shift_mean=False)
    assert kept.tolist() == [pytest.approx([2 - step, 2]), pytest.approx([2 + step, 0])]


def test_whitening_a_constant_gives_no_infinity() -> None:
    assert adv.whiten(t([5.0, 5.0]), t([1.0, 1.0])).tolist() == [[0, 0]]


def test_the_score_lands_on_the_last_real_token_and_kl_on_each() -> None:
    rewards = adv.token_rewards(
        torch.tensor([1.0, -2.0]), t([0.5, 0.25, 0.0], [1.0, 7.0, 7.0]), t([1.0, 1, 1], [1.0, 0, 0]), kl_coef=0.1
    )
    assert rewards.tolist() == [pytest.approx([-0.05, -0.025, 1.0]), pytest.approx([-0.1 - 2.0, 0, 0])]


def test_gae_by_hand() -> None:
    """delta = 0.1, 0.1, 0.3 from the end: A3 = 0.3, A2 = 0.1 + 0.95 x 0.3, A1 = 0.1 + 0.95 x 0.385."""
    mask = t([1.0, 1, 1])
    advantages, returns = adv.gae(t([0.0, 0, 1]), t([0.5, 0.6, 0.7]), mask, gamma=1.0, lam=0.95)
    assert advantages.tolist() == [pytest.approx([0.46575, 0.385, 0.3])]
    assert returns.tolist() == [pytest.approx([0.96575, 0.985, 1.0])]


def test_gae_with_a_discount() -> None:
    """gamma 0.9: delta = 0.04, 0.03, 0.3; A2 = 0.03 + 0.855 x 0.3 = 0.2865; A1 = 0.04 + 0.855 x 0.2865."""
    advantages, _ = adv.gae(t([0.0, 0, 1]), t([0.5, 0.6, 0.7]), t([1.0, 1, 1]), gamma=0.9, lam=0.95)
    assert advantages.tolist() == [pytest.approx([0.2849575, 0.2865, 0.3])]


def test_nothing_of_the_padding_reaches_an_answer() -> None:
    """The same answer, alone and beside a longer one, with rubbish in its padding."""
    alone, _ = adv.gae(t([0.0, 1]), t([0.5, 0.6]), t([1.0, 1]), 1.0, 0.95)
    beside, returns = adv.gae(
        t([0.0, 1, 99], [0.0, 0, 1]), t([0.5, 0.6, 77], [0.5, 0.6, 0.7]), t([1.0, 1, 0], [1.0, 1, 1]), 1.0, 0.95
    )
    assert beside[0].tolist() == pytest.approx([*alone[0].tolist(), 0])
    assert returns[0, 2] == 0


def test_with_lambda_1_the_return_is_what_is_still_to_come() -> None:
    _, returns = adv.gae(t([1.0, 2, 4]), t([9.0, -3, 5]), t([1.0, 1, 1]), 1.0, 1.0)
    assert returns.tolist() == [pytest.approx([7.0, 6, 4])]


def test_the_kl_coefficient_stays_or_follows_its_target() -> None:
    """Ziegler et al.: the error is clipped to 0.2, and moves the weight by error x episodes / horizon."""
    fixed = adv.KLController(0.05)
    fixed.update(12.0, 64)
    assert fixed.coef == 0.05
    adapted = adv.KLController(0.05, target=6.0, horizon=1000)
    adapted.update(12.0, 100)
    assert adapted.coef == pytest.approx(0.05 * 1.02)
    adapted.update(5.4, 100)
    assert adapted.coef == pytest.approx(0.05 * 1.02 * 0.99)


def test_means_are_over_real_tokens() -> None:
    assert adv.masked_mean(t([2.0, 4, 100]), t([1.0, 1, 0])).item() == 3
    assert adv.masked_mean(t([2.0]), t([0.0])).item() == 0
