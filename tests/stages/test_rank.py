"""Ranking by rules, by a reward model, by labels that exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align.artifacts import Artifact
from align.contract import HELDOUT, TRAIN, rows
from align.data.records import Answer, Answers, Ranking
from align.errors import DataError
from align.recipe.schema import ByFile, ByReward, ByRules, Rank, Reward
from align.stages.rank import by_labels, by_scores
from tests import tiny
from tests.tiny import talk

pytestmark = tiny.THIRD_PARTY


def answers(question: str, *texts: str) -> Answers:
    found = [Answer(id=f"{question}{i}", text=t) for i, t in enumerate(texts)]
    return Answers(id=question, prompt=talk(question), answers=found, tags=["t"], reference=3)


def ranked(artifact: Artifact, split: str) -> list[Ranking]:
    return [r for r in rows(artifact, split) if isinstance(r, Ranking)]


def settings(by: ByRules | ByReward | ByFile) -> Rank:
    return Rank(name="rankings", kind="rank", answers="answers", by=by)


def source(runs: Path, train: list[Answers], heldout: list[Answers]) -> Artifact:
    return tiny.data_artifact(runs, "answers", "answers", train, heldout)


@pytest.mark.parametrize(
    ("scores", "ranks"),
    [
        ([4.0, 3.0, 3.0, 1.0], [1, 2, 2, 4]),
        ([1.0, 1.0, 1.0], [1, 1, 1]),
        ([-1.0, 5.0], [2, 1]),
        ([0.3, 0.1 + 0.2, 0.2], [1, 1, 3]),
    ],
)
def test_equal_scores_tie_and_the_next_rank_counts_them(scores: list[float], ranks: list[int]) -> None:
    (found,) = by_scores([answers("q", *"abcd"[: len(scores)])], [scores], "me")
    assert found.ranks == ranks
    assert found.annotator == "me"
    assert found.ratings == {f"q{i}": {"score": round(s, 6)} for i, s in enumerate(scores)}
    assert (found.tags, found.reference) == (["t"], 3)


def test_by_rules(tmp_path: Path) -> None:
    """Longer is better; the rules see the reference. One answer alone is left out."""
    (tmp_path / "judge.py").write_text(
        "def score(prompt, answer, reference=None, tags=()):\n"
        "    assert prompt[-1]['role'] == 'user' and reference == 3 and tags == ('t',)\n"
        "    return len(answer)\n"
    )
    data = source(tmp_path, [answers("q", "aa", "b", "cc"), answers("alone", "a")], [answers("h", "x", "yy")])
    done: list[tuple[int, int]] = []
    made = tiny.run_in(
        tmp_path, settings(ByRules(rules="judge.py")), {"answers": [data]},
        progress=lambda what, n, of, note: done.append((n, of)),
    )  # fmt: skip
    assert [(r.id, r.ranks) for r in ranked(made, TRAIN)] == [("q", [1, 3, 1])]
    assert [(r.id, r.ranks) for r in ranked(made, HELDOUT)] == [("h", [2, 1])]
    assert made.manifest.metrics == {"rankings": 2, "comparisons": 4, "tied_share": 0.25}
    assert done == [(1, 2), (2, 2), (1, 1)]


def test_by_reward(tmp_path: Path) -> None:
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    stage = Reward(name="reward", kind="reward", model="base", data="pairs", max_steps=3, max_length=128,
                   learning_rate=1e-2)  # fmt: skip
    reward = tiny.run_in(tmp_path, stage, {"model": [tiny.base_of(tmp_path, "llama")], "data": [pairs]})
    data = source(
        tmp_path, [answers(q, g, b, g) for q, g, b in zip(tiny.QUESTIONS, tiny.GOOD, tiny.BAD, strict=True)], []
    )
    made = tiny.run_in(tmp_path, settings(ByReward(reward="reward")), {"answers": [data], "by.reward": [reward]})
    from align.judges.reward import RewardJudge

    judge = RewardJudge(reward, "fp32")
    assert len(ranked(made, TRAIN)) == 8
    for ranking in ranked(made, TRAIN):
        good, bad, same = judge.score_all([(ranking.prompt, a.text) for a in ranking.answers])
        assert good == pytest.approx(same, abs=1e-5)
        assert ranking.ranks == ([1, 3, 1] if good > bad else [2, 1, 2])
        assert ranking.annotator == "reward"
    assert not (made.path / HELDOUT).exists()


def test_by_file(tmp_path: Path) -> None:
    """Labels are matched by prompt and text; what has none is left out and counted."""
    known, unknown, other = answers("q", "a", "b"), answers("u", "a", "b"), answers("o", "a", "b")
    label = Ranking(prompt=known.prompt, answers=known.answers, ranks=[2, 1], annotator="ann")
    second = Ranking(prompt=known.prompt, answers=known.answers, ranks=[1, 2], annotator="bob")
    stale = Ranking(prompt=other.prompt, answers=[Answer(id="x", text="a"), Answer(id="y", text="gone")],
                    ranks=[1, 2], annotator="ann")  # fmt: skip
    data = source(tmp_path, [known, unknown], [other])
    labels = tiny.data_artifact(tmp_path, "labels", "rankings", [label, second, stale])
    said: list[str] = []
    made = tiny.run_in(
        tmp_path, settings(ByFile(file="labels")), {"answers": [data], "by.file": [labels]}, say=said.append
    )
    assert [r.annotator for r in ranked(made, TRAIN)] == ["ann", "bob"]
    assert not (made.path / HELDOUT).exists()
    assert said == [
        "2 prompts without a label left out",
        "train.jsonl:2: another annotator prefers one of these answers the other way round",
    ]
    assert made.manifest.metrics == {
        "unlabelled_prompts": 2, "rankings": 2, "comparisons": 2, "tied_share": 0.0, "doctor": {"disagreement": 1},
    }  # fmt: skip


def test_labels_that_fit_no_answer(tmp_path: Path) -> None:
    labels = tiny.data_artifact(tmp_path, "labels", "rankings", tiny.rankings())
    data = source(tmp_path, [answers("q", "a", "b")], [])
    with pytest.raises(DataError, match=r"where: +answers\n(.|\n)*no answer was ranked(.|\n)*belong to these answers"):
        tiny.run_in(tmp_path, settings(ByFile(file="labels")), {"answers": [data], "by.file": [labels]})


def test_labels_without_a_placed_answer_are_no_division_by_zero(tmp_path: Path) -> None:
    item = answers("q", "a", "b")
    skipped = Ranking(prompt=item.prompt, answers=item.answers, ranks=[None, None], annotator="ann")
    labels = tiny.data_artifact(tmp_path, "labels", "rankings", [skipped])
    made = tiny.run_in(
        tmp_path, settings(ByFile(file="labels")), {"answers": [source(tmp_path, [item], [])], "by.file": [labels]}
    )
    assert made.manifest.metrics == {
        "rankings": 1, "comparisons": 0, "tied_share": 0.0, "doctor": {"no-comparison": 1, "no-ranks": 1},
    }  # fmt: skip


def test_a_label_may_leave_answers_out() -> None:
    item = answers("q", "a", "b", "c")
    part: Any = Ranking(prompt=item.prompt, answers=item.answers[:2], ranks=[1, 2], annotator="ann")
    assert by_labels([item], [part]) == [part]


def test_what_was_said_of_the_answers_is_not_said_again(tmp_path: Path) -> None:
    """An empty answer came with the input; that all tie is new."""
    items = [answers("q", "", "b"), answers("r", "a", "c")]
    found = {"doctor": {"empty-sample": 1}}
    data = tiny.data_artifact(tmp_path, "answers", "answers", items, metrics=found)
    (tmp_path / "judge.py").write_text(
        "def score(prompt, answer, reference=None, tags=()):\n    return float(answer == 'b')\n"
    )
    said: list[str] = []
    made = tiny.run_in(tmp_path, settings(ByRules(rules="judge.py")), {"answers": [data]}, say=said.append)
    assert len(said) == 1
    assert said[0].startswith("train.jsonl:2: all answers tie: a reward model learns that they are alike; DPO and")
    assert made.manifest.metrics["doctor"] == {"answers.empty-sample": 1, "empty-sample": 1, "all-tied": 1}
