"""PPO's losses per token, as pure functions, and log-probabilities without whole logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_NUMBERS = 1 << 24
"""Logits in memory at once (64 MiB in float32), however long the batch and large the vocabulary."""


def policy_loss(
    logprobs: Tensor, old: Tensor, advantages: Tensor, cliprange: float, dual_clip: float | None = None
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate, negated (Schulman et al. 2017, eq. 7), and which tokens the clip holds back. Any shape.

    dual_clip: where the advantage is negative, the loss grows no further than dual_clip x |advantage| (Ye et al. 2020).
    """
    ratio = torch.exp(logprobs - old)
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    loss = torch.maximum(free, held)
    if dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    return loss, held > free


def value_loss(values: Tensor, old: Tensor, returns: Tensor, cliprange: float | None) -> Tensor:
    """Half the squared error, the larger of the value's and of the value clipped around the rollout's. Any shape."""
    error = (values - returns) ** 2
    if cliprange is not None:
        clipped = old + (values - old).clamp(-cliprange, cliprange)
        error = torch.maximum(error, (clipped - returns) ** 2)
    return 0.5 * error


def token_logprobs(
    hidden: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor], vocabulary: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability of each label and entropy of its distribution, at a temperature: two tensors [N] in float32.

    hidden: [N, H], the trunk's last states before each label; labels: [N]; head: [n, H] -> logits [n, V].
    Logits live for a chunk of tokens at a time, and are computed again when gradients are taken.
    """
    chunk = max(1, CHUNK_NUMBERS // vocabulary)
    if len(labels) <= chunk:
        return _chunk_logprobs(hidden, labels, head, temperature)
    parts = [
        checkpoint(_chunk_logprobs, h, y, head, temperature, use_reentrant=False)
        for h, y in zip(torch.split(hidden, chunk), torch.split(labels, chunk), strict=True)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _chunk_logprobs(
    hidden: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor], temperature: float
) -> tuple[Tensor, Tensor]:
    logits = head(hidden).float()
    if temperature != 1:
        logits = logits / temperature
    normaliser = torch.logsumexp(logits, dim=-1)
    picked = logits.gather(-1, labels[:, None])[:, 0] - normaliser
    with torch.no_grad():
        entropy = normaliser - (torch.softmax(logits, dim=-1) * logits).sum(dim=-1)
    return picked, entropy
