"""Messages become tokens: masks counted by hand, and what is trained is what a policy meets when it answers."""

from __future__ import annotations

from typing import Any

import pytest

from align.data import chat
from align.data.records import Message
from align.errors import DataError, ModelError
from align.models.load import load_tokenizer, resolve
from tests import tiny
from tests.tiny import talk

CONVERSATION = talk("Name a colour.", "Blue.", "Is it red?", "No.")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    runs = tmp_path_factory.mktemp("runs")
    return {f: load_tokenizer(resolve(tiny.base_of(runs, f, f))) for f in tiny.FAMILIES}


def marked(tokenizer: Any, row: chat.Encoded) -> str:
    """The row as text, each trained stretch in square brackets."""
    text, inside = "", False
    for token, trained in zip(row.input_ids, row.mask, strict=True):
        if bool(trained) != inside:
            text += "]" if inside else "["
            inside = bool(trained)
        text += tokenizer.decode([token])
    return text + ("]" if inside else "")


MASKS = {
    "llama": [
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nName a colour.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[Blue.<|eot_id|>]"
        "<|start_header_id|>user<|end_header_id|>\n\nIs it red?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[No.<|eot_id|>]"
    ],
    "gemma": [
        "<bos><start_of_turn>user\nName a colour.<end_of_turn>\n<start_of_turn>model\n[Blue.<end_of_turn>]\n"
        "<start_of_turn>user\nIs it red?<end_of_turn>\n<start_of_turn>model\n[No.<end_of_turn>]"
    ],
    "gpt2": [
        "User: Name a colour.\nAssistant:[ Blue.<|endoftext|>]\nUser: Is it red?\nAssistant:[ No.<|endoftext|>]"
    ],
    # The template drops the <think> block of a turn that is past, so that no one row can hold both turns as sampled.
    "qwen3": [
        "<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\n[<think>\n\n</think>\n\nBlue.<|im_end|>]",
        "<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\nBlue.<|im_end|>\n"
        "<|im_start|>user\nIs it red?<|im_end|>\n<|im_start|>assistant\n[<think>\n\n</think>\n\nNo.<|im_end|>]",
    ],
}  # fmt: skip


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_only_the_assistants_turns_are_trained(tokenizers: dict[str, Any], family: str) -> None:
    rows = chat.encode_conversation(tokenizers[family], CONVERSATION)
    assert [marked(tokenizers[family], row) for row in rows] == MASKS[family]


def test_mask_counted_by_hand(tokenizers: dict[str, Any]) -> None:
    """GPT-2 in the plain template: User : _ Name _a _colour . \\n Assistant : | _Blue . EOS | \\n User ..."""
    (row,) = chat.encode_conversation(tokenizers["gpt2"], CONVERSATION)
    assert row.mask == [0] * 10 + [1] * 3 + [0] * 11 + [1] * 3
    trained = [t for t, m in zip(row.input_ids, row.mask, strict=True) if m]
    assert tokenizers["gpt2"].convert_ids_to_tokens(trained) == [
        "ĠBlue", ".", "<|endoftext|>", "ĠNo", ".", "<|endoftext|>",
    ]  # fmt: skip


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("answer", ["a", "assistant", "model", "user", "Assistant", "ue", "\n x \n"])
def test_an_answer_that_also_stands_in_the_template_is_trained_in_its_own_place(
    tokenizers: dict[str, Any], family: str, answer: str
) -> None:
    tokenizer = tokenizers[family]
    (row,) = chat.encode_conversation(tokenizer, talk("Name a colour.", answer))
    trained = [t for t, m in zip(row.input_ids, row.mask, strict=True) if m]
    assert chat.decode_answer(tokenizer, trained) == answer.strip()
    assert row.mask == sorted(row.mask), "one stretch, at the end"
    assert row.input_ids[-1] in chat.stop_ids(tokenizer, None)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("turns", [2, 4, 6])
def test_training_sees_what_sampling_sees(tokenizers: dict[str, Any], family: str, turns: int) -> None:
    """SFT's row, DPO's prompt and answer, the reward model's text: all are the prompt sampled from, and the answer."""
    tokenizer = tokenizers[family]
    messages = talk("Name a colour.", "Blue is one.", "Is it red?", "No.", "Thank you.", "You are welcome.")[:turns]
    prompt, answer = messages[:-1], messages[-1:]
    sampled = chat.encode_prompt(tokenizer, prompt) + chat.encode_completion(tokenizer, prompt, answer)
    assert chat.encode_conversation(tokenizer, messages)[-1].input_ids == sampled
    pair = chat.encode_pair(tokenizer, prompt, answer, talk("x", "Red.")[1:], 256)
    assert pair is not None
    assert pair.prompt_ids + pair.chosen_ids == sampled
    assert chat.encode_scored(tokenizer, prompt, answer, 256) == sampled


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_an_answer_survives_being_sampled_and_read_again(tokenizers: dict[str, Any], family: str) -> None:
    tokenizer, prompt = tokenizers[family], talk("Name a colour.")
    ids = chat.encode_completion(tokenizer, prompt, talk("", "Blue, I think.")[1:])
    text = chat.decode_answer(tokenizer, ids)
    assert text == "Blue, I think."
    assert chat.encode_completion(tokenizer, prompt, [Message(role="assistant", content=text)]) == ids


def test_a_thought_stays_in_the_answer_and_in_its_tokens(tokenizers: dict[str, Any]) -> None:
    tokenizer, prompt = tokenizers["qwen3"], talk("Name a colour.")
    said = [Message(role="assistant", content="<think>\nSky.\n</think>\n\nBlue.")]
    ids = chat.encode_completion(tokenizer, prompt, said)
    assert tokenizer.decode(ids) == "<think>\nSky.\n</think>\n\nBlue.<|im_end|>"
    assert chat.decode_answer(tokenizer, ids) == "<think>\nSky.\n</think>\n\nBlue."


def test_an_opening_turn_by_the_assistant_is_only_read(tokenizers: dict[str, Any]) -> None:
    messages = [Message(role="assistant", content="Hello."), *talk("Name a colour.", "Blue.")]
    (row,) = chat.encode_conversation(tokenizers["llama"], messages)
    text = marked(tokenizers["llama"], row)
    assert text.count("[") == 1
    assert "Hello.<|eot_id|>" in text and text.endswith("[Blue.<|eot_id|>]")
    assert chat.encode_conversation(tokenizers["llama"], messages[:1]) == []


def test_a_system_message_is_read(tokenizers: dict[str, Any]) -> None:
    (row,) = chat.encode_conversation(tokenizers["gpt2"], talk("Name a colour.", "Blue.", system="Be kind."))
    expected = "System: Be kind.\nUser: Name a colour.\nAssistant:[ Blue.<|endoftext|>]"
    assert marked(tokenizers["gpt2"], row) == expected


def test_a_role_the_template_refuses(tokenizers: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"refuses a conversation with the roles \['system', 'user'\]: System role not"):
        chat.encode_prompt(tokenizers["gemma"], talk("Name a colour.", system="Be kind."))
    with pytest.raises(DataError, match="must alternate"):
        chat.encode_prompt(tokenizers["gemma"], [*talk("One."), *talk("Two.")])


def with_template(template: str) -> Any:
    tokenizer = tiny.tokenizer_of("llama")
    tokenizer.chat_template = template
    return tokenizer


def test_a_template_that_closes_no_answer() -> None:
    tokenizer = with_template("{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
                              "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")  # fmt: skip
    for encode in (
        lambda: chat.encode_completion(tokenizer, talk("a"), talk("", "b")[1:]),
        lambda: chat.encode_conversation(tokenizer, talk("a", "b")),
    ):
        with pytest.raises(ModelError, match=r"closes an answer with no special token(.|\n)*set chat_template:"):
            encode()


def test_a_template_that_changes_the_prompt_once_it_is_answered() -> None:
    tokenizer = with_template("{{ messages | length }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}")
    with pytest.raises(ModelError, match=r"renders the prompt differently once an answer follows(.|\n)*only appends"):
        chat.encode_conversation(tokenizer, talk("a", "b"))


def test_pairs_lose_the_oldest_of_the_prompt_first(tokenizers: dict[str, Any]) -> None:
    tokenizer, prompt = tokenizers["gpt2"], talk("How do I bake bread? " * 5)
    good, bad = talk("", "Mix flour.")[1:], talk("", "No.")[1:]
    whole = chat.encode_pair(tokenizer, prompt, good, bad, 256)
    assert whole is not None and not whole.cut
    longest = len(whole.chosen_ids)
    cut = chat.encode_pair(tokenizer, prompt, good, bad, longest + 20)
    assert cut is not None and cut.cut
    assert cut.prompt_ids == whole.prompt_ids[-20:]
    assert (cut.chosen_ids, cut.rejected_ids) == (whole.chosen_ids, whole.rejected_ids)
    assert chat.encode_scored(tokenizer, prompt, good, longest + 20) == cut.prompt_ids + cut.chosen_ids


def test_a_pair_whose_difference_is_cut_off_is_none(tokenizers: dict[str, Any]) -> None:
    same = "Mix flour, water, salt and yeast, then wait. " * 3
    good, bad = talk("", same + "Yes.")[1:], talk("", same + "No.")[1:]
    assert chat.encode_pair(tokenizers["llama"], talk("Bread?"), good, bad, 32) is None
    longer = chat.encode_pair(tokenizers["llama"], talk("Bread?"), good, talk("", "No.")[1:], 32)
    assert longer is not None
    assert len(longer.prompt_ids) + len(longer.chosen_ids) == 32
    assert len(longer.prompt_ids) == 8, "a quarter of the length is kept for the prompt"


def test_every_way_to_stop(tokenizers: dict[str, Any]) -> None:
    gemma = tokenizers["gemma"]
    eos, turn = gemma.convert_tokens_to_ids(["<eos>", "<end_of_turn>"])
    assert chat.stop_ids(gemma, None) == sorted([eos, turn]), "the tokenizer's EOS, and what closes a turn"
    assert chat.stop_ids(gemma, 7) == sorted([eos, turn, 7])
    assert chat.stop_ids(gemma, [7, 9]) == sorted([eos, turn, 7, 9])


def test_template_names(tmp_path: Any) -> None:
    assert chat.template_text("plain") == chat.PLAIN
    (tmp_path / "mine.jinja").write_text("{{ 1 }}", "utf-8")
    assert chat.template_text("mine.jinja", tmp_path) == "{{ 1 }}"
    with pytest.raises(ModelError, match=r"no chat template 'chatlm'(.|\n)*chatml, plain, or a path to a Jinja file"):
        chat.template_text("chatlm", tmp_path)
