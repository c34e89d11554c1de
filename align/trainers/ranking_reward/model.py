"""The model that trains: a sequence classifier and the tie parameter. Token rows go in, scores of answers come out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from align.models.adapters import base_of
from align.models.heads import head_of
from align.trainers.ranking_reward.batches import token_rows
from align.trainers.ranking_reward.rankings import RankedPrompt

MASKABLE = {"full_attention", "sliding_attention"}
"""Kinds of layers in which a mask decides who sees whom."""


class RankingModel(nn.Module):
    """A sequence classifier of E outputs (with adapters or without) and `log_tie`, which `losses` explains.

    shares_prompt: whether token rows are in the shared layout (see `batches`).
    """

    def __init__(self, scorer: Any, log_tie: Tensor, shares_prompt: bool) -> None:
        super().__init__()
        self.scorer, self.shares_prompt = scorer, shares_prompt
        self.log_tie = nn.Parameter(log_tie, requires_grad=len(log_tie) > 0)

    def forward(self, input_ids: Tensor, position_ids: Tensor, segments: Tensor, rows: Tensor, columns: Tensor) -> Any:
        """The scores of the answers in `token_rows`: [M, E] in float32."""
        if not self.shares_prompt:
            return self.scorer(input_ids=input_ids, attention_mask=(segments >= 0).long()).logits.float()
        base = base_of(self.scorer)
        mask = answers_apart(segments, base)
        states = base.base_model(
            input_ids=input_ids, attention_mask=mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state[rows, columns]
        with torch.autocast(states.device.type, enabled=False):  # bf16 would round scores that are close to one
            return head_of(base)(states.float()).float()

    def activation_checkpointing_enable(self, **settings: Any) -> None:
        """As in transformers: states are computed again for the gradients instead of being kept."""
        self.scorer.activation_checkpointing_enable(**settings)


def answers_apart(segments: Tensor, base: Any) -> Tensor:
    """The attention mask of shared rows, segments [N, T] -> [N, 1, T, T]: the prompt, oneself, nothing later.

    True where a token is seen, for sdpa; for eager attention 0 there and a very low number elsewhere. Padding sees
    itself, since attention to nothing is no number.
    """
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    same = segments[:, :, None] == segments[:, None, :]
    seen = before & (same | (segments == 0)[:, None, :])
    if base.config._attn_implementation == "sdpa":
        return seen[:, None]
    dtype = base.dtype
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


@torch.no_grad()
def can_share(scorer: Any, sample: RankedPrompt, longest: int) -> bool:
    """Whether the model gives an answer the same state behind a shared prompt as alone: tried, on part of a sample.

    longest: tokens of the longest prompt and answer; a sliding window must hold it, because the mask that keeps answers
    apart takes the window's place.
    """
    base = base_of(scorer)
    config = base.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or MASKABLE)
    window = getattr(config, "sliding_window", None) if "sliding_attention" in kinds else None
    if not hasattr(base, "score") or base.config._attn_implementation not in ("sdpa", "eager"):
        return False  # the score of encoders is not read at the last token
    if "local" in (getattr(config, "attention_layers", None) or ()):
        return False  # GPT-Neo's windows count rows of the matrix, whatever mask is given
    if not kinds <= MASKABLE or (window is not None and window < longest):
        return False
    short = [ids[-16:] for ids in (sample.answer_ids * 2)[:2]]
    probe = RankedPrompt(sample.prompt_ids[-32:], short, [])
    device, training = next(scorer.parameters()).device, scorer.training
    scorer.eval()
    try:
        together, alone = (
            {name: value.to(device) for name, value in token_rows([probe], share, 0).items()} for share in (True, False)
        )
        found = base.base_model(
            input_ids=together["input_ids"],
            attention_mask=answers_apart(together["segments"], base),
            position_ids=together["position_ids"],
            use_cache=False,
        ).last_hidden_state[together["rows"], together["columns"]]
        wanted = base.base_model(input_ids=alone["input_ids"], use_cache=False).last_hidden_state[
            alone["rows"], alone["columns"]
        ]
    except (TypeError, ValueError, RuntimeError, IndexError):  # what models raise that take no such mask or positions
        return False
    finally:
        scorer.train(training)
    limit = 1e-3 if base.dtype == torch.float32 else 0.05
    return bool((found - wanted).abs().max() <= limit * (1 + wanted.abs().max()))
