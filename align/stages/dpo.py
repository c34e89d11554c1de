"""dpo: practise. Direct preference optimisation with TRL; the reference is the policy the stage starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from align.artifacts import METRICS
from align.contract import HELDOUT, Context, Inputs, Metrics, rows, training_rows
from align.data.chat import encode_pair
from align.data.comparisons import Comparison, comparisons
from align.data.weights import weighed
from align.errors import DataError, TrainingError, counted
from align.logged import last_tenth
from align.models.device import pick_device
from align.models.load import load_merged, load_tokenizer, resolve, save_model
from align.models.roles import trainable_policy
from align.recipe.schema import DPO, KTO, Preferring, Training
from align.trainers.progress import read_metrics, run_training, training_arguments

T = TypeVar("T")

PROBES = 4
"""Pairs on which the reference is held against the policy that training starts from."""

HELDOUT_PAIRS = 256
"""Held-out pairs whose loss is logged after each epoch; more would only cost time."""


def run(settings: DPO, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Optimise the policy on every comparison in rankings or preferences (Rafailov et al. 2023, eq. 7)."""
    from datasets import Dataset
    from trl import DPOConfig

    from align.trainers.shim import TokenizedDPOTrainer

    ref = resolve(inputs.one("model"))
    tokenizer = load_tokenizer(ref)
    train_rows, heldout_rows = preference_rows(tokenizer, settings, inputs, context)
    lora = context.lora_of(settings)
    policy = trainable_policy(ref, tokenizer, lora, settings.lora is not None, context)
    # Before the trainer wraps it: what the policy we start from says, to hold the reference against.
    expected = answer_logprobs(policy.model.to(pick_device()), train_rows[:PROBES])
    ahead = reference_ahead(settings, lora is None, len(train_rows))
    trainer = TokenizedDPOTrainer(
        model=policy.model,
        ref_model=load_merged(ref, policy.model.dtype) if lora is None and not ahead else None,
        args=training_arguments(
            DPOConfig,
            settings,
            out,
            context,
            beta=settings.beta,
            loss_type=[settings.loss] if isinstance(settings.loss, str) else list(settings.loss),
            max_length=settings.max_length,
            precompute_ref_log_probs=ahead,
            eval_strategy="epoch" if heldout_rows else "no",
        ),
        train_dataset=Dataset.from_list(train_rows),
        eval_dataset=Dataset.from_list(heldout_rows) if heldout_rows else None,
        processing_class=tokenizer,
        peft_config=policy.peft_config,
    )
    # ld_alpha counts an answer's later tokens less, so its sums are others on purpose.
    plain = settings.trainer.get("ld_alpha") is None
    gap = assert_reference(trainer, expected, train_rows[:PROBES]) if plain else None
    metrics = run_training(trainer, out, context)
    save_model(trainer.model, tokenizer, out, ref)
    return {**metrics, "pairs": len(train_rows), "lora": policy.how, "reference_gap": gap, **last_rewards(out)}


def preference_rows(
    tokenizer: Any, settings: Preferring, inputs: Inputs, context: Context
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Token rows to train on, weighed, and to watch. Raises DataError if nothing is left to train on."""
    records = training_rows(inputs)
    found = weighed(records, settings.pairs, settings.weigh)
    heldout = [c for a in inputs.all("data") for c in comparisons(rows(a, HELDOUT))]
    weights = [row.weight for row in found]
    train_rows = pair_rows(tokenizer, [row.comparison for row in found], settings, context, weights)
    return train_rows, pair_rows(tokenizer, spread(heldout, HELDOUT_PAIRS), settings, None) if heldout else []


def reference_ahead(settings: DPO | KTO, full: bool, row_count: int) -> bool:
    """Whether the reference speaks once, before training, rather than at every step.

    By count of operations its forward is a quarter of a step, so it pays from the second pass over the rows on. In
    full fine-tuning one pass costs the same either way, but needs no second model in memory.
    """
    if "precompute_ref_log_probs" in settings.trainer:
        return bool(settings.trainer["precompute_ref_log_probs"])
    if settings.trainer.get("sync_ref_model"):
        return False
    passes = settings.max_steps * settings.batch_size / row_count if settings.max_steps else settings.epochs
    return passes >= 1 if full else passes > 1


def spread(rows: list[T], most: int) -> list[T]:
    """At most `most` of the rows, evenly taken from the list."""
    step = max(1, len(rows) // most)
    return rows[::step][:most]


def pair_rows(
    tokenizer: Any,
    pairs: list[Comparison],
    settings: Training,
    context: Context | None,
    weights: Sequence[float] = (),
) -> list[dict[str, Any]]:
    """Comparisons as token rows. Says how many were cut or left out; raises DataError if none is left.

    weights: what each counts, a column of the rows unless all count the same.
    """
    encoded = [encode_pair(tokenizer, p.prompt, p.chosen, p.rejected, settings.max_length) for p in pairs]
    kept = [e for e in encoded if e is not None]
    if not kept:
        raise DataError(
            "no comparison is left to train on"
            + (": cutting removes every difference" if encoded else ": the rankings hold only ties"),
            where=f"stage {settings.name}",
            remedy="raise max_length" if encoded else "rank answers that differ; per_prompt: or temperature: may help",
        )
    if context and (cut := sum(e.cut for e in kept)):
        context.counted["pairs_cut"] = cut
        share = f"{cut} of {counted(len(pairs), 'comparison')}"
        context.say(f"cut, being longer than max_length {settings.max_length}: {share}")
    if context and len(kept) < len(encoded):
        context.counted["pairs_lost"] = len(encoded) - len(kept)
        context.say(f"{counted(len(encoded) - len(kept), 'comparison')} left out: cutting removes their difference")
    made: list[dict[str, Any]] = [
        {"prompt_ids": e.prompt_ids, "chosen_ids": e.chosen_ids, "rejected_ids": e.rejected_ids} for e in kept
    ]
    if len(set(weights)) > 1:
        for row, weight in zip(made, (w for w, e in zip(weights, encoded, strict=True) if e), strict=True):
            row["weight"] = weight
    return made


def assert_reference(trainer: Any, expected: torch.Tensor, sample: list[dict[str, Any]]) -> float:
    """Raise TrainingError unless the trainer's reference gives the log-probabilities of the policy we start from.

    expected: [B, sides], that policy's summed log-probabilities on `sample`, the first training rows. Returns the
    largest difference in nats.
    """
    found = torch.stack(trainer.reference_logprobs(sample), dim=1).float().cpu()
    gap = float((found - expected).abs().max())
    limit = 1e-3 if trainer.model.dtype == torch.float32 else 0.02
    if gap > limit * max(1.0, float(expected.abs().max())):
        raise TrainingError(
            f"the reference is not the policy this stage starts from: log-probabilities differ by {gap:.4f} nats",
            where=f"reference {found.tolist()}, policy {expected.tolist()}",
            remedy="this is a fault in the toolkit; please report it with the recipe",
        )
    return round(gap, 6)


def answer_logprobs(
    model: Any, sample: list[dict[str, Any]], sides: Sequence[str] = ("chosen_ids", "rejected_ids")
) -> torch.Tensor:
    """Summed log-probabilities (nats) of each row's answers given its prompt: [B, sides], on the CPU."""
    training = model.training
    model.eval()
    sums = [[_logprob(model, row["prompt_ids"], row[side]) for side in sides] for row in sample]
    model.train(training)
    return torch.tensor(sums)


@torch.no_grad()
def _logprob(model: Any, prompt_ids: list[int], answer_ids: list[int]) -> float:
    ids = torch.tensor([prompt_ids + answer_ids], device=next(model.parameters()).device)
    logprobs = torch.log_softmax(model(input_ids=ids).logits[0, :-1].float(), dim=-1)
    picked = logprobs.gather(1, ids[0, 1:, None])[:, 0]
    return float(picked[len(prompt_ids) - 1 :].sum())


def last_rewards(out: Path) -> dict[str, float]:
    """Implicit-reward accuracy and margin over the last tenth of training, and on held-out rows at its end.

    A trainer that logs no accuracy (KTO's) leaves it out.
    """
    logged = read_metrics(out / METRICS)
    ends = [row for row in logged if "eval_loss" in row][-1:]
    found = {
        "train_accuracy": last_tenth(logged, "rewards/accuracies"),
        "train_margin": last_tenth(logged, "rewards/margins"),
        "heldout_accuracy": last_tenth(ends, "eval_rewards/accuracies"),
        "heldout_margin": last_tenth(ends, "eval_rewards/margins"),
    }
    return {label: round(value, 4) for label, value in found.items() if value is not None}
