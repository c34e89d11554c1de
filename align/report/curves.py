"""Curves of a training stage as inline SVG, which takes its colours from the page and so follows light and dark.

What is drawn: every number that the trainer logged, grouped so that what belongs together shares axes. Left out:
running times and counters, which say nothing about learning.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from align.logged import last_tenth, mean_by, step_tokens
from align.report.numbers import figure

WIDTH, HEIGHT = 340, 196
"""Size of a picture in CSS pixels; it scales with its column."""
MOST_POINTS = 300
"""Longer series are drawn as means of equal stretches."""

GROUPS: list[tuple[str, list[tuple[str, str]]]] = [
    ("Score by the reward", [("rollouts", "score"), ("held-out", "eval_score")]),
    ("KL to the reference, nats an answer", [("rollouts", "kl"), ("held-out", "eval_kl")]),
    ("Answer length, tokens", [("rollouts", "length"), ("held-out", "eval_length")]),
    ("Loss", [("training", "loss"), ("held-out", "eval_loss")]),
    ("Accuracy", [("training", "accuracy"), ("held-out", "eval_accuracy")]),
    ("Margin", [("training", "margin"), ("held-out", "eval_margin")]),
    ("Rewards", [("highest", "max_reward"), ("mean", "mean_reward"), ("lowest", "min_reward")]),
    ("Reward accuracy", [("training", "rewards/accuracies"), ("held-out", "eval_rewards/accuracies")]),
    ("Reward margin", [("training", "rewards/margins"), ("held-out", "eval_rewards/margins")]),
    ("Rewards", [("chosen", "rewards/chosen"), ("rejected", "rewards/rejected")]),
    ("Log-probabilities", [("chosen", "logps/chosen"), ("rejected", "logps/rejected")]),
    ("Entropy", [("training", "entropy"), ("held-out", "eval_entropy")]),
    ("Token accuracy", [("training", "mean_token_accuracy"), ("held-out", "eval_mean_token_accuracy")]),
]
"""Title -> series as (label, logged key), most telling first."""
MAIN = 5
"""So many of GROUPS' pictures are shown at once; the rest is folded away."""
NOT_CURVES = re.compile(
    r"step|epoch|total_flos|train_loss|(eval_)?(num_.*|.*runtime|.*_per_second|.*tokens_seen|.*model_preparation_time)"
)
INK, GRID, SERIES = "#010203", "#010204", ["#010210", "#010211", "#010212"]
"""Stand-ins, replaced by the page's own colours once the picture is drawn."""
STYLES = ["-", (0, (4, 1.5)), (0, (1, 1.2))]
"""Solid, dashed, dotted: series stay apart without colour."""


@dataclass(frozen=True)
class Series:
    """One curve: steps and values, both finite, in order of steps."""

    label: str
    points: list[tuple[float, float]]
    last: str = ""
    """Where it ends: the mean over the last tenth of its steps, which is what a stage closes with."""

    @property
    def first(self) -> str:
        return figure(self.points[0][1])


@dataclass(frozen=True)
class Chart:
    """One picture, ready for the page."""

    title: str
    series: list[Series]
    svg: str
    alt: str
    note: str = ""


def charts(stage: str, rows: list[dict[str, Any]]) -> tuple[list[Chart], list[Chart]]:
    """The pictures of a stage's metrics: those to show at once, and the rest. Both empty if nothing was logged."""
    named = {key for _, series in GROUPS for _, key in series}
    logged = dict.fromkeys(key for row in rows for key, value in row.items() if _is_number(value))
    rest = [k for k in logged if k not in named and not NOT_CURVES.fullmatch(k)]
    trained = [k for k in rest if k.removeprefix("eval_") == k or k.removeprefix("eval_") not in rest]
    others = [
        (key, [("held-out", key)] if key.startswith("eval_") else [("training", key), ("held-out", f"eval_{key}")])
        for key in trained
    ]
    drawn = [c for title, series in GROUPS if (c := _chart(stage, title, series, rows))]
    more = [c for title, series in others if (c := _chart(stage, title, series, rows))]
    return drawn[:MAIN], drawn[MAIN:] + more


def _chart(stage: str, title: str, wanted: list[tuple[str, str]], rows: list[dict[str, Any]]) -> Chart | None:
    """One picture of the series that were logged; None if none was."""
    series, lost, small, tokens = [], 0, 0, step_tokens(rows)
    for label, key in wanted:
        by_step = {
            float(row.get("step", i)): (float(row[key]), size)
            for i, (row, size) in enumerate(zip(rows, tokens, strict=True))
            if _is_number(row.get(key))
        }
        finite = sorted((step, *found) for step, found in by_step.items() if math.isfinite(found[0]))
        lost += len(by_step) - len(finite)
        if finite:
            points = _joined(finite)
            small = max(small, len(finite) - len(points))
            series.append(Series(label, points, figure(last_tenth(rows, key))))
    if not series:
        return None
    longest = max(len(s.points) for s in series)
    notes = [f"{lost} values that are not finite are left out"] if lost else []
    if small:
        notes.append(f"small batches ({small}) are averaged with the step before, by tokens")
    if longest > MOST_POINTS:
        notes.append(f"each point is the mean of {math.ceil(longest / MOST_POINTS)} logged values")
    spoken = "; ".join(
        f"{s.label} {s.last}" if len(s.points) == 1 else f"{s.label} from {s.first} to {s.last}" for s in series
    )
    last_step = figure(round(max(s.points[-1][0] for s in series)))
    alt = f"{title} of {stage} up to step {last_step}: {spoken}"
    return Chart(title, series, draw(series), alt, "; ".join(notes))


def draw(series: list[Series], across: str = "step") -> str:
    """The curves as an `<svg>` element without ids, scripts, fonts or addresses of its own. across: the x axis."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with rc_context({"svg.hashsalt": "align", "svg.fonttype": "none", "font.size": 10.5, "path.simplify": True}):
        picture = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
        axes = picture.add_axes((46 / WIDTH, 34 / HEIGHT, 1 - 56 / WIDTH, 1 - 42 / HEIGHT))
        for number, one in enumerate(series):
            steps, values = zip(*_thinned(one.points), strict=True)
            style: dict[str, Any] = {"linestyle": STYLES[number], "lw": 1.6}
            if len(steps) == 1:  # a line of no length with round ends is a dot
                steps, values, style = steps * 2, values * 2, {"lw": 6, "solid_capstyle": "round"}
            axes.plot(steps, values, color=SERIES[number], zorder=3, clip_on=False, **style)
        axes.margins(x=0.02, y=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=across == "step"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y", color=GRID, lw=0.8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.tick_params(colors=INK, length=0, pad=5)
        axes.set_xlabel(across, color=INK, labelpad=2, loc="right")
        out = io.StringIO()
        picture.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue())


def _inline(svg: str) -> str:
    """Matplotlib's SVG made fit to stand inside a page: the page's colours and font, no names that could clash."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|<defs>.*?</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<path d="[^"]*" style="fill: none"/>| clip-path="[^"]*"| transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r'<(g|text) id="[^"]*"', r"<\1", svg)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg)
    svg = re.sub(r"(font(-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1inherit", svg)
    svg = svg.replace(INK, "var(--soft)").replace(GRID, "var(--line)")
    for number, colour in enumerate(SERIES):
        svg = svg.replace(colour, f"var(--c{number})")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _joined(points: list[tuple[float, float, float | None]]) -> list[tuple[float, float]]:
    """Points of (step, value, tokens) as a line: a batch of less than half the tokens of those beside it, such as the
    last one of a pass, joins the one before, by tokens. On its own so few examples would leap by chance.
    """
    line: list[tuple[float, float]] = []
    for i, (step, value, tokens) in enumerate(points):
        beside = [size for _, _, size in points[max(0, i - 1) : i] + points[i + 1 : i + 2]]
        if i and tokens and all(size and 2 * tokens < size for size in beside):
            line[-1] = (step, mean_by([line[-1][1], value], [points[i - 1][2], tokens]))
        else:
            line.append((step, value))
    return line


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS points; each is the mean of an equal stretch if there are more."""
    stretch = math.ceil(len(points) / MOST_POINTS)
    if stretch == 1:
        return points
    cut = [points[i : i + stretch] for i in range(0, len(points), stretch)]
    return [(sum(s for s, _ in c) / len(c), sum(v for _, v in c) / len(c)) for c in cut]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
