"""Reading and writing data files: every suffix, every way a file can be broken, and bytes that do not vary."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from align.data.files import read_records, read_rows, scan_rows, write_records
from align.data.records import RECORDS, Record
from align.errors import AlignError, DataError, SystemLimit

USER = [{"role": "user", "content": "北京在哪里？"}]
HELLO = [{"role": "assistant", "content": "在中国。"}]
PAIR = {"prompt": USER, "chosen": HELLO, "rejected": [{"role": "assistant", "content": "No."}]}

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "corpus": [{"text": "一。\u2028二"}, {"text": "b", "meta": {"from": "web", "n": 1}}],
    "prompts": [
        {"prompt": USER, "tags": ["fact"], "reference": "China"},
        {"prompt": USER, "reference": {"any": [1, None]}},
        {"prompt": USER, "reference": 3},
    ],
    "demonstrations": [{"messages": USER + HELLO}],
    "answers": [
        {"prompt": USER, "answers": [{"id": "a", "text": "x", "sampling": {"seed": 1}}, {"id": "b", "text": ""}]}
    ],
    "rankings": [
        {
            "prompt": USER,
            "answers": [{"id": "a", "text": "x", "model": "m"}, {"id": "b", "text": "y"}],
            "ranks": [1, None],
            "annotator": "ann",
            "ratings": {"a": {"kind": 4.5}},
            "edit": {"a": "X"},
            "seconds": 2.5,
        }
    ],
    "preferences": [{**PAIR, "margin": 0.5, "source": "s"}, {**PAIR, "id": "own"}],
    "feedback": [{"prompt": USER, "completion": HELLO, "label": False, "edit": "better", "annotator": "ann"}],
}


def records(kind: str) -> list[Record]:
    return [RECORDS[kind].model_validate(row) for row in EXAMPLES[kind]]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("kind", list(RECORDS))
def test_what_is_written_is_read_back(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_records(path, records(kind))
    assert read_records(path, kind) == records(kind)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "no temporary file is left"


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_equal_records_give_equal_bytes(tmp_path: Path, suffix: str) -> None:
    a, b = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write_records(a, records("rankings"))
    write_records(b, read_records(a, "rankings"))
    assert a.read_bytes() == b.read_bytes()


def test_lines_are_short_and_chinese_stays_chinese(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_records(path, records("demonstrations"))
    line = path.read_text("utf-8")
    assert "北京在哪里？" in line and "\\u" not in line
    assert set(json.loads(line)) == {"id", "messages"}, "fields at their default are left out"
    assert line.endswith("}\n") and line.count("\n") == 1


def test_trl_reads_our_parquet_columns(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write_records(tmp_path / "x.parquet", records("preferences"))
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert rows[0]["prompt"] == USER and rows[0]["chosen"] == HELLO


def test_json_arrays_keep_the_line_of_each_element(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", '[\n  {"a": 1},\n  {\n   "a": 2\n  }, {"a": 3},\n\n {"a": 4}\n]\n')
    assert list(read_rows(path)) == [(2, {"a": 1}), (3, {"a": 2}), (5, {"a": 3}), (7, {"a": 4})]


def test_json_holding_objects_one_after_the_other(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", '{"a": 1}\n{"a": 2}\n')
    assert list(read_rows(path)) == [(1, {"a": 1}), (2, {"a": 2})]


def test_json_lines_with_byte_order_mark_crlf_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes('\ufeff{"a": "\u2028"}\r\n\r\n{"a": 2}'.encode())
    assert list(read_rows(path)) == [(1, {"a": "\u2028"}), (3, {"a": 2})]


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(b'[{"a": 1}]'))
    assert list(read_rows(path)) == [(1, {"a": 1})]


def test_text_has_a_document_on_each_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "one\n\n  two \n")
    assert list(read_rows(path)) == [(1, {"text": "one"}), (3, {"text": "  two "})]


def test_foreign_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": "a", "n": 1}, {"prompt": "b", "n": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert list(read_rows(tmp_path / "x.parquet")) == [(1, {"prompt": "a", "n": 1}), (2, {"prompt": "b"})]


@pytest.mark.parametrize(
    ("name", "content", "found", "where"),
    [
        ("x.jsonl", b"", "the file is empty", "x.jsonl"),
        ("x.jsonl", b"\n \n", "the file is empty", "x.jsonl"),
        ("x.json", b"[]", "the file is empty", "x.json"),
        ("x.jsonl", b'{"a": 1}\n{"a": \n', "not JSON: Expecting value at column 7", "x.jsonl:2"),
        ("x.jsonl", b'{"a": NaN}', "not JSON: NaN is no JSON number", "x.jsonl:1"),
        ("x.jsonl", b"[" * 100_000, "not JSON: nested too deeply", "x.jsonl:1"),
        ("x.jsonl", b'{"a": 1}\n\n[1, 2]\n', "the record is a list of 2", "x.jsonl:3"),
        ("x.jsonl", b'"text"', 'the record is the text "text"', "x.jsonl:1"),
        ("x.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "not UTF-8: byte 0xff", "x.jsonl:2"),
        ("x.jsonl", b'{"a": "\\ud83d"}', "half a surrogate pair", "x.jsonl:1"),
        ("x.json", b'[{"a": 1},\n {"a": "\xe9"}]', "not UTF-8: byte 0xe9", "x.json:2"),
        ("x.json", b'[{"a": 1},\n {"a" 2}]', "not JSON: Expecting ':' delimiter", "x.json:2"),
        ("x.json", b'[{"a": 1}\n {"a": 2}]', "not JSON: no comma between two elements", "x.json:2"),
        ("x.json", b'[{"a": 1},\n{"a": 2}\n', "not JSON: the file ends inside the array", "x.json:2"),
        ("x.json", b'[{"a": 1}, 7]', 'the record is the number "7"', "x.json:1"),
        ("x.txt", b"fine\n\xff\n", "not UTF-8", "x.txt:2"),
        ("x.jsonl.gz", b"plain", "no complete gzip file", "x.jsonl.gz"),
        ("x.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-9], "no complete gzip file", "x.jsonl.gz"),
        ("x.parquet", b"plain", "the file is no Parquet", "x.parquet"),
        ("x.csv", b"a,b", "`x.csv` has no suffix that can be read", "x.csv"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, found: str, where: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_rows(path, "prompts"))
    assert found in caught.value.found
    assert caught.value.where == str(tmp_path / where)
    assert caught.value.remedy
    assert caught.value.exit_code == 3


def test_a_broken_line_names_the_command_that_shows_all(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", "{\n")
    with pytest.raises(DataError, match=r"align data check .*x\.jsonl --kind prompts"):
        list(read_rows(path, "prompts"))


def test_scanning_goes_on_after_a_broken_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"a": 1}\nno\n{"a": 2}\nno\n')
    scanned = list(scan_rows(path))
    assert [line for line, _ in scanned] == [1, 2, 3, 4]
    assert [isinstance(row, DataError) for _, row in scanned] == [False, True, False, True]


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "prompts.jsonl", "{}")
    with pytest.raises(DataError, match=r"does not exist; did you mean `.*/prompts\.jsonl`\?"):
        list(read_rows(tmp_path / "promts.jsonl"))
    with pytest.raises(DataError, match="look for the folder"):
        list(read_rows(tmp_path / "none" / "x.jsonl"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "{}")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"(?s)this is a folder.*a\.jsonl") as caught:
        list(read_rows(tmp_path))
    assert "manifest.json" not in caught.value.remedy


@pytest.mark.parametrize(
    ("change", "found", "field"),
    [
        ({"promt": USER}, "unknown field `promt`; did you mean `prompt`?", "promt"),
        ({"chosen": None}, "`chosen` is null", "chosen"),
        ({"chosen": "text"}, '`chosen` is the text "text"', "chosen"),
        ({"chosen": []}, "`chosen` is an empty list", "chosen"),
        ({"margin": "big"}, '`margin` is the text "big"', "margin"),
        ({"margin": True}, "`margin` is true", "margin"),
        (
            {"chosen": [{"role": "assistent", "content": ""}]},
            '`chosen[0].role` is the text "assistent"',
            "chosen[0].role",
        ),
        ({"chosen": [{"role": "user", "contents": "x"}]}, "did you mean `content`?", "chosen[0].contents"),
        ({"chosen": [{"role": "user"}]}, "the field `chosen[0].content` is missing", "chosen[0].content"),
        ({"tags": [1]}, '`tags[0]` is the number "1"', "tags[0]"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, change: dict[str, Any], found: str, field: str) -> None:
    row = PAIR | change
    if field == "promt":
        del row["prompt"]
    path = write(tmp_path / "x.jsonl", json.dumps(PAIR) + "\n" + json.dumps(row))
    with pytest.raises(DataError) as caught:
        read_records(path, "preferences")
    assert found in caught.value.found
    assert caught.value.where == f"{path}:2, field {field}"
    assert caught.value.allowed
    assert f"align data check {path} --kind preferences" in caught.value.remedy


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", json.dumps({"prompt": USER, "chosen": HELLO}))
    with pytest.raises(DataError, match="the field `rejected` is missing"):
        read_records(path, "preferences")


def test_ranks_that_do_not_fit_the_answers(tmp_path: Path) -> None:
    row = EXAMPLES["rankings"][0] | {"ranks": [1]}
    path = write(tmp_path / "x.jsonl", json.dumps(row))
    with pytest.raises(DataError, match="ranks has 1 entries for 2 answers"):
        read_records(path, "rankings")


@pytest.mark.parametrize(
    "text", ['[{"text": "a"}, {"text"\n', '[{"text": "a"},\n {"text": "b"\n\n', '[{"text": "a"}\n']
)
def test_json_that_is_cut_off_is_told_on_a_line_that_is_there(tmp_path: Path, text: str) -> None:
    (broken,) = [row for _, row in scan_rows(write(tmp_path / "x.json", text)) if isinstance(row, DataError)]
    line = int(broken.where.rsplit(":", 1)[1])
    assert line <= len(text.rstrip().splitlines())
    assert broken.remedy == "mend it here: nothing after this place can be read"


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no suffix that can be written") as caught:
        write_records(tmp_path, [])
    assert caught.value.remedy == f"write to {tmp_path / 'OUT.jsonl'} instead"


def test_only_known_suffixes_are_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no suffix that can be written.*\n.*\.jsonl, \.jsonl\.gz, \.parquet"):
        write_records(tmp_path / "x.csv", records("corpus"))


def test_a_folder_that_does_not_exist_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(SystemLimit, match="cannot be written: No such file"):
        write_records(tmp_path / "none" / "x.jsonl", records("corpus"))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.jsonl"
    write_records(path, records("corpus"))
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AlignError, match="No space left on device"):
        write_records(path, records("prompts"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]
