"""From what the user gives to the parts of PPO: the policy with its adapters, and where the value model starts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from align.errors import ModelError
from align.models.adapters import Adapters
from align.models.device import pick_device, pick_dtype
from align.models.heads import head_of
from align.models.load import ModelRef, check_vocabulary, load_causal, load_tokenizer, resolve
from align.trainers.ppo.models import ActorCritic, Reference, ValueStart, trunk_of
from align.trainers.ppo.rewards import ModelReward, Rewards
from align.trainers.ppo.shared import SharedScorer
from align.trainers.weights import no_dropout


def open_policy(model: Any, tokenizer: Any, peft_config: Any, args: Any) -> tuple[Any, Any]:
    """Model and tokenizer, loaded where `model` is a folder or a hub id.

    All weights that train are float32: in bfloat16 a small update would vanish in rounding. Raises ModelError for a
    model in memory without a tokenizer, or a tokenizer larger than the embedding.
    """
    if isinstance(model, str | Path):
        ref = resolve(Path(model)) if Path(model).is_dir() else ModelRef(str(model), str(model))
        adapts = peft_config is not None or ref.adapter is not None
        dtype = pick_dtype("bf16" if args.bf16 and adapts else "fp32", pick_device())
        model, tokenizer = load_causal(ref, dtype, trainable=True), tokenizer or load_tokenizer(ref)
    if tokenizer is None:
        raise ModelError("a model in memory needs its tokenizer", where="processing_class", allowed="a tokenizer")
    if peft_config is None and not hasattr(model, "peft_config") and next(model.parameters()).dtype != torch.float32:
        model = model.float()
    check_vocabulary(model, tokenizer, str(getattr(model, "name_or_path", "")))
    return model, tokenizer


def assemble(model: Any, peft_config: Any) -> tuple[ActorCritic, Reference]:
    """Policy and reference. peft_config: a new adapter; without one a PeftModel's own is continued, or all weights."""
    from peft import PeftModel, get_peft_model

    continued = isinstance(model, PeftModel)
    if continued and peft_config is not None:
        raise ModelError(
            "the policy has an adapter, and peft_config asks for another",
            where="peft_config",
            remedy="leave out peft_config to continue the adapter, or merge it first",
        )
    policy = get_peft_model(model, peft_config) if peft_config is not None else model
    adapters = Adapters(policy) if isinstance(policy, PeftModel) else None
    no_dropout(policy)
    reference = Reference(policy, adapters, continued)
    if adapters:
        adapters.train_only("default", True)
    else:
        policy.requires_grad_(True)
    return ActorCritic(policy, adapters), reference


def settle_value_model(model: ActorCritic, rewards: Rewards, tokenizer: Any, wanted: str) -> str:
    """Give the value model its weights, as `value_model` of PPOConfig says. Returns how, for people to read."""
    if wanted == "shared":
        return "a head on the policy's trunk"
    start, name = None, ""
    for source, weight in zip(rewards.sources, rewards.weights, strict=True):
        if isinstance(source, ModelReward) and start is None:
            start, name = value_start(model, source, tokenizer, weight), source.name
    if start is None and wanted == "auto":
        return "a head on the policy's trunk"
    model.separate(start)
    if model.adapters:
        model.adapters.train_only("default", True)  # PEFT lets only the adapter that was added last take gradients
    return f"weights of its own, from the reward model {name}" if start else "weights of its own, from the policy"


def value_start(model: ActorCritic, source: ModelReward, tokenizer: Any, weight: float) -> ValueStart | None:
    """A reward model as a start for the value model; None where its tokens or its trunk are others.

    The head is scaled so that its value is the reward's share of the score: weight x (score - mean) / deviation. Where
    the reward model brings no scale, the first rollout settles it.
    """
    judge = source.judge
    if judge.tokenizer.get_vocab() != tokenizer.get_vocab():
        return None
    unit = weight / max(judge.scale.std, 1e-8) if judge.scale else weight
    bias = -unit * judge.scale.mean if judge.scale else 0.0
    unscaled = None if judge.scale else (source.name, weight)
    if model.adapters is None:
        scorer = judge.scorer
        if hasattr(scorer, "peft_config"):
            scorer = judge.scorer = scorer.merge_and_unload()
        trunk, own = scorer.base_model, trunk_of(model.policy)
        if type(trunk) is not type(own) or _shapes(trunk) != _shapes(own):
            return None
        trunk = copy.deepcopy(trunk).to(next(own.parameters()).dtype)
        no_dropout(trunk)
        return ValueStart(mean_head(head_of(scorer).weight) * unit, bias, unscaled, trunk=trunk)
    if not isinstance(source.shared, SharedScorer):
        return None
    *below, top = source.shared.names
    model.adapters.add_copy("value", top, trainable=True)
    return ValueStart(mean_head(source.shared.head) * unit, bias, unscaled, adapters=(*below, "value"))


def mean_head(weight: Any) -> Any:
    """The head [1, H] whose score is the mean of the scores of heads [E, H]."""
    return weight.detach().mean(dim=0, keepdim=True)


def _shapes(trunk: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in trunk.named_parameters()}
