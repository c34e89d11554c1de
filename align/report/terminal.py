"""The tables that `align run` ends with, for a terminal: what each stage took, and how the policies did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from align.report import pictures
from align.report.collect import DONE, NOT_YET, read_run
from align.report.evaluation import Evaluation, evaluations, headline
from align.report.numbers import NONE, duration, figure, interval, memory, percent
from align.report.story import key_figure

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def summary_table(run: Path, order: list[str] | None = None) -> Group:
    """Stages with state, time, memory and key figure; then every evaluation's policies and reward models.

    order: as in `build_report`. Raises DataError if `run` is no run folder or a file in it is broken.
    """
    from rich.console import Group
    from rich.text import Text

    read = read_run(run, order)
    found = evaluations(read)
    stages = _table("Stage", "Kind", "State", "Time >", "Memory >", "Key figure")
    for step in read.stages:
        made = step.manifest
        stages.add_row(
            Text(step.name, "bold"),
            Text(step.kind, "dim"),
            Text(step.state, {DONE: "green", NOT_YET: "dim"}.get(step.state, "yellow")),
            duration(made.seconds) if made else NONE,
            memory(made.peak_memory_mb) if made else NONE,
            Text(key_figure(step, found)),
        )
    parts: list[Table | Text] = [stages]
    for evaluation in found:
        parts += [Text(), Text(headline(evaluation), "bold")]
        if evaluation.models:
            parts += [Text(), _policies(evaluation)]
        if evaluation.reward:
            parts += [Text(), _rewards(evaluation)]
    return Group(*parts)


def _policies(evaluation: Evaluation) -> Table:
    """Policies side by side, one a column: measures have long names, and there may be many."""
    from rich.text import Text

    table = _table("On held-out prompts", *(f"{p.name} >" for p in evaluation.models))
    rates = [p.win_rate for p in evaluation.models]
    base = [p.name == evaluation.baseline for p in evaluation.models]
    table.add_row(
        "score by the judge", *(NONE if p.score is None else figure(float(p.score)) for p in evaluation.models)
    )
    if any(rates):
        shown = [percent(r.rate) if r else "baseline" if b else NONE for r, b in zip(rates, base, strict=True)]
        table.add_row(f"win rate against {evaluation.baseline}", *shown)
        table.add_row("  95 % interval", *(interval(r.low, r.high) if r else "" for r in rates))
        table.add_row("  wins / ties / losses", *(f"{r.wins} / {r.ties} / {r.losses}" if r else "" for r in rates))
    for name in evaluation.measures:
        table.add_row(Text(name), *(pictures.measure(evaluation, p, name) for p in evaluation.models))
    if "words" not in evaluation.measures:
        words = [p.mean_words for p in evaluation.models]
        table.add_row("words in an answer", *(NONE if w is None else f"{w:.1f}" for w in words))
    return table


def _rewards(evaluation: Evaluation) -> Table:
    """Reward models beside the rules they have to beat."""
    from rich.text import Text

    table = _table("On held-out pairs", "Right >", "95 % interval >", "Pairs >")
    for model in evaluation.reward:
        right = model.accuracy
        row = (percent(right.rate), interval(right.low, right.high), f"{right.pairs:,}")
        table.add_row(Text(model.name, "bold"), *row)
        for name, rate in model.baselines.items():
            table.add_row(Text(f"  {name}", "dim"), percent(rate), "", "")
        people = model.agreement
        if people and people.rate is not None and people.low is not None and people.high is not None:
            row = (percent(people.rate), interval(people.low, people.high), f"{people.comparisons:,}")
            table.add_row(Text("  another annotator, on all pairs", "dim"), *row)
        if model.calibration:
            table.add_row(Text("  error of its confidence (ECE)", "dim"), percent(model.calibration.ece), "", "")
    return table


def _table(*columns: str) -> Table:
    """A table without frames. A heading that ends in ` >` is a column of numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(Text(column.removesuffix(" >")), justify="right" if column.endswith(" >") else "left")
    return table
