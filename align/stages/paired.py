"""What orpo and simpo share: TRL's trainers that compare two answers without a reference, on our rows and models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align.contract import Context, Inputs, Metrics
from align.models.load import load_tokenizer, resolve, save_model
from align.models.roles import trainable_policy
from align.recipe.schema import Preferring
from align.stages.dpo import last_rewards, preference_rows
from align.trainers.progress import run_training, training_arguments


def run_paired(
    kind: tuple[Any, Any, dict[str, Any]], settings: Preferring, inputs: Inputs, out: Path, context: Context
) -> Metrics:
    """Train the policy on comparisons. kind: trainer class, config class, and the config's arguments of this kind."""
    from datasets import Dataset

    trainer_class, config_class, own = kind
    ref = resolve(inputs.one("model"))
    tokenizer = load_tokenizer(ref)
    train_rows, heldout_rows = preference_rows(tokenizer, settings, inputs, context)
    policy = trainable_policy(ref, tokenizer, context.lora_of(settings), settings.lora is not None, context)
    trainer = trainer_class(
        model=policy.model,
        args=training_arguments(
            config_class,
            settings,
            out,
            context,
            max_length=settings.max_length,
            remove_unused_columns=False,
            eval_strategy="epoch" if heldout_rows else "no",
            **own,
        ),
        train_dataset=Dataset.from_list(train_rows),
        eval_dataset=Dataset.from_list(heldout_rows) if heldout_rows else None,
        processing_class=tokenizer,
        peft_config=policy.peft_config,
    )
    metrics = run_training(trainer, out, context)
    save_model(trainer.model, tokenizer, out, ref)
    return {**metrics, "pairs": len(train_rows), "lora": policy.how, **last_rewards(out)}
