"""sft -> reward -> dpo -> export on every family of model, from a recipe, in the stages' own processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from align.artifacts import Artifact
from align.data.chat import encode_scored
from align.data.files import write_records
from align.errors import TrainingError
from align.models.load import load_causal, load_merged, load_scorer, load_tokenizer, resolve
from align.models.score import score_sequences
from align.pipeline import RunResult, run_recipe
from align.recipe.load import load_recipe
from tests import tiny
from tests.tiny import talk

pytestmark = tiny.THIRD_PARTY

RECIPE = """\
name: chain
seed: 5
precision: fp32
lora: LORA
sources:
  base: {kind: policy, path: MODEL}
  demos: {kind: demonstrations, path: demos.jsonl}
  pairs: {kind: preferences, path: pairs.jsonl, heldout: pairs-heldout.jsonl}
stages:
  - {name: sft, kind: sft, model: base, data: demos, max_steps: 3, batch_size: 4, max_length: 128, learning_rate: 1e-2}
  - {name: reward, kind: reward, model: sft, data: pairs, max_steps: 3, batch_size: 4, max_length: 128,
     learning_rate: 1e-2}
  - {name: dpo, kind: dpo, model: sft, data: pairs, max_steps: 3, batch_size: 4, max_length: 128, learning_rate: 1e-2}
  - {name: out, kind: export, model: dpo}
"""


class Quiet:
    """A display that remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def stage(self, step: Any, number: int, total: int) -> None: ...

    def progress(self, what: str, done: int, total: int, note: str) -> None: ...

    def sealed(self, step: Any, artifact: Artifact) -> None: ...


def run(folder: Path, family: str, lora: str, changes: dict[str, str] | None = None) -> RunResult:
    fields = "".join(f", {k}: {json.dumps(v)}" for k, v in tiny.SOURCE.get(family, {}).items())
    text = RECIPE.replace("LORA", lora).replace("path: MODEL", f"path: {tiny.tiny_folder(family)}{fields}")
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    write_records(folder / "demos.jsonl", tiny.demonstrations())
    write_records(folder / "pairs.jsonl", tiny.preferences())
    heldout = [
        r.model_copy(update={"prompt": talk(q)})
        for r, q in zip(tiny.preferences()[:2], ("Bread?", "Red?"), strict=True)
    ]
    write_records(folder / "pairs-heldout.jsonl", heldout)
    (folder / "chain.yaml").write_text(text, "utf-8")
    return run_recipe(load_recipe(folder / "chain.yaml"), folder / "runs", Quiet())


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("family", "lora"),
    [
        ("llama", "{r: 4, alpha: 8}"),
        pytest.param("qwen3", "{r: 4, alpha: 8}", marks=slow),
        pytest.param("gemma", "{r: 4, alpha: 8}", marks=slow),
        pytest.param("gpt2", "{r: 4, alpha: 8}", marks=slow),
        pytest.param("llama", "none", marks=slow),
        pytest.param("qwen3", "none", marks=slow),
        pytest.param("gemma", "none", marks=slow),
        pytest.param("gpt2", "none", marks=slow),
    ],
)
def test_every_family_goes_through_the_chain(family: str, lora: str, tmp_path: Path) -> None:
    result = run(tmp_path, family, lora)
    assert result.ran == ["sft", "reward", "dpo", "out"]
    made = result.artifacts
    files = {p.name for p in made["dpo"].path.iterdir()}
    if lora == "none":
        assert {"config.json", "model.safetensors"} <= files and "adapter_config.json" not in files
        assert made["sft"].manifest.metrics["lora"] == "full fine-tuning"
    else:
        assert {
            "adapter_config.json",
            "adapter_model.safetensors",
            "policy.json",
        } <= files and "config.json" not in files
        assert made["sft"].manifest.metrics["lora"] == "new adapter, r 4"
        assert made["dpo"].manifest.metrics["lora"] == "the adapter of sft continued, r 4"
    assert made["dpo"].manifest.metrics["reference_gap"] < 1e-3
    assert made["reward"].manifest.metrics["heldout_pairs"] == 2
    for name in ("sft", "reward", "dpo"):
        rows = [json.loads(line) for line in (made[name].path / "logs/metrics.jsonl").read_text().splitlines()]
        assert [r["step"] for r in rows if "loss" in r] == [1, 2, 3]
    logits = {name: last_logits(made[name]) for name in ("base", "sft", "dpo")}
    assert not torch.allclose(logits["base"], logits["sft"], atol=1e-3), "sft changed the policy"
    assert not torch.allclose(logits["sft"], logits["dpo"], atol=1e-3), "dpo changed it again"
    check_reward(made["reward"])
    check_export(made["dpo"], made["out"])


def last_logits(policy: Artifact) -> torch.Tensor:
    with torch.no_grad():
        model = load_merged(resolve(policy), torch.float32).eval()
        return model(input_ids=torch.tensor([[9, 10, 11, 12]])).logits[0, -1]  # type: ignore[no-any-return]


def check_reward(artifact: Artifact) -> None:
    """The reward model loads back with its head: scores differ between answers."""
    ref = resolve(artifact)
    tokenizer = load_tokenizer(ref)
    texts = [
        encode_scored(tokenizer, talk(q), talk("", a)[1:], 128) for q, a in zip(tiny.QUESTIONS, tiny.GOOD, strict=True)
    ]
    scores = score_sequences(load_scorer(ref, torch.float32), tokenizer.pad_token_id, texts)
    assert len(set(scores)) == len(texts)
    assert all(score != 0 for score in scores)


def check_export(policy: Artifact, out: Artifact) -> None:
    """A plain Hugging Face folder that answers as the policy does, tokenizer and chat template included."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert not (out.path / "adapter_config.json").exists() and not (out.path / "policy.json").exists()
    model = AutoModelForCausalLM.from_pretrained(out.path).eval()
    ids = torch.tensor([[9, 10, 11, 12]])
    with torch.no_grad():
        exported = model(input_ids=ids).logits
        attached = load_causal(resolve(policy), torch.float32).eval()(input_ids=ids).logits
    assert torch.allclose(exported, attached, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(out.path)
    assert tokenizer.chat_template and tokenizer.pad_token
    stops = model.generation_config.eos_token_id
    closing = tokenizer("<end_of_turn>", add_special_tokens=False)["input_ids"][-1]
    assert tokenizer.eos_token_id in (stops if isinstance(stops, list) else [stops])
    if "<end_of_turn>" in tokenizer.get_vocab():
        assert closing in stops
    assert "dpo" in (out.path / "README.md").read_text("utf-8")


def test_a_loss_that_is_no_number_names_step_and_remedy_and_leaves_no_folder(tmp_path: Path) -> None:
    huge = "max_length: 128, learning_rate: 1e30}\n  - {name: reward"
    with pytest.raises(TrainingError, match=r"is (nan|inf) at step \d of 3(.|\n)*lower learning_rate") as raised:
        run(tmp_path, "llama", "none", {"max_length: 128, learning_rate: 1e-2}\n  - {name: reward": huge})
    assert raised.value.where == "sft"
    folders = {p.name for p in (tmp_path / "runs/chain").iterdir() if p.is_dir()}
    assert folders - {"logs"} == {"base", "demos", "pairs"}
