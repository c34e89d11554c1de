"""ppo: practise. The policy answers, is scored, and does better; held-out prompts watch it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from align.contract import HELDOUT, TRAIN, Context, Inputs, Metrics, rows
from align.data.chat import encode_conversation
from align.data.records import Message
from align.judges.rules import RulesJudge
from align.models.load import load_tokenizer, resolve, save_model
from align.models.roles import trainable_policy
from align.recipe.schema import PPO, ByRules, Online
from align.stages.sample import distinct_prompts
from align.stages.sft import cut_rows, read_examples
from align.trainers.ppo.config import PPOConfig
from align.trainers.ppo.trainer import PPOTrainer
from align.trainers.progress import common_arguments, run_training

LONGEST_DEMONSTRATION = 1024
"""Tokens of a demonstration that PPO-ptx reads; longer ones are cut."""


def run(settings: PPO, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Train the policy by PPO; the reference is the policy it starts from."""
    ref = resolve(inputs.one("model"))
    tokenizer = load_tokenizer(ref)
    policy = trainable_policy(ref, tokenizer, context.lora_of(settings), settings.lora is not None, context)
    examples = read_examples(inputs.all("demonstrations"), TRAIN)
    trainer = PPOTrainer(
        policy.model,
        rewards_of(settings, inputs, context),
        ppo_arguments(settings, inputs, out, context),
        prompt_rows(inputs, TRAIN),
        eval_dataset=prompt_rows(inputs, HELDOUT),
        processing_class=tokenizer,
        peft_config=policy.peft_config,
        reward_weights=settings.reward_weights or None,
        ptx_dataset=cut_rows(
            [row for e in examples for row in encode_conversation(tokenizer, e.messages)], LONGEST_DEMONSTRATION
        ),
    )
    context.say(f"value model: {trainer.value_start}")
    metrics = run_training(trainer, out, context)
    if trainer.samples_file.exists():
        # It grew beside the checkpoints, where a stage that continues finds it; what is beside them is begun anew.
        shutil.copyfile(trainer.samples_file, out / trainer.samples_file.name)
    save_model(trainer.model.policy, tokenizer, out, ref)
    best = {f"heldout_{name}": round(value, 4) for name, value in trainer.best.items()}
    return {
        **metrics,
        "episodes": trainer.episodes_seen(),
        "lora": policy.how,
        "value_model": trainer.value_start,
        **best,
    }


def prompt_rows(inputs: Inputs, split: str) -> list[dict[str, Any]]:
    """The distinct prompts of a split, with what a judge may want to know about each."""
    prompts = distinct_prompts(rows(inputs.one("prompts"), split))
    return [{"prompt": p.prompt, "reference": p.reference, "tags": p.tags} for p in prompts]


def rewards_of(settings: Online, inputs: Inputs, context: Context) -> list[Any]:
    """What the trainer takes as rewards: folders of reward models, and a function for each rules file."""
    folders = {artifact.name: artifact.path for artifact in inputs.all("reward")}
    given = settings.reward if isinstance(settings.reward, list) else [settings.reward]
    return [
        rules_reward(context.recipe_folder / one.rules) if isinstance(one, ByRules) else folders[one] for one in given
    ]


def rules_reward(path: Path) -> Callable[..., list[float]]:
    """A rules file as a reward function."""
    judge = RulesJudge(path)

    def score(
        prompts: Sequence[Any], completions: Sequence[str], reference: Sequence[Any], tags: Sequence[Any]
    ) -> list[float]:
        return [
            judge.score([Message(**m) for m in prompt], answer, known, marks or ())
            for prompt, answer, known, marks in zip(prompts, completions, reference, tags, strict=True)
        ]

    score.__name__ = path.stem
    return score


def ppo_arguments(settings: PPO, inputs: Inputs, out: Path, context: Context) -> PPOConfig:
    """PPOConfig from the stage's settings; its `trainer:` block comes last."""
    values: dict[str, Any] = {
        **common_arguments(settings, out, context),
        "rollout_batch_size": settings.batch_size,
        "num_ppo_epochs": settings.ppo_epochs,
        "num_mini_batches": settings.minibatches,
        "kl_coef": settings.kl_coef,
        "kl_budget": settings.kl_budget,
        "temperature": settings.temperature,
        "max_completion_length": settings.max_new_tokens,
        "value_model": settings.value,
    }
    if rows(inputs.one("prompts"), HELDOUT):
        values["eval_strategy"] = "steps"
        values["eval_steps"] = settings.evaluate_every * settings.ppo_epochs * settings.minibatches
    return PPOConfig(**{**values, **settings.trainer})
