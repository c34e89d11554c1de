"""Decoding without ended rows says what transformers' own loop says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from align.data.chat import encode_prompt
from align.models import generate
from align.models.decode import can_decode, thin_products
from align.models.generate import Sampling, sample_batch
from align.models.load import load_merged, load_tokenizer, resolve
from tests import tiny
from tests.tiny import talk

pytestmark = tiny.THIRD_PARTY


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_as_transformers_loop(family: str, temperature: float, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = resolve(tiny.base_of(tmp_path, family))
    model, tokenizer = load_merged(ref, torch.float32), load_tokenizer(ref)
    if getattr(model.config, "sliding_window", None):
        model.config.sliding_window = 8  # shorter than prompt and answer: keys leave the window as well
    hurry_to_end(model, tokenizer)
    questions = ["Name a colour. " * (1 + i % 4) for i in range(12)]
    prompts = [encode_prompt(tokenizer, talk(q)) for q in questions]
    sizes: list[int] = []
    watch = model.register_forward_pre_hook(lambda _, a, k: sizes.append(len(k["input_ids"])), with_kwargs=True)
    sampling = Sampling(temperature, max_new_tokens=24)
    found = sample_batch(model, tokenizer, prompts, range(12), sampling)
    watch.remove()
    assert can_decode(model)
    monkeypatch.setattr(generate, "can_decode", lambda model: False)
    assert found == sample_batch(model, tokenizer, prompts, range(12), sampling)
    if temperature:
        assert len({len(one.ids) for one in found}) > 3, "answers of different lengths"
        assert sizes[0] == 12 > sizes[-1], "ended rows left the batch"


def hurry_to_end(model: Any, tokenizer: Any) -> None:
    """Make the closing token likely, so that answers end at different times."""
    head = model.get_output_embeddings()
    model.set_output_embeddings(Leaning(head, tokenizer.eos_token_id))


class Leaning(torch.nn.Module):
    """An output layer with one logit raised."""

    def __init__(self, head: torch.nn.Module, token: int) -> None:
        super().__init__()
        self.head, self.token, self.weight = head, token, head.weight
        self.lead = math.log(len(head.weight) / 8)  # ends about one answer in nine at each token

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(hidden)
        logits[..., self.token] += self.lead
        return logits


def test_a_model_with_a_recurrent_state_uses_transformers_loop(tmp_path: Any) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    ref = resolve(tiny.base_of(tmp_path, "llama"))
    tokenizer = load_tokenizer(ref)
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4)
    model = MambaForCausalLM(config).eval()
    assert not can_decode(model)
    ids = encode_prompt(tokenizer, talk("Name a colour."))
    found = sample_batch(model, tokenizer, [ids] * 3, [1, 2, 1], Sampling(max_new_tokens=5))
    assert found[0] == found[2] != found[1]


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
def test_a_prompt_tuned_policy_uses_pefts_own_way(tmp_path: Any) -> None:
    from peft import PromptTuningConfig, get_peft_model

    ref = resolve(tiny.base_of(tmp_path, "llama"))
    model, tokenizer = load_merged(ref, torch.float32), load_tokenizer(ref)
    tuned = get_peft_model(model, PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"))
    ids = encode_prompt(tokenizer, talk("Name a colour."))
    (found,) = sample_batch(tuned, tokenizer, [ids], [0], Sampling(0.0, max_new_tokens=6))
    said = list(ids)
    for token in found.ids:
        with torch.no_grad():
            assert token == int(tuned(input_ids=torch.tensor([said])).logits[0, -1].argmax())
        said.append(token)


@pytest.mark.parametrize("bias", [True, False])
def test_large_layers_multiply_the_other_way_round_and_give_the_same(bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(512, 600, bias=bias)
    small = torch.nn.Linear(8, 8)
    model = torch.nn.ModuleList([layer, small])
    x, many = torch.randn(4, 2, 512), torch.randn(49, 512)
    wanted, wanted_many = layer(x), layer(many)
    with thin_products(model):
        assert "forward" in vars(layer) and "forward" not in vars(small)
        got = layer(x)
        assert got.is_contiguous() and torch.allclose(got, wanted, atol=1e-5)
        assert torch.equal(layer(many), wanted_many)  # too many rows to gain anything
    assert "forward" not in vars(layer)
    assert torch.equal(layer(x), wanted)
