"""Sampling answers: batched, left-padded, and seeded for each answer.

An answer's random numbers come from its own seed, not from its place in a batch: Gumbel noise is added to each row's
log-probabilities and the largest is taken, which samples from the softmax (Gumbel 1954; Maddison et al. 2014, §2).
Where one seed does for the batch, its probabilities are summed up and one number a row is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from align.data.chat import decode_answer, stop_ids
from align.models.adapters import base_of
from align.models.decode import Choose, can_decode, decode


@dataclass(frozen=True)
class Sampling:
    """How to sample. temperature 0 takes the likeliest token; lengths are in tokens."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256


@dataclass(frozen=True)
class Sampled:
    """One answer: its tokens up to the closing one (included), its text, and whether it closed before the limit."""

    ids: list[int]
    text: str
    finished: bool


class SeededChoice:
    """Samples tokens: temperature, nucleus, then chance from each row's own generator, or from one for the batch.

    scores: [R, V] logits of the batch's `rows` [R]; returns token ids [R].
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int] | int, device: torch.device) -> None:
        self.sampling = sampling
        of_rows = [seeds] if isinstance(seeds, int) else seeds
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in of_rows]
        self.together = isinstance(seeds, int)

    def __call__(self, scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        exact = scores.is_cuda and torch.are_deterministic_algorithms_enabled()  # a GPU's cumsum is not
        if self.together and self.sampling.top_p == 1 and not exact:
            # One number a row is enough, and V times cheaper to draw: where it falls among the summed probabilities.
            summed = torch.softmax(scores.float() / self.sampling.temperature, dim=-1).cumsum(dim=-1)
            drawn = torch.rand((len(scores), 1), generator=self.generators[0], device=scores.device)
            total = summed[:, -1:]  # beside 1 by rounding; what is drawn must stay below it
            drawn = torch.minimum(drawn * total, torch.nextafter(total, torch.zeros_like(total)))
            found = torch.searchsorted(summed, drawn, right=True)[:, 0]
            return found.clamp(max=scores.shape[-1] - 1)  # where logits are no numbers, still a token
        logprobs = torch.log_softmax(scores.float() / self.sampling.temperature, dim=-1)
        if self.sampling.top_p < 1:
            logprobs = keep_nucleus(logprobs, self.sampling.top_p)
        size, device = scores.shape[-1], scores.device
        if self.together:
            uniform = torch.rand(scores.shape, generator=self.generators[0], device=device)
        else:
            of_rows = [self.generators[row] for row in rows.tolist()]
            uniform = torch.stack([torch.rand((size,), generator=g, device=device) for g in of_rows])
        tiny = torch.finfo(torch.float32).tiny
        exponential = (-torch.log(uniform.clamp(min=tiny))).clamp(min=tiny)
        gumbel = -torch.log(exponential)
        return (logprobs + gumbel).argmax(dim=-1)


def keep_nucleus(logprobs: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the smallest set of tokens with probability `top_p`, set others to -inf (Holtzman et al. 2020). [B, V]."""
    ordered, index = logprobs.sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(dim=-1) - ordered.exp()
    ordered = ordered.masked_fill(before >= top_p, float("-inf"))
    return torch.full_like(logprobs, float("-inf")).scatter(-1, index, ordered)


@torch.inference_mode()
def sample_batch(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], seeds: Sequence[int] | int, sampling: Sampling
) -> list[Sampled]:
    """Answer each prompt once. prompts: token ids per row. Returns one `Sampled` per row.

    seeds: one per row, so that an answer does not depend on what else is in the batch; or one for the whole batch,
    which is faster where batches are always made the same way. The model's own generation settings have no effect.
    """
    device = next(model.parameters()).device
    width = max(len(p) for p in prompts)
    owner = base_of(model)
    stops = stops_of(model, tokenizer)
    pad = stops[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id  # it is masked: any id will do
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    seen = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    choose = SeededChoice(sampling, seeds, device) if sampling.temperature > 0 else _likeliest
    was_training = model.training
    model.eval()
    try:
        # Prompt tuning puts tokens of its own first, which only PEFT's own `generate` does once.
        tuned = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
        answer = generate if tuned or not can_decode(owner) else decode
        answers = answer(model, ids, seen, choose, stops, sampling.max_new_tokens)
    finally:
        model.train(was_training)
    return [cut_at_stop(tokenizer, row, stops) for row in answers]


def stops_of(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer of this model."""
    return stop_ids(tokenizer, base_of(model).generation_config.eos_token_id)


def _likeliest(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return logits.argmax(dim=-1)


def generate(
    model: Any, ids: torch.Tensor, seen: torch.Tensor, choose: Choose, stops: list[int], limit: int
) -> list[list[int]]:
    """What `decode` does, by transformers' own loop, for models that `decode` does not fit."""
    from transformers import LogitsProcessorList

    rows = torch.arange(len(ids), device=ids.device)

    def chosen(_: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        picked = choose(logits, rows)
        return torch.full_like(logits, float("-inf")).scatter(-1, picked[:, None], 0.0)

    processors = LogitsProcessorList()
    processors.append(chosen)
    with clean_settings(model, stops):
        out = model.generate(
            input_ids=ids, attention_mask=seen, do_sample=False, max_new_tokens=limit, logits_processor=processors
        )
    answers: list[list[int]] = out[:, ids.shape[1] :].tolist()
    return answers


@contextmanager
def clean_settings(model: Any, stops: list[int], **own: Any) -> Iterator[Any]:
    """Within the block, the model's generation settings are the stop tokens and `own`, and nothing else.

    Unset fields of settings passed by hand would be inherited from the model's own (repetition penalties, top_k), and
    the answers would come from another distribution.
    """
    from transformers import GenerationConfig

    owner = base_of(model)
    clean = GenerationConfig(eos_token_id=stops, pad_token_id=stops[0], **own)
    kept, owner.generation_config = owner.generation_config, clean
    try:
        yield clean
    finally:
        owner.generation_config = kept


def cut_at_stop(tokenizer: Any, row: list[int], stops: list[int]) -> Sampled:
    """An answer from generated tokens: up to its first stop token, which counts as the answer's last."""
    end = next((i for i, token in enumerate(row) if token in stops), None)
    ids = row if end is None else row[: end + 1]
    return Sampled(ids, decode_answer(tokenizer, ids), end is not None)
