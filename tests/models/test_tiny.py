"""The base model made from scratch."""

from __future__ import annotations

from align.data.chat import encode_completion, encode_prompt, stop_ids
from align.models.tiny import END, PAD, START, make_model, train_tokenizer
from tests import tiny
from tests.tiny import talk


def test_tokenizer_and_model_fit_each_other() -> None:
    tokenizer = train_tokenizer(tiny.TEXTS, 320, 64)
    assert len(tokenizer) <= 320
    assert tokenizer.convert_tokens_to_ids([PAD, START, END]) == [0, 1, 2]
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, END)
    model = make_model(tokenizer, hidden_size=32, layers=1, heads=2, context=64)
    assert model.get_input_embeddings().weight.shape == (len(tokenizer), 32)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.generation_config.eos_token_id == 2
    assert stop_ids(tokenizer, None) == [2]


def test_any_text_survives_the_tokenizer() -> None:
    tokenizer = train_tokenizer(tiny.TEXTS, 300, 64)
    for text in ("你好，世界", "a\u0000b\t\r\n", "😀 é  two  spaces "):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    prompt = encode_prompt(tokenizer, talk("你好"))
    assert tokenizer.decode(prompt) == "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(encode_completion(tokenizer, talk("你好"), talk("", "好")[1:])) == "好<|im_end|>"
