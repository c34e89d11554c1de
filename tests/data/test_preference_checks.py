"""The data doctor on comparisons: conflicts, circles, length, place, and files that are no ranking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.data.checks import check_records, counts, leakage
from align.data.comparisons import comparisons
from align.data.preference_checks import conflicts, length_bias, place_bias, wilson
from align.data.records import RECORDS, Ranking, Record
from align.errors import DataError, ModelError
from tests.data.test_commands import run, write
from tests.tiny import tiny_folder


def ranking(ranks: list[int | None], who: str = "ann", prompt: str = "q", texts: str = "abcdefgh") -> dict[str, Any]:
    answers = [{"id": str(i), "text": text} for i, text in enumerate(texts[: len(ranks)])]
    said = [{"role": "user", "content": prompt}]
    return {"prompt": said, "answers": answers, "ranks": ranks, "annotator": who}


def pair(chosen: str, rejected: str, prompt: str = "q") -> dict[str, Any]:
    asked = [{"role": "user", "content": prompt}]
    said = [[{"role": "assistant", "content": text}] for text in (chosen, rejected)]
    return {"prompt": asked, "chosen": said[0], "rejected": said[1]}


def rankings(*rows: dict[str, Any]) -> list[Record]:
    return [Ranking.model_validate(row) for row in rows]


def preferences(*rows: dict[str, Any]) -> list[Record]:
    return [RECORDS["preferences"].model_validate(row) for row in rows]


def test_against_oneself_and_against_others() -> None:
    rows = rankings(ranking([1, 2]), ranking([2, 1]), ranking([2, 1], "bob"), ranking([1, 2], prompt="r"))
    assert conflicts(rows) == {"contradiction": [1], "disagreement": [2], "cycle": []}


def test_a_ranking_in_another_order_of_answers_is_no_conflict() -> None:
    assert conflicts(rankings(ranking([1, 2]), ranking([2, 1], "bob", texts="ba"))) == {
        "contradiction": [], "disagreement": [], "cycle": [],
    }  # fmt: skip


def test_circles_of_preferences() -> None:
    """a > b > c > a; and d, which only loses, stands outside."""
    rows = preferences(pair("a", "b"), pair("b", "c"), pair("c", "a"), pair("a", "d"), pair("c", "b", prompt="r"))
    assert conflicts(rows) == {"contradiction": [], "disagreement": [], "cycle": [0, 1, 2]}


def test_circles_follow_what_most_judge() -> None:
    """Two against one have a before c, so what goes round with c before a is outvoted."""
    rows = rankings(
        ranking([1, 2], texts="ab"), ranking([1, 2], texts="bc"), ranking([1, 2], "bob", texts="ca"),
        ranking([1, 2], texts="ac"), ranking([1, 2], "eve", texts="ac"),
    )  # fmt: skip
    assert conflicts(rows)["cycle"] == []
    assert conflicts(rows[:3])["cycle"] == [0, 1, 2]
    assert conflicts(rows[:4])["cycle"] == [], "one against one: a and c are even"


def test_conflicts_are_told_with_file_and_line(tmp_path: Path) -> None:
    rows = [ranking([1, 2]), ranking([2, 1]), ranking([2, 1], "bob")]
    path = write(tmp_path / "r.jsonl", *rows)
    shown = run("check", path).stdout
    assert f"preferred once this way and once the other: 1 row, {path}:2\n" in shown
    assert f"another annotator prefers one of these answers the other way round: 1 row, {path}:3\n" in shown
    assert "-> ask the annotator again" in shown
    found = {f["code"]: f for f in json.loads(run("check", path, "--json").stdout)["findings"]}
    assert found["contradiction"]["remedy"].startswith("ask the annotator again")
    assert found["disagreement"]["places"] == [f"{path}:3"]


@pytest.mark.parametrize(
    ("ranks", "gap"),
    [
        ([1, 2, 3], False), ([1, 2, 2, 4], False), ([1, 2, 2, 3], False), ([2, 1, None], False), ([1, 3, None], False),
        ([1, 3], True), ([2, 3], True), ([1, 1, 5], True), ([1, 4, None], True),
    ],
)  # fmt: skip
def test_gaps_in_ranks(ranks: list[int | None], gap: bool) -> None:
    found = {f.code: f.severity for f in check_records("rankings", rankings(ranking(ranks)))}
    assert found == ({"rank-gap": "warning"} if gap else {})


def test_equal_answers_are_not_compared() -> None:
    """At one rank that is right; at two it is told, and neither teaches the other's opposite."""
    assert check_records("rankings", rankings(ranking([1, 1, 2], texts="aab"))) == []
    rows = rankings(ranking([1, 2, 3], texts="aab"))
    assert [f.code for f in check_records("rankings", rows)] == ["same-answer"]
    assert [(c.chosen_text, c.rejected_text) for c in comparisons(rows)] == [("a", "b"), ("a", "b")]
    for pairs in ("best_vs_rest", "best_vs_worst", "adjacent"):
        assert {(c.chosen_text, c.rejected_text) for c in comparisons(rows, pairs)} == {("a", "b")}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ranks": [1, 2, 3]}, "ranks has 3 entries for 2 answers; give one each"),
        ({"ranks": [0, 1]}, "ranks [0, 1] holds a rank below 1; 1 is best"),
        ({"ranks": [1.5, 2]}, "`ranks[0]` is the number"),
        ({"ranks": ["first", 2]}, "`ranks[0]` is the text"),
        ({"ranks": [True, 2]}, "`ranks[0]` is true"),
        ({"answers": [{"id": "0", "text": "a"}], "ranks": [1]}, "at least 2 entries"),
    ],
)
def test_what_is_no_ranking_stops_with_file_and_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "r.jsonl", ranking([1, 2]), ranking([1, 2], prompt="r") | change)
    result = run("check", path, "--kind", "rankings")
    assert result.exit_code == 3
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("error")]
    assert line.startswith(f"error    {path}:2") and said in line


def test_near_duplicates() -> None:
    rows = preferences(pair("Good  answer", "b"), pair("good\nanswer", "b"), pair("good answers", "b"))
    assert counts(check_records("preferences", rows)) == {"near-duplicate": 1}


def test_leaks_but_for_spaces_and_capitals() -> None:
    train, held = preferences(pair("a", "b", "Who is  it?")), preferences(pair("a", "b", "who is it?\n"))
    (found,) = leakage({"t": train}, {"h": held})
    assert (found.severity, found.code, found.where) == ("warning", "near-leakage", "h:1")
    assert [f.code for f in leakage({"t": train}, {"h": train})] == ["leakage"]


def test_leaks_between_two_files(tmp_path: Path) -> None:
    train = write(tmp_path / "t.jsonl", pair("a", "b"), pair("a", "b", "r"))
    held = write(tmp_path / "h.jsonl", pair("a", "b", "s"), pair("c", "d", "r"))
    result = run("check", train, "--heldout", held)
    assert result.exit_code == 3 and f"error    {held}:2, in training at {train}:2: held-out" in result.stdout
    assert "--drop-broken" not in result.stdout  # it would keep the leak
    assert run("check", train).exit_code == 0


def test_wilson_by_hand() -> None:
    """z = 1.96, 8 of 10: (0.8 + 0.19208 ± 1.96 √(0.016 + 0.009604)) / 1.38416."""
    assert wilson(0.8, 10) == pytest.approx(((0.99208 - 0.313626) / 1.38416, (0.99208 + 0.313626) / 1.38416), abs=1e-5)


def test_length_counts_prompts_in_its_interval() -> None:
    """75 pairs of 25 prompts, all won by the shorter answer: the interval is that of 25 of 25, from 87 % on."""
    rows = rankings(*[ranking([1, 2, 3], prompt=str(i), texts=["a", "bb", "ccc"]) for i in range(25)])  # type: ignore[arg-type]
    said, pairs = length_bias(rows)
    assert pairs == 75
    assert said.endswith("the shorter answer wins 100% of 75 pairs (95 % interval 87%-100%)")


def first_best(best: int, rest: int, **more: Any) -> list[Record]:
    """Rankings of four answers: in so many the first is best, in so many the last."""
    rows = [ranking([1, 2, 3, 4], prompt=str(i)) | more for i in range(best)]
    return rankings(*rows, *[ranking([4, 3, 2, 1], prompt=f"r{i}") | more for i in range(rest)])


def test_place() -> None:
    """Chance gives 1/4, of 100 rankings 25 ± 4.33: 40 lie (15 - 0.5) / 4.33 = 3.35 away, so p = 0.0008; 39 do not."""
    said, count = place_bias(first_best(40, 60))
    assert count == 100
    assert said.endswith("the first one is the best in 40% of 100 rankings, where chance gives 25% (p = 0.0008)")
    assert place_bias(first_best(39, 61))[0] == "" and place_bias(first_best(40, 9))[0] == ""
    assert place_bias(first_best(0, 100))[0] != "", "too rarely is telling too"
    assert counts(check_records("rankings", first_best(40, 60)))["place"] == 100


def test_place_is_where_an_answer_was_shown() -> None:
    """Written best first by the file, but shown last: then the first place is never the best."""
    said, _ = place_bias(first_best(100, 0, meta={"shown_order": ["3", "2", "1", "0"]}))
    assert "best in 0% of 100" in said


def test_ties_for_the_best_say_nothing_of_place() -> None:
    assert place_bias(rankings(*[ranking([1, 1, 2], prompt=str(i)) for i in range(60)])) == ("", 0)


def test_lengths_in_tokens(tmp_path: Path) -> None:
    """The end of the second row's answers differs after more tokens than there is room for."""
    long = "salt and yeast " * 20
    path = write(
        tmp_path / "p.jsonl", pair("Yes.", "No."), pair(long + "Yes.", long + "No."), pair("Yes." + long, "No")
    )
    result = run("check", path, "--tokenizer", tiny_folder("llama"), "--max-length", 40)
    assert f"removes the difference of a comparison, which is left out: 1 row, {path}:2\n" in result.stdout
    assert f"longer than 40 tokens and is cut: 1 row, {path}:3\n" in result.stdout
    assert run("check", path, "--tokenizer", tiny_folder("llama")).stdout.count("warning") == 1, "the closing line"
    with pytest.raises(DataError.__base__, match="no tokenizer can be read"):  # type: ignore[arg-type]
        run("check", path, "--tokenizer", tmp_path)
    with pytest.raises(ModelError, match="there is no such folder"):
        run("check", path, "--tokenizer", "nofolder")
