"""A reward model as a judge: full models and adapters, from a stage or a source."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from align.data.chat import encode_scored
from align.errors import ModelError
from align.judges.reward import RewardJudge
from align.models.heads import as_scorer
from align.models.load import load_merged, load_tokenizer, resolve
from align.models.score import score_sequences
from tests import tiny
from tests.tiny import talk

ITEMS = [(talk(q), a) for q, a in zip(tiny.QUESTIONS, tiny.GOOD, strict=True)]


def test_a_reward_model_source(tmp_path: Path) -> None:
    """A sequence-classification folder as others publish it; the longest text is bounded by its context."""
    ref = resolve(tiny.base_of(tmp_path, "llama"))
    tokenizer = load_tokenizer(ref)
    scorer = as_scorer(load_merged(ref, torch.float32))
    torch.manual_seed(2)
    torch.nn.init.normal_(scorer.score.weight)
    scorer.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    judge = RewardJudge(tiny.model_artifact(tmp_path, tmp_path / "model", "rm", "reward_model"), "fp32")
    assert judge.max_length == tiny.CONTEXT
    done: list[tuple[int, int]] = []
    found = judge.score_all(ITEMS, lambda n, of: done.append((n, of)))
    texts = [encode_scored(tokenizer, p, talk("", a)[1:], tiny.CONTEXT) for p, a in ITEMS]
    assert found == pytest.approx(score_sequences(scorer, tokenizer.pad_token_id, texts), abs=1e-4)
    assert len(set(found)) == 8
    assert done == [(8, 8)]


def test_a_policy_is_no_reward_model(tmp_path: Path) -> None:
    """A causal model has no score head: transformers would make one up at random."""
    source = tiny.model_artifact(tmp_path, tiny.tiny_folder("llama"), "rm", "reward_model")
    with pytest.raises(ModelError, match=r"no reward model: .*LlamaForCausalLM(.|\n)*SequenceClassification"):
        RewardJudge(source, "fp32")
