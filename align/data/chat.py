"""The one place where messages become tokens: chat templates, loss masks, and what a reward model reads.

A prompt and what follows it are tokenised separately and joined, because that is what happens when a policy answers:
it sees the prompt's tokens and adds its own. Training and scoring on text tokenised as a whole would merge tokens
across that border into ones the policy never sees.

Masks: 1 marks a token that is trained or scored, 0 one that is only read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.data.records import Message
from align.errors import DataError, ModelError

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The template of base models made by `pretrain`; needs the tokens <|im_start|> and <|im_end|>."""

PLAIN = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize + ':' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{{ ' ' + message['content'] | trim + eos_token }}"
    "{% endgeneration %}{{ '\n' }}{% else %}{{ ' ' + message['content'] | trim + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""For tokenizers without special chat tokens, such as GPT-2's: `User: ...`, `Assistant: ...` and the EOS token.

The space after `Assistant:` belongs to the answer: GPT-2's tokens begin with it, and a prompt ending in a space would
be followed by tokens that are rare in text.
"""

EMPTY_THOUGHT = re.compile(r"^<think>\s*</think>\s*")
"""What Qwen3's template puts before an answer that was given without thinking."""

TEMPLATES = {"chatml": CHATML, "plain": PLAIN}


@dataclass(frozen=True)
class Encoded:
    """A conversation as tokens. input_ids and mask have equal length; mask is 1 on the assistant's tokens."""

    input_ids: list[int]
    mask: list[int]


@dataclass(frozen=True)
class EncodedAnswers:
    """Several answers to a prompt as tokens, each with its closing token. cut: True if any lost tokens."""

    prompt_ids: list[int]
    answer_ids: list[list[int]]
    cut: bool


@dataclass(frozen=True)
class EncodedPair:
    """A comparison as tokens: the shared prompt, and the two continuations with their closing token."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    cut: bool
    """True if the row was longer than allowed and lost tokens."""


def template_text(name: str, folder: Path | None = None) -> str:
    """The template called `chatml` or `plain`, or the text of a Jinja file (relative to `folder`)."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    path = (folder / name) if folder else Path(name)
    try:
        return path.read_text("utf-8")
    except OSError:
        raise ModelError(
            f"there is no chat template {name!r}", allowed="chatml, plain, or a path to a Jinja file", where=str(path)
        ) from None


def as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as the plain dictionaries that templates and judges take."""
    return [{"role": m.role, "content": m.content} for m in messages]


def render(tokenizer: Any, messages: Sequence[Message], *, answer_next: bool = False) -> str:
    """The conversation as text in the chat template; with `answer_next`, up to where the assistant speaks."""
    try:
        text = tokenizer.apply_chat_template(as_dicts(messages), tokenize=False, add_generation_prompt=answer_next)
    except Exception as error:  # templates raise whatever they like (TemplateError, KeyError ...)
        raise DataError(
            f"the chat template refuses a conversation with the roles {[m.role for m in messages]}: {error}",
            remedy="use roles the template knows, or set chat_template: on the model's source",
        ) from error
    return str(text)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of text that already holds its special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """What a policy reads before it answers."""
    return encode_text(tokenizer, render(tokenizer, messages, answer_next=True))


def encode_completion(tokenizer: Any, prompt: Sequence[Message], completion: Sequence[Message]) -> list[int]:
    """What the assistant adds to a prompt, its closing token included and nothing after it.

    Raises ModelError if the template renders a prompt differently once an answer follows, or closes no answer.
    """
    before, whole = _before_and_whole(tokenizer, prompt, completion)
    return _closed(tokenizer, whole[len(before) :])


def _before_and_whole(tokenizer: Any, prompt: Sequence[Message], completion: Sequence[Message]) -> tuple[str, str]:
    """The prompt as text, up to where the assistant speaks, and the same text with what the assistant says."""
    before = render(tokenizer, prompt, answer_next=True)
    whole = render(tokenizer, [*prompt, *completion]).rstrip()
    if not whole.startswith(before):
        raise ModelError(
            "the chat template renders the prompt differently once an answer follows it, so that training and "
            f"sampling would see different text: {before[-60:]!r} is no beginning of {whole[:200]!r}",
            remedy="set chat_template: on the model's source to a template that only appends",
        )
    return before, whole


def _closed(tokenizer: Any, said: str) -> list[int]:
    """Tokens of what the assistant says, which must end in a special token."""
    ids = encode_text(tokenizer, said)
    if not ids or ids[-1] not in special_ids(tokenizer):
        raise ModelError(
            "the chat template closes an answer with no special token, so that a policy would never learn to stop",
            remedy="set chat_template: on the model's source to one that ends the assistant's turn with EOS",
        )
    return ids


def encode_conversation(tokenizer: Any, messages: Sequence[Message]) -> list[Encoded]:
    """A demonstration as tokens, trained on every assistant turn and its closing token only.

    A turn is trained exactly as the policy would sample it: from where the prompt before it ends (so that what a
    template puts there itself, such as Qwen3's empty <think> block, is learned too). As a rule that gives one row.
    Templates that render a turn differently once it is past (Qwen3 drops the <think> block) give a row for each
    stretch of turns that agree; a turn is trained in one row only. An opening turn by the assistant answers nothing
    and is only read. Raises ModelError as `encode_completion` does.
    """
    rows: list[tuple[str, list[int], list[int]]] = []
    for i, message in enumerate(messages):
        if message.role != "assistant" or i == 0:
            continue
        before, whole = _before_and_whole(tokenizer, messages[:i], [message])
        text, ids, mask = rows[-1] if rows and before.startswith(rows[-1][0]) else ("", [], [])
        if text:
            rows.pop()
        read, said = encode_text(tokenizer, before[len(text) :]), _closed(tokenizer, whole[len(before) :])
        rows.append((whole, [*ids, *read, *said], [*mask, *[0] * len(read), *[1] * len(said)]))
    return [Encoded(ids, mask) for _, ids, mask in rows]


def encode_answers(
    tokenizer: Any, prompt: Sequence[Message], answers: Sequence[Sequence[Message]], max_length: int
) -> EncodedAnswers:
    """Answers to one prompt as tokens, prompt and answer together at most `max_length` long.

    The prompt loses its oldest tokens first, because the newest turn is what is answered, and as many for every answer,
    so that only the answers differ; an answer is cut at its end only when it alone is too long.
    """
    prompt_ids = encode_prompt(tokenizer, prompt)
    answer_ids = [encode_completion(tokenizer, prompt, answer) for answer in answers]
    longest = max(len(ids) for ids in answer_ids)
    if len(prompt_ids) + longest <= max_length:
        return EncodedAnswers(prompt_ids, answer_ids, cut=False)
    room = max(max_length - longest, min(len(prompt_ids), max_length // 4))
    prompt_ids = prompt_ids[-room:]
    return EncodedAnswers(prompt_ids, [ids[: max_length - len(prompt_ids)] for ids in answer_ids], cut=True)


def encode_pair(
    tokenizer: Any,
    prompt: Sequence[Message],
    chosen: Sequence[Message],
    rejected: Sequence[Message],
    max_length: int,
) -> EncodedPair | None:
    """A comparison as tokens, cut as `encode_answers` does; None if cutting removes the difference."""
    encoded = encode_answers(tokenizer, prompt, [chosen, rejected], max_length)
    chosen_ids, rejected_ids = encoded.answer_ids
    if encoded.cut and chosen_ids == rejected_ids:
        return None
    return EncodedPair(encoded.prompt_ids, chosen_ids, rejected_ids, encoded.cut)


def encode_answer(
    tokenizer: Any, prompt: Sequence[Message], completion: Sequence[Message], max_length: int
) -> tuple[list[int], list[int]]:
    """One answer as tokens: (prompt, answer with its closing token), cut as `encode_pair` cuts."""
    before, whole = _before_and_whole(tokenizer, prompt, completion)
    prompt_ids, answer_ids = encode_text(tokenizer, before), _closed(tokenizer, whole[len(before) :])
    room = max(max_length - len(answer_ids), min(len(prompt_ids), max_length // 4))
    prompt_ids = prompt_ids[-room:]
    return prompt_ids, answer_ids[: max_length - len(prompt_ids)]


def encode_scored(
    tokenizer: Any, prompt: Sequence[Message], completion: Sequence[Message], max_length: int
) -> list[int]:
    """What a reward model reads, in training and everywhere else: prompt and answer with its closing token."""
    prompt_ids, answer_ids = encode_answer(tokenizer, prompt, completion, max_length)
    return prompt_ids + answer_ids


def special_ids(tokenizer: Any) -> set[int]:
    """Ids of all special tokens, those a tokenizer declares only as added tokens included."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return set(tokenizer.all_special_ids) | added


def stop_ids(tokenizer: Any, generation_eos: int | Sequence[int] | None) -> list[int]:
    """Every id that ends an answer: the tokenizer's EOS, those the model declares, what the template closes with."""
    found = {tokenizer.eos_token_id}
    if isinstance(generation_eos, int):
        found.add(generation_eos)
    elif generation_eos:
        found.update(generation_eos)
    closing = encode_completion(
        tokenizer, [Message(role="user", content="a")], [Message(role="assistant", content="a")]
    )[-1]
    found.add(closing)
    return sorted(i for i in found if i is not None)


def decode_answer(tokenizer: Any, ids: Sequence[int]) -> str:
    """Sampled tokens as an answer's text; special tokens, the spaces around it and an empty <think> block removed.

    The template puts the empty block back when the answer becomes tokens again.
    """
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
    return EMPTY_THOUGHT.sub("", text)
