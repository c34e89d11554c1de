"""reward: learn what is preferred. A reward model from every ranking, with our ranking trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from align.contract import HELDOUT, Context, Inputs, Metrics, rows, training_rows
from align.data.chat import encode_pair, encode_scored
from align.data.comparisons import Comparison, comparisons
from align.data.records import Message
from align.evaluation.reward_accuracy import accuracy
from align.models.device import pick_device, pick_dtype
from align.models.load import (
    ModelRef,
    check_vocabulary,
    load_merged,
    load_tokenizer,
    resolve,
)
from align.models.load import save_model as save
from align.models.lora import check_targets, lora_config
from align.models.score import score_sequences
from align.recipe.schema import Reward
from align.trainers.progress import run_training, training_arguments
from align.trainers.ranking_reward.config import RankingRewardConfig
from align.trainers.ranking_reward.trainer import RankingRewardTrainer


def run(settings: Reward, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Train a reward model from the policy's weights; its accuracy on held-out comparisons is in the metrics."""
    ref = resolve(inputs.one("model"))
    tokenizer = load_tokenizer(ref)
    records = training_rows(inputs)
    heldout = [c for a in inputs.all("data") for c in comparisons(rows(a, HELDOUT))]
    lora = context.lora_of(settings)
    policy = load_merged(ref, pick_dtype(context.precision, pick_device()) if lora else torch.float32)
    check_vocabulary(policy, tokenizer, ref.base)
    if lora:
        check_targets(policy, lora, ref.base, context.say, keeps_head=False)
    own = {name: getattr(settings, name) for name in ("loss", "ties", "pairs", "heads", "margin_coef", "max_length")}
    trainer = RankingRewardTrainer(
        policy,
        training_arguments(RankingRewardConfig, settings, out, context, **own),
        records,
        processing_class=tokenizer,
        peft_config=lora_config(lora, "SEQ_CLS") if lora else None,
    )
    for note in trainer.notes:
        context.say(note)
    metrics = run_training(trainer, out, context)
    scorer = trainer.model.scorer
    if lora:
        save(scorer, tokenizer, out, ModelRef(ref.base, ref.tokenizer, ref.revision), merge=ref.adapter)
    else:
        save(scorer, tokenizer, out, ref)
    trainer.write_scale(out)
    found = heldout_accuracy(scorer, tokenizer, heldout, settings.max_length, context)
    pairs = len(comparisons(records, settings.pairs))
    return {**metrics, **trainer.counts(), "pairs": pairs, "max_length": settings.max_length, **found}


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
