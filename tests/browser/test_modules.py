"""The page's pure functions, run by the browser that will run them: order.js and differences.js."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.served import PATIENCE, Served

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def blank(chromium: Any, served: Served) -> Iterator[Any]:
    """A page that does nothing by itself."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(f"{served.url}/login")
    yield page
    context.close()


@pytest.fixture
def order(blank: Any) -> Run:
    """Runs an expression on order.js as `o`, with a state of answers a, b, c, d as `s`."""
    head = 'import("/static/order.js").then((o) => { const s = o.begin(["a", "b", "c", "d"]); const r = '
    return lambda expression: blank.evaluate(f"{head}{expression}; return r; }})")


@pytest.mark.parametrize(
    ("act", "groups"),
    [
        ('o.place(s, "d", 0)', "d|a|b|c"),
        ('o.place(s, "a", 4)', "b|c|d|a"),
        ('o.place(s, "a", 1)', "a|b|c|d"),
        ('o.place(s, "b", 99)', "a|c|d|b"),
        ('o.place(o.tieWith(s, "a", "b"), "a", 1)', "b|a|c|d"),
        ('o.place(o.tieWith(s, "a", "b"), "a", 0)', "a|b|c|d"),
        ('o.place(o.leaveOut(s, "b"), "b", 1)', "a|b|c|d"),
        ('o.toRank(s, "a", 3)', "b|c|a|d"),
        ('o.toRank(s, "d", 1)', "d|a|b|c"),
        ('o.toRank(s, "a", 9)', "b|c|d|a"),
        ('o.tieWith(s, "d", "a")', "ad|b|c"),
        ('o.tieWith(s, "a", "a")', "a|b|c|d"),
        ('o.tieWith(o.tieWith(s, "b", "a"), "c", "b")', "abc|d"),
        ('o.toggleTie(s, "c")', "a|bc|d"),
        ('o.toggleTie(s, "a")', "a|b|c|d"),
        ('o.toggleTie(o.toggleTie(s, "c"), "c")', "a|b|c|d"),
        ('o.toggleTie(o.toggleTie(s, "c"), "b")', "a|c|b|d"),
        ('o.step(s, "b", -1)', "b|a|c|d"),
        ('o.step(s, "a", -1)', "a|b|c|d"),
        ('o.step(s, "d", 1)', "a|b|c|d"),
        ('o.step(o.tieWith(s, "b", "a"), "b", -1)', "b|a|c|d"),
        ('o.step(o.tieWith(s, "b", "a"), "a", 1)', "b|a|c|d"),
        ('o.leaveOut(s, "b")', "a|c|d"),
        ('o.leaveOut(o.leaveOut(s, "b"), "b")', "a|c|d|b"),
        ('o.step(o.leaveOut(s, "b"), "b", -1)', "a|c|d|b"),
        ('o.step(o.leaveOut(s, "b"), "b", 1)', "a|c|d"),
    ],
)
def test_an_order_after_a_move(order: Run, act: str, groups: str) -> None:
    assert order(f'({act}).groups.map((group) => group.sort().join("")).join("|")') == groups


@pytest.mark.parametrize("act", ['place(s, "d", 0)', 'toRank(s, "a", 3)', 'tieWith(s, "d", "a")', 'leaveOut(s, "a")'])
def test_a_move_counts_once_and_leaves_the_former_state(order: Run, act: str) -> None:
    assert order(f"[o.{act}.moves, s.moves, s.groups.length]") == [1, 0, 4]


@pytest.mark.parametrize(
    ("state", "ranks"),
    [
        ("s", [1, 2, 3, 4]),
        ('o.tieWith(s, "d", "a")', [1, 2, 3, 1]),
        ('o.leaveOut(s, "a")', [None, 1, 2, 3]),
        ('o.leaveOut(o.leaveOut(o.leaveOut(s, "a"), "b"), "c")', None),
        ('{ ...s, way: "buckets", buckets: { a: 2, b: 0, c: 2 } }', [2, 1, 2, None]),
        ('{ ...s, way: "buckets", buckets: { a: 2 } }', None),
        ('{ ...s, way: "buckets", buckets: {} }', None),
    ],
)
def test_ranks(order: Run, state: str, ranks: list[int | None] | None) -> None:
    found = order(f'o.ranksOf({state}, ["a", "b", "c", "d"])')
    assert found == (ranks and dict(zip("abcd", ranks, strict=True)))


@pytest.mark.parametrize(("strength", "ranks"), [(-3, (1, 2)), (-1, (1, 2)), (0, (1, 1)), (2, (2, 1)), ("null", None)])
def test_ranks_of_a_pair(order: Run, strength: Any, ranks: tuple[int, int] | None) -> None:
    found = order(f'o.ranksOf({{ ...o.begin(["x", "y"]), strength: {strength} }}, ["x", "y"])')
    assert found == (ranks and {"x": ranks[0], "y": ranks[1]})


@pytest.mark.parametrize("ranks", [[1, 2, 3, 4], [2, 1, 1, None], [1, 1, 1, 1], [None, 2, None, 1]])
def test_a_saved_ranking_comes_back(order: Run, ranks: list[int | None]) -> None:
    given = {key: rank for key, rank in zip("abcd", ranks, strict=True)}
    text = str(given).replace("None", "null")
    assert order(f'o.ranksOf(o.fromRanks(["a", "b", "c", "d"], {text}), ["a", "b", "c", "d"])') == given


@pytest.mark.parametrize(("first", "second", "strength"), [(1, 2, -2), (2, 1, 2), (1, 1, 0)])
def test_a_saved_pair_comes_back(order: Run, first: int, second: int, strength: int) -> None:
    made = f'o.fromRanks(["x", "y"], {{ x: {first}, y: {second} }}, {{ strength: {abs(strength) or "null"} }})'
    assert order(f"({made}).strength") == strength


DIFFERENCES = [
    ("a b c", "a x c", [["both", "a "], ["only-first", "b"], ["only-second", "x"], ["both", " c"]]),
    ("same", "same", [["both", "same"]]),
    ("", "new", [["only-second", "new"]]),
    ("old", "", [["only-first", "old"]]),
    ("", "", []),
    ("我爱猫", "我爱狗", [["both", "我爱"], ["only-first", "猫"], ["only-second", "狗"]]),
    ("a  b", "a b", [["both", "a"], ["only-first", "  "], ["only-second", " "], ["both", "b"]]),
    ("<b>", "<i>", [["only-first", "<b>"], ["only-second", "<i>"]]),
]


@pytest.mark.parametrize(("one", "two", "parts"), DIFFERENCES)
def test_differences(blank: Any, one: str, two: str, parts: list[list[str]]) -> None:
    run = '([a, b]) => import("/static/differences.js").then((d) => d.differences(a, b))'
    assert blank.evaluate(run, [one, two]) == parts


@pytest.mark.parametrize("line", ["word " * 30, "word"])
def test_differences_of_long_texts_are_whole(blank: Any, line: str) -> None:
    one = "".join(f"{line} {n}\n" for n in range(1500))
    two = one.replace(f"{line} 700\n", "another line\n")
    run = '([a, b]) => import("/static/differences.js").then((d) => d.differences(a, b))'
    parts = blank.evaluate(run, [one, two])
    assert "".join(text for kind, text in parts if kind != "only-second") == one
    assert "".join(text for kind, text in parts if kind != "only-first") == two
    assert sum(len(text) for kind, text in parts if kind != "both") < 1000
