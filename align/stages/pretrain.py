"""pretrain: read widely. A tokenizer and a small base model from scratch, by packed causal language modelling."""

from __future__ import annotations

import bisect
import random
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from align.contract import Context, Inputs, Metrics, training_rows
from align.data.chat import encode_text, render
from align.data.comparisons import best_as_demonstration
from align.data.records import Record, Text
from align.errors import DataError
from align.models.load import ModelRef, save_model
from align.models.tiny import make_model, train_tokenizer
from align.recipe.schema import Pretrain
from align.trainers.progress import run_training, training_arguments


def run(settings: Pretrain, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Train tokenizer and model on the training rows of every `data` artifact; save a Hugging Face model in `out`."""
    from transformers import Trainer, TrainingArguments, default_data_collator, set_seed

    records = training_rows(inputs)
    tokenizer = train_tokenizer((t for r in records for t in plain_texts(r)), settings.vocab_size, settings.context)
    blocks = pack(token_rows(tokenizer, records, context.seed), settings.max_length)
    if not blocks:
        raise DataError(
            "the corpus holds no text to learn from",
            where=", ".join(a.name for a in inputs.all("data")),
            remedy="give rows with text",
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
        train_dataset=Blocks(blocks, settings.max_length, tokenizer.pad_token_id),
        data_collator=default_data_collator,
        processing_class=tokenizer,
    )
    metrics = run_training(trainer, out, context)
    save_model(model, tokenizer, out, ModelRef(str(out), str(out)))
    return {**metrics, "tokens": sum(len(text) for block in blocks for text in block), "vocabulary": len(tokenizer)}


def plain_texts(record: Record) -> list[str]:
    """The text a record holds, for the tokenizer: a document, or the turns of a conversation."""
    if isinstance(record, Text):
        return [record.text]
    example = best_as_demonstration(record)
    return [m.content for m in example.messages] if example else []


def token_rows(tokenizer: Any, records: list[Record], seed: int) -> list[list[int]]:
    """Each document as tokens closed by EOS, in shuffled order."""
    order = list(records)
    random.Random(seed).shuffle(order)
    found: list[list[int]] = []
    for record in order:
        if isinstance(record, Text):
            found.append([*encode_text(tokenizer, record.text), tokenizer.eos_token_id])
        elif example := best_as_demonstration(record):
            found.append(encode_text(tokenizer, render(tokenizer, example.messages).rstrip()))
    return [ids for ids in found if ids]


def pack(documents: list[list[int]], length: int) -> list[list[list[int]]]:
    """Documents put whole into blocks of `length` tokens, each where it fits best; longer ones are cut into pieces.

    Cutting at every block's end instead would tear answers from their questions: with short documents, most of them.
    Source: Ding et al. 2024, "Fewer Truncations Improve Language Modeling", section 3 (best-fit decreasing).
    """
    # A piece of one token has nothing to predict.
    pieces = [ids[i : i + length] for ids in documents for i in range(0, len(ids), length) if len(ids) - i > 1]
    pieces.sort(key=len, reverse=True)
    with_room: dict[int, list[list[list[int]]]] = {}
    """Room in tokens -> the blocks that have just so much; never empty."""
    rooms: list[int] = []
    """The keys of `with_room`, in order."""
    blocks: list[list[list[int]]] = []
    for piece in pieces:
        place = bisect.bisect_left(rooms, len(piece))
        if place == len(rooms):
            room = length
            blocks.append([])
            block = blocks[-1]
        else:
            room = rooms[place]
            block = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[place]
        block.append(piece)
        left = room - len(piece)
        if left not in with_room:
            with_room[left] = []
            bisect.insort(rooms, left)
        with_room[left].append(block)
    return blocks


class Blocks(Dataset[dict[str, list[int]]]):
    """Packed blocks as the trainer reads them, made when asked for: lists of positions and labels are large."""

    def __init__(self, blocks: list[list[list[int]]], length: int, pad: int) -> None:
        self.blocks, self.length, self.pad = blocks, length, pad

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return block_row(self.blocks[index], self.length, self.pad)


def block_row(block: list[list[int]], length: int, pad: int) -> dict[str, list[int]]:
    """A block as the model reads it, [length] each. Positions start anew with each document.

    transformers reads from the positions where documents begin and lets none attend to another (without a KV cache,
    which `run` sees to), so a document is learned as it will be met: alone and from position 0. Its first token is no
    target: what stands before it is another document.
    """
    ids = [token for document in block for token in document]
    room = length - len(ids)
    return {
        "input_ids": ids + [pad] * room,
        "labels": [token for document in block for token in (-100, *document[1:])] + [-100] * room,
        "position_ids": [place for document in block for place in range(len(document))] + list(range(room)),
    }
