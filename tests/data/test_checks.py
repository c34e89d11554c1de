"""The data doctor: one hand-made set of records for each fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from align.data.checks import (
    Finding,
    check_imported,
    check_records,
    drop_broken,
    leakage,
    raise_on_errors,
)
from align.data.importers import Imported
from align.data.preference_checks import longer_wins
from align.data.records import RECORDS, Record
from align.errors import DataError

Q = [{"role": "user", "content": "q"}]


def a(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def u(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def make(kind: str, *rows: dict[str, Any]) -> list[Record]:
    return [RECORDS[kind].model_validate(row) for row in rows]


def imported(kind: str, *rows: dict[str, Any], path: str = "x.jsonl", first_line: int = 1) -> Imported:
    return Imported(kind, make(kind, *rows), [first_line + i for i in range(len(rows))], path, "align")


def pair(chosen: str = "good", rejected: str = "bad", prompt: str = "q") -> dict[str, Any]:
    return {"prompt": u(prompt), "chosen": a(chosen), "rejected": a(rejected)}


def ranking(ranks: list[int | None], texts: Sequence[str] = "abcd", prompt: str = "q") -> dict[str, Any]:
    answers = [{"id": f"{i}", "text": text} for i, text in enumerate(texts[: len(ranks)])]
    return {"prompt": u(prompt), "answers": answers, "ranks": ranks, "annotator": "x"}


def codes(kind: str, *rows: dict[str, Any]) -> dict[str, str]:
    return {f.code: f.severity for f in check_records(kind, make(kind, *rows))}


@pytest.mark.parametrize(
    ("kind", "row", "code", "severity"),
    [
        ("demonstrations", {"messages": Q + a(" \n")}, "empty-answer", "error"),
        ("demonstrations", {"messages": Q + a("") + Q + a("x")}, "empty-answer", "error"),
        ("demonstrations", {"messages": Q + a("x") + Q}, "not-the-assistant", "error"),
        ("demonstrations", {"messages": u(" ") + a("x")}, "empty-prompt", "warning"),
        ("demonstrations", {"messages": u("") + a("x") + Q + a("x")}, "empty-turn", "warning"),
        ("demonstrations", {"messages": Q + Q + a("x")}, "same-role", "warning"),
        ("preferences", pair(chosen=""), "empty-answer", "error"),
        ("preferences", pair(rejected=""), "empty-answer", "error"),
        ("preferences", pair("x", "x "), "same-answers", "error"),
        ("preferences", {"prompt": Q, "chosen": a("x") + Q, "rejected": a("y")}, "not-the-assistant", "error"),
        ("preferences", {"prompt": Q + a("z"), "chosen": a("x"), "rejected": a("y")}, "same-role", "warning"),
        ("feedback", {"prompt": Q, "completion": a(""), "label": True}, "empty-answer", "error"),
        ("feedback", {"prompt": Q, "completion": Q, "label": True}, "not-the-assistant", "error"),
        ("rankings", ranking([None, None]), "no-ranks", "error"),
        ("rankings", ranking([1, None]), "no-ranks", "error"),
        ("rankings", ranking([1, 2], [" ", "b"]), "empty-answer", "error"),
        ("rankings", ranking([2, 1], [" ", "b"]), "empty-sample", "warning"),
        ("rankings", ranking([1, 1]), "all-tied", "warning"),
        ("rankings", ranking([1, 1]), "no-comparison", "error"),
        (
            "answers",
            {"prompt": Q, "answers": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]},
            "answer-ids",
            "error",
        ),
        ("answers", {"prompt": Q, "answers": [{"id": "a", "text": ""}]}, "empty-sample", "warning"),
        ("prompts", {"prompt": [{"role": "system", "content": "s"}]}, "empty-prompt", "warning"),
        ("corpus", {"text": " \n"}, "empty-text", "error"),
        ("preferences", pair() | {"meta": {"margn": 2}}, "unused-column", "warning"),
    ],
)
def test_one_row(kind: str, row: dict[str, Any], code: str, severity: str) -> None:
    assert codes(kind, row).get(code) == severity


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("demonstrations", [{"messages": [{"role": "system", "content": ""}, *Q, *a("x")]}]),
        ("preferences", [pair(), pair(prompt="r")]),
        ("preferences", [pair() | {"meta": {"url": "u"}}]),
        ("feedback", [{"prompt": Q, "completion": a("x"), "label": False}]),
        ("rankings", [ranking([1, 2, None]), ranking([2, 2, 1], prompt="r")]),
        ("answers", [{"prompt": Q, "answers": [{"id": "a", "text": "x"}, {"id": "b", "text": "x"}]}]),
        ("prompts", [{"prompt": Q}]),
        ("corpus", [{"text": "x"}]),
    ],
)
def test_sound_records_have_no_findings(kind: str, rows: list[dict[str, Any]]) -> None:
    assert check_records(kind, make(kind, *rows)) == []


def test_one_finding_names_every_row_that_has_it() -> None:
    data = imported("preferences", pair(""), pair(), pair("x", "x"), pair("y", ""), first_line=5)
    findings = {f.code: f for f in check_imported(data)}
    assert findings["empty-answer"] == Finding(
        "error", "empty-answer", "the answer is empty", "x.jsonl:5", 2, ("x.jsonl:5", "x.jsonl:8"), (0, 3)
    )
    assert findings["same-answers"].rows == (2,)


def test_ties_are_no_waste_to_a_reward_stage() -> None:
    """README: ties are evidence to `reward`, unless it drops them, and nothing to a trainer on pairs."""
    (finding,) = check_records("rankings", make("rankings", ranking([1, 1]), ranking([1, 2])))
    assert "a reward model learns" in finding.message and "DPO" in finding.message
    assert finding.remedy.startswith("nothing, if a reward stage") and "ties:" in finding.remedy


def test_errors_come_before_warnings() -> None:
    severities = [f.severity for f in check_records("preferences", make("preferences", pair(), pair(), pair("")))]
    assert severities == ["error", "warning"]


def test_duplicates_and_ids() -> None:
    rows = make("preferences", pair(), pair(), pair() | {"id": "x"}, pair("other") | {"id": "x"})
    findings = {f.code: f for f in check_records("preferences", rows, "x.jsonl")}
    assert findings["duplicate"].examples == ("x.jsonl:2", "x.jsonl:3")
    assert findings["duplicate-id"].examples == ("x.jsonl:4",) and findings["duplicate-id"].severity == "error"


def test_contradictions_need_the_same_prompt() -> None:
    rows = make("preferences", pair("x", "y"), pair("y", "x", prompt="r"), pair("y", "x"))
    found = {f.code: f for f in check_records("preferences", rows)}
    assert found["contradiction"].rows == (2,)
    rankings = make("rankings", ranking([1, 2, 3]), ranking([1, 3, 2]))
    assert {f.code: f.rows for f in check_records("rankings", rankings)}["contradiction"] == (1,)


def test_length_is_told_from_fifty_pairs_on() -> None:
    rows = [pair("longer", "x", prompt=str(i)) for i in range(50)]
    assert codes("preferences", *rows) == {"length": "warning"}
    message = check_records("preferences", make("preferences", *rows))[0].message
    assert message == (
        "length alone predicts the choice: the longer answer wins 100% of 50 pairs (95 % interval 93%-100%)"
    )
    assert codes("preferences", *rows[:49]) == {}
    mixed = [pair("longer", "x", prompt=str(i)) for i in range(32)] + [
        pair("x", "longer", prompt=str(-i)) for i in range(1, 19)
    ]
    assert codes("preferences", *mixed) == {}, "32 of 50 is 0.64"


def test_longer_wins_counts_equal_lengths_half() -> None:
    assert longer_wins(make("preferences", pair("aa", "b"), pair("a", "b"))) == (0.75, 2)
    assert longer_wins(make("rankings", ranking([1, 2, 3], ["aaa", "bb", "cccc"]))) == (1 / 3, 3)
    assert longer_wins(make("corpus", {"text": "x"})) == (0.5, 0)


def test_leakage_names_both_files_and_rows() -> None:
    train = imported("demonstrations", {"messages": u("a") + a("x")}, {"messages": u("b") + a("x")}, path="demos.jsonl")
    held = imported("prompts", {"prompt": u("c")}, {"prompt": u("b")}, path="prompts.jsonl", first_line=10)
    corpus = make("corpus", {"text": "b"})
    findings = leakage({"demos": train, "corpus": corpus}, {"prompts": held})
    assert findings == [
        Finding(
            "error",
            "leakage",
            "held-out prompts of prompts are also in the training rows of demos",
            "prompts.jsonl:11",
            1,
            ("prompts.jsonl:11, in training at demos.jsonl:2",),
            (1,),
        )
    ]
    with pytest.raises(DataError, match=r"(?s)prompts\.jsonl:11.*demos\.jsonl:2.*the same holdout"):
        raise_on_errors(findings)
    assert leakage({"demos": train}, {"prompts": held.take([0])}) == []


def test_leakage_of_plain_lists_counts_from_one() -> None:
    prompts = make("prompts", {"prompt": u("a")}, {"prompt": u("b")})
    assert leakage({"t": prompts[1:]}, {"h": prompts})[0].where == "h:2"


def test_raising_names_the_first_row_and_how_many_more() -> None:
    data = imported("preferences", pair(""), pair("x", "x"), pair("y", ""), path="some/x.jsonl", first_line=3)
    with pytest.raises(DataError) as caught:
        raise_on_errors(check_imported(data))
    error = caught.value
    assert error.where == "some/x.jsonl:3"
    further = "further faults: chosen and rejected are equal (some/x.jsonl:4)"
    assert error.found == f"the answer is empty (so in 1 more row); {further}"
    copied = "align data convert some/x.jsonl OUT.jsonl --drop-broken"
    assert error.remedy == f"to see them: align data check some/x.jsonl; to leave them out: {copied}"
    with pytest.raises(DataError, match="do this"):
        raise_on_errors(check_imported(data), "do this")


def test_warnings_do_not_raise() -> None:
    findings = check_records("preferences", make("preferences", pair(), pair()))
    assert findings
    raise_on_errors(findings)


def test_dropping_takes_out_errors_only(tmp_path: Path) -> None:
    data = imported("preferences", pair(), pair(), pair(""), pair("x", "x"), pair("z"))
    kept, errors = drop_broken(data)
    assert kept.lines == [1, 2, 5] and {f.code for f in errors} == {"empty-answer", "same-answers"}
    assert [f for f in check_imported(kept) if f.severity == "error"] == []
