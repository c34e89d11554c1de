"""Sampling answers: K for each prompt and policy, resumable, the same whatever happened in between."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from align.artifacts import Artifact
from align.contract import HELDOUT, TRAIN, rows
from align.data.records import Answers, Preference, Prompt
from align.errors import DataError
from align.recipe.schema import Sample
from align.stages import sample
from tests import tiny
from tests.tiny import talk


def settings(**changes: Any) -> Sample:
    values: dict[str, Any] = {"name": "answers", "kind": "sample", "model": "base", "prompts": "prompts",
                              "per_prompt": 2, "max_new_tokens": 8, "batch_size": 3}  # fmt: skip
    return Sample(**(values | changes))


def asked(runs: Path) -> Artifact:
    return tiny.data_artifact(runs, "prompts", "prompts", tiny.prompts()[:5], tiny.prompts()[5:])


def answers_in(artifact: Artifact, split: str) -> list[Answers]:
    return [r for r in rows(artifact, split) if isinstance(r, Answers)]


def test_two_policies_answer_both_splits(tmp_path: Path) -> None:
    first, second = tiny.base_of(tmp_path, "llama", "first"), tiny.base_of(tmp_path, "gpt2", "second")
    made = tiny.run_in(
        tmp_path, settings(model=["first", "second"]), {"model": [first, second], "prompts": [asked(tmp_path)]}
    )
    train, heldout = answers_in(made, TRAIN), answers_in(made, HELDOUT)
    assert [r.prompt[-1].content for r in train + heldout] == tiny.QUESTIONS
    assert [r.reference for r in train + heldout] == tiny.GOOD
    for record in train + heldout:
        assert [a.model for a in record.answers] == ["first", "first", "second", "second"]
        assert len({a.id for a in record.answers}) == 4
        assert record.tags == ["short"]
        assert record.answers[0].sampling == {"temperature": 1.0, "top_p": 1.0}
    texts = [a.text for r in train + heldout for a in r.answers]
    assert len(set(texts)) > 25, "every answer has its own seed"
    figures = made.manifest.metrics
    assert (figures["prompts"], figures["heldout_prompts"], figures["answers"]) == (5, 3, 32)
    assert 0 <= figures["finished_share"] <= 1


def test_a_killed_stage_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    inputs = {"model": [tiny.base_of(tmp_path, "llama")], "prompts": [asked(tmp_path)]}
    wanted = tiny.run_in(tmp_path, settings(), inputs)
    wanted.path.rename(tmp_path / "undisturbed")

    class Killed(Exception):
        pass

    def stop(what: str, done: int, total: int, note: str) -> None:
        assert total == 6, "16 answers, 3 at once"
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        tiny.run_in(tmp_path, settings(), inputs, progress=stop)
    kept = tmp_path / "answers.partial/resume/base.jsonl"
    lines = kept.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    kept.write_bytes(b"".join(lines[:2]) + lines[2][:20])  # the kill fell into the third batch's line
    fresh: list[int] = []
    original = sample.sample_batch

    def counting(*given: Any) -> Any:
        fresh.append(len(given[2]))
        return original(*given)

    sample.sample_batch = counting  # type: ignore[assignment]
    try:
        found = tiny.run_in(tmp_path, settings(), inputs)
    finally:
        sample.sample_batch = original
    assert fresh == [3, 3, 3, 1], "two batches were done"
    assert found.manifest.content == wanted.manifest.content


def test_the_batch_size_changes_no_answer(tmp_path: Path) -> None:
    inputs = {"model": [tiny.base_of(tmp_path, "llama")], "prompts": [asked(tmp_path)]}
    found = []
    for size in (1, 7, 64):
        made = tiny.run_in(tmp_path, settings(batch_size=size), inputs)
        found.append(made.manifest.content)
        shutil.rmtree(made.path)
    assert len(set(found)) == 1


def test_prompts_are_taken_from_preferences_once(tmp_path: Path) -> None:
    pair = Preference(prompt=talk("Q"), chosen=talk("", "a")[1:], rejected=talk("", "b")[1:], tags=["x"])
    found = sample.distinct_prompts([pair, pair.model_copy(update={"id": "other"}), Prompt(prompt=talk("R"))])
    assert [(p.prompt[0].content, p.tags) for p in found] == [("Q", ["x"]), ("R", [])]


def test_seeds_differ_by_stage_prompt_and_number_and_stay() -> None:
    seeds = {sample.answer_seed(s, talk(q), n) for s in (1, 2) for q in ("a", "b") for n in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert sample.answer_seed(1, talk("a"), 0) == 7948987761454280903


def test_a_prompt_that_leaves_no_room(tmp_path: Path) -> None:
    long = Prompt(id="long", prompt=talk("How do I bake bread? " * 40))
    prompts = tiny.data_artifact(tmp_path, "prompts", "prompts", [*tiny.prompts(), long])
    inputs = {"model": [tiny.base_of(tmp_path, "llama")], "prompts": [prompts]}
    with pytest.raises(
        DataError, match=r"1 prompt too long: \w+ has \d+ tokens, and 8 are kept(.|\n)*at most 248 tokens, for a"
    ):
        tiny.run_in(tmp_path, settings(), inputs)
