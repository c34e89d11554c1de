"""What grpo and rloo share: TRL's trainers on our prompts, rewards and models."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from align.artifacts import METRICS
from align.contract import HELDOUT, RESUME, TRAIN, Context, Inputs, Metrics
from align.data.chat import as_dicts, encode_prompt, stop_ids
from align.data.records import Message
from align.logged import last_tenth
from align.models.load import ModelRef, context_of, load_tokenizer, resolve, save_model
from align.models.roles import trainable_policy
from align.recipe.schema import Grouped
from align.stages.ppo import prompt_rows, rewards_of
from align.trainers.ppo.rewards import Episode, Handling, Rewards, make_rewards
from align.trainers.ppo.rollout import read_prompts
from align.trainers.progress import read_metrics, run_training, training_arguments


def run_grouped(kind: tuple[Any, Any], settings: Grouped, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Train the policy with a TRL trainer that compares answers to the same prompt. kind: trainer and config class."""
    from datasets import Dataset

    trainer_class, config_class = kind
    ref = resolve(inputs.one("model"))
    tokenizer = load_tokenizer(ref)
    policy = trainable_policy(ref, tokenizer, context.lora_of(settings), settings.lora is not None, context)
    asked = {split: prompt_rows(inputs, split) for split in (TRAIN, HELDOUT)}
    read_prompts(asked[TRAIN], tokenizer, context_of(policy.model) - settings.max_new_tokens)
    if settings.kl_coef and policy.peft_config is None and not hasattr(policy.model, "peft_config"):
        keep_start(policy.model, tokenizer, ref, out)
    rewards = make_rewards(
        rewards_of(settings, inputs, context), settings.reward_weights or None, Handling(), context.precision
    )
    stops = stop_ids(tokenizer, policy.model.generation_config.eos_token_id)
    data = {split: Dataset.from_list([plain(row) for row in rows]) for split, rows in asked.items() if rows}
    trainer = trainer_class(
        model=policy.model,
        reward_funcs=as_trl(rewards, stops, tokenizer),
        args=training_arguments(
            config_class,
            settings,
            out,
            context,
            per_device_eval_batch_size=settings.per_prompt,
            num_generations=settings.per_prompt,
            max_completion_length=settings.max_new_tokens,
            temperature=settings.temperature,
            beta=settings.kl_coef,
            eval_strategy="epoch" if HELDOUT in data else "no",
            remove_unused_columns=False,
        ),
        train_dataset=data[TRAIN],
        eval_dataset=data.get(HELDOUT),
        processing_class=tokenizer,
        peft_config=policy.peft_config,
    )
    metrics = run_training(trainer, out, context)
    save_model(trainer.model, tokenizer, out, ref)
    return {**metrics, "lora": policy.how, **closing(out)}


def keep_start(model: Any, tokenizer: Any, ref: ModelRef, out: Path) -> None:
    """Save the policy as it starts where TRL will look for its reference: it reads that from the model's path again.

    The path of a policy with a merged adapter would lead it to the base without.
    """
    start = out / RESUME / "reference"
    if not (start / "config.json").exists():
        model.save_pretrained(start)
        tokenizer.save_pretrained(start)
    model.config._name_or_path = str(start)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row that a data set can hold: messages as dictionaries, a judge's reference, which may be anything, as JSON."""
    return {
        **row,
        "prompt": as_dicts(row["prompt"]),
        "reference": json.dumps(row["reference"]),
        "tags": list(row["tags"]),
    }


def as_trl(rewards: Rewards, stops: Sequence[int], tokenizer: Any) -> Callable[..., list[float]]:
    """Our rewards as one of TRL's reward functions."""

    def reward(
        prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Sequence[list[int]], **columns: Any
    ) -> list[float]:
        episodes = []
        for i, (prompt, said, ids) in enumerate(zip(prompts, completions, completion_ids, strict=True)):
            messages = [Message(role=m["role"], content=m["content"]) for m in prompt]
            row = {"reference": json.loads(columns["reference"][i]), "tags": columns["tags"][i]}
            finished = bool(ids) and ids[-1] in stops
            text = said[0]["content"].strip()
            episodes.append(Episode(messages, encode_prompt(tokenizer, messages), list(ids), text, finished, row))
        return rewards(episodes).total

    return reward


def closing(out: Path) -> dict[str, float]:
    """The mean reward over the last tenth of training, and on held-out prompts."""
    logged = read_metrics(out / METRICS)
    found = {label: last_tenth(logged, key) for label, key in (("reward", "reward"), ("heldout_reward", "eval_reward"))}
    return {label: round(value, 4) for label, value in found.items() if value is not None}
