"""A base model from scratch: what it reads, and that it learns."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from align.contract import HELDOUT
from align.data.records import Answer, Ranking, Record, Text
from align.errors import DataError
from align.models.load import load_causal, load_tokenizer, resolve
from align.models.tiny import make_model, train_tokenizer
from align.recipe.schema import Pretrain
from align.stages import pretrain
from tests import tiny

pytestmark = tiny.THIRD_PARTY


def settings(**changes: Any) -> Pretrain:
    values: dict[str, Any] = {"name": "base", "kind": "pretrain", "data": "corpus", "vocab_size": 320, "layers": 1,
                              "hidden_size": 32, "heads": 2, "context": 64, "max_length": 16, "batch_size": 4,
                              "max_steps": 30}  # fmt: skip
    return Pretrain(**(values | changes))


def texts() -> list[Record]:
    return [Text(text=t) for t in tiny.TEXTS * 3]


def test_it_learns_its_corpus_and_loads_back(tmp_path: Path) -> None:
    import torch

    corpus = tiny.data_artifact(tmp_path, "corpus", "corpus", texts())
    demos = tiny.data_artifact(
        tmp_path, "demos", "demonstrations", tiny.demonstrations()[:6], tiny.demonstrations()[6:]
    )
    made = tiny.run_in(tmp_path, settings(data=["corpus", "demos"]), {"data": [corpus, demos]})
    rows = [json.loads(line) for line in (made.path / "logs/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    ref = resolve(made)
    tokenizer, model = load_tokenizer(ref), load_causal(ref, torch.float32)
    ids = torch.tensor([tokenizer(tiny.TEXTS[0])["input_ids"][:16]])
    with torch.no_grad():
        assert float(model(input_ids=ids, labels=ids).loss) < rows[0]["loss"] - 0.5, "what is saved has learned, too"
    assert model.config.vocab_size == len(tokenizer) == made.manifest.metrics["vocabulary"] <= 320
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in made.path.iterdir()}


def test_documents_are_closed_and_shuffled() -> None:
    tokenizer = train_tokenizer(tiny.TEXTS, 300, 64)
    records: list[Record] = [Text(text="ab"), Text(text="cde"), tiny.demonstrations()[4]]
    found = pretrain.token_rows(tokenizer, records, seed=1)
    assert sorted(tokenizer.decode(ids) for ids in found) == [
        "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>", "ab<|im_end|>", "cde<|im_end|>",
    ]  # fmt: skip
    assert pretrain.token_rows(tokenizer, records, seed=1) == found
    assert {str(pretrain.token_rows(tokenizer, records, seed=s)) for s in range(9)} != {str(found)}


def test_documents_are_put_whole_where_they_fit_best() -> None:
    documents = [[1] * 3, [2] * 5, [3] * 4, [4] * 2, [5] * 8, [6] * 11]
    blocks = pretrain.pack(documents, 8)
    assert blocks == [[[5] * 8], [[6] * 8], [[2] * 5, [1] * 3], [[3] * 4, [6] * 3], [[4] * 2]], "only the 11 is cut"
    assert pretrain.pack([], 8) == []


def test_a_piece_of_one_token_is_left_out() -> None:
    assert pretrain.pack([[1] * 9, [2]], 8) == [[[1] * 8]]


def test_packing_is_quick_for_long_blocks() -> None:
    """Rooms are found by bisection: a scan of every room took fifty times as long."""
    rng = random.Random(0)
    documents = [[1] * rng.randint(20, 200) for _ in range(20_000)]
    began = time.process_time()
    blocks = pretrain.pack(documents, 8192)
    assert time.process_time() - began < 3
    assert sum(map(len, blocks)) == 20_000


def test_a_block_is_learned_as_its_documents_alone() -> None:
    """The loss of a packed block is that of its documents one by one: none sees another, padding teaches nothing."""
    import torch

    tokenizer = train_tokenizer(tiny.TEXTS, 300, 64)
    torch.manual_seed(0)
    model = make_model(tokenizer, hidden_size=32, layers=2, heads=2, context=64).eval()
    documents = [[5, 6, 7, 8, 9], [10, 11, 12], [13, 14, 15, 16]]
    row = {k: torch.tensor([v]) for k, v in pretrain.block_row(documents, 16, tokenizer.pad_token_id).items()}
    with torch.no_grad():
        packed = model(**row, use_cache=False)
        place, total, targets = 0, 0.0, 0
        for ids in documents:
            one = torch.tensor([ids])
            alone = model(input_ids=one, labels=one)
            assert torch.allclose(packed.logits[0, place : place + len(ids)], alone.logits[0], atol=1e-5)
            place, total, targets = place + len(ids), total + float(alone.loss) * (len(ids) - 1), targets + len(ids) - 1
    assert float(packed.loss) == pytest.approx(total / targets, abs=1e-5)


def test_heldout_rows_are_not_read(tmp_path: Path) -> None:
    """A word that stands in held-out text only is unknown to the tokenizer."""
    hidden: list[Record] = [Text(text="xylophone " * 50)]
    corpus = tiny.data_artifact(tmp_path, "corpus", "corpus", texts(), hidden)
    assert (corpus.path / HELDOUT).exists()
    made = tiny.run_in(tmp_path, settings(max_steps=1, vocab_size=400), {"data": [corpus]})
    assert not [t for t in load_tokenizer(resolve(made)).get_vocab() if "xyl" in t]


def test_no_text_at_all(tmp_path: Path) -> None:
    ranking = Ranking(
        id="r", prompt=tiny.talk("Q"), answers=[Answer(id=i, text=i) for i in "ab"], ranks=[None, None], annotator="me"
    )
    corpus = tiny.data_artifact(tmp_path, "corpus", "rankings", [ranking])
    with pytest.raises(DataError, match=r"corpus\n(.|\n)*holds no text(.|\n)*give rows with text"):
        tiny.run_in(tmp_path, settings(), {"data": [corpus]})
