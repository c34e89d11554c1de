"""reward: learn what is preferred. A reward model (Bradley-Terry) with TRL, on every comparison of the rankings."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from align.contract import HELDOUT, TRAIN, Context, Inputs, Metrics, rows
from align.data.chat import encode_pair, encode_scored
from align.data.comparisons import Comparison, comparisons
from align.data.records import Message
from align.evaluation.reward_accuracy import accuracy
from align.judges.reward import SCALE
from align.models.device import pick_device, pick_dtype
from align.models.load import ModelRef, as_scorer, check_vocabulary, load_merged, load_tokenizer, lora_config, resolve
from align.models.load import save_model as save
from align.models.score import score_sequences
from align.recipe.schema import Reward
from align.stages.dpo import pair_rows, spread
from align.trainers.progress import run_training, training_arguments

SCALED_ON = 512
"""Preferred answers whose scores set the scale."""


def run(settings: Reward, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Train a reward model from the policy's weights; its accuracy on held-out comparisons is in the metrics."""
    import torch
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    ref = resolve(inputs.one("model"))
    tokenizer = load_tokenizer(ref)
    pairs = [c for a in inputs.all("data") for c in comparisons(rows(a, TRAIN), settings.pairs)]
    heldout = [c for a in inputs.all("data") for c in comparisons(rows(a, HELDOUT))]
    lora = context.lora_of(settings)
    dtype = pick_dtype(context.precision, pick_device()) if lora else torch.float32
    policy = load_merged(ref, dtype)
    check_vocabulary(policy, tokenizer, ref.base)
    trainer = RewardTrainer(
        model=as_scorer(policy),
        args=training_arguments(RewardConfig, settings, out, context, max_length=settings.max_length),
        train_dataset=Dataset.from_list(scored_rows(pair_rows(tokenizer, pairs, settings, context))),
        processing_class=tokenizer,
        peft_config=lora_config(lora, "SEQ_CLS") if lora else None,
    )
    metrics = run_training(trainer, out, context)
    if lora:
        save(trainer.model, tokenizer, out, ModelRef(ref.base, ref.tokenizer, ref.revision), merge=ref.adapter)
    else:
        save(trainer.model, tokenizer, out, ref)
    write_scale(trainer.model, tokenizer, pairs, settings.max_length, out)
    found = heldout_accuracy(trainer.model, tokenizer, heldout, settings.max_length, context)
    return {**metrics, "pairs": len(pairs), "max_length": settings.max_length, **found}


def write_scale(scorer: Any, tokenizer: Any, pairs: list[Comparison], max_length: int, out: Path) -> None:
    """Leave mean and spread of the scores of answers that won, so that PPO and judges share one scale."""
    won = {tuple(encode_scored(tokenizer, p.prompt, p.chosen, max_length)): None for p in spread(pairs, SCALED_ON)}
    scores = score_sequences(scorer, tokenizer.pad_token_id, [list(ids) for ids in won])
    scale = {"mean": round(fmean(scores), 6), "std": round(pstdev(scores), 6), "answers": len(scores)}
    (out / SCALE).write_text(json.dumps(scale, indent=1), "utf-8")


def scored_rows(pairs: list[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    """Token rows of comparisons in the form the reward trainer takes: prompt and answer joined."""
    return [
        {"chosen_ids": p["prompt_ids"] + p["chosen_ids"], "rejected_ids": p["prompt_ids"] + p["rejected_ids"]}
        for p in pairs
    ]


def heldout_accuracy(
    scorer: Any, tokenizer: Any, pairs: list[Comparison], max_length: int, context: Context
) -> Metrics:
    """Accuracy on held-out comparisons with its 95 % interval; empty if there are none."""
    if not pairs:
        return {}
    margins = score_margins(scorer, tokenizer, pairs, max_length, context)
    found = accuracy(pairs, margins, context.seed)
    return {
        "heldout_accuracy": round(found["rate"], 4),
        "heldout_low": round(found["low"], 4),
        "heldout_high": round(found["high"], 4),
        "heldout_pairs": found["pairs"],
    }


def score_margins(
    scorer: Any, tokenizer: Any, pairs: list[Comparison], max_length: int, context: Context
) -> list[float]:
    """Score of chosen less score of rejected, for each comparison. Equal answers are scored once."""
    index: dict[tuple[int, ...], int] = {}
    places: list[tuple[int, int]] = []
    for pair in pairs:
        sides = [_scored(tokenizer, pair.prompt, side, pair, max_length) for side in (pair.chosen, pair.rejected)]
        first, second = (index.setdefault(tuple(ids), len(index)) for ids in sides)
        places.append((first, second))
    scores = score_sequences(
        scorer,
        tokenizer.pad_token_id,
        [list(ids) for ids in index],
        progress=lambda done, total: context.progress("scoring held-out answers", done, total, ""),
    )
    return [scores[a] - scores[b] for a, b in places]


def _scored(
    tokenizer: Any, prompt: list[Message], completion: list[Message], pair: Comparison, max_length: int
) -> list[int]:
    """An answer as the reward model reads it; long rows are cut for both sides alike, as in training."""
    whole = encode_scored(tokenizer, prompt, completion, 1 << 30)
    if len(whole) <= max_length:
        return whole
    encoded = encode_pair(tokenizer, pair.prompt, pair.chosen, pair.rejected, max_length)
    if encoded is None:
        return encode_scored(tokenizer, prompt, completion, max_length)
    return encoded.prompt_ids + (encoded.chosen_ids if completion is pair.chosen else encoded.rejected_ids)
