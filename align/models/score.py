"""Scores from a reward model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch


def score_sequences(
    scorer: Any,
    pad_token_id: int,
    sequences: Sequence[list[int]],
    batch_size: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """The score of each token sequence (as `encode_scored` makes it), in the order given: the mean over heads."""
    return [fmean(values) for values in score_heads(scorer, pad_token_id, sequences, batch_size, progress)]


@torch.no_grad()
def score_heads(
    scorer: Any,
    pad_token_id: int,
    sequences: Sequence[list[int]],
    batch_size: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[float]]:
    """What each head says of each token sequence; most reward models have one.

    Batches are padded on the right and sorted by length, so that short answers do not wait for long ones.
    """
    device = next(scorer.parameters()).device
    scorer.eval()
    scorer.config.get_text_config().pad_token_id = pad_token_id
    order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), i))
    scores: list[list[float]] = [[]] * len(sequences)
    for start in range(0, len(order), batch_size):
        index = order[start : start + batch_size]
        width = max(len(sequences[i]) for i in index)
        ids = torch.tensor([sequences[i] + [pad_token_id] * (width - len(sequences[i])) for i in index], device=device)
        seen = torch.tensor([[1] * len(sequences[i]) + [0] * (width - len(sequences[i])) for i in index], device=device)
        values = scorer(input_ids=ids, attention_mask=seen).logits.float().tolist()
        for i, value in zip(index, values, strict=True):
            scores[i] = value
        progress(min(start + batch_size, len(order)), len(order))
    return scores
