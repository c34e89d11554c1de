"""Sampling: seeded for each answer, from the distribution it says, untouched by the model's own settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from align.data.chat import encode_completion, encode_prompt
from align.models.generate import Sampling, keep_nucleus, sample_batch
from align.models.load import load_merged, load_tokenizer, resolve
from tests import tiny
from tests.tiny import talk


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    ref = resolve(tiny.base_of(tmp_path_factory.mktemp("runs"), request.param))
    return load_merged(ref, torch.float32), load_tokenizer(ref)


@pytest.fixture
def llama(tmp_path: Any) -> tuple[Any, Any]:
    ref = resolve(tiny.base_of(tmp_path, "llama"))
    return load_merged(ref, torch.float32), load_tokenizer(ref)


def always(model: Any, probabilities: dict[int, float]) -> None:
    """Make a Llama-shaped model give these next-token probabilities wherever it is."""
    size = model.config.vocab_size
    head = torch.nn.Linear(model.config.hidden_size, size)
    torch.nn.init.zeros_(head.weight)
    logits = torch.full((size,), -1e9)
    for token, probability in probabilities.items():
        logits[token] = float(torch.log(torch.tensor(probability)))
    head.bias.data = logits
    model.lm_head = head


def test_an_answer_does_not_depend_on_its_company(policy: tuple[Any, Any]) -> None:
    model, tokenizer = policy
    prompts = [encode_prompt(tokenizer, talk(q)) for q in (*tiny.QUESTIONS, "How do I bake bread? " * 3)]
    seeds = list(range(100, 100 + len(prompts)))
    sampling = Sampling(temperature=0.9, top_p=0.95, max_new_tokens=12)
    together = sample_batch(model, tokenizer, prompts, seeds, sampling)
    alone = [sample_batch(model, tokenizer, [p], [s], sampling)[0] for p, s in zip(prompts, seeds, strict=True)]
    assert together == alone
    turned = sample_batch(model, tokenizer, prompts[::-1], seeds[::-1], sampling)[::-1]
    assert turned == alone
    others = sample_batch(model, tokenizer, prompts, [s + 1 for s in seeds], sampling)
    assert sum(a != b for a, b in zip(alone, others, strict=True)) >= len(prompts) - 1, "another seed, another answer"


def test_samples_follow_the_softmax(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    counts = frequencies(model, tokenizer, {65: 0.5, 66: 0.25, 67: 0.15, 68: 0.1}, Sampling(max_new_tokens=1))
    # Chi-square with 3 degrees of freedom: 21.1 is exceeded once in 10,000 runs, and the seeds are fixed.
    assert chi_square(counts, {65: 0.5, 66: 0.25, 67: 0.15, 68: 0.1}) < 21.1


def test_temperature_sharpens(llama: tuple[Any, Any]) -> None:
    """p ** (1 / 0.5): 0.8 and 0.2 become 0.64 and 0.04, of 0.68."""
    counts = frequencies(*llama, {65: 0.8, 66: 0.2}, Sampling(temperature=0.5, max_new_tokens=1))
    assert chi_square(counts, {65: 0.64 / 0.68, 66: 0.04 / 0.68}) < 15.1


def test_the_nucleus_is_drawn_from_in_proportion(llama: tuple[Any, Any]) -> None:
    """top_p 0.7 keeps 0.5 and 0.25: the second begins at 0.5, below 0.7; the third would begin at 0.75."""
    counts = frequencies(*llama, {65: 0.5, 66: 0.25, 67: 0.15, 68: 0.1}, Sampling(top_p=0.7, max_new_tokens=1))
    assert chi_square(counts, {65: 2 / 3, 66: 1 / 3}) < 15.1


def frequencies(
    model: Any, tokenizer: Any, probabilities: dict[int, float], sampling: Sampling, draws: int = 4000
) -> dict[int, int]:
    always(model, probabilities)
    found = sample_batch(model, tokenizer, [[5]] * draws, range(draws), sampling)
    counts: dict[int, int] = {}
    for one in found:
        counts[one.ids[0]] = counts.get(one.ids[0], 0) + 1
    return counts


def chi_square(counts: dict[int, int], expected: dict[int, float]) -> float:
    assert counts.keys() == expected.keys()
    total = sum(counts.values())
    return sum((counts[t] - total * p) ** 2 / (total * p) for t, p in expected.items())


def test_keep_nucleus_by_hand() -> None:
    logprobs = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.97, 0.01, 0.01, 0.01]]).log()
    kept = keep_nucleus(logprobs, 0.7).isfinite().tolist()
    assert kept == [[False, True, False, True], [True, False, False, False]]
    assert keep_nucleus(logprobs, 0.8).isfinite().tolist()[0] == [False, True, True, True]
    assert torch.equal(keep_nucleus(logprobs, 0.7)[0, 1], logprobs[0, 1]), "what is kept keeps its value"


def test_temperature_zero_takes_the_likeliest_token(policy: tuple[Any, Any]) -> None:
    model, tokenizer = policy
    prompt = encode_prompt(tokenizer, talk("Name a colour."))
    (found,) = sample_batch(model, tokenizer, [prompt], [0], Sampling(temperature=0.0, max_new_tokens=6))
    ids = list(prompt)
    for token in found.ids:
        with torch.no_grad():
            assert token == int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
    assert len(found.ids) == 6 or found.finished


def test_the_models_own_generation_settings_have_no_effect_and_stay(policy: tuple[Any, Any]) -> None:
    model, tokenizer = policy
    prompts = [encode_prompt(tokenizer, talk(q)) for q in tiny.QUESTIONS[:3]]
    sampling = Sampling(max_new_tokens=10)
    wanted = sample_batch(model, tokenizer, prompts, [1, 2, 3], sampling)
    own = model.generation_config
    changes = {"repetition_penalty": 7.0, "top_k": 1, "do_sample": True, "temperature": 0.01, "no_repeat_ngram_size": 1,
               "min_new_tokens": 9, "suppress_tokens": list(range(100))}  # fmt: skip
    before = {name: getattr(own, name) for name in changes}
    try:
        for name, value in changes.items():
            setattr(own, name, value)
        model.train()
        assert sample_batch(model, tokenizer, prompts, [1, 2, 3], sampling) == wanted
        assert model.generation_config is own
        assert {name: getattr(own, name) for name in changes} == changes
        assert model.training, "the mode is put back"
    finally:
        model.eval()
        for name, value in before.items():
            setattr(own, name, value)


@pytest.mark.parametrize("stop", ["<|eot_id|>", "<|end_of_text|>"])
def test_every_declared_eos_stops(llama: tuple[Any, Any], stop: str) -> None:
    model, tokenizer = llama
    token = tokenizer.convert_tokens_to_ids(stop)
    always(model, {token: 1.0})
    found = sample_batch(model, tokenizer, [[5], [6, 7]], [1, 2], Sampling(max_new_tokens=5))
    assert [(one.ids, one.text, one.finished) for one in found] == [([token], "", True)] * 2


def test_an_answer_that_does_not_close(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    always(model, {tokenizer.convert_tokens_to_ids("A"): 1.0})
    (found,) = sample_batch(model, tokenizer, [[5]], [1], Sampling(max_new_tokens=3))
    assert (found.text, found.finished, len(found.ids)) == ("AAA", False, 3)


def test_what_is_sampled_is_what_training_reads(tmp_path: Any) -> None:
    """A closed answer, written down as text and read again for training, has the ids that were sampled."""
    ref = resolve(tiny.base_of(tmp_path, "gpt2"))
    model, tokenizer = load_merged(ref, torch.float32), load_tokenizer(ref)
    words = tokenizer.convert_tokens_to_ids(["Ġa", "ĠParis", "Ġred", "Ġbread"])
    always(model, dict.fromkeys([*words, tokenizer.eos_token_id], 0.2))
    prompt = talk("Name a colour.")
    ids = encode_prompt(tokenizer, prompt)
    found = sample_batch(model, tokenizer, [ids] * 20, range(20), Sampling(max_new_tokens=30))
    closed = [one for one in found if one.finished]
    assert max(len(one.ids) for one in closed) > 3
    for one in closed:
        if one.text:
            assert encode_completion(tokenizer, prompt, talk("", one.text)[1:]) == one.ids
