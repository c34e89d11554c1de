"""Who shares which weights: a policy that trains, and its frozen reference.

    input        lora asked for            what trains                     reference
    full model   yes                       a new adapter                   adapter off
    full model   none                      all weights                     a frozen second copy
    adapter      default, or the same      the same adapter, continued     a frozen copy of the adapter
    adapter      none                      all weights, adapter merged     a frozen second copy
    adapter      another shape             (error: it could not be handed over)

Continuing the adapter keeps one adapter over one base, whatever the number of stages: the hand-off needs no merge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from align.contract import Context
from align.errors import ModelError
from align.models.device import pick_device, pick_dtype
from align.models.load import ModelRef, check_vocabulary, load_causal, load_merged
from align.models.lora import check_targets, lora_config
from align.recipe.schema import Lora


@dataclass(frozen=True)
class TrainablePolicy:
    """A policy ready for a TRL trainer. peft_config: a new adapter for the trainer to add. how: said in the report."""

    model: Any
    peft_config: Any
    how: str


def trainable_policy(
    ref: ModelRef, tokenizer: Any, lora: Lora | None, asked: bool, context: Context
) -> TrainablePolicy:
    """Load the policy so that the right weights train; see the table above.

    asked: whether the stage itself says `lora:` (a recipe's default gives way to the adapter that is there).
    Raises ModelError where a stage asks for an adapter of another shape than the one it would continue.
    """
    import torch

    dtype = pick_dtype(context.precision, pick_device())
    if lora is None:
        # Full fine-tuning keeps float32 master weights; bf16 is then autocast's business.
        model = load_merged(ref, torch.float32)
        check_vocabulary(model, tokenizer, ref.base)
        return TrainablePolicy(model, None, "full fine-tuning" + (", adapter merged first" if ref.adapter else ""))
    if ref.adapter is None:
        model = load_causal(ref, dtype)
        check_vocabulary(model, tokenizer, ref.base)
        check_targets(model, lora, ref.base, context.say)
        return TrainablePolicy(model, lora_config(lora, "CAUSAL_LM"), f"new adapter, r {lora.r}")
    model = load_causal(ref, dtype, trainable=True)
    check_vocabulary(model, tokenizer, ref.base)
    there = model.peft_config["default"]
    if asked and (there.r, there.lora_alpha) != (lora.r, lora.alpha):
        raise ModelError(
            f"the stage asks for an adapter of r {lora.r}, alpha {lora.alpha}, but continues one of r {there.r}, "
            f"alpha {there.lora_alpha}",
            where=str(ref.adapter),
            remedy="leave out lora: to continue the adapter, or say lora: none to merge it and train all weights",
        )
    return TrainablePolicy(model, None, f"the adapter of {ref.adapter.name} continued, r {there.r}")
