"""Decoding a batch token by token, without the rows that have ended.

`generate` of transformers feeds every row until the longest is done; where answers differ in length, most of that is
spent on rows that ended long ago. Here they leave the batch, and their keys and values the cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

Choose = Callable[[Tensor, Tensor], Tensor]
"""f(logits [R, V], rows [R]) -> token ids [R]: the next token of each of the batch's rows that are left."""

DROP_SHARE = 8
"""Rows leave once they are one in so many: taking them out copies the cache."""

THIN_ROWS, LARGE_WEIGHT = 48, 1 << 18
"""On a CPU, W x^T is 1.3 to 3 times as fast as x W^T for so few rows of x and so many numbers in W (MKL, AVX-512)."""


def can_decode(model: Any) -> bool:
    """Whether `decode` fits a causal model: its cache is keys and values by position, and it takes both as arguments.

    Models with a recurrent state keep more in their cache than rows can be taken from; they need `generate`.
    """
    taken = inspect.signature(model.forward).parameters
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    attends = all(kind in ("full_attention", "sliding_attention", "chunked_attention") for kind in kinds)
    plain = not (model.config.is_encoder_decoder or getattr(model, "_is_stateful", False))
    return plain and attends and {"past_key_values", "position_ids", "logits_to_keep"} <= taken.keys()


@contextmanager
def thin_products(model: Any) -> Iterator[None]:
    """Within the block, large linear layers on a CPU multiply the faster way round where they get few rows.

    The result differs by rounding alone.
    """
    large = [
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear
        and type(layer.weight) is nn.Parameter  # quantised weights (torchao) stay in an nn.Linear
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
        and layer.weight.numel() >= LARGE_WEIGHT
        and "forward" not in vars(layer)
    ]
    for layer in large:
        layer.forward = MethodType(_thin, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in large:
            del layer.forward


def _thin(layer: nn.Linear, x: Tensor) -> Tensor:
    if x.numel() > THIN_ROWS * x.shape[-1]:
        return nn.functional.linear(x, layer.weight, layer.bias)
    product = (layer.weight @ x.reshape(-1, x.shape[-1]).T).T.contiguous()  # attention is slow on what is not
    product = product.reshape(*x.shape[:-1], layer.out_features)
    return product if layer.bias is None else product + layer.bias.to(product.dtype)  # bf16 under autocast


@torch.inference_mode()
def decode(model: Any, ids: Tensor, seen: Tensor, choose: Choose, stops: Sequence[int], limit: int) -> list[list[int]]:
    """Continue each row until one of `stops` (included in the result) or `limit` tokens. Returns the new tokens.

    ids, seen: [B, P] prompts padded on the left, and 1 where a token is real.
    """
    with thin_products(model):
        return _decode(model, ids, seen, choose, stops, limit)


def _decode(model: Any, ids: Tensor, seen: Tensor, choose: Choose, stops: Sequence[int], limit: int) -> list[list[int]]:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config())
    ends = torch.tensor(list(stops), device=ids.device)
    rows = torch.arange(len(ids), device=ids.device)
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    answers: list[list[int]] = [[] for _ in range(len(ids))]
    places = (seen.cumsum(-1) - 1).clamp(min=0)
    for _ in range(limit):
        out = model(
            input_ids=ids,
            attention_mask=seen,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens = choose(out.logits[:, -1], rows)
        for row, token, was_done in zip(rows.tolist(), tokens.tolist(), done.tolist(), strict=True):
            if not was_done:
                answers[row].append(token)
        done = done | torch.isin(tokens, ends)
        ended = int(done.sum())
        if ended == len(done):
            break
        places = places[:, -1:] + 1
        if ended * DROP_SHARE >= len(done):
            kept = (~done).nonzero()[:, 0]
            rows, tokens, done, seen, places = rows[kept], tokens[kept], done[kept], seen[kept], places[kept]
            cache.batch_select_indices(kept)
        ids = tokens[:, None]
        seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
    return answers
