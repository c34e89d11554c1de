"""A judge in a Python file: what it is given, and what is said when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from align.errors import DataError
from align.judges.rules import RulesJudge
from tests.tiny import talk

PROMPT = talk("Name a colour.")


def judge(folder: Path, body: str) -> RulesJudge:
    path = folder / "judge.py"
    path.write_text(body, "utf-8")
    return RulesJudge(path)


def test_the_functions_get_what_the_contract_says(tmp_path: Path) -> None:
    found = judge(
        tmp_path,
        "def score(prompt, answer, reference=None, tags=()):\n"
        "    assert prompt == [{'role': 'user', 'content': 'Name a colour.'}] and tags == ('t',)\n"
        "    return int(answer == reference)\n"
        "def measures(prompt, answer, reference=None, tags=()):\n"
        "    return {'right': answer == reference, 'words': len(answer.split())}\n",
    )
    assert found.score(PROMPT, "Blue.", "Blue.", ["t"]) == 1.0
    assert found.score(PROMPT, "Red.", "Blue.", ["t"]) == 0.0
    assert found.measures(PROMPT, "Light blue.", None, ["t"]) == {"right": 0.0, "words": 2.0}


def test_measures_are_optional(tmp_path: Path) -> None:
    assert judge(tmp_path, "def score(*a): return 1").measures(PROMPT, "x") == {}


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "'good'", "None", "True", "[1]"])
def test_a_score_that_is_no_number(tmp_path: Path, value: str) -> None:
    with pytest.raises(
        DataError, match=r"judge.py\n(.|\n)*score\(\) gave .* for the answer 'Blue.'(.|\n)*finite number"
    ):
        judge(tmp_path, f"def score(*a): return {value}").score(PROMPT, "Blue.")


@pytest.mark.parametrize("value", ["3", "{'x': 'much'}", "{'x': float('nan')}"])
def test_measures_that_are_no_numbers(tmp_path: Path, value: str) -> None:
    found = judge(tmp_path, f"def score(*a): return 1\ndef measures(*a): return {value}")
    with pytest.raises(DataError, match=r"measures\(\) gave .* for the answer 'Blue.'(.|\n)*names and finite numbers"):
        found.measures(PROMPT, "Blue.")


def test_a_function_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    found = judge(tmp_path, "def score(prompt, answer, reference=None, tags=()):\n    x = 0\n    return 1 / x\n")
    with pytest.raises(
        DataError, match=r"judge.py:3\n(.|\n)*ZeroDivisionError: division by zero, for the answer 'Blue.' to 'Name a"
    ):
        found.score(PROMPT, "Blue.")


def test_a_function_that_takes_other_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"score\(\) takes 1 positional argument but 4 were given") as caught:
        judge(tmp_path, "\n\ndef score(answer):\n    return 1\n").score(PROMPT, "Blue.")
    assert caught.value.where == str(tmp_path / "judge.py"), "no line of ours"
    assert "def score(prompt, answer, reference=None, tags=())" in caught.value.allowed


@pytest.mark.parametrize(
    "body",
    ["def rate(*a): return 1", "import nowhere", "def score(*a): return 'x'", "def score(*a): return 1 / 0",
     "def score(*a): return 1\ndef measures(*a): return 3"],
)  # fmt: skip
def test_every_mistake_has_a_remedy(tmp_path: Path, body: str) -> None:
    with pytest.raises(DataError) as caught:
        found = judge(tmp_path, body)
        found.score(PROMPT, "Blue.")
        found.measures(PROMPT, "Blue.")
    assert caught.value.remedy
    if "() " in caught.value.found:
        assert "to 'Name a colour.'" in caught.value.found


def test_a_file_without_score(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"defines no function `score`(.|\n)*def score\(prompt, answer"):
        judge(tmp_path, "def rate(*a): return 1")


def test_a_file_that_cannot_be_imported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be imported: SyntaxError"):
        judge(tmp_path, "def score(:")
    with pytest.raises(DataError, match="cannot be imported: ModuleNotFoundError: No module named 'nowhere'"):
        judge(tmp_path, "import nowhere")
    with pytest.raises(DataError, match=r"gone.py\n(.|\n)*cannot be imported: FileNotFoundError"):
        RulesJudge(tmp_path / "gone.py")


def test_a_file_that_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "judge.txt").write_text("x", "utf-8")
    with pytest.raises(DataError, match=r"no Python file(.|\n)*ending in .py"):
        RulesJudge(tmp_path / "judge.txt")
