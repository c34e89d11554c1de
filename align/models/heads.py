"""Score heads: a causal model's trunk with one becomes a reward model, with several an ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from align.errors import ModelError

HEADS = "reward_heads"
"""In the config of a reward model with several heads: how many, which tells it from a classifier of as many classes."""


def saved_head(folder: Path) -> torch.Tensor | None:
    """The score heads [E, H] that a reward model's adapter folder holds; None if it holds none."""
    from safetensors import safe_open

    file = folder / "adapter_model.safetensors"
    if not file.exists():
        return None
    with safe_open(file, framework="pt") as weights:
        for key in weights.keys():  # noqa: SIM118 - a safetensors file is no dictionary
            if key.endswith((".score.weight", ".classifier.weight")):
                return weights.get_tensor(key)  # type: ignore[no-any-return]
    return None


def as_scorer(causal: Any, heads: int = 1) -> Any:
    """A reward model around a causal model's trunk, its head (or heads) at zero: every answer starts with score 0.

    Works for every architecture that transformers knows both as causal model and as sequence classifier; others raise
    ModelError.
    """
    from transformers import AutoModelForSequenceClassification

    config = causal.config
    config.num_labels = heads
    if heads > 1:
        setattr(config, HEADS, heads)
    config.tie_word_embeddings = False  # the head that was tied is gone
    try:
        with torch.device("meta"):
            scorer = AutoModelForSequenceClassification.from_config(config, dtype=causal.dtype)
    except ValueError as error:
        raise ModelError(
            f"{type(causal).__name__} has no sequence-classification form, so it cannot become a reward model",
            remedy="start the reward stage from another architecture, such as Llama, Qwen or Gemma",
        ) from error
    head = head_of(scorer)
    setattr(scorer, scorer.base_model_prefix, getattr(causal, causal.base_model_prefix))
    head.weight = torch.nn.Parameter(torch.zeros(head.weight.shape, dtype=causal.dtype))
    return scorer


def head_of(scorer: Any) -> Any:
    """The module that makes a sequence classifier's scores."""
    return next(m for n, m in scorer.named_modules() if n in ("score", "classifier"))
