"""From scores to advantages, as pure functions on padded tensors.

Shapes: B episodes, A the longest answer in tokens. `mask` [B, A] is 1 on an answer's real tokens, which come first.
All log-probabilities are natural, so KL is in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """The estimator log(p/q) of KL(p, q) per token, for tokens drawn from p: unbiased, can be negative. Any shape."""
    return logprobs - reference


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """The estimator q/p - 1 - log(q/p) per token: unbiased, never negative, less spread (Schulman 2020). Any shape."""
    log_ratio = reference - logprobs
    return torch.expm1(log_ratio) - log_ratio


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens; 0 where there are none. values, mask: same shape."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Values scaled to variance 1 over all real tokens of the rollout, and shifted to mean 0 unless told to keep it.

    Padding comes out 0. The variance is the population's; a constant comes out as 0 (or as itself, unshifted).
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    scaled = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (scaled if shift_mean else scaled + mean) * mask


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """-kl_coef x KL at every token, and the answer's score on its last real one (Ouyang et al. 2022, eq. 2). [B, A].

    scores: [B]; kl: [B, A], the k1 estimate of each token.
    """
    rewards = -kl_coef * kl * mask
    last = mask.long().sum(dim=1) - 1
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns by generalised advantage estimation (Schulman et al. 2016, eq. 16), each [B, A].

    values [B, A] are those of the states before each token. Nothing follows an answer's last token, whether it closed
    by itself or not. Padding comes out 0.
    """
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    following = torch.zeros_like(running)
    for t in reversed(range(rewards.shape[1])):
        real = mask[:, t]
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = (delta + gamma * lam * running) * real
        following = values[:, t] * real
        advantages[:, t] = running
    return advantages, (advantages + values) * mask


@dataclass
class KLController:
    """The weight of the KL penalty: fixed, or adapted towards a target (Ziegler et al. 2019, section 2.2)."""

    coef: float
    target: float | None = None
    horizon: int = 10_000

    def update(self, kl: float, episodes: int) -> None:
        """kl: nats an answer, over the last rollout of `episodes`. Without a target nothing changes."""
        if self.target is None:
            return
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * episodes / self.horizon
