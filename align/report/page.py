"""`build_report`: a run folder becomes one HTML page that asks nothing of the network.

The page holds its style and pictures itself and runs no script; every text from data goes through autoescape. The
same run folder gives the same bytes.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.artifacts import REPORT
from align.errors import SystemLimit
from align.report import numbers, pictures
from align.report.collect import Run, read_run
from align.report.evaluation import (
    AnsweredPrompt,
    Evaluation,
    choose,
    evaluations,
    headline,
    read_answers,
)
from align.report.labels import labels
from align.report.reliability import Honesty, honesty
from align.report.story import cards, facts, lead, lineage, reference_text, setting, versions

TEMPLATES = Path(__file__).parent / "templates"
LONG = 900
"""Characters; longer texts get a box that scrolls."""


@dataclass(frozen=True)
class Exam:
    """One evaluation with everything the page shows of it."""

    evaluation: Evaluation
    headline: str
    colours: dict[str, int]
    win_rates: list[pictures.Bar]
    measures: list[pictures.Group]
    rewards: list[pictures.Group]
    honesty: list[Honesty]
    answers: list[AnsweredPrompt]
    asked: int


def build_report(run: Path, order: list[str] | None = None) -> Path:
    """Write `run`/report.html and return its path. A run in progress is shown as far as it has come.

    order: names of the recipe's sources and stages; without it, as `run`/recipe.yaml has them.
    Raises DataError if `run` is no run folder or a file in it is broken, SystemLimit if the page cannot be written.
    """
    page = render(read_run(run, order))
    path = run / REPORT
    temporary = run / (REPORT + ".new")
    try:
        temporary.write_text(page, "utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SystemLimit(
            f"the report cannot be written: {error.strerror}",
            where=str(path),
            remedy=f"free space or permit writing, then: align report {shlex.quote(str(run))}",
        ) from None
    return path


def render(run: Run) -> str:
    """The page of a run."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "figure": numbers.figure,
        "percent": numbers.percent,
        "svg": Markup,  # ours, from curves.py, never from data
        "setting": setting,
        "reference_text": reference_text,
    }
    exams = [_exam(run, e) for e in evaluations(run)]
    return environment.get_template("report.html.j2").render(
        run=run,
        lead=lead(run, [e.evaluation for e in exams]),
        facts=facts(run),
        versions=versions(run),
        cards=cards(run),
        exams=exams,
        lineage=lineage(run),
        labels=labels(run),
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        measure=pictures.measure,
        interval=numbers.interval,
        long=LONG,
    )


def _exam(run: Run, evaluation: Evaluation) -> Exam:
    artifact: Any = next(s.artifact for s in run.steps if s.name == evaluation.name)
    answers = read_answers(artifact)
    return Exam(
        evaluation=evaluation,
        headline=headline(evaluation),
        colours=pictures.colours(evaluation),
        win_rates=pictures.win_rates(evaluation),
        measures=pictures.measures(evaluation),
        rewards=pictures.rewards(evaluation),
        honesty=[honesty(model) for model in evaluation.reward],
        answers=choose(answers),
        asked=len(answers),
    )
