"""One base, several roles: each role computes what a model of its own would, and trains what it should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from align.models.adapters import Adapters
from align.trainers.ppo.models import ActorCritic, Reference, Tokens, base_of, head_of, likelihood_loss
from align.trainers.ppo.rollout import collate
from align.trainers.ppo.start import assemble
from align.trainers.weights import no_dropout
from tests import tiny

pytestmark = tiny.THIRD_PARTY

PROMPTS, ANSWERS = [[5, 6, 7], [9], [11, 12]], [[20, 21], [30, 31, 32, 33], [40]]


def tokens() -> Tokens:
    return collate(PROMPTS, ANSWERS, torch.device("cpu"))


def model_of(family: str) -> Any:
    return tiny.model_of(family, tiny.tokenizer_of(family)).eval()


def lora(**changes: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(**({"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | changes))


def one_by_one(model: Any, temperature: float = 1.0) -> Tensor:
    """The answers' log-probabilities from the model's own logits, each episode alone."""
    found = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1] / temperature
        found.append(torch.log_softmax(logits, -1).gather(1, torch.tensor(answer)[:, None])[:, 0])
    return torch.cat(found)


def disturb(model: Any, name: str) -> None:
    """Make an adapter say something else."""
    with torch.no_grad():
        for key, value in model.named_parameters():
            if f".{name}." in key:
                value.add_(0.3)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_log_probabilities_are_those_of_each_episode_alone(family: str, temperature: float) -> None:
    actor, _ = assemble(model_of(family), lora())
    disturb(actor.policy, "default")
    found, entropy, values = actor(tokens(), temperature)
    torch.testing.assert_close(found, one_by_one(actor.policy, temperature), atol=1e-4, rtol=1e-4)
    assert (entropy > 0).all()
    assert values.tolist() == [0] * 7


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("Gemma2", {"final_logit_softcapping": 2.0}),
        ("Cohere", {"logit_scale": 0.3}),
        ("Granite", {"logits_scaling": 4.0}),
    ],
)  # fmt: skip
def test_architectures_that_change_their_logits(name: str, setting: dict[str, float]) -> None:
    import transformers as hf

    shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0,
             "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.5}  # fmt: skip
    torch.manual_seed(0)
    model = getattr(hf, f"{name}ForCausalLM")(getattr(hf, f"{name}Config")(**shape, **setting)).eval()
    actor = ActorCritic(model, None)
    torch.testing.assert_close(actor(tokens())[0], one_by_one(model), atol=1e-4, rtol=1e-4)
    plain = base_of(model).get_output_embeddings()
    states = torch.randn(3, 32)
    assert not torch.allclose(head_of(model)(states), plain(states))


@pytest.mark.parametrize("how", ["new adapter", "continued", "full"])
def test_the_reference_stays_where_the_policy_started(how: str) -> None:
    from peft import get_peft_model

    model = model_of("llama")
    if how == "continued":
        model = get_peft_model(model, lora())
        disturb(model, "default")
    start = one_by_one(model)
    actor, reference = assemble(model, lora() if how == "new adapter" else None)
    torch.testing.assert_close(reference.answer_logprobs(tokens(), 1.0), start, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(actor(tokens())[0], start, atol=1e-4, rtol=1e-4)
    for weight in actor.policy_parameters():
        weight.data.add_(0.1)
    torch.testing.assert_close(reference.answer_logprobs(tokens(), 1.0), start, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(actor(tokens())[0], start, atol=1e-2)


@pytest.mark.parametrize("how", ["new adapter", "continued", "full"])
@pytest.mark.parametrize("separate", [True, False])
def test_who_trains_what(how: str, separate: bool) -> None:
    """Each loss reaches its own weights; with a shared trunk the value loss reaches the policy's too."""
    from peft import get_peft_model

    model = get_peft_model(model_of("llama"), lora()) if how == "continued" else model_of("llama")
    actor, _ = assemble(model, lora() if how == "new adapter" else None)
    if separate:
        actor.separate(None)
        if actor.adapters:
            actor.adapters.train_only("default", True)
    torch.nn.init.normal_(actor.value_head.weight)
    policy, value = actor.policy_parameters(), actor.value_parameters()
    assert {id(p) for p in actor.parameters() if p.requires_grad} == {id(p) for p in [*policy, *value]}
    logprobs, _, values = actor(tokens())
    logprobs.sum().backward(retain_graph=True)
    assert all(p.grad is None for p in value)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in policy)
    actor.zero_grad()
    values.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in value)
    reached = any(p.grad is not None and p.grad.abs().sum() > 0 for p in policy)
    assert reached is not separate
    if how != "full":
        assert {n.split(".")[-2] for n, p in actor.policy.named_parameters() if p.requires_grad} <= {"default", "value"}


def test_switching_adapters_leaves_no_trace() -> None:
    from peft import get_peft_model

    model = get_peft_model(model_of("llama"), lora())
    disturb(model, "default")
    adapters = Adapters(model)
    adapters.add_copy("other", "default", trainable=False)
    alone, bare = one_by_one(model), one_by_one(model.get_base_model())
    disturb(model, "other")
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    with adapters.using(["other"]):
        other = one_by_one(model)
    with adapters.using([]):
        base = one_by_one(model)
    with pytest.raises(ZeroDivisionError), adapters.using([]):
        _ = 1 / 0
    torch.testing.assert_close(one_by_one(model), alone)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert not torch.allclose(other, alone)
    with model.disable_adapter():
        torch.testing.assert_close(base, one_by_one(model))
    del bare


def test_dropout_is_off() -> None:
    model = model_of("gpt2")
    assert any(m.p > 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))
    no_dropout(model)
    model.train()
    torch.testing.assert_close(one_by_one(model), one_by_one(model))


def test_the_likelihood_of_demonstrations() -> None:
    from align.data.chat import Encoded

    model = model_of("llama")
    rows = [Encoded(p + a, [0] * len(p) + [1] * len(a)) for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    torch.testing.assert_close(
        likelihood_loss(model, rows, torch.device("cpu")), -one_by_one(model).mean(), atol=1e-5, rtol=1e-4
    )


def test_a_full_reference_is_a_second_model() -> None:
    model = model_of("llama")
    reference = Reference(model, None, continued=False)
    assert reference.policy is not model
    assert not any(p.requires_grad for p in reference.policy.parameters())
