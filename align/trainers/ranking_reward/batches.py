"""Prompts with their answers become token rows. Two layouts:

    shared    [prompt][answer 1][answer 2]...   a row a prompt: each answer sees the prompt and itself, and its
                                                positions go on from the prompt's
    alone     [prompt][answer 1]                a row an answer, for models whose attention cannot be told so
              [prompt][answer 2]

Legend: N rows, T tokens (padded on the right), M answers, R rankings, K answers of a ranking (padded), E heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from align.trainers.ranking_reward.losses import Ranked
from align.trainers.ranking_reward.rankings import Judgement, RankedPrompt

LONGEST_ROW = 8192
"""Tokens of a shared row; the prompt is repeated where its answers need more. Attention grows with the square."""


def token_rows(prompts: Sequence[RankedPrompt], share: bool, pad_token_id: int) -> dict[str, Tensor]:
    """What `RankingModel` takes: input_ids, position_ids and segments [N, T]; rows and columns [M].

    segments: 0 the prompt, 1, 2 ... the answers after it, -1 padding; alone, all that is no padding is 0. rows,
    columns: where each answer ends, prompt by prompt.
    """
    ids: list[list[int]] = []
    positions: list[list[int]] = []
    segments: list[list[int]] = []
    ends: list[tuple[int, int]] = []
    for prompt in prompts:
        start, open_row = len(prompt.prompt_ids), False
        for answer in prompt.answer_ids:
            if not share or not open_row or len(ids[-1]) + len(answer) > LONGEST_ROW:
                ids.append(list(prompt.prompt_ids))
                positions.append(list(range(start)))
                segments.append([0] * start)
                open_row = True
            ids[-1] += answer
            positions[-1] += range(start, start + len(answer))
            segments[-1] += [segments[-1][-1] + 1 if share else 0] * len(answer)
            ends.append((len(ids) - 1, len(ids[-1]) - 1))
    rows, columns = zip(*ends, strict=True)
    return {
        "input_ids": _padded(ids, pad_token_id),
        "position_ids": _padded(positions, 0),
        "segments": _padded(segments, -1),
        "rows": torch.tensor(rows),
        "columns": torch.tensor(columns),
    }


def judged(prompts: Sequence[RankedPrompt], margin_coef: float = 0.0) -> dict[str, Tensor]:
    """What was said of the answers of `token_rows`.

    answers [R, K]: their numbers there; ranks and ranked [R, K]; margins [R] in nats; weights [R], the annotators'.
    """
    found: list[tuple[list[int], list[float], Judgement]] = []
    start = 0
    for prompt in prompts:
        for judgement in prompt.judgements:
            given = [(start + i, rank) for i, rank in enumerate(judgement.ranks) if rank is not None]
            found.append(([i for i, _ in given], [rank for _, rank in given], judgement))
        start += len(prompt.answer_ids)
    lengths = torch.tensor([len(numbers) for numbers, _, _ in found])
    answers = _padded([numbers for numbers, _, _ in found], 0)
    return {
        "answers": answers,
        "ranks": _padded([ranks for _, ranks, _ in found], 0.0),
        "ranked": torch.arange(answers.shape[1]) < lengths[:, None],
        "margins": torch.tensor([margin_coef * j.margin for _, _, j in found]),
        "weights": torch.tensor([j.weight for _, _, j in found]),
    }


def ranked(batch: dict[str, Tensor]) -> Ranked:
    """The part of a batch that losses take."""
    return Ranked(batch["ranks"], batch["ranked"], batch["margins"])


def bootstrap_weights(count: int, heads: int, seed: int) -> Tensor:
    """Weights of `count` prompts for each head, mean 1: [count, E] exponential draws, all 1 for one head.

    The Bayesian bootstrap (Rubin 1981): each head learns from a resampled set in which no row is quite missing.
    """
    if heads == 1:
        return torch.ones(count, 1)
    return torch.empty(count, heads).exponential_(generator=torch.Generator().manual_seed(seed))


def _padded(rows: Sequence[Sequence[Any]], value: Any) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
