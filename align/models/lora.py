"""Where a LoRA adapter sits on a model: its layers by name, checked before PEFT looks for them."""

from __future__ import annotations

import re
from typing import Any

from align.data.fields import near
from align.errors import ModelError
from align.recipe.schema import Lora


def lora_config(lora: Lora, task: str) -> Any:
    """PEFT's config for our settings. task: CAUSAL_LM or SEQ_CLS (whose head is then trained and saved as well)."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type=task,
    )


def check_targets(model: Any, lora: Lora, where: str) -> None:
    """Raise ModelError if the model has no layer of a name that the adapter is to sit on."""
    if lora.targets == "all-linear":
        return
    names = [name for name, _ in model.named_modules()]
    if isinstance(lora.targets, str):  # PEFT reads it as a pattern of whole paths
        gone = [] if any(_matches(lora.targets, name) for name in names) else [lora.targets]
    else:
        gone = [t for t in lora.targets if not any(name == t or name.endswith(f".{t}") for name in names)]
    if gone:
        layers = sorted({name.rpartition(".")[2] for name, m in model.named_modules() if _is_linear(m)} - {"lm_head"})
        raise ModelError(
            f"the model has no layer `{gone[0]}`{near(gone[0], layers)}",
            where=f"lora.targets, model {where}",
            allowed=", ".join(layers),
            remedy=f"lora: {{targets: [{layers[0]}]}}; or leave targets out, which is all-linear",
        )


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _is_linear(layer: Any) -> bool:
    weight = getattr(layer, "weight", None)
    return weight is not None and weight.dim() == 2 and "Embedding" not in type(layer).__name__  # GPT-2 has Conv1D
