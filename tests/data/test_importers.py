"""Every public format, by hand-written rows: what they become, and that nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.data.fields import Place
from align.data.importers import detect_format, detect_kind, import_file, scan_file
from align.errors import DataError

U, A, S = "user", "assistant", "system"


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def hh(*turns: tuple[str, str]) -> str:
    return "".join(f"\n\n{name}: {text}" for name, text in turns)


def write(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def one(tmp_path: Path, kind: str, row: dict[str, Any], format: str = "auto") -> tuple[str, dict[str, Any]]:
    """(format, the record's fields but its id, defaults left out)."""
    imported = import_file(write(tmp_path, row), kind, format)
    assert imported.lines == [1]
    return imported.format, imported.records[0].model_dump(exclude_defaults=True, exclude={"id"})


Q, GOOD, BAD = said((U, "q")), said((A, "good")), said((A, "bad"))
PAIR = {"prompt": Q, "chosen": GOOD, "rejected": BAD}
FROM = [{"from": "human", "value": "q"}]

CASES: list[tuple[str, str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "alpaca without input",
        "demonstrations",
        {"instruction": "q", "input": "", "output": "good"},
        "alpaca",
        {"messages": Q + GOOD},
    ),
    (
        "alpaca with input, system, history and a column more",
        "demonstrations",
        {"instruction": "q", "input": "x", "output": "good", "system": "s", "history": [["a", "b"]], "topic": "t"},
        "alpaca",
        {
            "messages": said((S, "s"), (U, "a"), (A, "b"), (U, "q\nx"), (A, "good")),
            "meta": {"input": "x", "system": "s", "topic": "t"},
        },
    ),
    (
        "alpaca as prompts",
        "prompts",
        {"instruction": "q", "input": "", "output": "good"},
        "alpaca",
        {"prompt": Q, "reference": "good"},
    ),
    ("alpaca pairs", "preferences", {"instruction": "q", "chosen": "good", "rejected": "bad"}, "alpaca", PAIR),
    (
        "sharegpt",
        "demonstrations",
        {"conversations": [{"from": "system", "value": "s"}, *FROM, {"from": "gpt", "value": "good"}]},
        "sharegpt",
        {"messages": said((S, "s"), (U, "q"), (A, "good"))},
    ),
    (
        "sharegpt with tools: who really spoke stays known",
        "demonstrations",
        {
            "conversations": [*FROM, {"from": "function_call", "value": "f"}, {"from": "observation", "value": "1"}],
            "tools": "[]",
        },
        "sharegpt",
        {
            "messages": said((U, "q"), (A, "f"), ("tool", "1")),
            "meta": {
                "conversations_fields": {"1": {"from": "function_call"}, "2": {"from": "observation"}},
                "tools": "[]",
            },
        },
    ),
    (
        "sharegpt pairs",
        "preferences",
        {
            "conversations": FROM,
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        "sharegpt",
        PAIR,
    ),
    (
        "sharegpt with a thumb",
        "feedback",
        {"conversations": [*FROM, {"from": "gpt", "value": "bad"}], "kto_tag": False},
        "sharegpt",
        {"prompt": Q, "completion": BAD, "label": False},
    ),
    (
        "messages",
        "demonstrations",
        {"messages": [{**Q[0], "name": "Ann"}, *GOOD], "weight": 1},
        "messages",
        {"messages": Q + GOOD, "meta": {"messages_fields": {"0": {"name": "Ann"}}, "weight": 1}},
    ),
    ("messages that are canonical", "demonstrations", {"messages": Q + GOOD}, "align", {"messages": Q + GOOD}),
    (
        "messages with a thumb",
        "feedback",
        {"messages": Q + BAD + Q + GOOD, "label": True},
        "messages",
        {"prompt": Q + BAD + Q, "completion": GOOD, "label": True},
    ),
    ("messages as prompts", "prompts", {"messages": Q + GOOD}, "messages", {"prompt": Q, "reference": "good"}),
    ("messages that wait for an answer", "prompts", {"messages": Q}, "messages", {"prompt": Q}),
    (
        "hh",
        "preferences",
        {"chosen": hh(("Human", "q"), ("Assistant", "good")), "rejected": hh(("Human", "q"), ("Assistant", "bad"))},
        "hh-rlhf",
        PAIR,
    ),
    (
        "hh of several turns, white space of what was said kept",
        "preferences",
        {
            "chosen": hh(("Human", "q"), ("Assistant", " x\n\ny "), ("Human", "r"), ("Assistant", "good")),
            "rejected": hh(("Human", "q"), ("Assistant", " x\n\ny "), ("Human", "r"), ("Assistant", "bad")),
        },
        "hh-rlhf",
        {"prompt": said((U, "q"), (A, " x\n\ny "), (U, "r")), "chosen": GOOD, "rejected": BAD},
    ),
    (
        "hh that differs before the last turn",
        "preferences",
        {
            "chosen": hh(("Human", "q"), ("Assistant", "x"), ("Human", "r"), ("Assistant", "good")),
            "rejected": hh(("Human", "q"), ("Assistant", "bad")),
        },
        "hh-rlhf",
        {"prompt": Q, "chosen": said((A, "x"), (U, "r"), (A, "good")), "rejected": BAD},
    ),
    (
        "hh where one goes on after the other ended",
        "preferences",
        {
            "chosen": hh(("Human", "q"), ("Assistant", "good")),
            "rejected": hh(("Human", "q"), ("Assistant", "good"), ("Human", "r"), ("Assistant", "bad")),
        },
        "hh-rlhf",
        {"prompt": Q, "chosen": GOOD, "rejected": said((A, "good"), (U, "r"), (A, "bad"))},
    ),
    (
        "hh with two turns of the assistant: the prompt ends before the first",
        "preferences",
        {
            "chosen": hh(("Human", "q"), ("Assistant", "x"), ("Assistant", "good")),
            "rejected": hh(("Human", "q"), ("Assistant", "x"), ("Assistant", "bad")),
        },
        "hh-rlhf",
        {"prompt": Q, "chosen": said((A, "x"), (A, "good")), "rejected": said((A, "x"), (A, "bad"))},
    ),
    (
        "hh with an empty turn",
        "preferences",
        {"chosen": hh(("Human", "q"), ("Assistant", "")), "rejected": hh(("Human", "q"), ("Assistant", "bad"))},
        "hh-rlhf",
        {"prompt": Q, "chosen": said((A, "")), "rejected": BAD},
    ),
    (
        "hh with unusual spacing keeps its text",
        "preferences",
        {"chosen": "\n\nHuman: q\n\nAssistant:good", "rejected": hh(("Human", "q"), ("Assistant", "bad"))},
        "hh-rlhf",
        PAIR | {"meta": {"chosen": "\n\nHuman: q\n\nAssistant:good"}},
    ),
    (
        "hh as prompts",
        "prompts",
        {"chosen": hh(("Human", "q"), ("Assistant", "good")), "rejected": hh(("Human", "q"), ("Assistant", "bad"))},
        "hh-rlhf",
        {"prompt": Q, "meta": {"chosen": GOOD, "rejected": BAD}},
    ),
    ("trl, prompt as text", "preferences", {"prompt": "q", "chosen": "good", "rejected": "bad"}, "trl", PAIR),
    (
        "rewardbench",
        "preferences",
        {
            "prompt": "q",
            "chosen": "good",
            "rejected": "bad",
            "chosen_model": "m",
            "rejected_model": "n",
            "subset": "alpacaeval-easy",
        },
        "trl",
        PAIR | {"tags": ["alpacaeval-easy"], "meta": {"chosen_model": "m", "rejected_model": "n"}},
    ),
    (
        "trl with scores",
        "preferences",
        {"prompt": Q, "chosen": GOOD, "rejected": BAD, "score_chosen": 4.5, "score_rejected": 2, "id": 7},
        "trl",
        PAIR | {"margin": 2.5, "meta": {"score_chosen": 4.5, "score_rejected": 2}},
    ),
    (
        "trl with the prompt repeated",
        "preferences",
        {"prompt": "q", "chosen": Q + GOOD, "rejected": Q + BAD},
        "trl",
        PAIR,
    ),
    (
        "trl with the prompt repeated after a system message",
        "preferences",
        {"prompt": "q", "chosen": said((S, "s")) + Q + GOOD, "rejected": said((S, "s")) + Q + BAD},
        "trl",
        {"prompt": said((S, "s"), (U, "q")), "chosen": GOOD, "rejected": BAD, "meta": {"prompt": "q"}},
    ),
    ("trl, implicit prompt in messages", "preferences", {"chosen": Q + GOOD, "rejected": Q + BAD}, "trl", PAIR),
    (
        "trl, implicit prompt in texts",
        "preferences",
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        "trl",
        {"prompt": said((U, "The sky is")), "chosen": said((A, " blue.")), "rejected": said((A, " green."))},
    ),
    (
        "trl with question and system",
        "preferences",
        {"system": "s", "question": "q", "chosen": "good", "rejected": "bad"},
        "trl",
        {"prompt": said((S, "s"), (U, "q")), "chosen": GOOD, "rejected": BAD},
    ),
    ("trl, an explicit prompt is not moved", "preferences", PAIR | {"n": 1}, "trl", PAIR | {"meta": {"n": 1}}),
    (
        "trl prompt and completion",
        "demonstrations",
        {"prompt": "q", "completion": "good"},
        "trl",
        {"messages": Q + GOOD, "meta": {"prompt_turns": 1}},
    ),
    ("a prompt as text", "prompts", {"prompt": "q", "tags": ["t"]}, "trl", {"prompt": Q, "tags": ["t"]}),
    (
        "preferences as prompts",
        "prompts",
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        "trl",
        {"prompt": Q, "meta": {"chosen": "good", "rejected": "bad"}},
    ),
    (
        "kto",
        "feedback",
        {"prompt": "q", "completion": "good", "label": 1},
        "kto",
        {"prompt": Q, "completion": GOOD, "label": True},
    ),
    (
        "ultrafeedback",
        "rankings",
        {
            "source": "flan",
            "instruction": "q",
            "completions": [
                {"model": "m1", "response": "a", "overall_score": 7.0, "critique": "c"},
                {"model": "m2", "response": "b", "overall_score": "8.5"},
                {"model": "m3", "response": "c", "overall_score": 7},
                {"model": "m4", "response": "d", "overall_score": "N/A"},
                {"model": "m5", "response": "e", "overall_score": 1},
            ],
        },
        "ultrafeedback",
        {
            "prompt": Q,
            "answers": [
                {"id": "a1", "text": "a", "model": "m1"},
                {"id": "a2", "text": "b", "model": "m2"},
                {"id": "a3", "text": "c", "model": "m3"},
                {"id": "a4", "text": "d", "model": "m4"},
                {"id": "a5", "text": "e", "model": "m5"},
            ],
            "ranks": [2, 1, 2, None, 4],
            "annotator": "ultrafeedback",
            "ratings": {"a1": {"score": 7.0}, "a2": {"score": 8.5}, "a3": {"score": 7.0}, "a5": {"score": 1.0}},
            "meta": {"completions": [{"critique": "c"}, {}, {}, {}, {}], "source": "flan"},
        },
    ),
    (
        "responses and scores",
        "rankings",
        {"prompt": "q", "responses": ["a", "b"], "scores": [0.1, 0.9]},
        "ultrafeedback",
        {
            "prompt": Q,
            "answers": [{"id": "a1", "text": "a"}, {"id": "a2", "text": "b"}],
            "ranks": [2, 1],
            "annotator": "ultrafeedback",
            "ratings": {"a1": {"score": 0.1}, "a2": {"score": 0.9}},
        },
    ),
    ("text with a column more", "corpus", {"text": "t", "url": "u"}, "text", {"text": "t", "meta": {"url": "u"}}),
    ("text that is canonical", "corpus", {"text": "t"}, "align", {"text": "t"}),
]


@pytest.mark.parametrize(("kind", "row", "format", "fields"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_formats(tmp_path: Path, kind: str, row: dict[str, Any], format: str, fields: dict[str, Any]) -> None:
    assert one(tmp_path, kind, row) == (format, fields)
    assert one(tmp_path, kind, row, format) == (format, fields), "the same when the format is said"


def test_ids_of_the_file_are_kept_and_others_are_hashes(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "q", "id": 7}, {"prompt": "q", "id": "x"}, {"prompt": "q"}, {"prompt": "q"})
    ids = [record.id for record in import_file(path, "prompts").records]
    assert ids[:2] == ["7", "x"] and ids[2] == ids[3] and len(ids[2]) == 16


def test_lines_of_text_are_documents_or_prompts(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("eins\n\nzwei\n", "utf-8")
    corpus = import_file(path, "corpus")
    assert [getattr(r, "text", "") for r in corpus.records] == ["eins", "zwei"] and corpus.lines == [1, 3]
    assert import_file(path, "prompts").records[1].model_dump()["prompt"] == said((U, "zwei"))


def test_an_imported_file_knows_its_places_and_can_be_cut(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "a"}, {"text": "b"}, {"text": "c"})
    imported = import_file(path, "corpus").take([2, 0])
    assert [imported.place(i) for i in range(2)] == [f"{path}:3", f"{path}:1"]
    assert len(imported.records) == 2


ERRORS: list[tuple[str, dict[str, Any], str, str]] = [
    ("demonstrations", {"instruction": "q", "input": "", "output": None}, "`output` is null", "output"),
    ("demonstrations", {"instruction": 3, "output": "x"}, '`instruction` is the number "3"', "instruction"),
    ("demonstrations", {"instruction": "q", "output": "x", "history": ["a"]}, 'an entry is the text "a"', "history"),
    ("demonstrations", {"conversations": []}, "`conversations` is an empty list", "conversations"),
    (
        "demonstrations",
        {"conversations": [{"from": "alien", "value": "x"}]},
        'is the text "alien"',
        "conversations[0].from",
    ),
    (
        "demonstrations",
        {"conversations": [*FROM, {"from": "gpt", "valu": "x"}]},
        "the field `conversations[1].value` is missing; did you mean `valu`?",
        "conversations[1].value",
    ),
    ("demonstrations", {"conversations": ["hi"]}, '`conversations[0]` is the text "hi"', "conversations[0]"),
    (
        "demonstrations",
        {"messages": [{"role": "user", "content": None}], "x": 1},
        "`messages[0].content` is null",
        "messages[0].content",
    ),
    ("demonstrations", {"mesages": Q + GOOD}, "unknown field `mesages`; did you mean `messages`?", "mesages"),
    ("feedback", {"messages": Q, "label": True}, "the last message is no answer", "messages"),
    ("feedback", {"messages": Q + GOOD}, "the field `label` is missing", "label"),
    ("feedback", {"prompt": "q", "completion": "x", "label": "yes"}, '`label` is the text "yes"', "label"),
    ("feedback", {"prompt": "q", "completion": "x", "label": None}, "`label` is null", "label"),
    ("preferences", {"prompt": Q, "chosen": GOOD}, "the field `rejected` is missing", "rejected"),
    ("preferences", {"prompt": "q", "chosen": "x", "rejected": None}, "`rejected` is null", "rejected"),
    ("preferences", {"promt": "q", "chosen": "ab", "rejected": "ac"}, "did you mean `promt`?", "prompt"),
    ("preferences", {"context": "q", "chosen": "ab", "rejected": "ac"}, "there is no `prompt`", "prompt"),
    ("preferences", {"chosen": "ab", "rejected": "cd"}, "do not begin with the same question", "chosen"),
    ("preferences", {"chosen": Q + GOOD, "rejected": said((U, "r"), (A, "x"))}, "do not begin with the same", "chosen"),
    ("rankings", {"prompt": "q", "responses": ["a", "b"], "scores": [1]}, "1 scores for 2 responses", "scores"),
    (
        "rankings",
        {"prompt": "q", "completions": [{"response": "a", "score": "high"}, {"response": "b", "score": 1}]},
        'the score is the text "high"',
        "completions[0].score",
    ),
    ("rankings", {"prompt": "q", "completions": [{"response": "a", "score": 1}]}, "is a list of 1", "answers"),
    (
        "rankings",
        {"prompt": "q", "completions": [{"score": 1}]},
        "`completions[0].response` is missing",
        "completions[0].response",
    ),
    ("corpus", {"text": "", "url": "u"}, "`text` is empty", "text"),
]


@pytest.mark.parametrize(("kind", "row", "found", "field"), ERRORS)
def test_a_wrong_row_names_place_field_and_what_to_type(
    tmp_path: Path, kind: str, row: dict[str, Any], found: str, field: str
) -> None:
    path = write(tmp_path, row)
    with pytest.raises(DataError) as caught:
        import_file(path, kind)
    assert found in caught.value.found
    assert caught.value.where == f"{path}:1, field {field}"
    assert caught.value.allowed
    no_label = "`label` is missing" in found and "messages" in row  # a demonstration, by all that stands in it
    command = "--kind demonstrations" if no_label else f"align data check {path} --kind {kind}"
    assert command in caught.value.remedy


def test_a_wrong_row_of_a_format_that_was_named(tmp_path: Path) -> None:
    """The command that shows the others reads them in that format, too."""
    path = tmp_path / "d.jsonl"
    rows = [{"instruction": "q", "output": "good"}, {"instruction": "q"}, {"messages": Q + GOOD}]
    path.write_text("".join(json.dumps(row) + "\n" for row in [rows[0], rows[1]]))
    with pytest.raises(DataError) as caught:
        import_file(path, "demonstrations", "alpaca")
    shown = f"align data check {path} --kind demonstrations --format alpaca   (shows every broken line)"
    assert caught.value.remedy == shown
    path.write_text(json.dumps(rows[2]))
    with pytest.raises(DataError) as caught:
        import_file(path, "demonstrations", "alpaca")
    assert caught.value.remedy == "leave the format out: the row reads as align"


def test_hh_text_that_is_no_dialogue(tmp_path: Path) -> None:
    good = {"chosen": hh(("Human", "q"), ("Assistant", "a")), "rejected": hh(("Human", "q"), ("Assistant", "b"))}
    path = write(tmp_path, good, good | {"rejected": "no dialogue"})
    with pytest.raises(DataError, match=r'(?s)rows\.jsonl:2, field rejected.*"no dialogue", no dialogue'):
        import_file(path, "preferences")


def test_the_first_of_several_broken_lines_is_told_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\nno\n{"text": 1}\n{"txt": "a"}\n{"text": "b"}\n', "utf-8")
    with pytest.raises(DataError, match=r"(?s)x\.jsonl:2.*2 more broken lines in this file"):
        import_file(path, "corpus")
    imported, broken = scan_file(path, "corpus")
    assert imported.lines == [1, 5] and [error.where.split(":")[1][0] for error in broken] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("kind", "format", "found"),
    [
        ("preference", "auto", "unknown kind `preference`; did you mean `preferences`?"),
        ("prompts", "sharegtp", "unknown format `sharegtp`; did you mean `sharegpt`?"),
        ("rankings", "alpaca", "rows of the format alpaca cannot become rankings"),
    ],
)
def test_a_kind_or_format_that_does_not_exist(tmp_path: Path, kind: str, format: str, found: str) -> None:
    path = write(tmp_path, {"prompt": "q"})
    with pytest.raises(DataError) as caught:
        import_file(path, kind, format)
    assert found in caught.value.found and caught.value.allowed and caught.value.remedy


def test_a_row_that_cannot_become_the_kind() -> None:
    place = Place("x.jsonl", 1, "rankings")
    with pytest.raises(DataError, match="no rankings can be read from a row with the fields text; it looks like text"):
        detect_format({"text": "x"}, "rankings", place)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("preferences", {"chosen": "", "rejected": ""}),
        ("preferences", {"conversations": [], "chosen": {}, "rejected": {}}),
        ("feedback", {"messages": [], "label": True}),
        ("feedback", {"prompt": "", "completion": "", "label": True}),
        ("demonstrations", {"messages": []}),
        ("demonstrations", {"instruction": "", "output": ""}),
        ("demonstrations", {"prompt": "", "completion": ""}),
        ("rankings", {"prompt": "", "completions": []}),
        ("rankings", {"prompt": [], "answers": [], "ranks": []}),
        ("answers", {"prompt": [], "answers": []}),
        ("prompts", {"prompt": ""}),
        ("corpus", {"text": ""}),
    ],
)
def test_obvious_kinds(kind: str, row: dict[str, Any]) -> None:
    assert detect_kind(row, Place("x", 1)) == kind


def test_a_kind_that_is_not_obvious() -> None:
    with pytest.raises(DataError, match=r"(?s)cannot be told from the fields a, b.*--kind KIND"):
        detect_kind({"a": 1, "b": 2}, Place("x", 1))
