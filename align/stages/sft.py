"""sft: follow good examples. Supervised fine-tuning with TRL; loss on the assistant's turns only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align.artifacts import Artifact
from align.contract import HELDOUT, TRAIN, Context, Inputs, Metrics, rows
from align.data.chat import Encoded, decode_answer, encode_conversation
from align.data.comparisons import best_as_demonstration
from align.data.records import Demonstration
from align.errors import TrainingError
from align.models.load import load_tokenizer, resolve, save_model
from align.models.roles import trainable_policy
from align.recipe.schema import SFT
from align.trainers.progress import run_training, training_arguments

HELDOUT_ROWS = 256
"""Held-out rows whose loss is logged after each epoch; more would only cost time."""


def run(settings: SFT, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Fine-tune the policy on demonstrations (or the best answers of rankings and preferences)."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    ref = resolve(inputs.one("model"))
    tokenizer = load_tokenizer(ref)
    examples = read_examples(inputs.all("data"), TRAIN)
    encoded = encode_all(tokenizer, examples, settings.max_length, context)
    heldout = [
        encode_conversation(tokenizer, e.messages, settings.max_length)
        for e in read_examples(inputs.all("data"), HELDOUT)[:HELDOUT_ROWS]
    ]
    policy = trainable_policy(ref, tokenizer, context.lora_of(settings), settings.lora is not None, context)
    trainer = SFTTrainer(
        model=policy.model,
        args=training_arguments(
            SFTConfig,
            settings,
            out,
            context,
            max_length=settings.max_length,
            packing=settings.packing,
            eval_strategy="epoch" if heldout else "no",
        ),
        train_dataset=Dataset.from_list([as_row(e) for e in encoded]),
        eval_dataset=Dataset.from_list([as_row(e) for e in heldout]) if heldout else None,
        processing_class=tokenizer,
        peft_config=policy.peft_config,
    )
    if not settings.packing:
        assert_only_assistant(trainer, tokenizer, examples)
    metrics = run_training(trainer, out, context)
    save_model(trainer.model, tokenizer, out, ref)
    trained = sum(sum(e.mask) for e in encoded)
    return {**metrics, "examples": len(encoded), "trained_tokens": trained, "lora": policy.how}


def read_examples(artifacts: list[Artifact], split: str) -> list[Demonstration]:
    """The conversations to imitate, from every data artifact."""
    found = [best_as_demonstration(r) for a in artifacts for r in rows(a, split)]
    return [e for e in found if e is not None]


def encode_all(tokenizer: Any, examples: list[Demonstration], max_length: int, context: Context) -> list[Encoded]:
    """Examples as tokens. Says how many were cut; raises TrainingError if no token is left to train on."""
    whole = [encode_conversation(tokenizer, e.messages, 1 << 30) for e in examples]
    encoded = [Encoded(e.input_ids[:max_length], e.mask[:max_length]) for e in whole]
    cut = sum(len(e.input_ids) > max_length for e in whole)
    kept = [e for e in encoded if any(e.mask)]
    if not kept:
        longest = max((len(e.input_ids) for e in whole), default=0)
        raise TrainingError(
            "no token is left to train on: every example is cut before the assistant speaks",
            where=f"max_length: {max_length}",
            remedy=f"raise max_length; the longest example has {longest} tokens",
        )
    if cut:
        context.say(
            f"{cut} of {len(examples)} examples are longer than max_length {max_length} and were cut"
            + (f"; {len(encoded) - len(kept)} of them lost every trained token" if len(kept) < len(encoded) else "")
        )
    return kept


def as_row(encoded: Encoded) -> dict[str, list[int]]:
    """A row for the trainer; label -100 where a token is only read."""
    labels = [i if m else -100 for i, m in zip(encoded.input_ids, encoded.mask, strict=True)]
    return {"input_ids": encoded.input_ids, "labels": labels}


def assert_only_assistant(trainer: Any, tokenizer: Any, examples: list[Demonstration]) -> None:
    """Raise TrainingError unless what the collated labels train is, decoded, what the assistant says and no more."""
    said = {" ".join(" ".join(m.content for m in e.messages if m.role == "assistant").split()) for e in examples}
    count = min(4, len(trainer.train_dataset))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(count)])
    for labels in batch["labels"].tolist():
        trained = decode_answer(tokenizer, [i for i in labels if i != -100])
        flat = "".join(trained.split())
        if not any("".join(s.split()).startswith(flat) for s in said):
            raise TrainingError(
                f"the loss would cover more than the assistant's turns: {trained[:200]!r}",
                where="the chat template of the model",
                remedy="set chat_template: on the model's source",
            )
