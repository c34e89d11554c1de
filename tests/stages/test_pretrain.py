"""A base model from scratch: what it reads, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.contract import HELDOUT
from align.data.records import Record, Text
from align.errors import DataError
from align.models.load import load_causal, load_tokenizer, resolve
from align.models.tiny import train_tokenizer
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
    assert model.config.vocab_size == len(tokenizer) == made.manifest.metrics["vocabulary"] <= 320
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in made.path.iterdir()}


def test_documents_are_closed_and_cut_into_full_blocks() -> None:
    tokenizer = train_tokenizer(tiny.TEXTS, 300, 64)
    records: list[Record] = [Text(text="ab"), Text(text="cde"), tiny.demonstrations()[4]]
    blocks = pretrain.pack(tokenizer, records, 8, seed=1)
    assert {len(b) for b in blocks} == {8}
    stream = tokenizer.decode([t for b in blocks for t in b])
    whole = ["ab<|im_end|>", "cde<|im_end|>",
             "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>"]  # fmt: skip
    orders = ["".join(parts) for parts in __import__("itertools").permutations(whole)]
    assert any(order.startswith(stream) for order in orders)
    assert len(stream) > len("".join(whole)) - 30, "only the last, short block is left out"
    assert pretrain.pack(tokenizer, records, 8, seed=1) == blocks
    assert {str(pretrain.pack(tokenizer, records, 8, seed=s)) for s in range(9)} != {str(blocks)}


def test_heldout_rows_are_not_read(tmp_path: Path) -> None:
    """A word that stands in held-out text only is unknown to the tokenizer."""
    hidden: list[Record] = [Text(text="xylophone " * 50)]
    corpus = tiny.data_artifact(tmp_path, "corpus", "corpus", texts(), hidden)
    assert (corpus.path / HELDOUT).exists()
    made = tiny.run_in(tmp_path, settings(max_steps=1, vocab_size=400), {"data": [corpus]})
    assert not [t for t in load_tokenizer(resolve(made)).get_vocab() if "xyl" in t]


def test_too_little_text(tmp_path: Path) -> None:
    corpus = tiny.data_artifact(tmp_path, "corpus", "corpus", [Text(text="Hello.")])
    with pytest.raises(DataError, match=r"corpus\n(.|\n)*fewer than max_length \(64\) tokens(.|\n)*lower max_length"):
        tiny.run_in(tmp_path, settings(max_length=64), {"data": [corpus]})
