"""A reward model on the policy's base: its adapters join the others there.

Where a LoRA reward model was trained over the same base as a LoRA policy, all roles of PPO live on one set of weights
and the reward model's copy of the base is never loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from align.models.adapters import Adapters, chain_of, same_base
from align.models.heads import saved_head
from align.trainers.ppo.models import ActorCritic, Tokens, answer_states, trunk_of
from align.trainers.ppo.rewards import ModelReward, Rewards
from align.trainers.ppo.rollout import collate, micro_batches


class SharedScorer:
    """Scores token sequences with adapters of a base that others use too. names: undermost first; head: [E, H]."""

    def __init__(self, policy: Any, adapters: Adapters, names: tuple[str, ...], head: Tensor) -> None:
        self.policy, self.adapters, self.names = policy, adapters, names
        self.head = head.float()

    @torch.no_grad()
    def __call__(self, sequences: Sequence[list[int]], budget: int) -> list[list[float]]:
        """What each head says of each sequence at its last token, in order; `budget` tokens at once."""
        device = next(self.policy.parameters()).device
        scores: list[list[float]] = [[]] * len(sequences)
        with self.adapters.using(self.names):
            for index in micro_batches([len(s) for s in sequences], budget, device.type):
                # The state "before" an answer of one token is the state at the prompt's last; that token is not read.
                tokens = collate([sequences[i] for i in index], [[0]] * len(index), device)
                read = Tokens(tokens.ids[:, :-1], tokens.prompt_lengths, tokens.answer_lengths)
                states = answer_states(trunk_of(self.policy), read).float()
                with torch.autocast(device.type, enabled=False):
                    values = (states @ self.head.to(device).T).tolist()
                for i, value in zip(index, values, strict=True):
                    scores[i] = value
        return scores


def share_base(model: ActorCritic, rewards: Rewards) -> None:
    """Put every reward model that fits onto the policy's base; load the others."""
    for number, source in enumerate(rewards.sources, 1):
        if not isinstance(source, ModelReward):
            continue
        ref = source.judge.ref
        head = saved_head(ref.adapter) if ref.adapter else None
        if model.adapters is None or head is None or not same_base(model.policy, ref):
            _ = source.judge.scorer
            continue
        chain = chain_of(ref)
        names = tuple(f"reward{number}_{place}" for place in range(len(chain)))
        for name, folder in zip(names, chain, strict=True):
            model.adapters.add_saved(name, folder, trainable=False)
        source.shared = SharedScorer(model.policy, model.adapters, names, head)
    if model.adapters:
        model.adapters.train_only("default", True)  # PEFT lets only the adapter that was added last take gradients
