"""A judge that is a reward model."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import pstdev
from typing import Any

from align.artifacts import MANIFEST, Artifact, read_artifact
from align.data.chat import encode_scored
from align.data.records import Message
from align.models.device import pick_device, pick_dtype
from align.models.load import context_of, load_scorer, load_tokenizer, resolve
from align.models.score import score_heads, score_sequences

SCALE = "scale.json"
"""Beside a reward model's weights: mean and spread of its scores on answers that people (or rules) preferred."""


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a reward model's scores; `normal` brings scores to mean 0 and deviation 1."""

    mean: float
    std: float
    heads: tuple[float, ...] = ()
    """The mean of each head, for a reward model of several."""

    def normal(self, score: float) -> float:
        """The score in standard deviations from the mean."""
        return (score - self.mean) / max(self.std, 1e-8)

    def opinions(self, said: Sequence[float]) -> list[float]:
        """What each head says, in the same deviations, each from its own mean: comparisons leave a head's mean open."""
        means = self.heads or (self.mean,) * len(said)
        return [(score - mean) / max(self.std, 1e-8) for score, mean in zip(said, means, strict=True)]


def read_scale(folder: Path) -> Scale | None:
    """The scale that reward training left beside the weights; None if there is none."""
    file = folder / SCALE
    if not file.exists():
        return None
    fields = json.loads(file.read_text("utf-8"))
    return Scale(float(fields["mean"]), float(fields["std"]), tuple(map(float, fields.get("heads", ()))))


class RewardJudge:
    """A reward model that scores answers. Text is rendered by the function its training used.

    reward_model: an artifact, or any folder with a reward model's weights and its tokenizer. Its tokenizer
    and architecture are its own: what it is given is text. load: whether its weights are loaded at once, or when first
    asked for.
    """

    def __init__(self, reward_model: Artifact | Path, precision: Any = "auto", *, load: bool = True) -> None:
        self.folder = reward_model if isinstance(reward_model, Path) else reward_model.path
        self.ref = resolve(self.folder)
        self.precision = precision
        self.tokenizer = load_tokenizer(self.ref)
        self.scale = read_scale(self.folder)
        if load:
            _ = self.scorer

    @functools.cached_property
    def scorer(self) -> Any:
        """The sequence classifier."""
        device = pick_device()
        return load_scorer(self.ref, pick_dtype(self.precision, device)).to(device)

    @functools.cached_property
    def max_length(self) -> int:
        """The longest sequence in tokens: what its training used, or what the model can read."""
        trained = read_artifact(self.folder).manifest.metrics if (self.folder / MANIFEST).exists() else {}
        return int(trained.get("max_length") or min(context_of(self.scorer), 4096))

    def score_all(
        self,
        items: Sequence[tuple[Sequence[Message], str]],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[float]:
        """The score of each (prompt, answer), in order; higher is better. Of several heads, the mean."""
        return score_sequences(self.scorer, self.tokenizer.pad_token_id, self.encode(items), progress=progress)

    def score_heads(self, items: Sequence[tuple[Sequence[Message], str]]) -> list[list[float]]:
        """What each head says of each (prompt, answer), in its own unit."""
        return score_heads(self.scorer, self.tokenizer.pad_token_id, self.encode(items))

    def spread_all(self, items: Sequence[tuple[Sequence[Message], str]]) -> list[float]:
        """How far the heads disagree on each (prompt, answer): their standard deviation, in deviations of the score.

        0 for a reward model of one head, which cannot say how sure it is.
        """
        scale = self.scale or Scale(0.0, 1.0)
        return [pstdev(scale.opinions(said)) for said in self.score_heads(items)]

    def encode(self, items: Sequence[tuple[Sequence[Message], str]]) -> list[list[int]]:
        """Each (prompt, answer) as the tokens that are scored."""
        return [
            encode_scored(self.tokenizer, prompt, [Message(role="assistant", content=answer)], self.max_length)
            for prompt, answer in items
        ]
