"""The shapes of public rows, one reader a format: a row's columns -> the fields of a record.

A reader takes what it uses out of `columns`; what it leaves there becomes the record's `meta`. Where text is joined
or cut on the way, `meta` also keeps what is needed to put the original together again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from align.data.fields import Place, fault, near, need, show
from align.errors import DataError

Columns = dict[str, Any]
Turns = list[dict[str, str]]

ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "model", "function_call"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "observation", "function"), "tool"),
}
"""What public files call a speaker -> our role."""

PLAIN = {"user", "human", "assistant", "gpt", "system", "tool"}
"""Names that our role says completely; any other is kept in meta."""

QUESTIONS = ("prompt", "question", "query")
ANSWERS = ("completion", "response", "answer", "output")
"""What files call question and answer of a row that has no messages; the first is TRL's name."""

HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
HH_NAMES = {"user": "Human", "assistant": "Assistant"}


def alpaca(columns: Columns, kind: str, place: Place) -> Columns:
    """instruction, input, output, or chosen and rejected for output; LLaMA-Factory's system and history.

    The input follows the instruction after a line break.
    """
    question = need(columns, "instruction", "text", place)
    meta: Columns = {}
    if columns.get("input"):
        question += "\n" + need(columns, "input", "text", place)
        meta["input"] = columns["input"]
    turns: Turns = []
    for pair in columns.get("history") or []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise fault(place, f"an entry is {show(pair)}", field="history", allowed="[question, answer] pairs")
        turns += [_turn("user", pair[0]), _turn("assistant", pair[1])]
    turns.append(_turn("user", question))
    _with_system(turns, columns, meta)
    _drop(columns, "instruction", "input", "history")
    if kind == "preferences":
        return {"prompt": turns, "meta": meta} | _sides(columns, place, meta)
    if kind == "prompts" and "output" not in columns:
        return {"prompt": turns, "meta": meta}
    answer = need(columns, "output", "text", place)
    del columns["output"]
    if kind == "prompts":
        return {"prompt": turns, "reference": answer, "meta": meta}
    return {"messages": [*turns, _turn("assistant", answer)], "meta": meta}


def conversation(columns: Columns, kind: str, place: Place) -> Columns:
    """sharegpt `conversations` or OpenAI `messages`, alone or with chosen/rejected or label."""
    name = "conversations" if "conversations" in columns else "messages"
    meta: Columns = {}
    turns = _messages(columns, name, place, meta)
    _with_system(turns, columns, meta)
    del columns[name]
    if kind == "preferences":
        return {"prompt": turns, "meta": meta} | _sides(columns, place, meta)
    if kind == "feedback":
        label = _label(columns, "kto_tag" if "kto_tag" in columns and "label" not in columns else "label", place)
        if len(turns) < 2 or turns[-1]["role"] != "assistant":
            allowed = "a question, and the assistant's answer as the last message"
            raise fault(place, "the last message is no answer of the assistant", field=name, allowed=allowed)
        return {"prompt": turns[:-1], "completion": turns[-1:], "label": label, "meta": meta}
    if kind == "prompts" and len(turns) > 1 and turns[-1]["role"] == "assistant":
        return {"prompt": turns[:-1], "reference": turns[-1]["content"], "meta": meta}
    return {"prompt" if kind == "prompts" else "messages": turns, "meta": meta}


def hh_rlhf(columns: Columns, kind: str, place: Place) -> Columns:
    """Two dialogues as text. Their shared turns are the prompt; each goes on with the turns where they differ."""
    meta: Columns = {}
    both = []
    for side in ("chosen", "rejected"):
        text = need(columns, side, "text", place)
        turns = hh_turns(text)
        if not turns:
            allowed = 'a dialogue: "\\n\\nHuman: ...\\n\\nAssistant: ..."'
            raise fault(place, f"`{side}` is {show(text)}, no dialogue", field=side, allowed=allowed)
        if hh_text(turns) != text:  # Turns without the usual spaces: keep the text as it was.
            meta[side] = text
        both.append(turns)
    _drop(columns, "chosen", "rejected")
    return _pair(both, columns, kind, place) | {"meta": meta}


def hh_turns(text: str) -> Turns:
    """The turns of an HH-RLHF dialogue, or none if the text does not begin with a speaker.

    One space after the colon belongs to the format; further spaces belong to what was said.
    """
    parts = HH_TURN.split(text)
    if parts[0].strip() or len(parts) < 3:
        return []
    roles = {name: role for role, name in HH_NAMES.items()}
    return [_turn(roles[name], said.removeprefix(" ")) for name, said in zip(parts[1::2], parts[2::2], strict=True)]


def hh_text(turns: Turns) -> str:
    """The inverse of `hh_turns`."""
    return "".join(f"\n\n{HH_NAMES[t['role']]}: {t['content']}" for t in turns)


def trl(columns: Columns, kind: str, place: Place) -> Columns:
    """TRL rows: a prompt alone, with a completion, or chosen/rejected with an explicit or implicit prompt."""
    meta: Columns = {}
    _rename(columns, QUESTIONS)
    if kind == "preferences" or (kind == "prompts" and {"chosen", "rejected"} <= set(columns)):
        return _trl_pair(columns, kind, place, meta) | {"meta": meta}
    prompt = _asked(columns, "prompt", place, meta)
    del columns["prompt"]
    _with_system(prompt, columns, meta)
    if kind == "prompts":
        return {"prompt": prompt, "meta": meta}
    _rename(columns, ANSWERS)
    completion = _continuation(columns, "completion", place, meta)
    del columns["completion"]
    return {"messages": prompt + completion, "meta": meta | {"prompt_turns": len(prompt)}}


def _trl_pair(columns: Columns, kind: str, place: Place, meta: Columns) -> Columns:
    chosen, rejected = (need(columns, side, "text | list | object", place) for side in ("chosen", "rejected"))
    if "prompt" not in columns and isinstance(chosen, str) and isinstance(rejected, str):
        _only_a_pair(columns, place)
        both = _split_texts(chosen, rejected, place)
    else:
        both = [_continuation(columns, side, place, meta) for side in ("chosen", "rejected")]
        if "prompt" in columns:
            return _trl_explicit(_asked(columns, "prompt", place, meta), both, columns, kind, place)
    _drop(columns, "chosen", "rejected")
    return _pair(both, columns, kind, place)


def _only_a_pair(columns: Columns, place: Place) -> None:
    """Cutting two texts where they differ is right only if no other column could hold the prompt."""
    known = ("chosen", "rejected", "id", "source", "tags")
    others = [name for name, value in columns.items() if name not in known and isinstance(value, str | list)]
    if others:
        raise fault(
            place,
            f"there is no `prompt` beside chosen and rejected{near('prompt', others)}",
            field="prompt",
            allowed=f"a column named `prompt`; the others here are {', '.join(others)}",
        )


def _trl_explicit(prompt: Turns, both: list[Turns], columns: Columns, kind: str, place: Place) -> Columns:
    """A pair with a prompt of its own. Some files give the prompt, and once more inside chosen and rejected."""
    repeated = all(turns[: len(prompt)] == prompt and len(turns) > len(prompt) for turns in both)
    if not repeated and all(turns[0]["role"] in ("system", "user") and len(turns) > 1 for turns in both):
        # Whole dialogues whose first turns are worded otherwise (a system message, say): the prompt goes to meta.
        _drop(columns, "chosen", "rejected")
        return _pair(both, columns, kind, place)
    if kind == "prompts":
        del columns["prompt"]
        _with_system(prompt, columns, {})
        return {"prompt": prompt}
    chosen, rejected = (turns[len(prompt) :] if repeated else turns for turns in both)
    _drop(columns, "chosen", "rejected", "prompt")
    _with_system(prompt, columns, {})
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected} | _margin(columns)


def _split_texts(chosen: str, rejected: str, place: Place) -> list[Turns]:
    """Two plain texts: what they share up to the first difference is the prompt, as TRL cuts them."""
    at = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), -1)
    if at < 0:  # One begins with the whole other, or they are equal.
        at = 0
    if at and chosen[at - 1] == " ":
        at -= 1
    if not at:
        raise _no_prompt(place, [])
    return [[_turn("user", text[:at]), _turn("assistant", text[at:])] for text in (chosen, rejected)]


def _pair(both: list[Turns], columns: Columns, kind: str, place: Place) -> Columns:
    """Two dialogues -> prompt, chosen, rejected. The prompt is what they share, and ends before an assistant's turn."""
    chosen, rejected = both
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    while shared and chosen[shared - 1]["role"] == "assistant":
        shared -= 1
    if not shared:
        raise _no_prompt(place, columns)
    prompt = chosen[:shared]
    if kind == "prompts":
        columns["chosen"], columns["rejected"] = chosen[shared:], rejected[shared:]
        return {"prompt": prompt}
    return {"prompt": prompt, "chosen": chosen[shared:], "rejected": rejected[shared:]} | _margin(columns)


def _no_prompt(place: Place, columns: Iterable[str]) -> DataError:
    return fault(
        place,
        f"chosen and rejected do not begin with the same question{near('prompt', columns)}",
        field="chosen",
        allowed="a `prompt`, or a question that both begin with",
    )


def kto(columns: Columns, kind: str, place: Place) -> Columns:
    """prompt, completion, label: a thumb up or down for one answer."""
    meta: Columns = {}
    prompt = _asked(columns, "prompt", place, meta)
    if kind == "prompts":
        del columns["prompt"]
        return {"prompt": prompt, "meta": meta}
    completion = _continuation(columns, "completion", place, meta)
    label = _label(columns, "label", place)
    _drop(columns, "prompt", "completion")
    return {"prompt": prompt, "completion": completion, "label": label, "meta": meta}


def ultrafeedback(columns: Columns, kind: str, place: Place) -> Columns:
    """Scored answers -> a ranking: the highest score is rank 1, equal scores tie, no score is no rank."""
    meta: Columns = {}
    asked = "instruction" if "instruction" in columns else "prompt"
    prompt = _asked(columns, asked, place, meta)
    del columns[asked]
    if kind == "prompts":
        return {"prompt": prompt, "meta": meta}
    answers, scores, extras = _scored(columns, place)
    ranks = [None if s is None else 1 + sum(o is not None and o > s for o in scores) for s in scores]
    ratings = {a["id"]: {"score": s} for a, s in zip(answers, scores, strict=True) if s is not None}
    if any(extras):
        meta["completions"] = extras
    fields: Columns = {"prompt": prompt, "answers": answers, "ranks": ranks, "ratings": ratings, "meta": meta}
    annotator = columns.pop("annotator", "ultrafeedback")
    return fields | {"annotator": annotator}


def _scored(columns: Columns, place: Place) -> tuple[list[dict[str, str]], list[float | None], list[Columns]]:
    """The answers of a scored row, their scores, and what else stood beside each."""
    if "completions" in columns:
        rows = need(columns, "completions", "list", place)
        rows = [dict(c) if isinstance(c, dict) else {"response": c} for c in rows]
        del columns["completions"]
    else:
        texts, values = need(columns, "responses", "list", place), need(columns, "scores", "list", place)
        if len(texts) != len(values):
            found = f"{len(values)} scores for {len(texts)} responses"
            raise fault(place, found, field="scores", allowed="one score for each response, null if it has none")
        rows = [{"response": text, "score": value} for text, value in zip(texts, values, strict=True)]
        _drop(columns, "responses", "scores")
    answers, scores = [], []
    for i, row in enumerate(rows):
        at = f"completions[{i}]"
        text = next((n for n in ("response", "completion", "text", "content") if n in row), "response")
        answers.append({"id": f"a{i + 1}", "text": need(row, text, "text", place, at)})
        del row[text]
        if isinstance(row.get("model"), str):
            answers[-1]["model"] = row.pop("model")
        name = next((n for n in ("overall_score", "score", "rating") if n in row), "score")
        scores.append(_score(row.pop(name, None), f"{at}.{name}", place))
    return answers, scores, rows


def _score(value: Any, field: str, place: Place) -> float | None:
    """A number, a number as text, or None where the file says that there is none."""
    if value is None or value == "N/A" or value == "":
        return None
    try:
        return float(value if not isinstance(value, bool) else "a boolean")
    except (TypeError, ValueError):
        raise fault(place, f"the score is {show(value)}", field=field, allowed="a number, or null") from None


def text(columns: Columns, kind: str, place: Place) -> Columns:
    """A plain document, or a prompt a line."""
    content = need(columns, "text", "text", place)
    del columns["text"]
    return {"prompt": [_turn("user", content)]} if kind == "prompts" else {"text": content}


def _with_system(turns: Turns, columns: Columns, meta: Columns) -> None:
    """A `system` column of text becomes the first turn."""
    if isinstance(columns.get("system"), str) and columns["system"] and turns[0]["role"] != "system":
        turns.insert(0, _turn("system", columns["system"]))
        meta["system"] = columns.pop("system")


def _sides(columns: Columns, place: Place, meta: Columns) -> Columns:
    """chosen and rejected beside a prompt that stands elsewhere."""
    chosen, rejected = (_continuation(columns, side, place, meta) for side in ("chosen", "rejected"))
    _drop(columns, "chosen", "rejected")
    return {"chosen": chosen, "rejected": rejected} | _margin(columns)


def _rename(columns: Columns, names: tuple[str, ...]) -> None:
    """The first of `names` that is there is called names[0] from here on."""
    name = next((name for name in names if name in columns), names[0])
    if name != names[0]:
        columns[names[0]] = columns.pop(name)


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _drop(columns: Columns, *names: str) -> None:
    for name in names:
        columns.pop(name, None)


def _asked(columns: Columns, field: str, place: Place, meta: Columns) -> Turns:
    """A prompt as text or messages."""
    value = need(columns, field, "text | list", place)
    return [_turn("user", value)] if isinstance(value, str) else _messages(columns, field, place, meta)


def _continuation(columns: Columns, field: str, place: Place, meta: Columns) -> Turns:
    """An answer as text, one message, or messages."""
    value = need(columns, field, "text | list | object", place)
    if isinstance(value, str):
        return [_turn("assistant", value)]
    return _messages({field: [value] if isinstance(value, dict) else value}, field, place, meta)


def _messages(columns: Columns, field: str, place: Place, meta: Columns) -> Turns:
    """A list of {role, content} or {from, value} as our messages; what else they hold goes to meta under `field`."""
    value = need(columns, field, "list", place)
    if not value:
        raise fault(place, f"`{field}` is an empty list", field=field, allowed="at least one message")
    turns: Turns = []
    extras: dict[str, Columns] = {}
    for i, message in enumerate(value):
        at = f"{field}[{i}]"
        if not isinstance(message, dict):
            raise fault(place, f"`{at}` is {show(message)}", field=at, allowed="{role, content} or {from, value}")
        speaker, words = ("from", "value") if "from" in message else ("role", "content")
        name, said = (need(message, key, "text", place, at) for key in (speaker, words))
        if name not in ROLES:
            raise fault(place, f"`{at}.{speaker}` is {show(name)}", field=f"{at}.{speaker}", allowed=", ".join(ROLES))
        rest = {k: v for k, v in message.items() if k not in (words, speaker) or (k == speaker and name not in PLAIN)}
        if rest:
            extras[str(i)] = rest
        turns.append(_turn(ROLES[name], said))
    if extras:
        meta[f"{field}_fields"] = extras
    return turns


def _label(columns: Columns, field: str, place: Place) -> bool:
    """A thumb: true/false, or 1/0 as some files write it."""
    value = columns.get(field)
    if not isinstance(value, bool) and value in (0, 1) and isinstance(value, int):
        columns[field] = bool(value)
    label: bool = need(columns, field, "true or false", place)
    del columns[field]
    return label


def _margin(columns: Columns) -> Columns:
    """The margin, where scores of both sides are given; the scores themselves stay in meta."""
    scores = [columns.get(name) for name in ("score_chosen", "score_rejected")]
    if "margin" in columns or not all(isinstance(s, int | float) and not isinstance(s, bool) for s in scores):
        return {}
    return {"margin": float(scores[0] - scores[1])}  # type: ignore[operator]


READERS: dict[str, Callable[[Columns, str, Place], Columns]] = {
    "alpaca": alpaca,
    "sharegpt": conversation,
    "messages": conversation,
    "hh-rlhf": hh_rlhf,
    "trl": trl,
    "kto": kto,
    "ultrafeedback": ultrafeedback,
    "text": text,
}
"""Format -> its reader."""
