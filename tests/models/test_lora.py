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


@pytest.mark.parametrize("targets", [["q_prj"], ["q_proj", "q_prj"], "q_prj", "("])
def test_lora_on_a_layer_that_is_not_there(targets: str | list[str]) -> None:
    model = load_causal(tiny_ref("llama"), F32)
    with pytest.raises(ModelError, match="the model has no layer") as caught:
        check_targets(model, Lora(targets=targets), "tiny")
    assert caught.value.allowed == "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    assert "did you mean `q_proj`?" in caught.value.found or targets == "("


@pytest.mark.parametrize(
    ("family", "targets"),
    [("llama", "all-linear"), ("llama", ["q_proj", "v_proj"]), ("llama", r".*\.q_proj"), ("gpt2", ["attn.c_attn"])],
)
def test_lora_on_layers_that_are_there(family: str, targets: str | list[str]) -> None:
    from peft import get_peft_model

    model = load_causal(tiny_ref(family), F32)
    check_targets(model, Lora(targets=targets), "tiny")
    get_peft_model(model, lora_config(Lora(targets=targets), "CAUSAL_LM"))
