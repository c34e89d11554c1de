"""Curves: what is drawn, and that the picture is fit to stand inside a page."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

from align.logged import last_tenth
from align.report.curves import MOST_POINTS, charts
from align.report.numbers import figure
from tests.report.conftest import dpo_metrics, reward_metrics


def test_training_and_heldout_loss_share_axes() -> None:
    rows = [{"step": s, "loss": 3.0 / s} for s in (1, 2, 3)] + [{"step": 3, "eval_loss": 1.25, "eval_runtime": 9.0}]
    shown, more = charts("sft", rows)
    assert [c.title for c in shown] == ["Loss"] and more == []
    assert shown[0].alt == "Loss of sft up to step 3: training from 3.00 to 1.00; held-out 1.25"


def test_what_each_stage_shows_first() -> None:
    reward, _ = charts("reward", [{"step": i, **reward_metrics(i / 5)} for i in range(5)])
    assert [c.title for c in reward] == ["Loss", "Accuracy", "Margin", "Rewards"]
    dpo, more = charts("dpo", [{"step": i, **dpo_metrics(i / 5)} for i in range(5)])
    assert [c.title for c in dpo] == ["Loss", "Reward accuracy", "Reward margin", "Rewards", "Log-probabilities"]
    assert [c.title for c in more] == ["Entropy", "grad_norm", "learning_rate"]
    names = ("loss", "score", "kl", "entropy", "length", "eval_score", "eval_kl", "eval_length", "clip_fraction")
    ppo, more = charts("ppo", [{"step": i, **{name: 0.1 * i for name in names}} for i in range(5)])
    shown = ["Score by the reward", "KL to the reference, nats an answer", "Answer length, tokens", "Loss", "Entropy"]
    assert [c.title for c in ppo] == shown
    assert [[s.label for s in c.series] for c in ppo[:2]] == [["rollouts", "held-out"]] * 2
    assert [c.title for c in more] == ["clip_fraction"]


def test_counters_texts_and_empty_logs_give_no_curve() -> None:
    assert charts("sft", []) == ([], [])
    assert charts("sft", [{"step": 1, "epoch": 0.1, "num_tokens": 5, "train_loss": 1.0, "note": "hi", "on": True}]) == (
        [],
        [],
    )


def test_a_step_logged_twice_counts_as_logged_last() -> None:
    (chart,), _ = charts("sft", [{"step": 1, "loss": 9.0}, {"step": 2, "loss": 8.0}, {"step": 2, "loss": 4.0}])
    assert chart.series[0].points == [(1.0, 9.0), (2.0, 4.0)]


def test_values_that_are_not_finite_are_left_out_and_counted() -> None:
    (chart,), _ = charts(
        "sft", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": math.inf}]
    )
    assert chart.series[0].points == [(1.0, 2.0)]
    assert chart.note == "2 values that are not finite are left out"


def test_long_series_are_thinned_and_say_so() -> None:
    (chart,), _ = charts("sft", [{"step": i, "loss": float(i % 2)} for i in range(3 * MOST_POINTS)])
    assert chart.note == "each point is the mean of 3 logged values"
    assert len(chart.svg) < 30_000


def test_a_small_last_batch_makes_no_leap() -> None:
    sizes = [99.0] * 9 + [1.0] + [99.0] * 9 + [1.0]
    margins = [4.0] * 9 + [54.0] + [5.0] * 9 + [105.0]
    seen = [sum(sizes[: i + 1]) for i in range(20)]
    rows = [{"step": i + 1, "margin": margins[i], "num_tokens": seen[i]} for i in range(20)]
    (chart,), _ = charts("dpo", [*rows, {"step": 20, "eval_margin": 3.0}])
    points = dict(chart.series[0].points)
    assert len(points) == 18 and 9.0 not in points and 19.0 not in points
    assert (points[10.0], points[20.0]) == (4.5, 6.0)  # (99 · 4 + 54) / 100, (99 · 5 + 105) / 100
    assert [s.last for s in chart.series] == ["6.00", "3.00"]
    assert chart.note == "small batches (2) are averaged with the step before, by tokens"


def test_answers_that_grow_short_stay_a_curve() -> None:
    rows = [{"step": i, "loss": float(i), "num_tokens": seen} for i, seen in enumerate((81, 108, 117, 120, 123))]
    (chart,), _ = charts("grpo", rows)
    assert [step for step, _ in chart.series[0].points] == [0.0, 1.0, 2.0, 3.0, 4.0] and chart.note == ""


def test_a_legend_shows_what_a_stage_closes_with() -> None:
    rows = [{"step": i, "loss": float(i)} for i in range(1, 41)]
    (chart,), _ = charts("sft", rows)
    assert chart.series[0].last == figure(last_tenth(rows, "loss")) == "38.5"


class Tags(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_picture_brings_no_ids_colours_fonts_or_addresses() -> None:
    (chart,), _ = charts("sft", [{"step": i, "loss": 1.0 / (1 + i), "eval_loss": 2.0 / (1 + i)} for i in range(9)])
    tags = Tags()
    tags.feed(chart.svg)
    assert {t for t, _ in tags.seen} == {"svg", "g", "path", "text"}
    assert not any("id" in attributes or "href" in attributes for _, attributes in tags.seen)
    assert not re.search(r"http|#[0-9a-f]{6}|DejaVu|clip-path", chart.svg)
    assert "var(--c0)" in chart.svg and "var(--c1)" in chart.svg and "var(--soft)" in chart.svg


def test_one_point_is_a_visible_dot() -> None:
    (chart,), _ = charts("sft", [{"step": 5, "loss": 1.0}])
    assert re.search(r"stroke: var\(--c0\); stroke-width: 6; stroke-linecap: round", chart.svg)


def test_equal_rows_give_equal_bytes() -> None:
    rows = [{"step": i, "loss": math.sin(i)} for i in range(50)]
    assert charts("sft", rows) == charts("sft", rows)
