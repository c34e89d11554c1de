"""Real public files import without loss: every original text can be put together again from the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.data.checks import check_imported, drop_broken
from align.data.dialogues import ROLES, hh_text
from align.data.files import read_records, read_rows, write_records
from align.data.importers import Imported, import_file
from align.data.records import Demonstration, Feedback, Preference
from align.data.split import split_imported

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the public data is not there: {DATA}")

HH = DATA / "hh-rlhf" / "harmless-base.test.jsonl.gz"
DEMOS = DATA / "demo-sets"


def both(path: Path, kind: str) -> tuple[Imported, list[dict[str, Any]]]:
    imported, rows = import_file(path, kind), list(read_rows(path))
    assert len(imported.records) == len(rows)
    assert imported.lines == [line for line, _ in rows]
    return imported, [row for _, row in rows]


def turns(record: Any, *parts: str) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for part in parts for m in getattr(record, part)]


def renamed(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": ROLES[m.get("from") or m["role"]], "content": m.get("value") or m["content"]} for m in messages]


@pytest.mark.parametrize(("name", "count"), [("alpaca_en_demo", 999), ("alpaca_zh_demo", 1000)])
def test_alpaca(name: str, count: int) -> None:
    imported, rows = both(DEMOS / f"{name}.json", "demonstrations")
    assert (imported.format, len(rows)) == ("alpaca", count)
    for record, row in zip(imported.records, rows, strict=True):
        assert isinstance(record, Demonstration)
        question, answer = record.messages
        asked, extra = question.content, record.meta.get("input", "")
        instruction = asked.removesuffix("\n" + extra) if extra else asked
        assert {"instruction": instruction, "input": extra, "output": answer.content} == row


@pytest.mark.parametrize(("name", "count"), [("dpo_en_demo", 299), ("dpo_zh_demo", 300)])
def test_sharegpt_preferences(name: str, count: int) -> None:
    imported, rows = both(DEMOS / f"{name}.json", "preferences")
    assert (imported.format, len(rows)) == ("sharegpt", count)
    for record, row in zip(imported.records, rows, strict=True):
        assert turns(record, "prompt") == renamed(row["conversations"])
        assert turns(record, "chosen") == renamed([row["chosen"]])
        assert turns(record, "rejected") == renamed([row["rejected"]])
        assert record.meta == {}


def test_messages_with_labels() -> None:
    imported, rows = both(DEMOS / "kto_en_demo.json", "feedback")
    assert (imported.format, len(rows)) == ("messages", 300)
    for record, row in zip(imported.records, rows, strict=True):
        assert isinstance(record, Feedback)
        assert turns(record, "prompt", "completion") == renamed(row["messages"])
        assert record.label is row["label"] and record.meta == {}


def test_hh_dialogues() -> None:
    imported, rows = both(HH, "preferences")
    assert (imported.format, len(rows)) == ("hh-rlhf", 2312)
    for record, row in zip(imported.records, rows, strict=True):
        assert isinstance(record, Preference)
        assert hh_text(turns(record, "prompt", "chosen")) == row["chosen"]
        assert hh_text(turns(record, "prompt", "rejected")) == row["rejected"]
        assert record.prompt[-1].role == "user" and record.chosen[0].role == "assistant"
        assert record.meta == {}
    longer = [
        line
        for record, line in zip(imported.records, imported.lines, strict=True)
        if len(turns(record, "chosen", "rejected")) > 2
    ]
    assert longer == [1255, 1689, 1951, 1953, 2037], "these differ before the last turn, or end with two replies"


def test_what_the_doctor_says_of_hh() -> None:
    imported = import_file(HH, "preferences")
    errors = {
        f.code: [imported.lines[row] for row in f.rows] for f in check_imported(imported) if f.severity == "error"
    }
    assert errors == {"empty-answer": [87, 517, 926, 1104]}
    kept, _ = drop_broken(imported)
    train, heldout = split_imported(kept, 412, 7)
    assert (len(train.records), len(heldout.records)) == (1896, 412)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("name", ["dpo_zh_demo", "alpaca_zh_demo"])
def test_chinese_stays_chinese_through_our_files(tmp_path: Path, name: str, suffix: str) -> None:
    kind = "preferences" if "dpo" in name else "demonstrations"
    imported = import_file(DEMOS / f"{name}.json", kind)
    path = tmp_path / f"x{suffix}"
    write_records(path, imported.records)
    assert read_records(path, kind) == imported.records
    if suffix == ".jsonl":
        text = path.read_text("utf-8")
        original = json.loads((DEMOS / f"{name}.json").read_text("utf-8"))
        words = "".join(json.dumps(row, ensure_ascii=False) for row in original)
        chinese = [sum("\u4e00" <= c <= "\u9fff" for c in t) for t in (text, words)]
        assert "\\u" not in text.replace("\\\\u", "") and chinese[0] >= chinese[1] > 50_000


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (HH, "preferences"),
        (DEMOS / "dpo_en_demo.json", "preferences"),
        (DEMOS / "kto_en_demo.json", "feedback"),
        (DEMOS / "alpaca_en_demo.json", "demonstrations"),
    ],
)
def test_every_file_can_give_prompts(path: Path, kind: str) -> None:
    prompts = import_file(path, "prompts")
    assert len(prompts.records) == len(import_file(path, kind).records)
