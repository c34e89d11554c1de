"""What our own trainers do to a model's weights: save and load those that train, and turn dropout off."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from align.errors import ModelError


def save_weights(model: nn.Module, file: Path) -> None:
    """Write every weight that takes gradients, whole or not at all."""
    from safetensors.torch import save_file

    weights = {n: p.detach().contiguous().cpu() for n, p in model.named_parameters() if p.requires_grad}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file.with_suffix(".new"))
    os.replace(file.with_suffix(".new"), file)


@torch.no_grad()
def load_weights(model: nn.Module, file: Path) -> None:
    """Read what `save_weights` wrote. Raises ModelError if it belongs to a model of other parts or sizes."""
    from safetensors.torch import load_file

    saved = load_file(file)
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if {n: v.shape for n, v in saved.items()} != {n: p.shape for n, p in own.items()}:
        raise ModelError(
            "the checkpoint belongs to another model: its trained weights have other names or sizes",
            where=str(file),
            remedy="continue with the settings it was made with, or delete it to start again",
        )
    for name, value in saved.items():
        own[name].copy_(value)


def no_dropout(model: nn.Module) -> None:
    """Turn dropout off everywhere: scores and log-probabilities are then those of the finished model."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "attn_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
