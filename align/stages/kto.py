"""kto: practise. From thumbs up and down, each answer by itself; the reference is the policy the stage starts from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align.contract import HELDOUT, Context, Inputs, Metrics, rows, training_rows
from align.data.chat import encode_answer
from align.data.comparisons import comparisons
from align.data.records import Feedback, Message, Record
from align.errors import DataError
from align.models.device import pick_device
from align.models.load import load_merged, load_tokenizer, resolve, save_model
from align.models.roles import trainable_policy
from align.recipe.schema import KTO
from align.stages.dpo import (
    HELDOUT_PAIRS,
    PROBES,
    answer_logprobs,
    assert_reference,
    last_rewards,
    reference_ahead,
    spread,
)
from align.trainers.progress import run_training, training_arguments

Thumb = tuple[list[Message], list[Message], bool]
"""A prompt, an answer, and whether it was liked."""


def run(settings: KTO, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Optimise the policy on single judgements (Ethayarajh et al. 2024, eq. 7)."""
    from datasets import Dataset
    from trl import KTOConfig

    from align.trainers.shim import TokenizedKTOTrainer

    ref = resolve(inputs.one("model"))
    tokenizer = load_tokenizer(ref)
    given = thumbs(training_rows(inputs))
    # Once and for all epochs: answers in memory together measure the drift, so they should belong to many prompts.
    random.Random(context.seed).shuffle(given)
    up, down = balance(given, settings.name)
    watched = spread(thumbs([record for a in inputs.all("data") for record in rows(a, HELDOUT)]), HELDOUT_PAIRS)
    train_rows, heldout_rows = (thumb_rows(tokenizer, some, settings.max_length) for some in (given, watched))
    lora = context.lora_of(settings)
    policy = trainable_policy(ref, tokenizer, lora, settings.lora is not None, context)
    expected = answer_logprobs(policy.model.to(pick_device()), train_rows[:PROBES], ("completion_ids",))
    ahead = reference_ahead(settings, lora is None, len(train_rows))
    trainer = TokenizedKTOTrainer(
        model=policy.model,
        ref_model=load_merged(ref, policy.model.dtype) if lora is None and not ahead else None,
        args=training_arguments(
            KTOConfig,
            settings,
            out,
            context,
            beta=settings.beta,
            loss_type=settings.loss,
            max_length=settings.max_length,
            desirable_weight=up,
            undesirable_weight=down,
            precompute_ref_log_probs=ahead,
            eval_strategy="epoch" if heldout_rows else "no",
        ),
        train_dataset=Dataset.from_list(train_rows),
        eval_dataset=Dataset.from_list(heldout_rows) if heldout_rows else None,
        processing_class=tokenizer,
        peft_config=policy.peft_config,
    )
    gap = assert_reference(trainer, expected, train_rows[:PROBES])
    metrics = run_training(trainer, out, context)
    save_model(trainer.model, tokenizer, out, ref)
    liked = {"thumbs": len(given), "thumbs_up": sum(liked for _, _, liked in given)}
    return {**metrics, **liked, "lora": policy.how, "reference_gap": gap, **last_rewards(out)}


def thumbs(records: Sequence[Record]) -> list[Thumb]:
    """Every judgement. A ranking gives two: its best answer is liked and its worst is not; so do a preference's sides.

    The answers between best and worst give none: nobody said on which side they are.
    """
    found: list[Thumb] = []
    for record in records:
        if isinstance(record, Feedback):
            found.append((record.prompt, record.completion, record.label))
        for pair in comparisons([record], "best_vs_worst"):
            found += [(pair.prompt, pair.chosen, True), (pair.prompt, pair.rejected, False)]
    return found


def balance(given: Sequence[Thumb], stage: str) -> tuple[float, float]:
    """Weights of thumbs up and thumbs down by which both sides count the same: the rarer side's is above 1.

    The paper wants the ratio of the two sides' weights in [1, 4/3] (its eq. 8); this is its lower end. Raises
    DataError if one side is missing.
    """
    up = sum(liked for _, _, liked in given)
    down = len(given) - up
    if not up or not down:
        raise DataError(
            f"{len(given)} judgements, and none of them a thumb {'down' if up else 'up'}",
            where=f"stage {stage}",
            allowed="some of either side",
            remedy="use kind: sft to imitate what was liked" if up else "add answers that are liked",
        )
    return max(1.0, down / up), max(1.0, up / down)


def thumb_rows(tokenizer: Any, given: Sequence[Thumb], max_length: int) -> list[dict[str, Any]]:
    """Judgements as token rows."""
    made = []
    for prompt, completion, liked in given:
        prompt_ids, answer_ids = encode_answer(tokenizer, prompt, completion, max_length)
        made.append({"prompt_ids": prompt_ids, "completion_ids": answer_ids, "label": liked})
    return made
