"""What is said and drawn of a reward model beside its accuracy, from figures as the evaluation makes them."""

from __future__ import annotations

import copy
from math import log
from typing import Any

from align.evaluation.calibration import calibration
from align.report.collect import read_run
from align.report.evaluation import RewardModel
from align.report.page import render
from align.report.reliability import agreed, honesty
from tests.report.conftest import EVALUATION, RunFolder, fill
from tests.report.test_page import Page
from tests.report.test_terminal import printed, row


def margins(right: int, wrong: int) -> list[float]:
    """So many comparisons of 80 % confidence."""
    return [log(4)] * right + [-log(4)] * wrong


AGREEMENT = {"rate": 0.82, "low": 0.78, "high": 0.86, "ceiling": 0.9, "comparisons": 1100, "annotators": 3}
PART = {"rate": 0.625, "low": 0.5, "high": 0.75, "pairs": 1234}


def model(**changes: Any) -> dict[str, Any]:
    groups = [f"q{i}" for i in range(200)]
    return {
        **EVALUATION["reward"][0], "calibration": calibration(groups, margins(120, 80)), "agreement": AGREEMENT,
        "ties": 7, "tags": {"harmful": PART}, "lengths": {"about equal": PART},
    } | changes  # fmt: skip


def test_sentences() -> None:
    found = honesty(RewardModel.model_validate(model()))
    calibrated, people, tied = found.sentences
    assert calibrated.startswith("Its confidence is off by 20.0 % on average (ECE), and by ")
    # σ(log 4 / T) = 0.2 · 201/202 + 0.4 gives T = 3.45.
    assert calibrated.endswith("on all held-out pairs it is 3.45.")
    assert people == (
        "3 annotators agree in 82 % of 1,100 comparisons that several judged (95 % interval 78–86 %); if all err "
        "equally often, a model that always sides with the truth would be right in 90 %."
    )
    assert tied == "7 held-out pairs tied and counted nowhere."


def test_what_is_not_known_is_said() -> None:
    few = honesty(RewardModel.model_validate(model(calibration=calibration(["a", "b"], [1.0, -1.0]), ties=0)))
    assert few.sentences[0].endswith("no temperature was fitted: fewer than 20 comparisons in one half of the prompts.")
    alone = RewardModel.model_validate(model(agreement={"reason": "one annotator only"}))
    assert agreed(alone.agreement) == "How far annotators agree is not known: one annotator only."
    below = RewardModel.model_validate(model(agreement=AGREEMENT | {"rate": 0.4, "ceiling": None}))
    assert "less than chance" in agreed(below.agreement)


def test_tags_of_equal_figures_share_a_line() -> None:
    other = PART | {"pairs": 9}
    found = honesty(RewardModel.model_validate(model(lengths={}, tags={"task": PART, "fact": other, "harmless": PART})))
    assert [(title, list(rows)) for title, rows in found.parts] == [
        ("By tag (equal figures together)", ["task, harmless", "fact"])
    ]


def test_the_curve_is_spoken_and_drawn() -> None:
    chart = honesty(RewardModel.model_validate(model())).chart
    assert chart is not None
    assert chart.alt == "Reliability curve of reward: 60 % right where 80 % sure"
    assert [s.label for s in chart.series] == ["as trained", "with temperature", "as sure as right"]
    assert chart.svg.startswith("<svg") and ">confidence<" in chart.svg


def test_an_evaluation_of_an_older_version_has_none_of_it() -> None:
    found = honesty(RewardModel.model_validate(EVALUATION["reward"][0]))
    assert (found.sentences, found.chart, found.bins, found.parts) == ([], None, [], [])


def test_page_and_terminal_show_it(folder: RunFolder) -> None:
    evaluation = copy.deepcopy(EVALUATION)
    evaluation["reward"] = [model()]
    fill(folder, evaluation)
    words = Page(render(read_run(folder.path))).words
    for said in (
        "another annotator, on all pairs 82.0 % 78.0–86.0 %",
        "Share right, by confidence",
        "Confidence Right Pairs 80.0 % 60.0 % 200",
        "By difference in length Right 95 % interval Pairs about equal 62.5 % 50.0–75.0 % 1,234",
        "By tag Right 95 % interval Pairs harmful 62.5 %",
    ):
        assert said in words, said
    text = printed(folder)
    assert row(text, "another annotator, on all pairs")[-5:] == ["82.0", "%", "78.0–86.0", "%", "1,100"]
    assert row(text, "error of its confidence")[-2:] == ["20.0", "%"]
