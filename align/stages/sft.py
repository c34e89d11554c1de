"""sft: follow good examples. Supervised fine-tuning with TRL; loss on the assistant's turns only."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from align.artifacts import Artifact
from align.contract import HELDOUT, TRAIN, Context, Inputs, Metrics, rows
from align.data.chat import Encoded, encode_conversation
from align.data.comparisons import best_as_demonstration
from align.data.records import Demonstration
from align.errors import TrainingError, counted
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
    heldout = cut_rows(
        [r for e in read_examples(inputs.all("data"), HELDOUT) for r in encode_conversation(tokenizer, e.messages)],
        settings.max_length,
    )[:HELDOUT_ROWS]
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
    if settings.packing:
        assert_kept_apart(trainer, [as_row(e) for e in encoded])
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
    whole = [row for e in examples for row in encode_conversation(tokenizer, e.messages)]
    kept = cut_rows(whole, max_length)
    if not kept:
        longest = max((len(e.input_ids) for e in whole), default=0)
        raise TrainingError(
            "no token is left to train on: every example is cut before the assistant speaks",
            where=f"max_length: {max_length}",
            remedy=f"raise max_length; the longest example has {longest} tokens",
        )
    if cut := sum(len(e.input_ids) > max_length for e in whole):
        context.counted.update({"examples_cut": cut, "examples_lost": len(whole) - len(kept)})
        context.say(
            f"cut, being longer than max_length {max_length}: {cut} of {counted(len(examples), 'example')}"
            + (f"; {len(whole) - len(kept)} of them lost every trained token" if len(kept) < len(whole) else "")
        )
    return kept


def cut_rows(encoded: list[Encoded], max_length: int) -> list[Encoded]:
    """Rows of at most `max_length` tokens; those that lose every trained token are left out."""
    cut = [Encoded(e.input_ids[:max_length], e.mask[:max_length]) for e in encoded]
    return [e for e in cut if any(e.mask)]


def as_row(encoded: Encoded) -> dict[str, list[int]]:
    """A row for the trainer; label -100 where a token is only read."""
    labels = [i if m else -100 for i, m in zip(encoded.input_ids, encoded.mask, strict=True)]
    return {"input_ids": encoded.input_ids, "labels": labels}


def assert_only_assistant(trainer: Any, tokenizer: Any, examples: list[Demonstration]) -> None:
    """Raise TrainingError unless each stretch of trained labels is, decoded, a turn of the assistant.

    The last stretch of a row may be the beginning of one, where `max_length` has cut.
    """
    said = {"".join(m.content.split()) for e in examples for m in e.messages if m.role == "assistant"}
    said |= {"<think></think>" + s for s in said}
    for row in [dict(trainer.train_dataset[i]) for i in range(min(4, len(trainer.train_dataset)))]:
        runs = stretches(trainer.data_collator([row])["labels"][0].tolist())
        for number, run in enumerate(runs, 1):
            trained = "".join(tokenizer.decode(run, skip_special_tokens=True).split())
            begun = trained.rstrip("\ufffd")  # a character cut in two
            cut = number == len(runs) and trained and any(s.startswith(begun) for s in said)
            if trained not in said and not cut:
                raise TrainingError(
                    f"the loss would cover more than the assistant's turns: {tokenizer.decode(run)[:200]!r}",
                    where="the chat template of the model",
                    remedy="set chat_template: on the model's source",
                )


def stretches(labels: list[int]) -> list[list[int]]:
    """The runs of labels that are trained, those between -100."""
    return [list(run) for trained, run in groupby(labels, lambda label: label != -100) if trained]


@torch.no_grad()
def assert_kept_apart(trainer: Any, rows: list[dict[str, list[int]]]) -> None:
    """Raise TrainingError unless a conversation packed behind another gets the logits that it gets alone.

    Packing tells conversations apart by their positions, which not every attention heeds: a conversation would then be
    trained on what stands before it by chance. rows: at least one row of `as_row`; the first and the last are packed.
    """
    model, device = trainer.model, trainer.accelerator.device
    first, second = ({k: v[:256] for k, v in row.items()} for row in (rows[0], rows[-1]))
    lengths = [len(first["input_ids"]), len(second["input_ids"])]
    batch = trainer.data_collator([{k: first[k] + second[k] for k in first} | {"seq_lengths": lengths}])
    del batch["labels"]
    was_training = model.training
    model.to(device).eval()
    packed = model(**{k: v.to(device) if hasattr(v, "to") else v for k, v in batch.items()}, use_cache=False)
    alone = model(input_ids=torch.tensor([second["input_ids"]], device=device), use_cache=False)
    model.train(was_training)
    ours, wanted = packed.logits[0, lengths[0] :].float(), alone.logits[0].float()
    gap = float((ours - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))
    if gap > (1e-3 if alone.logits.dtype == torch.float32 else 0.05):
        raise TrainingError(
            "packing would let a conversation read the one before it in the same sequence: logits change by "
            f"{gap:.1%} of the largest",
            where=f"{type(model).__name__} with attention {model.config._attn_implementation}",
            remedy="say packing: false",
        )
