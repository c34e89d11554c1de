"""A reward model's score is that of the answer's closing token, whatever it is batched with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from align.data.chat import encode_scored
from align.models.heads import as_scorer
from align.models.load import load_merged, load_tokenizer, resolve
from align.models.score import score_sequences
from tests import tiny
from tests.tiny import talk


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_scores_by_hand(family: str, tmp_path: Path) -> None:
    ref = resolve(tiny.base_of(tmp_path, family))
    tokenizer = load_tokenizer(ref)
    scorer: Any = as_scorer(load_merged(ref, torch.float32))
    answers = [
        encode_scored(tokenizer, talk(q), talk("", a)[1:], 200) for q, a in zip(tiny.QUESTIONS, tiny.GOOD, strict=True)
    ]
    pad = tokenizer.pad_token_id
    assert score_sequences(scorer, pad, answers) == [0.0] * len(answers), "the head starts at zero"
    torch.manual_seed(1)
    torch.nn.init.normal_(scorer.score.weight)
    trunk = getattr(scorer, scorer.base_model_prefix).eval()
    wanted = []
    for ids in answers:
        with torch.no_grad():
            hidden = trunk(input_ids=torch.tensor([ids])).last_hidden_state
            wanted.append(float(hidden[0, -1] @ scorer.score.weight[0]))
    done: list[tuple[int, int]] = []
    found = score_sequences(scorer, pad, answers, batch_size=3, progress=lambda n, of: done.append((n, of)))
    assert found == pytest.approx(wanted, abs=1e-4)
    assert len({round(value, 3) for value in found}) == len(answers)
    assert done == [(3, 8), (6, 8), (8, 8)]
