"""Which model, which tokenizer, which adapter; and an error that helps where one of them is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from align.artifacts import Artifact
from align.errors import ModelError
from align.models import load
from align.models.heads import as_scorer
from align.models.lora import lora_config
from align.recipe.schema import Lora
from tests import tiny

F32 = torch.float32

pytestmark = tiny.THIRD_PARTY


def copy_of(family: str, to: Path) -> Path:
    return Path(shutil.copytree(tiny.tiny_folder(family), to))


def source(folder: Path, runs: Path, **fields: str) -> load.ModelRef:
    return load.resolve(tiny.model_artifact(runs, folder, **fields))


def adapter_of(family: str, to: Path, r: int = 4, hidden: int = tiny.HIDDEN) -> Path:
    """An adapter folder as PEFT saves it, its B matrices not zero."""
    from peft import get_peft_model

    base = tiny.tiny_folder(family, hidden=hidden)
    ref = load.ModelRef(base=str(base), tokenizer=str(base))
    torch.manual_seed(3)
    model = get_peft_model(load.load_causal(ref, F32), lora_config(Lora(r=r), "CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(to)
    return to


def test_a_source_without_chat_template(tmp_path: Path) -> None:
    folder = tiny.tiny_folder("gpt2")
    with pytest.raises(ModelError, match=r"has no chat template(.|\n)*chatml, plain(.|\n)*chat_template: plain"):
        load.load_tokenizer(source(folder, tmp_path / "1"))
    with pytest.raises(ModelError, match="no chat template 'plian'"):
        load.load_tokenizer(source(folder, tmp_path / "2", chat_template="plian"))


def test_a_source_without_pad_token_and_the_remedy_works(tmp_path: Path) -> None:
    folder = tiny.tiny_folder("gpt2")
    with pytest.raises(ModelError, match=r"has no pad token(.|\n)*not EOS(.|\n)*model's source: pad_token:") as raised:
        load.load_tokenizer(source(folder, tmp_path / "1", chat_template="plain"))
    said = json.loads(raised.value.remedy.split("pad_token: ")[1])
    tokenizer = load.load_tokenizer(source(folder, tmp_path / "2", chat_template="plain", pad_token=said))
    assert tokenizer.pad_token == said != tokenizer.eos_token
    assert tokenizer.padding_side == "left"


def test_padding_with_eos_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    """Qwen3's base models pad with the very token that ends their text."""
    folder = copy_of("qwen3", tmp_path / "model")
    tokenizer = tiny.tokenizer_of("qwen3")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"the EOS token '<\|im_end\|>' as pad token") as raised:
        load.load_tokenizer(source(folder, tmp_path / "1"))
    said = json.loads(raised.value.remedy.split("pad_token: ")[1])
    assert load.load_tokenizer(source(folder, tmp_path / "2", pad_token=said)).pad_token == said


def test_padding_with_what_closes_a_turn_is_refused(tmp_path: Path) -> None:
    """<end_of_turn> is not Gemma's EOS, but a reward model would read its score before it."""
    folder = tiny.tiny_folder("gemma")
    with pytest.raises(ModelError, match=r"pad token '<end_of_turn>' also closes an answer") as raised:
        load.load_tokenizer(source(folder, tmp_path / "1", pad_token="<end_of_turn>"))
    assert raised.value.remedy.endswith('pad_token: "<pad>"')
    assert "<end_of_turn>" not in raised.value.allowed


def test_a_pad_token_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"pad_token '<pud>' is not in the vocabulary(.|\n)*<pad>"):
        load.load_tokenizer(source(tiny.tiny_folder("gemma"), tmp_path, pad_token="<pud>"))


def test_a_tokenizer_without_eos(tmp_path: Path) -> None:
    folder = copy_of("llama", tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["eos_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no EOS token, so that no answer can end"):
        load.load_tokenizer(source(folder, tmp_path))


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    folder = copy_of("llama", tmp_path / "model")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="the tokenizer cannot be loaded") as raised:
        load.load_tokenizer(source(folder, tmp_path))
    assert raised.value.where == str(folder)


def test_a_model_folder_without_weights(tmp_path: Path) -> None:
    folder = copy_of("llama", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no weights(.|\n)*model\.safetensors(.|\n)*copy the weights"):
        load.load_causal(source(folder, tmp_path / "1"), F32)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="config.json is missing"):
        load.load_causal(source(folder, tmp_path / "2"), F32)


def test_weights_that_would_be_made_up(tmp_path: Path) -> None:
    """A reward model as a policy, and a policy that lost a layer: transformers loads both, with random numbers."""
    from safetensors.torch import load_file, save_file

    policy = load.load_causal(source(copy_of("llama", tmp_path / "model"), tmp_path / "1"), F32)
    as_scorer(policy).save_pretrained(tmp_path / "scorer")
    shutil.copy(tmp_path / "model" / "tokenizer.json", tmp_path / "scorer")
    folder = copy_of("llama", tmp_path / "lost")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "layers.1.mlp.up" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    for place, lost in ((tmp_path / "scorer", "lm_head.weight"), (folder, r"model.layers.1.mlp.up_proj.weight")):
        with pytest.raises(ModelError, match=f"not in its files, the first {lost}"):
            load.load_causal(load.ModelRef(base=str(place), tokenizer=str(place)), F32)


def test_weights_that_are_cut_off(tmp_path: Path) -> None:
    folder = copy_of("llama", tmp_path / "model")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="the model cannot be loaded") as raised:
        load.load_causal(source(folder, tmp_path), F32)
    assert raised.value.where == str(folder)


def test_a_tokenizer_larger_than_the_embedding(tmp_path: Path) -> None:
    ref = source(tiny.tiny_folder("llama"), tmp_path)
    tokenizer = load.load_tokenizer(ref)
    model = load.load_causal(ref, F32)
    load.check_vocabulary(model, tokenizer, "here")
    tokenizer.add_tokens(["<one>", "<two>"])
    rows = model.get_input_embeddings().weight.shape[0]
    with pytest.raises(ModelError, match=rf"has {rows + 2} tokens, the model's embedding only {rows} rows"):
        load.check_vocabulary(model, tokenizer, "here")


def test_an_adapter_whose_base_has_another_width(tmp_path: Path) -> None:
    adapter = adapter_of("llama", tmp_path / "adapter", hidden=64)
    set_base(adapter, str(tiny.tiny_folder("llama")))
    with pytest.raises(ModelError, match=r"made for another base: \S+ takes \d+ numbers, the base has 64 there"):
        load.load_causal(source(adapter, tmp_path), F32)


def test_an_adapter_whose_base_has_other_modules(tmp_path: Path) -> None:
    adapter = adapter_of("llama", tmp_path / "adapter")
    set_base(adapter, str(tiny.tiny_folder("gpt2")))
    with pytest.raises(ModelError, match=r"made for another base: \S+_proj takes \d+ numbers, the base has no such"):
        load.load_causal(source(adapter, tmp_path), F32)


def test_an_adapter_whose_base_is_gone(tmp_path: Path) -> None:
    adapter = adapter_of("llama", tmp_path / "adapter")
    set_base(adapter, str(tmp_path / "moved/away"))
    with pytest.raises(ModelError, match=r"base_model_name_or_path\n(.|\n)*base is not there(.|\n)*new path"):
        source(adapter, tmp_path / "1")
    set_base(adapter, None)
    with pytest.raises(ModelError, match="does not say which base it belongs to"):
        source(adapter, tmp_path / "2")


def test_an_adapter_without_weights_or_with_broken_ones(tmp_path: Path) -> None:
    adapter = adapter_of("llama", tmp_path / "adapter")
    ref = source(adapter, tmp_path)
    (adapter / "adapter_model.safetensors").write_bytes(b"\x08")
    with pytest.raises(ModelError, match="adapter's weights cannot be read"):
        load.load_causal(ref, F32)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="adapter folder holds no weights"):
        load.load_causal(ref, F32)


def set_base(adapter: Path, name: str | None) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = name
    (adapter / "adapter_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_an_adapter_source_merged_answers_as_it_does_attached(family: str, tmp_path: Path) -> None:
    adapter = adapter_of(family, tmp_path / "adapter")
    ref = source(adapter, tmp_path, **tiny.SOURCE.get(family, {}))
    assert (ref.base, ref.adapter) == (str(tiny.tiny_folder(family)), adapter)
    assert load.load_tokenizer(ref), "the adapter folder has no tokenizer: the base's is taken"
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        attached = load.load_causal(ref, F32).eval()(input_ids=ids).logits
        merged = load.load_merged(ref, F32).eval()(input_ids=ids).logits
        base = load.load_causal(load.ModelRef(ref.base, ref.base), F32).eval()(input_ids=ids).logits
    assert torch.allclose(attached, merged, atol=1e-4)
    assert not torch.allclose(attached, base, atol=1e-2)


def test_only_a_trainable_adapter_takes_gradients(tmp_path: Path) -> None:
    ref = source(adapter_of("llama", tmp_path / "adapter"), tmp_path)
    assert not [n for n, p in load.load_causal(ref, F32).named_parameters() if p.requires_grad]
    trained = [n for n, p in load.load_causal(ref, F32, trainable=True).named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)


def test_a_full_model_artifact_is_its_own_folder(tmp_path: Path) -> None:
    from align.artifacts import Manifest, seal

    copy_of("llama", tmp_path / "sft.partial")
    artifact: Artifact = seal(tmp_path / "sft.partial", Manifest(name="sft", kind="policy", made_by="sft", key="k"))
    ref = load.resolve(artifact)
    assert (ref.base, ref.tokenizer, ref.adapter, ref.local) == (str(artifact.path), str(artifact.path), None, True)


def test_a_run_folder_can_be_moved(tmp_path: Path) -> None:
    """An adapter over a base in the same run names it by a relative path."""
    from peft import get_peft_model

    run = tmp_path / "run"
    copy_of("llama", run / "base")
    ref = load.ModelRef(base=str(run / "base"), tokenizer=str(run / "base"))
    model = get_peft_model(load.load_causal(ref, F32), lora_config(Lora(r=2), "CAUSAL_LM"))
    load.save_model(model, load.load_tokenizer(ref), run / "sft", ref)
    assert json.loads((run / "sft/policy.json").read_text())["path"] == "../base"
    assert json.loads((run / "sft/adapter_config.json").read_text())["base_model_name_or_path"] == "../base"
    files = {p.name for p in (run / "sft").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors", "policy.json", "chat_template.jinja",
                     "tokenizer.json", "tokenizer_config.json"}  # fmt: skip
    moved = run.rename(tmp_path / "elsewhere")
    found = load.resolve(Artifact(moved / "sft", manifest_of("sft")))
    assert (found.base, found.adapter) == (str(moved / "base"), moved / "sft")
    load.load_merged(found, F32)


def manifest_of(name: str) -> Any:
    from align.artifacts import Manifest

    return Manifest(name=name, kind="policy", made_by="sft", key="k")


def test_an_architecture_without_a_scoring_form() -> None:
    from transformers import AutoModelForCausalLM, MambaConfig

    config = MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(ModelError, match=r"MambaForCausalLM has no sequence-classification form(.|\n)*Llama, Qwen"):
        as_scorer(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_context_is_read_from_the_config(family: str, tmp_path: Path) -> None:
    assert load.context_of(load.load_causal(source(tiny.tiny_folder(family), tmp_path), F32)) == tiny.CONTEXT
