"""pretrain: read widely. A tokenizer and a small base model from scratch, by packed causal language modelling."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from align.contract import TRAIN, Context, Inputs, Metrics, rows
from align.data.chat import encode_text, render
from align.data.comparisons import best_as_demonstration
from align.data.records import Record, Text
from align.errors import DataError
from align.models.tiny import make_model, train_tokenizer
from align.recipe.schema import Pretrain
from align.trainers.progress import run_training, training_arguments


def run(settings: Pretrain, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Train tokenizer and model on the training rows of every `data` artifact; save a Hugging Face model in `out`."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments, default_data_collator, set_seed

    records = [r for artifact in inputs.all("data") for r in rows(artifact, TRAIN)]
    tokenizer = train_tokenizer((t for r in records for t in plain_texts(r)), settings.vocab_size, settings.context)
    blocks = pack(tokenizer, records, settings.max_length, context.seed)
    if not blocks:
        raise DataError(
            f"the corpus has fewer than max_length ({settings.max_length}) tokens",
            where=", ".join(a.name for a in inputs.all("data")),
            remedy="give more text, or lower max_length",
        )
    set_seed(context.seed)
    model = make_model(
        tokenizer,
        hidden_size=settings.hidden_size,
        layers=settings.layers,
        heads=settings.heads,
        context=settings.context,
    )
    trainer = Trainer(
        model=model,
        args=training_arguments(TrainingArguments, settings, out, context),
        train_dataset=Dataset.from_dict({"input_ids": blocks, "labels": blocks}),
        data_collator=default_data_collator,
        processing_class=tokenizer,
    )
    metrics = run_training(trainer, out, context)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {**metrics, "tokens": len(blocks) * settings.max_length, "vocabulary": len(tokenizer)}


def plain_texts(record: Record) -> list[str]:
    """The text a record holds, for the tokenizer: a document, or the turns of a conversation."""
    if isinstance(record, Text):
        return [record.text]
    example = best_as_demonstration(record)
    return [m.content for m in example.messages] if example else []


def pack(tokenizer: Any, records: list[Record], length: int, seed: int) -> list[list[int]]:
    """Documents in shuffled order, each closed by EOS, cut into blocks of `length` tokens; the last, short one goes."""
    order = list(records)
    random.Random(seed).shuffle(order)
    stream: list[int] = []
    for record in order:
        if isinstance(record, Text):
            stream += [*encode_text(tokenizer, record.text), tokenizer.eos_token_id]
        elif example := best_as_demonstration(record):
            stream += encode_text(tokenizer, render(tokenizer, example.messages).rstrip())
    return [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]
