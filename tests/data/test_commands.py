"""`align data check | convert | stats` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from align.data.commands import app
from align.data.files import read_records
from align.data.records import count_words
from align.errors import DataError

ROW = {"prompt": "q", "chosen": "good", "rejected": "bad"}


def run(*arguments: object) -> Any:
    """The result of a command. User errors are raised, as the one place that prints them is not in here."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), "utf-8")
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return write(
        tmp_path / "pairs.jsonl",
        ROW,
        "{no json",
        {"prompt": "q", "chosen": "good"},
        ROW | {"chosen": ""},
        ROW | {"rejected": "good"},
        ROW,
    )


def test_check_shows_every_broken_line(broken: Path) -> None:
    result = run("check", broken)
    assert result.exit_code == 3
    for text in (
        f"error    {broken}:2: not JSON",
        f"error    {broken}:3, field rejected: the field `rejected` is missing",
        f"error    {broken}:4: the answer is empty",
        f"error    {broken}:5: chosen and rejected are equal",
        f"warning  the record stands in the file more than once: 1 row, {broken}:6",
        f"{broken}: 4 rows of preferences read as trl, 4 errors, 1 kind of warning",
        f"align data convert {broken} OUT.jsonl --kind preferences --drop-broken",
    ):
        assert text in result.stdout


def test_a_path_with_a_space_is_quoted(broken: Path) -> None:
    path = broken.rename(broken.with_name("my data.jsonl"))
    assert f"align data convert '{path}' OUT.jsonl --kind" in run("check", path).stdout
    path.write_text('{"a": 1}\n')
    with pytest.raises(DataError) as caught:
        run("check", path)
    assert caught.value.remedy == f"say it: align data check '{path}' --kind KIND"


def test_check_as_json(broken: Path) -> None:
    result = run("check", broken, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert (report["kind"], report["format"], report["rows"], report["errors"]) == ("preferences", "trl", 4, 4)
    assert [error["where"] for error in report["broken"]] == [f"{broken}:2", f"{broken}:3, field rejected"]
    assert {f["code"]: f["places"] for f in report["findings"]} == {
        "empty-answer": [f"{broken}:4"],
        "same-answers": [f"{broken}:5"],
        "duplicate": [f"{broken}:6"],
    }


def test_check_of_a_sound_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"text": "a"}, {"text": "b"})
    result = run("check", path)
    assert (
        result.exit_code == 0
        and result.stdout == f"{path}: 2 rows of corpus read as align, 0 errors, 0 kinds of warning\n"
    )


def test_warnings_do_not_fail_and_name_the_file_once(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *[{"text": "a"}] * 30)
    result = run("check", path)
    assert result.exit_code == 0
    assert f"29 rows, {path}:2, 3, 4, " in result.stdout and ", 21 and 9 more" in result.stdout


def test_check_of_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        run("check", tmp_path / "x.jsonl")


def test_check_of_a_file_without_a_readable_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.jsonl:1"):
        run("check", write(tmp_path / "x.jsonl", "no", "no"))


def test_check_never_sends_to_itself(tmp_path: Path) -> None:
    """What the errors name is another command, or something to do with the file."""
    latin, prompts = tmp_path / "latin.jsonl", tmp_path / "prompts.jsonl"
    latin.write_bytes('{"prompt": "caf\u00e9", "chosen": "a", "rejected": "b"}\n'.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        run("check", latin)
    assert caught.value.remedy == "save the file as UTF-8"
    cut = write(tmp_path / "cut.jsonl", '{"prompt": "q"', '{"prompt')
    with pytest.raises(DataError) as caught:
        run("check", cut)
    assert "1 more broken line in" in caught.value.found
    assert "data check" not in caught.value.remedy
    report = json.loads(run("check", cut, "--kind", "prompts", "--json").stdout)
    assert len(report["broken"]) == 2
    assert [error for error in report["broken"] if "data check" in error["remedy"]] == []
    write(prompts, {"prompt": "q", "tags": ["x"], "reference": 4})
    told = run("check", prompts, "--kind", "demonstrations").stdout
    assert "the field `completion` is missing; the row looks like one of prompts" in told
    assert "-> leave out --kind, or --kind prompts" in told
    assert "--drop-broken" not in told  # nothing would be left


@pytest.mark.parametrize("command", ["check", "convert", "stats"])
@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "rankings"),
        ({"prompt": "q", "completion": "a"}, "rankings"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "answers"),
    ],
)
def test_rows_of_another_kind_are_known(tmp_path: Path, command: str, row: dict[str, Any], kind: str) -> None:
    path = write(tmp_path / "x.jsonl", row)
    out = [tmp_path / "out.jsonl"] if command == "convert" else []
    try:
        told = run(command, path, *out, "--kind", kind).stdout
    except DataError as error:
        told = str(error)
    assert "the row looks like one of demonstrations" in told
    assert "leave out --kind, or --kind demonstrations" in told


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "q", "chosen": "a"}, "preferences"),
        ({"prompt": "q", "completon": "a"}, "demonstrations"),
        ({"prompt": "q", "completion": "a"}, "feedback"),
        ({"prompt": "q", "responses": ["a", "b"]}, "rankings"),
    ],
)
def test_a_broken_row_is_not_taken_for_another_kind(tmp_path: Path, row: dict[str, Any], kind: str) -> None:
    told = run("check", write(tmp_path / "x.jsonl", row), "--kind", kind).stdout
    assert "error    " in told and "looks like one of" not in told


def test_check_lists_broken_and_unusable_rows_by_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", ROW | {"chosen": ""}, "{no json", ROW | {"rejected": "good"}, "no", ROW)
    lines = run("check", path).stdout.splitlines()
    assert [line[: len(f"error    {path}:1")] for line in lines[:4]] == [f"error    {path}:{n}" for n in (1, 2, 3, 4)]
    assert lines[4] == "         -> leave the rows out, or mend them"


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_one_row_is_one_row(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / "x.jsonl", ROW | {"chosen": ""}, ROW)
    out = tmp_path / f"out.{suffix}"
    assert run("convert", path, tmp_path / f"all.{suffix}").stdout.startswith("2 rows of preferences written")
    told = run("convert", path, out, "--drop-broken").stdout.splitlines()[-1]
    assert told == f"1 row of preferences written to {out}, 1 row left out"
    assert run("check", out).stdout.startswith(f"{out}: 1 row of preferences read as align, 0 errors")
    assert f"error    {tmp_path / f'all.{suffix}'}" in run("check", tmp_path / f"all.{suffix}").stdout


def test_check_with_a_kind_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown kind `corpos`; did you mean `corpus`"):
        run("check", write(tmp_path / "x.jsonl", {"text": "a"}), "--kind", "corpos")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_convert(tmp_path: Path, suffix: str) -> None:
    path, out = write(tmp_path / "x.jsonl", ROW, ROW | {"prompt": "你好"}), tmp_path / f"out{suffix}"
    result = run("convert", path, out)
    assert result.stdout == f"2 rows of preferences written to {out} (read as trl)\n"
    assert read_records(out, "preferences")[1].model_dump()["prompt"] == [{"role": "user", "content": "你好"}]


def test_convert_stops_at_a_broken_line_and_writes_nothing(broken: Path) -> None:
    out = broken.with_name("out.jsonl")
    with pytest.raises(DataError, match=r"pairs\.jsonl:2(?s:.*)1 more broken line in"):
        run("convert", broken, out)
    assert not out.exists()


def test_convert_does_not_write_over_what_it_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", ROW)
    before = path.read_bytes()
    with pytest.raises(DataError, match="the file to write is the file to read"):
        run("convert", path, path)
    assert path.read_bytes() == before


def test_convert_keeps_doubtful_rows_and_says_so(tmp_path: Path) -> None:
    path, out = write(tmp_path / "x.jsonl", ROW, ROW | {"chosen": ""}), tmp_path / "out.jsonl"
    result = run("convert", path, out)
    assert result.exit_code == 3 and len(read_records(out, "preferences")) == 2
    assert "1 of them has an error that stops a run; --drop-broken leaves such rows out" in result.stderr


def test_convert_without_the_broken_rows_names_each(broken: Path) -> None:
    out = broken.with_name("out.jsonl")
    result = run("convert", broken, out, "--kind", "preferences", "--drop-broken")
    assert result.stdout.splitlines() == [
        f"left out  {broken}:2: not JSON: Expecting property name enclosed in double quotes at column 2",
        f"left out  {broken}:3, field rejected: the field `rejected` is missing",
        f"left out  {broken}:4: the answer is empty",
        f"left out  {broken}:5: chosen and rejected are equal",
        f"2 rows of preferences written to {out}, 4 rows left out",
    ]
    assert len(read_records(out, "preferences")) == 2
    assert run("check", out).exit_code == 0


def test_convert_that_would_leave_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", ROW | {"chosen": ""})
    with pytest.raises(DataError, match="every row has an error"):
        run("convert", path, tmp_path / "out.jsonl", "--drop-broken")
    assert not (tmp_path / "out.jsonl").exists()


def test_stats(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a b", "chosen": "one two three", "rejected": "你好"},
        {"prompt": "a b", "chosen": "x", "rejected": "yy"},
    ]
    path = write(tmp_path / "x.jsonl", *rows)
    figures = json.loads(run("stats", path, "--json").stdout)
    assert figures == {
        "file": str(path),
        "kind": "preferences",
        "format": "trl",
        "rows": 2,
        "different prompts": 1,
        "rows with Chinese": 1,
        "turns": {"min": 1, "median": 1, "p95": 1, "max": 1},
        "parts": {
            "prompt": {
                "words": {"min": 2, "median": 2, "p95": 2, "max": 2},
                "characters": {"min": 3, "median": 3, "p95": 3, "max": 3},
            },
            "chosen": {
                "words": {"min": 1, "median": 2, "p95": 3, "max": 3},
                "characters": {"min": 1, "median": 7, "p95": 13, "max": 13},
            },
            "rejected": {
                "words": {"min": 1, "median": 1.5, "p95": 2, "max": 2},
                "characters": {"min": 2, "median": 2, "p95": 2, "max": 2},
            },
        },
        "tags": {},
        "pairs": 2,
        "longer wins": 0.5,
    }
    text = run("stats", path).stdout
    assert "rows: 2" in text and "rejected, characters" in text and "longer wins: 0.5" in text


def test_stats_of_rankings_feedback_and_tags(tmp_path: Path) -> None:
    scored = [{"prompt": "q", "responses": ["a", "b"], "scores": s, "tags": ["x"]} for s in ([1, 2], [1, 1])]
    figures = json.loads(run("stats", write(tmp_path / "r.jsonl", *scored), "--json").stdout)
    assert (figures["rankings with ties"], figures["pairs"], figures["tags"]) == (1, 1, {"x": 2})
    thumbs = [{"prompt": "q", "completion": "a", "label": label} for label in (True, True, False)]
    figures = json.loads(run("stats", write(tmp_path / "f.jsonl", *thumbs), "--json").stdout)
    assert figures["labelled good"] == 2
    assert "turns" not in run("stats", write(tmp_path / "t.jsonl", {"text": "a"})).stdout


def test_the_commands_import_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = ("torch", "pyarrow", "rich.table", "pydantic")
    code = f"import sys, align.data.commands; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("text", "count"), [("one two  three", 3), ("你好，世界。", 4), ("问 GPT-2 吧", 3), ("", 0)])
def test_words_of_chinese_are_its_characters(text: str, count: int) -> None:
    assert count_words(text) == count
