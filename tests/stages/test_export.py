"""Export: a folder for anyone's `from_pretrained`, in the number format the base came in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from align.recipe.schema import Export
from tests import tiny

EXPORT = Export(name="out", kind="export", model="base")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_source_is_exported_with_what_its_recipe_gave_it(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = tiny.run_in(tmp_path, EXPORT, {"model": [tiny.base_of(tmp_path, family)]})
    files = {p.name for p in made.path.iterdir() if p.is_file()} - {"manifest.json"}
    assert files == {"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                     "tokenizer_config.json", "chat_template.jinja"}  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(made.path)
    assert tokenizer.pad_token == ("!" if family == "gpt2" else "<|finetune_right_pad_id|>")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi."}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith("Assistant:" if family == "gpt2" else "assistant<|end_header_id|>\n\n")
    model = AutoModelForCausalLM.from_pretrained(made.path)
    before = AutoModelForCausalLM.from_pretrained(tiny.tiny_folder(family))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(model.eval()(input_ids=ids).logits, before.eval()(input_ids=ids).logits)


def test_the_exported_model_stops_where_its_template_closes(tmp_path: Path) -> None:
    """A base that only knows <eos> learns to close turns by <end_of_turn>; whoever loads it stops there too."""
    folder = Path(shutil.copytree(tiny.tiny_folder("gemma"), tmp_path / "model"))
    config = json.loads((folder / "generation_config.json").read_text())
    config["eos_token_id"] = 1
    (folder / "generation_config.json").write_text(json.dumps(config))
    made = tiny.run_in(tmp_path, EXPORT, {"model": [tiny.model_artifact(tmp_path, folder)]})
    tokens = tiny.tokenizer_of("gemma").convert_tokens_to_ids(["<eos>", "<end_of_turn>"])
    assert json.loads((made.path / "generation_config.json").read_text())["eos_token_id"] == sorted(tokens)


def test_bfloat16_stays_bfloat16(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(tiny.tiny_folder("llama"), tmp_path / "model"))
    AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    made = tiny.run_in(tmp_path, EXPORT, {"model": [tiny.model_artifact(tmp_path, folder)]})
    assert made.manifest.metrics["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(made.path).dtype == torch.bfloat16
