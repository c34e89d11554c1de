"""Finished batches survive a kill; a line that it cut off does not count."""

from __future__ import annotations

from pathlib import Path

from align.models.generate import Sampled
from align.stages.batches import FinishedBatches

ONE, TWO = Sampled([1, 2], "blå 蓝\u2028\u0085x", True), Sampled([3], "", False)


def test_batches_are_found_again(tmp_path: Path) -> None:
    store = FinishedBatches(tmp_path / "deep/answers.jsonl")
    assert store.get(0) is None
    store.add(0, [ONE, TWO])
    store.add(3, [TWO])
    again = FinishedBatches(tmp_path / "deep/answers.jsonl")
    assert (again.get(0), again.get(1), again.get(3)) == ([ONE, TWO], None, [TWO])


def test_a_line_cut_off_at_any_byte_is_dropped_and_the_file_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    FinishedBatches(whole).add(0, [ONE])
    first = whole.read_bytes()
    FinishedBatches(whole).add(1, [ONE, TWO])
    both = whole.read_bytes()
    for end in range(len(first), len(both)):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(both[:end])
        store = FinishedBatches(path)
        assert (store.get(0), store.get(1)) == ([ONE], None)
        assert path.read_bytes() == first
        store.add(1, [ONE, TWO])
        assert path.read_bytes() == both
