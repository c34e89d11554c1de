"""Which layers an adapter sits on, and an error that names those there where it names others."""

from __future__ import annotations

import pytest
import torch

from align.errors import ModelError
from align.models.load import ModelRef, load_causal
from align.models.lora import check_targets, lora_config
from align.recipe.schema import Lora
from tests import tiny

F32 = torch.float32

pytestmark = tiny.THIRD_PARTY


def tiny_ref(family: str) -> ModelRef:
    base = str(tiny.tiny_folder(family))
    return ModelRef(base=base, tokenizer=base)


LLAMA = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"


def refused(family: str, targets: str | list[str]) -> ModelError:
    model = load_causal(tiny_ref(family), F32)
    with pytest.raises(ModelError) as caught:
        check_targets(model, Lora(targets=targets), "tiny", print)
    assert caught.value.where == "lora.targets, model tiny"
    return caught.value


@pytest.mark.parametrize("targets", [["q_prj"], ["qproj", "q_prj"], "q_prj", "("])
def test_lora_on_a_layer_that_is_not_there(targets: str | list[str]) -> None:
    error = refused("llama", targets)
    assert "the model has no layer" in error.found
    assert error.allowed == LLAMA
    assert "did you mean `q_proj`?" in error.found or targets == "("


@pytest.mark.parametrize(
    ("family", "targets", "means"),
    [
        ("llama", ["self_attn"], "`model.layers.0.self_attn`, a LlamaAttention, which is neither linear nor"),
        ("llama", ["q_proj", "self_attn"], "a LlamaAttention"),
        ("llama", ["input_layernorm"], "a LlamaRMSNorm"),
        ("llama", ["act_fn"], "a SiLU"),
        ("llama", ".*attn", "a LlamaAttention"),
        ("llama", ".*", "means a LlamaForCausalLM"),
        ("llama", ["lm_head"], "`lm_head`, the model's head Linear, which gives the words their scores"),
        ("llama", ["q_proj", "lm_head"], "the model's head"),
        ("gpt2", ["attn"], "a GPT2Attention"),
        ("gpt2", ["c_attn", "wte"], "an Embedding, whose weights are the head's as well"),
    ],
)
def test_lora_on_a_layer_that_takes_no_adapter(family: str, targets: str | list[str], means: str) -> None:
    error = refused(family, targets)
    assert means in error.found and "no adapter can sit there" in error.found
    assert error.allowed == (LLAMA if family == "llama" else "c_attn, c_fc, c_proj")


def test_lora_on_a_name_that_is_no_list() -> None:
    error = refused("llama", "q_proj")
    assert "a pattern of whole paths such as `model.layers.0.self_attn.q_proj`" in error.found
    assert error.remedy == "write it as a list: `targets: [q_proj]`"


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("llama", "all-linear"),
        ("llama", "All-Linear"),
        ("llama", ["q_proj", "v_proj"]),
        ("llama", ["embed_tokens"]),
        ("llama", r".*\.q_proj"),
        ("gpt2", ["attn.c_attn"]),
    ],
)
def test_lora_on_layers_that_are_there(family: str, targets: str | list[str]) -> None:
    from peft import get_peft_model

    model, said = load_causal(tiny_ref(family), F32), []
    check_targets(model, Lora(targets=targets), "tiny", said.append)
    assert not said
    get_peft_model(model, lora_config(Lora(targets=targets), "CAUSAL_LM"))


def test_an_embedding_that_was_tied_to_a_head_takes_an_adapter() -> None:
    """Of a reward model, which has no such head; the head itself is none of its layers."""
    model = load_causal(tiny_ref("gpt2"), F32)
    check_targets(model, Lora(targets=["wte"]), "tiny", print, keeps_head=False)
    with pytest.raises(ModelError, match="the model's head"):
        check_targets(model, Lora(targets=["wte", "lm_head"]), "tiny", print, keeps_head=False)


@pytest.mark.parametrize(("family", "absent"), [("llama", "c_attn"), ("gpt2", "q_proj")])
def test_a_list_that_serves_several_models(family: str, absent: str) -> None:
    from peft import get_peft_model

    lora = Lora(targets=["q_proj", "c_attn"])
    model, said = load_causal(tiny_ref(family), F32), []
    check_targets(model, lora, "tiny", said.append)
    assert said == [f"lora.targets: the model has no layer `{absent}`; the others are adapted"]
    get_peft_model(model, lora_config(lora, "CAUSAL_LM"))
