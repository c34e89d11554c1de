"""What is watched: figures of rollouts and of held-out prompts, and the answers themselves for people to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from align.errors import TrainingError
from align.trainers.ppo import advantages as adv
from align.trainers.ppo.drift import signals
from align.trainers.ppo.rewards import Episode, Scores


def figures_of(episodes: Sequence[Episode], scores: Scores, found: dict[str, Tensor]) -> dict[str, float]:
    """Score, KL to the reference in nats an answer by two estimators, and signs of over-optimisation.

    found: what `look_back` gave.
    """
    mask = found["mask"]
    nats = {
        "kl": (adv.k1(found["logprobs"], found["reference"]) * mask).sum(dim=1).mean(),
        "kl_k3": (adv.k3(found["logprobs"], found["reference"]) * mask).sum(dim=1).mean(),
    }
    lengths = [len(e.answer_ids) for e in episodes]
    drift = signals([e.text for e in episodes], lengths, [e.finished for e in episodes])
    each = {f"score/{name}": fmean(values) for name, values in scores.raw.items()} if len(scores.raw) > 1 else {}
    return {"score": fmean(scores.total), **{k: float(v) for k, v in nats.items()}, **drift, **each}


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """How much of the returns' variance the value model foresaw: 1 all, 0 none, below 0 worse than their mean."""
    total = _variance(returns, mask)
    return 1 - _variance(returns - values, mask) / max(total, 1e-8)


def _variance(values: Tensor, mask: Tensor) -> float:
    mean = adv.masked_mean(values, mask)
    return float(adv.masked_mean((values - mean) ** 2, mask))


def write_samples(file: Path, step: int, episodes: Sequence[Episode], scores: Scores) -> None:
    """Add a row for every answer to samples.jsonl."""
    with file.open("a", encoding="utf-8") as out:
        for i, episode in enumerate(episodes):
            row: dict[str, Any] = {
                "step": step,
                "prompt": [m.model_dump() for m in episode.prompt],
                "answer": episode.text,
                "finished": episode.finished,
                "score": scores.total[i],
                "rewards": {name: values[i] for name, values in scores.raw.items()},
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def assert_untrained(trainer: Any) -> None:
    """Raise TrainingError where a trainer is told to begin, and has trained already."""
    if (step := trainer.state.global_step) > 0:
        raise TrainingError(
            f"this trainer has made {step} steps",
            where="PPOTrainer.train",
            remedy="go on with train(resume_from_checkpoint=True), or make a new trainer to begin anew",
        )


def assert_own_prompts(other: object) -> None:
    """Raise TrainingError where a trainer is told to evaluate on other prompts than it was made with."""
    if other is not None:
        raise TrainingError(
            "evaluate answers the held-out prompts that the trainer was made with",
            where="PPOTrainer.evaluate",
            remedy="give them to PPOTrainer(eval_dataset=...)",
        )


def assert_no_kl(logprobs: Tensor, reference: Tensor, *, bf16: bool) -> None:
    """Raise TrainingError unless policy and reference agree before the first update, on every token."""
    gap = float((logprobs - reference).abs().max()) if logprobs.numel() else 0.0
    if not gap <= (0.05 if bf16 else 1e-4):
        raise TrainingError(
            f"before the first update policy and reference differ by {gap:.4f} nats on a token",
            where="the reference policy",
            remedy="this is a fault in the toolkit; please report it with the recipe",
        )


def assert_numbers(logprobs: Tensor, rollout: int) -> None:
    """Raise TrainingError where the policy's weights have stopped being numbers."""
    if not bool(logprobs.isfinite().all()):
        raise TrainingError(
            f"the policy's log-probabilities are no longer numbers in rollout {rollout}",
            where="the policy",
            remedy="lower learning_rate, or train in float32",
        )
