"""Who computes what: policy, reference and value model, on one base where LoRA allows it.

    policy              reference                              value model
    new LoRA adapter    the base, adapters off                 a second adapter on the same base, or the policy's trunk
    adapter continued   a frozen copy of it as it was          the same
    all weights         a frozen second model                  a model of its own, or the policy's trunk

The value model starts from the reward model where that has the policy's tokens and trunk, else from the policy with a
head at zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from align.errors import ModelError
from align.models.adapters import Adapters, base_of
from align.trainers.ppo.losses import token_logprobs


@dataclass(frozen=True)
class Tokens:
    """Episodes as tokens, each flush left: ids [B, T]; lengths of prompts and answers [B]. Padding may be any id.

    No attention mask is needed: padding comes last, and a causal model's real tokens never look at it.
    """

    ids: Tensor
    prompt_lengths: Tensor
    answer_lengths: Tensor

    def before_answers(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the positions whose state predicts an answer's token, row by row: two tensors [N]."""
        columns = torch.arange(self.ids.shape[1], device=self.ids.device)
        first = self.prompt_lengths[:, None] - 1
        inside = (columns >= first) & (columns < first + self.answer_lengths[:, None])
        rows, places = inside.nonzero(as_tuple=True)
        return rows, places

    def answers(self) -> Tensor:
        """The answers' tokens, row by row: [N]."""
        rows, columns = self.before_answers()
        return self.ids[rows, columns + 1]


@dataclass(frozen=True)
class ValueStart:
    """What the value model starts from, taken from a reward model: head [1, H] and bias, and adapters or a trunk.

    unscaled: name and weight of a reward model that brought no scale, so that its head still speaks in its own unit.
    adapters: names on the shared base, the last of which trains. trunk: for full fine-tuning.
    """

    head: Tensor
    bias: float = 0.0
    unscaled: tuple[str, float] | None = None
    adapters: tuple[str, ...] = ()
    trunk: Any = None


class ActorCritic(nn.Module):
    """Policy and value model, as one module whose trainable weights are the optimizer's. Holds no frozen reference.

    value_trunk: a model of its own, for full fine-tuning; else the value's states come from the policy's base, with
    `value_adapters` at work, or with the policy's own where these are None.
    """

    def __init__(self, policy: Any, adapters: Adapters | None) -> None:
        super().__init__()
        self.policy = policy
        self.adapters = adapters
        self.value_trunk: Any = None
        self.value_adapters: tuple[str, ...] | None = None
        self.unscaled: tuple[str, float] | None = None
        size = base_of(policy).config.get_text_config().hidden_size
        self.value_head = nn.Linear(size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    @property
    def shares_trunk(self) -> bool:
        """Whether one forward pass gives both log-probabilities and values."""
        return self.value_trunk is None and self.value_adapters is None

    def separate(self, start: ValueStart | None) -> None:
        """Give the value model weights of its own: from a reward model, or a copy of the policy's."""
        if self.adapters is not None:
            if start is None:
                self.adapters.add_copy("value", "default", trainable=True)
            self.value_adapters = start.adapters if start else ("value",)
        else:
            self.value_trunk = start.trunk if start else copy.deepcopy(trunk_of(self.policy))
            self.value_trunk.requires_grad_(True)
        if start:
            with torch.no_grad():
                self.value_head.weight.copy_(start.head)
                self.value_head.bias.fill_(start.bias)
            self.unscaled = start.unscaled

    @torch.no_grad()
    def scale_values(self, mean: float, std: float, values: Tensor) -> Tensor:
        """Bring a value head in a reward model's own unit to the unit of scores, and values [...] it gave before."""
        assert self.unscaled is not None
        mean, std, self.unscaled = self.unscaled[1] * mean, max(std, 1e-8), None
        self.value_head.bias.sub_(mean).div_(std)
        self.value_head.weight.div_(std)
        return (values - mean) / std

    def answer_logprobs(self, tokens: Tokens, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies [N] and states [N, H] of the answers' tokens under the policy, row by row."""
        return answer_logprobs(self.policy, tokens, temperature)

    def answer_values(self, tokens: Tokens, states: Tensor | None = None) -> Tensor:
        """The value before each answer token: [N] in float32. states: the policy's, where the trunk is shared."""
        if self.value_trunk is not None:
            states = answer_states(self.value_trunk, tokens)
        elif self.value_adapters is not None and self.adapters is not None:
            with self.adapters.using(self.value_adapters):
                states = answer_states(trunk_of(self.policy), tokens)
        elif states is None:
            states = answer_states(trunk_of(self.policy), tokens)
        with torch.autocast(states.device.type, enabled=False):  # bf16 would round values to the clip's own size
            values: Tensor = self.value_head(states.float())
        return values[:, 0]

    def forward(self, tokens: Tokens, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies and values of the answers' tokens, each [N]."""
        logprobs, entropies, states = self.answer_logprobs(tokens, temperature)
        return logprobs, entropies, self.answer_values(tokens, states)

    def activation_checkpointing_enable(self, **settings: Any) -> None:
        """As in transformers: states are computed again for the gradients instead of being kept.

        They are computed again with the adapters that were at work the first time, whichever are when gradients are
        taken.
        """
        if (adapters := self.adapters) is not None:
            again = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), adapters.using(adapters.active()))}
            settings["activation_checkpointing_kwargs"] = {
                **(settings.get("activation_checkpointing_kwargs") or {}),
                **again,
            }
        for part in (self.policy, self.value_trunk):
            if part is not None:
                base_of(part).activation_checkpointing_enable(**settings)

    def policy_parameters(self) -> list[nn.Parameter]:
        """The weights that change what the policy says."""
        own = {id(p) for p in self.value_parameters()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in own]

    def value_parameters(self) -> list[nn.Parameter]:
        """The weights that only the value model has."""
        found = list(self.value_head.parameters())
        if self.value_trunk is not None:
            found += [p for p in self.value_trunk.parameters() if p.requires_grad]
        if self.value_adapters is not None:
            name = f".{self.value_adapters[-1]}."
            found += [p for n, p in self.policy.named_parameters() if name in f"{n}." and p.requires_grad]
        return found


class Reference:
    """The frozen policy that the KL penalty measures from: the same base with other adapters, or a second model."""

    def __init__(self, policy: Any, adapters: Adapters | None, continued: bool) -> None:
        self.policy, self.adapters = policy, adapters
        self.names: Sequence[str] = ()
        if adapters is None:
            self.policy = copy.deepcopy(policy).eval().requires_grad_(False)
        elif continued:
            adapters.add_copy("ref", "default", trainable=False)
            self.names = ("ref",)

    @torch.no_grad()
    def answer_logprobs(self, tokens: Tokens, temperature: float) -> Tensor:
        """The answers' log-probabilities under the reference: [N]."""
        with self.adapters.using(self.names) if self.adapters else nullcontext():
            return answer_logprobs(self.policy, tokens, temperature)[0]


def trunk_of(causal: Any) -> Any:
    """The model below the language-model head."""
    return base_of(causal).base_model


def answer_states(trunk: Any, tokens: Tokens) -> Tensor:
    """The trunk's last states before each answer token, row by row: [N, H]."""
    return trunk(input_ids=tokens.ids, use_cache=False).last_hidden_state[tokens.before_answers()]  # type: ignore[no-any-return]


def answer_logprobs(causal: Any, tokens: Tokens, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities and entropies [N] of the answers' tokens, and the states [N, H] they come from."""
    base = base_of(causal)
    states = answer_states(base.base_model, tokens)
    size = base.get_output_embeddings().weight.shape[0]
    logprobs, entropies = token_logprobs(states, tokens.answers(), head_of(base), size, temperature)
    return logprobs, entropies, states


def likelihood_loss(causal: Any, rows: Sequence[Any], device: torch.device) -> Tensor:
    """Mean negative log-likelihood, in nats a token, of the masked tokens of `Encoded` rows. A scalar."""
    width = max(len(r.input_ids) for r in rows)
    ids = torch.tensor([r.input_ids + [0] * (width - len(r.input_ids)) for r in rows], device=device)
    mask = torch.tensor([r.mask + [0] * (width - len(r.mask)) for r in rows], device=device).bool()[:, 1:]
    base = base_of(causal)
    states = base.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][mask]
    size = base.get_output_embeddings().weight.shape[0]
    return -token_logprobs(states, ids[:, 1:][mask], head_of(base), size, 1.0)[0].mean()


def head_of(base: Any) -> Callable[[Tensor], Tensor]:
    """From states to logits, with what some architectures do to them: Gemma 2 caps, Cohere and Granite scale."""
    config, head = base.config.get_text_config(), base.get_output_embeddings()
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None)
    if scale is None and getattr(config, "logits_scaling", None):
        scale = 1 / config.logits_scaling

    def logits(states: Tensor) -> Tensor:
        out: Tensor = head(states)
        if scale is not None:
            out = out * scale
        return torch.tanh(out / cap) * cap if cap else out

    return logits


@torch.no_grad()
def check_head(causal: Any, ids: list[int], bf16: bool) -> None:
    """Raise ModelError unless `head_of` gives the log-probabilities of the model's own forward pass on some tokens."""
    base, device = base_of(causal), next(causal.parameters()).device
    ids = ids if len(ids) > 1 else ids * 2
    lengths = torch.tensor([1, len(ids) - 1], device=device)
    tokens = Tokens(torch.tensor([ids], device=device), lengths[:1], lengths[1:])
    found = answer_logprobs(causal, tokens, 1.0)[0]
    own = torch.log_softmax(base(input_ids=tokens.ids, use_cache=False).logits[0, :-1].float(), dim=-1)
    gap = float((found - own.gather(1, tokens.ids[0, 1:, None])[:, 0]).abs().max())
    if not gap <= (0.1 if bf16 else 1e-3):
        raise ModelError(
            f"{type(base).__name__} changes its logits in a way PPO does not know: log-probabilities differ by "
            f"{gap:.4f} nats",
            where="the policy",
            allowed="a causal model whose logits are its head's, scaled or capped as in Llama, Qwen, Gemma, GPT-2 ...",
        )


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[Any]:
    """bfloat16 where the run is in it."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext()
