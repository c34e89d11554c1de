"""Supervised fine-tuning: what is trained, what is cut, and that packing keeps conversations apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from align.data.chat import Encoded, encode_conversation
from align.data.records import Demonstration, Record
from align.errors import TrainingError
from align.models.load import load_merged, load_tokenizer, resolve
from align.recipe.schema import SFT
from align.stages import sft
from tests import tiny
from tests.tiny import talk

pytestmark = tiny.THIRD_PARTY


def settings(**changes: Any) -> SFT:
    values: dict[str, Any] = {"name": "sft", "kind": "sft", "model": "base", "data": "demos", "batch_size": 8,
                              "max_steps": 1, "max_length": 128, "lora": "none"}  # fmt: skip
    return SFT(**(values | changes))


def losses(artifact: Any) -> list[float]:
    rows = [json.loads(line) for line in (artifact.path / "logs/metrics.jsonl").read_text().splitlines()]
    return [r["loss"] for r in rows if "loss" in r]


def without_dropout(family: str, to: Path) -> Path:
    """The tiny model with GPT-2's dropout off, so that the loss can be computed by hand."""
    folder = Path(shutil.copytree(tiny.tiny_folder(family), to))
    config = json.loads((folder / "config.json").read_text())
    config.update({name: 0.0 for name in config if name.endswith("_pdrop")})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def own_loss(ref: Any, rows: list[Encoded]) -> float:
    """Mean loss (nats) over trained tokens, each row alone, by hand."""
    model = load_merged(ref, torch.float32).eval()
    total = count = 0.0
    for row in rows:
        ids = torch.tensor([row.input_ids])
        with torch.no_grad():
            logprobs = torch.log_softmax(model(input_ids=ids).logits[0, :-1], -1)
        picked = logprobs.gather(1, ids[0, 1:, None])[:, 0]
        mask = torch.tensor(row.mask[1:])
        total, count = total - float((picked * mask).sum()), count + float(mask.sum())
    return total / count


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2", pytest.param("gemma", marks=pytest.mark.slow)])
def test_the_loss_is_that_of_the_assistants_tokens_alone(family: str, packing: bool, tmp_path: Path) -> None:
    """Packed or not, the first step's loss is the mean over trained tokens, each conversation read by itself."""
    base = tiny.model_artifact(tmp_path, without_dropout(family, tmp_path / "model"), **tiny.SOURCE.get(family, {}))
    demos = tiny.data_artifact(tmp_path, "demos", "demonstrations", tiny.demonstrations())
    ref = resolve(base)
    rows = [r for d in tiny.demonstrations() for r in encode_conversation(load_tokenizer(ref), d.messages)]  # type: ignore[attr-defined]
    assert len(rows) == 8
    made = tiny.run_in(tmp_path, settings(packing=packing, micro_batch=8), {"model": [base], "data": [demos]})
    assert losses(made)[0] == pytest.approx(own_loss(ref, rows), abs=2e-4)
    assert made.manifest.metrics["trained_tokens"] == sum(sum(r.mask) for r in rows)


def test_packing_that_lets_conversations_mix_is_refused(tmp_path: Path) -> None:
    """`wrapped` joins conversations without telling attention where one ends."""
    base = tiny.base_of(tmp_path, "llama")
    demos = tiny.data_artifact(tmp_path, "demos", "demonstrations", tiny.demonstrations())
    with pytest.raises(TrainingError, match=r"let a conversation read the one before it(.|\n)*packing: false"):
        tiny.run_in(
            tmp_path,
            settings(packing=True, trainer={"packing_strategy": "wrapped"}),
            {"model": [base], "data": [demos]},
        )


class Collated:
    """The part of a trainer that `assert_only_assistant` looks at."""

    def __init__(self, rows: list[dict[str, list[int]]]) -> None:
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

        self.train_dataset = rows
        self.data_collator = DataCollatorForLanguageModeling(pad_token_id=0)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_labels_that_cover_more_than_the_assistant_are_refused(family: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve(tiny.base_of(tmp_path, family)))
    examples: list[Any] = tiny.demonstrations()
    rows = [r for e in examples for r in encode_conversation(tokenizer, e.messages)]
    sft.assert_only_assistant(Collated([sft.as_row(r) for r in rows[-4:]]), tokenizer, examples)
    before = rows[0].input_ids[: rows[0].mask.index(1)]
    while not tokenizer.decode(before[-1:]).strip():
        before.pop()  # spaces that touch the answer are not told from the answer's own
    for wrong in (everything(rows[0]), *(one_more(rows[0], i) for i in range(len(before)))):
        with pytest.raises(TrainingError, match="loss would cover more than the assistant's turns"):
            sft.assert_only_assistant(Collated([sft.as_row(wrong)]), tokenizer, examples)


def everything(row: Encoded) -> Encoded:
    return Encoded(row.input_ids, [1] * len(row.mask))


def one_more(row: Encoded, place: int) -> Encoded:
    """One token of the prompt, be it a special one, is trained as well."""
    return Encoded(row.input_ids, [1 if i == place else m for i, m in enumerate(row.mask)])


def test_a_turn_cut_in_the_middle_is_still_the_assistants(tmp_path: Path) -> None:
    """Wherever max_length cuts, in a <think> block or inside a Chinese character, the check must not mistake it."""
    tokenizer = load_tokenizer(resolve(tiny.base_of(tmp_path, "qwen3")))
    examples: list[Any] = [Demonstration(messages=talk("Say yes.", "你好，世界 is hello."))]
    (row,) = encode_conversation(tokenizer, examples[0].messages)
    for end in range(row.mask.index(1) + 1, len(row.mask) + 1):
        cut = Encoded(row.input_ids[:end], row.mask[:end])
        sft.assert_only_assistant(Collated([sft.as_row(cut)]), tokenizer, examples)


def test_what_is_too_long_is_cut_and_said(tmp_path: Path) -> None:
    base = tiny.base_of(tmp_path, "llama")
    long: list[Record] = [*tiny.demonstrations()]
    long[0] = long[0].model_copy(
        update={"messages": talk("Bread?", "Mix flour, water, salt and yeast, then wait. " * 9)}
    )
    long[1] = long[1].model_copy(update={"messages": talk("Bread? " * 90, "Yes.")})
    demos = tiny.data_artifact(tmp_path, "demos", "demonstrations", long)
    said: list[str] = []
    tiny.run_in(tmp_path, settings(max_length=64), {"model": [base], "data": [demos]}, say=said.append)
    assert said == ["cut, being longer than max_length 64: 2 of 8 examples; 1 of them lost every trained token"]


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    base = tiny.base_of(tmp_path, "llama")
    demos = tiny.data_artifact(tmp_path, "demos", "demonstrations", tiny.demonstrations())
    with pytest.raises(
        TrainingError, match=r"max_length: 8(.|\n)*cut before the assistant speaks(.|\n)*has \d+ tokens"
    ):
        tiny.run_in(tmp_path, settings(max_length=8), {"model": [base], "data": [demos]})


@pytest.mark.parametrize("packing", [False, True])
def test_heldout_rows_are_measured_and_not_trained(packing: bool, tmp_path: Path) -> None:
    base = tiny.base_of(tmp_path, "llama")
    rows = tiny.demonstrations()
    demos = tiny.data_artifact(tmp_path, "demos", "demonstrations", rows[:6], rows[6:])
    made = tiny.run_in(
        tmp_path, settings(packing=packing, max_steps=None, batch_size=2), {"model": [base], "data": [demos]}
    )
    logged = [json.loads(line) for line in (made.path / "logs/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in logged if "eval_loss" in r] == [logged[-1]["step"]]
    assert made.manifest.metrics["examples"] == 6


def test_rankings_teach_their_best_answer(tmp_path: Path) -> None:
    ranked = tiny.data_artifact(tmp_path, "ranked", "rankings", tiny.rankings())
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    from align.contract import TRAIN

    found = sft.read_examples([ranked, pairs], TRAIN)
    assert [e.messages[-1].content for e in found] == [*tiny.GOOD, *tiny.GOOD]
