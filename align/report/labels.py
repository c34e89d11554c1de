"""Who labelled what a run learnt from: each annotator by pseudonym, and the way from the labels to the weights."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from align.artifacts import Manifest
from align.report.collect import Run
from align.report.numbers import NONE, percent

WEIGHTS = ("policy", "reward_model", "export")
"""Kinds of artifact that hold weights."""
FIGURES = ("annotators", "decisions", "gold", "database", "project", "upto", "export_sha256")
"""Closing figures of a stage that people rank in which are told here."""


@dataclass(frozen=True)
class Annotator:
    """One annotator. share: of all rankings. gold: share of comparisons in test questions that were right."""

    name: str
    rankings: int
    share: str
    gold: str


@dataclass(frozen=True)
class Labels:
    """The labels of people that a stage took. decisions: how many of them are a reviewer's about others'. hash: of
    their export, cut to 12 digits. again: the command that makes the same file. who: the command that says who the
    annotators are. weights: what was made from them, directly or not."""

    stage: str
    annotators: list[Annotator]
    decisions: int
    project: str
    database: str
    upto: int
    hash: str
    again: str
    who: str
    weights: list[str]


def labels(run: Run) -> list[Labels]:
    """The labels of every finished stage that people ranked in."""
    return [
        _labels(run, step.manifest) for step in run.stages if step.manifest and "export_sha256" in step.manifest.metrics
    ]


def _labels(run: Run, made: Manifest) -> Labels:
    said = made.metrics
    counts: dict[str, int] = said["annotators"]
    gold: dict[str, float] = said["gold"]
    database, project, upto = str(said["database"]), str(said["project"]), int(said["upto"])
    words = ["align", "labels", "export", "labels.jsonl", "--project", project, "--upto", str(upto), "--db", database]
    total = sum(counts.values())
    return Labels(
        stage=made.name,
        annotators=[
            Annotator(name, counts.get(name, 0), percent(counts.get(name, 0) / total, 0), _tested(gold.get(name)))
            for name in sorted(counts.keys() | gold.keys(), key=lambda n: (-counts.get(n, 0), n))
        ],
        decisions=int(said.get("decisions", 0)),  # stages sealed by earlier versions do not say
        project=project,
        database=database,
        upto=upto,
        hash=str(said["export_sha256"])[:12],
        again=shlex.join(words),
        who=shlex.join(["align", "labels", "users", "list", "--db", database]),
        weights=_made_from(run, made.name),
    )


def _tested(share: float | None) -> str:
    return NONE if share is None else percent(share, 0)


def _made_from(run: Run, name: str) -> list[str]:
    """The artifacts with weights that were made from one, in the recipe's order."""
    found = {name}
    for step in run.steps:  # in the recipe's order an input is always before what reads it
        if step.manifest and any(entry.name in found for role in step.manifest.inputs.values() for entry in role):
            found.add(step.name)
    return [m.name for m in run.manifests if m.name in found and m.name != name and m.kind in WEIGHTS]
