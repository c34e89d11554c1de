"""What is told of each step: its place in the story, its figures, where it came from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from align.artifacts import Artifact, Manifest
from align.report.collect import DONE, WAITS, Run, Step, flatten
from align.report.curves import Chart, charts
from align.report.evaluation import Evaluation, headline, winner
from align.report.labels import FIGURES as TOLD_WITH_LABELS
from align.report.labels import Labels, labels
from align.report.numbers import NONE, count, duration, figure, file_size, memory, moment, percent

TAUGHT: dict[str, tuple[str, str]] = {
    "source": ("Given", "What the run starts from."),
    "pretrain": ("Read widely", "A base model learns language and facts by predicting the next token of many texts."),
    "sft": ("Follow good examples", "The model imitates demonstrations of how to answer."),
    "sample": ("Answer", "Policies answer the prompts, several times each."),
    "rank": ("Be compared", "The answers to each prompt are put in order, the best first."),
    "reward": ("Learn what is preferred", "A reward model learns from comparisons which answer is the better one."),
    "dpo": ("Practise", "The policy moves towards preferred answers, held to where it started."),
    "orpo": ("Practise", "The policy imitates preferred answers and makes them likelier than the others."),
    "simpo": ("Practise", "The policy makes each word of preferred answers likelier than those of the others."),
    "kto": ("Practise", "Answers with a thumb up become likelier, those with a thumb down less, each by itself."),
    "ppo": ("Practise", "The policy answers, is scored, and does better, held to where it started."),
    "grpo": ("Practise", "The policy's answers to a prompt are scored against each other; the better become likelier."),
    "rloo": ("Practise", "Each of the policy's answers is measured against the mean of the others to its prompt."),
    "evaluate": ("The exam", "Questions that nobody has trained on, answered by every policy and marked alike."),
    "export": ("Go out", "The model leaves the run folder as ordinary files with a model card."),
}
"""Stage kind -> what it is, in the words one would use of a child, and a sentence of plain explanation."""
TILES = 4
"""Key figures shown on a card; the others are folded away. An evaluation shows every policy's, however many."""
DOCTOR = "doctor."
"""Begins the names of what the data doctor found: `doctor.CODE`, or `doctor.INPUT.CODE` of a stage's input."""
FIRST = (
    "heldout_accuracy", "heldout_score", "heldout_kl",
    "train_accuracy", "train_margin", "loss", "answers", "agreement", "comparisons", "rankings", "mean_words",
    "finished_share", "tied_share", "pairs", "examples", "tokens", "vocabulary", "steps", "parameters",
)  # fmt: skip
"""Closing figures in order of interest; others follow in the stage's own order."""
DATA_FILES = (("train.jsonl", "row"), ("heldout.jsonl", "held-out row"))


@dataclass(frozen=True)
class Card:
    """One step as the page shows it."""

    number: int
    """Place among the stages, from 1; 0 for a source."""
    step: Step
    title: str
    sentence: str
    time: str
    memory: str
    rows: str
    tiles: list[tuple[str, str]]
    figures: list[tuple[str, str]]
    settings: list[tuple[str, str]]
    charts: list[Chart]
    more_charts: list[Chart]
    labels: Labels | None = None
    """The people whose labels it took."""


@dataclass(frozen=True)
class Lineage:
    """One artifact's row in the table of where everything comes from."""

    name: str
    kind: str
    made_by: str
    inputs: list[str]
    key: str
    content: str
    files: str
    size: str


def cards(run: Run) -> list[Card]:
    """Every step of the run, in order."""
    stages = [s.name for s in run.stages]
    said = {found.stage: found for found in labels(run)}
    return [
        _card(step, 0 if step.is_source else stages.index(step.name) + 1, said.get(step.name)) for step in run.steps
    ]


def lineage(run: Run) -> list[Lineage]:
    """Every finished artifact of the run, in order. Hashes are cut to 12 digits."""
    return [
        Lineage(
            name=m.name,
            kind=m.kind,
            made_by=m.made_by,
            inputs=list(dict.fromkeys(e.name for entries in m.inputs.values() for e in entries)),
            key=m.key[:12],
            content=m.content[:12],
            files=f"{len(m.files):,}",
            size=file_size(sum(f.bytes for f in m.files)),
        )
        for m in run.manifests
    ]


def facts(run: Run) -> list[tuple[str, str]]:
    """When, how long, where and with what the run was made, as (label, text)."""
    made = run.manifests
    started, ended = [m.started for m in made if m.started], [m.ended for m in made if m.ended]
    peak = max((m.peak_memory_mb for m in made), default=0.0)
    finished = sum(1 for s in run.stages if s.state == DONE)
    listed = [
        ("Started", moment(min(started)) if started else ""),
        ("Last finished", moment(max(ended)) if ended else ""),
        ("Time of all stages", duration(sum(m.seconds for m in made)) if finished else ""),
        ("Peak memory", memory(peak) if peak else ""),
        ("Stages", f"{finished} of {len(run.stages)} finished"),
        ("Device", ", ".join(_distinct(m.device for m in made))),
        ("Git commit", ", ".join(c[:12] for c in _distinct(m.git for m in made))),
    ]
    return [(label, text) for label, text in listed if text]


def versions(run: Run) -> list[tuple[str, str]]:
    """Package -> its version; all of them where stages differ."""
    packages = sorted({p for m in run.manifests for p in m.versions})
    return [(p, ", ".join(_distinct(m.versions.get(p) for m in run.manifests))) for p in packages]


def lead(run: Run, found: list[Evaluation]) -> str:
    """The sentence at the top of the page: the last evaluation that compared policies, or where the run stands."""
    compared = [e for e in found if winner(e)] or found
    waiting = [s.name for s in run.stages if s.state != DONE]
    if waiting:
        done = len(run.stages) - len(waiting)
        stands = f"{done} of {count(len(run.stages), 'stage')} finished; next is {waiting[0]}."
        stands += "".join(f" {s.name} waits for people: {s.waiting['words']}." for s in run.stages if s.state == WAITS)
        return f"{stands} Before: {headline(compared[-1])}" if compared else stands
    if compared:
        return headline(compared[-1])
    return "All stages are finished. This recipe has no evaluation, so nothing was measured on held-out prompts."


def key_figure(step: Step, found: list[Evaluation]) -> str:
    """What to say of a step in a few words; a dash if it is not there yet."""
    if step.state == WAITS:
        return str(step.waiting["words"])
    if step.artifact is None or step.manifest is None:
        return NONE
    mine = next((e for e in found if e.name == step.name), None)
    if mine:
        best = winner(mine)
        if best and best.win_rate:
            return f"{best.name} wins {percent(best.win_rate.rate)}"
        return ", ".join(f"{r.name} {percent(r.accuracy.rate)} right" for r in mine.reward) or NONE
    figures = _figures(step.artifact.manifest)
    return " ".join(figures[0]) if figures else row_counts(step.artifact) or NONE


def row_counts(artifact: Artifact) -> str:
    """`960 rows, 240 held-out rows` of a data artifact; empty for models."""
    parts = []
    for name, noun in DATA_FILES:
        path = artifact.path / name
        if path.exists():
            with path.open("rb") as source:
                parts.append(count(sum(1 for line in source if line.strip()), noun))
    return ", ".join(parts)


def setting(value: Any) -> str:
    """A setting as the recipe would have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def reference_text(value: Any) -> str:
    """What a prompt's reference says, for people: `answer: Paris · about: France`."""
    if not isinstance(value, dict):
        return setting(value)
    return " · ".join(f"{key}: {setting(part)}" for key, part in value.items())


def _card(step: Step, number: int, said: Labels | None) -> Card:
    title, sentence = TAUGHT.get(step.kind, (step.kind.capitalize(), ""))
    manifest = step.manifest
    figures = _figures(manifest) if manifest else []
    tiles = max(TILES, len(_policies(manifest.metrics)) if manifest and manifest.made_by == "evaluate" else 0)
    shown, more = charts(step.name, step.rows)
    return Card(
        number=number,
        step=step,
        title=title,
        sentence=sentence,
        time=duration(manifest.seconds) if manifest and not step.is_source else NONE,
        memory=memory(manifest.peak_memory_mb) if manifest else NONE,
        rows=row_counts(step.artifact) if step.artifact else "",
        tiles=figures[:tiles],
        figures=figures[tiles:],
        settings=[(key, setting(value)) for key, value in step.settings.items()]
        + ([("seed", str(manifest.seed))] if manifest and not step.is_source and "seed" not in step.settings else []),
        charts=shown,
        more_charts=more,
        labels=said,
    )


def _figures(manifest: Manifest) -> list[tuple[str, str]]:
    """The closing figures of a stage as (name, text), the most telling first; lists and long texts are left out."""
    people = "export_sha256" in manifest.metrics
    flat = flatten({k: v for k, v in manifest.metrics.items() if not (people and k in TOLD_WITH_LABELS)})
    kept = {k: v for k, v in flat.items() if v is not None and not isinstance(v, list | dict) and len(str(v)) <= 60}
    first = [*(_policies(kept) if manifest.made_by == "evaluate" else []), *FIRST]
    names = sorted(kept, key=lambda k: first.index(k) if k in first else len(first))
    return [(readable(k), quantity(k, kept[k]) + _interval(flat.get(f"{k}_interval"))) for k in names]


def _interval(low_high: Any) -> str:
    return f" ({low_high[0]:.2f} to {low_high[1]:.2f})" if isinstance(low_high, list) and len(low_high) == 2 else ""


def _policies(metrics: dict[str, Any]) -> list[str]:
    """The names of an evaluation's figures of policies: all win rates, then all scores."""
    return [k for end in ("_win_rate", "_score") for k in metrics if k.endswith(end)]


def quantity(name: str, value: Any) -> str:
    """A figure with its unit, where the name tells it."""
    if name.startswith(DOCTOR):
        return count(value, "row")
    if isinstance(value, float) and name.endswith("seconds"):
        return duration(value)
    if isinstance(value, int | float) and re.search(r"(accuracy|share|win_rate|low|high)$", name) and 0 <= value <= 1:
        return percent(value)
    return figure(value)


def readable(name: str) -> str:
    """A logged name as a label: `eval_loss` -> `eval loss`, `doctor.rankings.all-tied` ->
    `all tied in rankings (data doctor)`.
    """
    if name.startswith(DOCTOR):
        source, _, code = name.removeprefix(DOCTOR).rpartition(".")
        return f"{code.replace('-', ' ')}{f' in {source}' if source else ''} (data doctor)"
    name, dot, inside = name.partition(".")  # what a table calls its rows, such as annotators, stays as it is
    return re.sub(r"[_/]+", " ", name).strip().replace("heldout", "held-out") + dot + inside


def _distinct(values: Any) -> list[str]:
    """What is there, each once, in order of appearance."""
    return list(dict.fromkeys(v for v in values if v))
