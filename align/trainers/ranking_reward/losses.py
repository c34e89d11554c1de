"""Losses on the scores of ranked answers: pure functions, one value a ranking.

Legend: R rankings, K answers (padded), ... any dimensions before them, such as heads. Scores are in nats: the log of
what the sources below call worth. Rank 1 is best, equal ranks are a tie; `ranked` is True where an answer has a rank.

Every loss is a mean over what a ranking says (its comparisons, or its choices), so that a ranking of nine answers
counts as much as one of two (Ouyang et al. 2022, eq. 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

NEVER = -1e30
"""Logarithm of 0 that differentiates: logaddexp of two infinities has no gradient."""


@dataclass(frozen=True)
class Ranked:
    """What was said of scores [..., R, K]. ranks [R, K] float; ranked [R, K] bool; margins [R] in nats, >= 0."""

    ranks: Tensor
    ranked: Tensor
    margins: Tensor


def compared(said: Ranked, pairs: str = "all") -> Tensor:
    """Which comparisons i < j count: [R, K, K] bool. Ties are among them.

    best_vs_rest: those with a best answer; best_vs_worst: the best answers with the worst ones; adjacent: those of
    equal or neighbouring ranks.
    """
    both = said.ranked[:, :, None] & said.ranked[:, None, :]
    both = both & torch.ones_like(both).triu(1)
    if pairs == "all":
        return both
    if pairs == "adjacent":
        level = levels(said)
        return both & ((level[:, :, None] - level[:, None, :]).abs() <= 1)
    best = said.ranks == said.ranks.masked_fill(~said.ranked, torch.inf).amin(dim=1, keepdim=True)
    if pairs == "best_vs_rest":
        return both & (best[:, :, None] | best[:, None, :])
    worst = said.ranks == said.ranks.masked_fill(~said.ranked, -torch.inf).amax(dim=1, keepdim=True)
    ends = best[:, :, None] & worst[:, None, :]
    return both & (ends | ends.transpose(1, 2))


def levels(said: Ranked) -> Tensor:
    """How many distinct better ranks there are for each answer: [R, K]. Unranked answers: any number."""
    better = (said.ranks[:, None, :] < said.ranks[:, :, None]) & said.ranked[:, None, :]
    earlier = (said.ranks[:, None, :] == said.ranks[:, :, None]) & said.ranked[:, None, :]
    first = ~(earlier & torch.ones_like(earlier).tril(-1)).any(dim=2)
    return (better & first[:, None, :]).sum(dim=2)


def bradley_terry(scores: Tensor, said: Ranked, ties: str, log_tie: Tensor, pairs: str = "all") -> Tensor:
    """Mean negative log-likelihood of each ranking's comparisons: scores [..., R, K] -> [..., R].

    With d = s_i - s_j less the margin (Touvron et al. 2023, eq. 2; ties have none):

        drop         P(i wins) = sigmoid(d)                                            ties do not count
        davidson     P(i wins), P(tie), P(j wins) = softmax(d/2, log nu, -d/2)         Davidson 1970, eq. 2.2
        rao_kupper   P(i wins) = sigmoid(d - eta), P(tie) = the rest                   Rao and Kupper 1967, eq. 2.6

    log_tie [1]: log nu, or log eta. The rest in Rao and Kupper is (e^(2 eta) - 1) sigmoid(d - eta) sigmoid(-d - eta),
    which does not cancel as a difference would. A ranking in which nothing counts gives 0.
    """
    wins = torch.sign(said.ranks[:, None, :] - said.ranks[:, :, None])
    gap = (scores[..., :, None] - scores[..., None, :]) * wins - said.margins[:, None, None]
    tied, counts = wins == 0, compared(said, pairs)
    level = scores[..., :, None] - scores[..., None, :]
    if ties == "drop":
        counts = counts & ~tied
        loss = softplus(-gap)
    elif ties == "davidson":
        apart = torch.where(tied, level, gap) / 2
        total = torch.logaddexp(torch.logaddexp(apart, -apart), log_tie[0].expand_as(apart))
        loss = total - torch.where(tied, log_tie[0], apart)
    else:
        eta = log_tie[0].exp()
        even = softplus(eta - level) + softplus(eta + level) - 2 * eta - torch.log(-torch.expm1(-2 * eta))
        loss = torch.where(tied, even, softplus(eta - gap))
    return _mean(loss, counts.expand_as(loss), (-2, -1))


def plackett_luce(scores: Tensor, said: Ranked, ties: str, log_tie: Tensor) -> Tensor:
    """Mean negative log-likelihood of each ranking's choices: scores [..., R, K] -> [..., R].

    A ranking is the best of all, then the best of the rest, and so on (Plackett 1975; Luce 1959). In a choice the
    answers that lose are lifted by the margin, which for two answers is Bradley-Terry with a margin.

    drop: each of several equals is chosen from itself and what is worse. davidson: what is chosen is a set C of equals,
    with worth delta_|C| * exp(mean score of C) and delta_1 = 1, out of every set of up to D answers (Firth, Kosmidis
    and Turner 2019, eq. 1); with two answers this is Davidson's model. log_tie [D - 1]: log delta_2 ... log delta_D.
    """
    if ties == "drop":
        return _choices_without_ties(scores, said)
    most = len(log_tie) + 1
    device, shape = scores.device, scores.shape[:-1]
    sizes = torch.arange(1, most + 1, device=device).to(scores.dtype)
    log_delta = torch.cat([log_tie.new_zeros(1), log_tie])
    # sums[..., n - 1, m]: log of the elementary symmetric polynomial of order m in exp(score / n), over the answers put
    # in so far, worst first. Order n of it is the sum over all sets of n answers that a choice is made from.
    sums = torch.full((*shape, most, most + 1), NEVER, device=device, dtype=scores.dtype)
    sums[..., 0] = 0.0
    below = sums  # the same where nothing is lifted
    orders = torch.arange(most + 1, device=device) / sizes[:, None]
    loss, choices = torch.zeros(shape, device=device), torch.zeros(said.ranks.shape[0], device=device)
    ranks = said.ranks.masked_fill(~said.ranked, torch.inf)
    order = torch.argsort(ranks, dim=1, descending=True, stable=True)
    ranks, ranked = ranks.gather(1, order), said.ranked.gather(1, order)
    scores = scores.gather(-1, order.expand_as(scores))
    count, seen = torch.zeros_like(choices), torch.zeros_like(choices)
    equal = torch.zeros_like(loss)
    for k in range(scores.shape[-1]):
        opens = ranked[:, k] & (ranks[:, k] != ranks[:, k - 1]) if k else ranked[:, k]
        closes = ranked[:, k] if k + 1 == scores.shape[-1] else ranked[:, k] & (ranks[:, k] != ranks[:, k + 1])
        step = (scores[..., k, None] / sizes)[..., None]
        sums = torch.where(opens[:, None, None], below + said.margins[:, None, None] * orders, sums)
        sums = torch.where(ranked[:, k, None, None], _with(sums, step), sums)
        below = torch.where(ranked[:, k, None, None], _with(below, step), below)
        count = torch.where(opens, 1.0, count + 1)
        equal = torch.where(opens, scores[..., k], equal + scores[..., k])
        seen = seen + ranked[:, k]
        total = torch.logsumexp(torch.diagonal(sums[..., 1:], dim1=-2, dim2=-1) + log_delta, dim=-1)
        size = count.clamp(1, most).long() - 1
        chosen = log_delta[size] + equal / count.clamp(min=1)
        says = closes & (seen > 1)
        loss = loss + torch.where(says, total - chosen, 0.0)
        choices = choices + says
    return loss / choices.clamp(min=1)


def _with(sums: Tensor, step: Tensor) -> Tensor:
    """The symmetric polynomials after one more answer: e_m(x and y) = e_m(x) + y e_(m-1)(x), in logarithms."""
    return torch.cat([sums[..., :1], torch.logaddexp(sums[..., 1:], sums[..., :-1] + step)], dim=-1)


def _choices_without_ties(scores: Tensor, said: Ranked) -> Tensor:
    worse = (said.ranks[:, None, :] > said.ranks[:, :, None]) & said.ranked[:, None, :] & said.ranked[:, :, None]
    lifted = (scores[..., None, :] + said.margins[:, None, None]).masked_fill(~worse, NEVER)
    rest = torch.logsumexp(lifted, dim=-1)
    return _mean(softplus(rest - scores), worse.any(dim=2).expand_as(scores), (-1,))


def tie_start(said: Ranked, loss: str, ties: str, weights: Tensor, pairs: str = "all") -> Tensor:
    """The tie parameter that is likeliest where all scores are equal, for training to start from: `log_tie`.

    Empty where nothing ties, or ties do not count: then there is no parameter. weights: [R].
    """
    none = torch.empty(0)
    if ties == "drop":
        return none
    if loss == "plackett_luce":
        return _delta_start(said)
    counts = compared(said, pairs)
    tied = (said.ranks[:, :, None] == said.ranks[:, None, :]) & counts
    share = float((tied.sum(dim=(1, 2)) / counts.sum(dim=(1, 2)).clamp(min=1) * weights).sum() / weights.sum())
    if share == 0:
        return none
    share = min(share, 0.95)
    # P(tie) = nu / (2 + nu), or tanh(eta / 2)
    return torch.tensor([2 * share / (1 - share) if ties == "davidson" else 2 * math.atanh(share)]).log()


def _delta_start(said: Ranked) -> Tensor:
    """log delta_2 ... log delta_D, by iterating the likelihood's equations; D is the largest tie there is."""
    chosen: list[tuple[int, int]] = []  # (answers chosen together, answers to choose from)
    for ranks, ranked in zip(said.ranks.tolist(), said.ranked.tolist(), strict=True):
        given = [rank for rank, is_ranked in zip(ranks, ranked, strict=True) if is_ranked]
        for rank in set(given):
            left = sum(other >= rank for other in given)
            if left > 1:
                chosen.append((given.count(rank), left))
    most = max((size for size, _ in chosen), default=1)
    sizes = torch.arange(1, most + 1, dtype=torch.float64)
    left = torch.tensor([n for _, n in chosen], dtype=torch.float64)[:, None]
    inner = torch.where(sizes <= left, left - sizes + 1, 1.0)
    ways = torch.exp(torch.lgamma(left + 1) - torch.lgamma(sizes + 1) - torch.lgamma(inner)) * (sizes <= left)
    seen = torch.tensor([[size == n for n in range(1, most + 1)] for size, _ in chosen]).sum(dim=0) + 0.5
    delta = torch.ones(most, dtype=torch.float64)
    for _ in range(50):
        delta = seen / (ways / (ways * delta).sum(dim=1, keepdim=True)).sum(dim=0)
        delta = delta / delta[0]
    return delta[1:].log().float()


def _mean(values: Tensor, counts: Tensor, dims: tuple[int, ...]) -> Tensor:
    return torch.where(counts, values, 0.0).sum(dim=dims) / counts.sum(dim=dims).clamp(min=1)
