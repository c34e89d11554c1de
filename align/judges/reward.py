"""A judge that is a reward model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from align.artifacts import Artifact
from align.data.chat import encode_scored
from align.data.records import Message
from align.models.device import pick_device, pick_dtype
from align.models.load import context_of, load_scorer, load_tokenizer, resolve
from align.models.score import score_sequences


class RewardJudge:
    """A reward_model artifact that scores answers. Text is rendered by the function its training used."""

    def __init__(self, artifact: Artifact, precision: Any = "auto") -> None:
        ref = resolve(artifact)
        device = pick_device()
        self.tokenizer = load_tokenizer(ref)
        self.scorer = load_scorer(ref, pick_dtype(precision, device)).to(device)
        self.max_length = int(artifact.manifest.metrics.get("max_length") or min(context_of(self.scorer), 4096))

    def score_all(
        self,
        items: Sequence[tuple[Sequence[Message], str]],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[float]:
        """The score of each (prompt, answer), in order; higher is better."""
        sequences = [
            encode_scored(self.tokenizer, prompt, [Message(role="assistant", content=answer)], self.max_length)
            for prompt, answer in items
        ]
        return score_sequences(self.scorer, self.tokenizer.pad_token_id, sequences, progress=progress)
