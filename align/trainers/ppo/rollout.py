"""Rollouts: which prompts, their answers, and everything about them that an update needs.

What a rollout holds depends only on the seed, its number and the weights, never on what ran before, so that a run
that continues from a checkpoint draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from align.data.chat import encode_prompt
from align.data.records import Message
from align.errors import DataError
from align.models.generate import Sampled
from align.trainers.ppo.models import ActorCritic, Reference, Tokens
from align.trainers.ppo.rewards import Episode

ANSWER_LENGTH = "max_completion_length (in a recipe max_new_tokens)"
"""What a user sets who wants shorter answers."""


@dataclass(frozen=True)
class Asked:
    """A prompt as the trainer keeps it: its messages, its tokens, and the row's further columns."""

    messages: list[Message]
    ids: list[int]
    row: dict[str, Any]


@dataclass
class Experience:
    """A rollout, ready for updates. Padded tensors are [B, A], real tokens first; mask is 1.0 on them."""

    prompt_ids: list[list[int]]
    answer_ids: list[list[int]]
    mask: Tensor
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.answer_ids)

    def state(self) -> dict[str, Any]:
        """All of it as plain data and tensors on the CPU, to be kept in a checkpoint."""
        return {k: v.cpu() if isinstance(v, Tensor) else v for k, v in vars(self).items()}

    @staticmethod
    def restore(state: dict[str, Any], device: torch.device) -> Experience:
        """The inverse of `state`."""
        moved: dict[str, Any] = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in state.items()}
        return Experience(**moved)


def read_prompts(dataset: Any, tokenizer: Any, room: int) -> list[Asked]:
    """Prompts from any rows with a `prompt` column: text (what a user says), or a conversation.

    room: tokens a prompt may have, the context less the answer's. Raises DataError for rows that are none of these, an
    empty prompt, one without room, or no rows.
    """
    if room < 1:
        raise DataError(
            "answers may be as long as the model's context, which leaves no token for a prompt",
            where="the longest answer",
            remedy=f"lower {ANSWER_LENGTH}",
        )
    asked = []
    for number, item in enumerate(dataset):
        row = dict(item) if isinstance(item, dict) else {"prompt": item}
        prompt = row.pop("prompt", None)
        messages = _messages(prompt, number)
        ids = encode_prompt(tokenizer, messages)
        if len(ids) > room:
            raise DataError(
                f"a prompt has {len(ids)} tokens, and the answer needs room as well",
                where=f"row {number}: {messages[-1].content[:60]!r}",
                allowed=f"at most {room} tokens, the context less the longest answer",
                remedy=f"shorten or remove the prompt, or lower {ANSWER_LENGTH}",
            )
        asked.append(Asked(messages, ids, row))
    if not asked:
        raise DataError("there is no prompt to answer", where="the training prompts", remedy="give it some prompts")
    return asked


def _messages(prompt: Any, number: int) -> list[Message]:
    if isinstance(prompt, str) and prompt.strip():
        return [Message(role="user", content=prompt)]
    if isinstance(prompt, list) and prompt:
        with suppress(TypeError, ValueError):  # pydantic's errors are ValueErrors
            return [m if isinstance(m, Message) else Message(**m) for m in prompt]
    raise DataError(
        f"row {number} has no prompt: {prompt!r}",
        where=f"row {number}, column prompt",
        allowed="a text, or a list of {role, content}",
    )


def derived_seed(*parts: Any) -> int:
    """A seed of 63 bits from any values, equal on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def prompts_of_rollout(count: int, size: int, rollout: int, seed: int) -> list[int]:
    """Which of `count` prompts a rollout of `size` asks: a cut from one endless row of shuffles of all prompts.

    Every prompt is asked once before one is asked again. Fewer prompts than `size` are asked several times, and get
    another answer each time.
    """
    found: list[int] = []
    position = rollout * size
    while len(found) < size:
        epoch, start = divmod(position, count)
        generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
        order = torch.randperm(count, generator=generator).tolist()
        taken = order[start : start + size - len(found)]
        found += taken
        position += len(taken)
    return found


def sample_episodes(
    engine: Callable[[list[list[int]], int], list[Sampled]], asked: Sequence[Asked], batch: int, seed: int
) -> list[Episode]:
    """One answer to each prompt, in the order given; prompts of similar length are sampled together."""
    order = sorted(range(len(asked)), key=lambda i: (len(asked[i].ids), i))
    episodes: list[Episode | None] = [None] * len(asked)
    for start in range(0, len(order), batch):
        index = order[start : start + batch]
        sampled = engine([asked[i].ids for i in index], derived_seed(seed, start))
        for i, one in zip(index, sampled, strict=True):
            a = asked[i]
            episodes[i] = Episode(a.messages, a.ids, one.ids, one.text, one.finished, a.row)
    return [e for e in episodes if e is not None]


PASS_TOKENS = {"cpu": 128, "cuda": 2048}
"""What a further pass costs beside its tokens, as so many tokens; guesses of the right size."""


WITHOUT_GRADIENTS = {"cpu": 4}
"""How many times the tokens of an update are looked at together where no gradients are taken, by device; elsewhere 1: a
GPU is busy with one batch already, and has no memory to spare."""


def micro_batches(lengths: Sequence[int], budget: int, device_type: str = "cpu") -> list[list[int]]:
    """Indices in groups of similar length, each of at most `budget` tokens with its padding (one sequence at least).

    Of all cuts of the sequences sorted by length, the cheapest: the tokens of all groups with their padding, and
    PASS_TOKENS for each group.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    each = PASS_TOKENS.get(device_type, PASS_TOKENS["cuda"])
    least = [0.0] * (len(order) + 1)  # the cost of the sequences before, when they are cut best
    start_of = [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        fits = max(1, budget // max(longest, 1))
        costs = [(least[start] + longest * (end - start) + each, start) for start in range(max(0, end - fits), end)]
        least[end], start_of[end] = min(costs)
    groups: list[list[int]] = []
    end = len(order)
    while end:
        groups.append(order[start_of[end] : end])
        end = start_of[end]
    return groups[::-1]


def tokens_that_fit(causal: Any, device: torch.device) -> int:
    """Tokens whose activations take about 0.6 GiB on a CPU, in float32; 16384 on a GPU, where they are checkpointed.

    The 80 bytes that a layer keeps for each token and unit of its width are a round guess, not a measurement.
    """
    if device.type == "cuda":
        return 16384
    config = causal.config.get_text_config()
    return int(min(max((5 << 27) // (80 * config.hidden_size * config.num_hidden_layers), 256), 16384))


def collate(prompts: Sequence[list[int]], answers: Sequence[list[int]], device: torch.device) -> Tokens:
    """Episodes as one flush-left batch."""
    width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    rows = [p + a + [0] * (width - len(p) - len(a)) for p, a in zip(prompts, answers, strict=True)]
    return Tokens(
        torch.tensor(rows, device=device),
        torch.tensor([len(p) for p in prompts], device=device),
        torch.tensor([len(a) for a in answers], device=device),
    )


def look_back(
    model: ActorCritic, reference: Reference, episodes: Sequence[Episode], args: Any, budget: int
) -> dict[str, Tensor]:
    """What policy, reference and value model say about episodes: mask, logprobs, reference, entropy, values, [B, A].

    The policy's log-probabilities come from the forward pass that updates use, not from generation, whose kernels give
    slightly different numbers.
    """
    with torch.inference_mode():
        found = _look_back(model, reference, episodes, args, budget)
    return {name: values.clone() for name, values in found.items()}  # what is made in there cannot be trained with


def _look_back(
    model: ActorCritic, reference: Reference, episodes: Sequence[Episode], args: Any, budget: int
) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    longest = max(len(e.answer_ids) for e in episodes)
    shape = (len(episodes), longest)
    found = {name: torch.zeros(shape, device=device) for name in ("logprobs", "reference", "entropy", "values")}
    lengths = torch.tensor([len(e.answer_ids) for e in episodes], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]
    totals = [len(e.prompt_ids) + len(e.answer_ids) for e in episodes]
    for index in micro_batches(totals, WITHOUT_GRADIENTS.get(device.type, 1) * budget, device.type):
        tokens = collate([episodes[i].prompt_ids for i in index], [episodes[i].answer_ids for i in index], device)
        logprobs, entropy, values = model(tokens, args.temperature)
        flat = {"logprobs": logprobs, "entropy": entropy, "values": values}
        flat["reference"] = reference.answer_logprobs(tokens, args.temperature)
        rows = torch.tensor(index, device=device)
        for name, values_of in flat.items():
            part = torch.zeros((len(index), longest), device=device)
            part[mask[rows]] = values_of.float()
            found[name][rows] = part
    return {"mask": mask.float(), **found}
