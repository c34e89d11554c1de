"""The reward stage: learns the pairs, scores by the text it was trained on, loads back as it was."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from align.data.chat import encode_scored
from align.data.comparisons import comparisons
from align.data.records import Preference
from align.judges.reward import RewardJudge
from align.models.load import load_scorer, load_tokenizer, resolve
from align.models.score import score_sequences
from align.recipe.schema import SFT, Reward
from align.stages import reward
from tests import tiny
from tests.tiny import talk

pytestmark = tiny.THIRD_PARTY


def settings(**changes: Any) -> Reward:
    values: dict[str, Any] = {"name": "reward", "kind": "reward", "model": "sft", "data": "pairs", "batch_size": 8,
                              "max_steps": 3, "max_length": 128, "learning_rate": 1e-2}  # fmt: skip
    return Reward(**(values | changes))


def scores_of(scorer: Any, tokenizer: Any) -> list[float]:
    texts = [
        encode_scored(tokenizer, talk(q), talk("", a)[1:], 128) for q, a in zip(tiny.QUESTIONS, tiny.GOOD, strict=True)
    ]
    return score_sequences(scorer, tokenizer.pad_token_id, texts)


@pytest.mark.parametrize("start", ["base", "sft", "full", "sft-full", "tied"])
def test_what_is_saved_scores_as_what_was_trained(start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a base or an adapter (which must be folded in first), with a new adapter or with all weights; also with one
    on an embedding that was tied to the head, which the scores replace."""
    policy = tiny.base_of(tmp_path, "gpt2" if start == "tied" else "llama")
    if start.startswith("sft"):
        demos = tiny.data_artifact(tmp_path, "demos", "demonstrations", tiny.demonstrations())
        sft = SFT(name="sft", kind="sft", model="base", data="demos", max_steps=3, max_length=128, learning_rate=5e-2)
        policy = tiny.run_in(tmp_path, sft, {"model": [policy], "data": [demos]})
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    in_memory: list[list[float]] = []
    keep = reward.save

    def save(model: Any, tokenizer: Any, *rest: Any, **more: Any) -> None:
        in_memory.append(scores_of(model, tokenizer))
        keep(model, tokenizer, *rest, **more)

    monkeypatch.setattr(reward, "save", save)
    lora: dict[str, Any] = {"lora": "none"} if start.endswith("full") else {}
    if start == "tied":
        lora = {"lora": {"targets": ["wte"]}}
    made = tiny.run_in(tmp_path, settings(**lora), {"model": [policy], "data": [pairs]})
    ref = resolve(made)
    assert (ref.merge is not None) == (start == "sft")
    found = scores_of(load_scorer(ref, torch.float32), load_tokenizer(ref))
    assert found == pytest.approx(in_memory[0], abs=1e-4)
    assert max(found) - min(found) > 1e-3
    figures = made.manifest.metrics
    assert (figures["trained_parameters"] == figures["parameters"]) == start.endswith("full")
    judged = RewardJudge(made, "fp32").score_all([(talk(q), a) for q, a in zip(tiny.QUESTIONS, tiny.GOOD, strict=True)])
    assert judged == pytest.approx(found, abs=1e-4), "the judge reads the very text of training"


def test_it_learns_its_pairs_from_ln_2_on(tmp_path: Path) -> None:
    """The head starts at zero, so the first loss is ln 2; the pairs, a word against another, are learned soon."""
    pairs = [Preference(prompt=talk(q), chosen=talk("", "Yes.")[1:], rejected=talk("", "No.")[1:])
             for q in tiny.QUESTIONS]  # fmt: skip
    data = tiny.data_artifact(tmp_path, "pairs", "preferences", pairs[:6], pairs[6:])
    made = tiny.run_in(
        tmp_path,
        settings(max_steps=20, batch_size=6, lora="none", learning_rate=3e-3),
        {"model": [tiny.base_of(tmp_path, "llama")], "data": [data]},
    )
    rows = [json.loads(line) for line in (made.path / "logs/metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert rows[-1]["loss"] < 0.3
    figures = made.manifest.metrics
    assert (figures["heldout_accuracy"], figures["heldout_low"], figures["heldout_pairs"]) == (1.0, 0.1581, 2)
    assert figures["max_length"] == 128


def test_margins_cut_as_training_does(tmp_path: Path) -> None:
    """A pair of which one side is too long is cut alike on both, so that the prompts stay equal."""
    ref = resolve(tiny.base_of(tmp_path, "llama"))
    tokenizer = load_tokenizer(ref)
    long = "Mix flour, water, salt and yeast. " * 8
    (pair,) = comparisons(
        [Preference(prompt=talk("How do I bake bread?"), chosen=talk("", long)[1:], rejected=talk("", "No.")[1:])]
    )
    from align.data.chat import encode_pair

    seen: list[list[int]] = []
    original = reward.score_sequences

    def spy(scorer: Any, pad: int, sequences: Any, **more: Any) -> list[float]:
        seen.extend(sequences)
        return [float(len(s)) for s in sequences]

    reward.score_sequences = spy  # type: ignore[assignment]
    try:
        margins = reward.score_margins(None, tokenizer, [pair, pair], 48, tiny.context_for(tmp_path))
    finally:
        reward.score_sequences = original
    encoded = encode_pair(tokenizer, pair.prompt, pair.chosen, pair.rejected, 48)
    assert encoded is not None
    assert seen[0] == encoded.prompt_ids + encoded.chosen_ids
    assert len(seen) == 2, "equal answers are scored once"
    assert margins == [len(seen[0]) - len(seen[1])] * 2


def test_no_heldout_pairs_no_figures(tmp_path: Path) -> None:
    assert reward.heldout_accuracy(None, None, [], 10, tiny.context_for(tmp_path)) == {}
