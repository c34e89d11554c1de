"""A model card for an exported policy: how it was made, from what, how it did on held-out prompts, and its limits.

Everything in it is read from the manifests of the run; what nobody measured, the card does not claim. Local paths
stay out of it, because a card travels with the model.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from align.errors import DataError
from align.report.collect import Run, Step, read_run
from align.report.evaluation import Evaluation, Policy, evaluations, headline
from align.report.numbers import NONE, figure, interval, percent
from align.report.pictures import measure
from align.report.story import TAUGHT, quantity, readable, row_counts, setting

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
TAGS = {
    "sft": "sft",
    "dpo": "dpo",
    "orpo": "orpo",
    "simpo": "simpo",
    "kto": "kto",
    "ppo": "ppo",
    "grpo": "grpo",
    "rloo": "rloo",
    "reward": "reward-model",
    "pretrain": "from-scratch",
}
"""Stage kind -> tag on the hub."""


USE = """```python
from transformers import pipeline

ask = pipeline("text-generation", model="path/to/this/folder")
print(ask([{"role": "user", "content": "What is the capital of France?"}], max_new_tokens=64)[0]["generated_text"][-1])
```"""


def model_card(run: Path, name: str) -> str:
    """The card of the policy `name` in the run folder `run`, as Markdown with YAML front matter.

    Raises DataError if there is no such finished artifact.
    """
    read = read_run(run)
    chain = lineage_of(read, name)
    base = base_model(chain)
    sections = [
        _front_matter(read, chain, base),
        f"# {read.name}: {name}",
        _opening(chain, base),
        "## Use",
        USE,
        "## How it was made",
        *(_stage(step) for step in chain if not step.is_source),
        "## Data",
        _data(chain),
        "## Held-out results",
        _results([e for e in evaluations(read) if any(p.name == name for p in e.models)], name),
        "## Limits",
        _limits([e for e in evaluations(read) if any(p.name == name for p in e.models)]),
    ]
    return "\n\n".join(sections) + "\n"


def lineage_of(run: Run, name: str) -> list[Step]:
    """`name` and everything it was made from, directly or not, in the recipe's order."""
    steps = {s.name: s for s in run.steps if s.artifact}
    if name not in steps:
        raise DataError(
            f"there is no finished artifact '{name}' in this run",
            where=str(run.path),
            allowed=", ".join(steps) or "nothing is finished yet",
            remedy="align run RECIPE",
        )
    wanted, waiting = {name}, [name]
    while waiting:
        for inputs in steps[waiting.pop()].inputs.values():
            waiting += [i for i in inputs if i in steps and i not in wanted]
            wanted.update(i for i in inputs if i in steps)
    return [s for s in run.steps if s.name in wanted]


def base_model(chain: list[Step]) -> str | None:
    """The hub id of the model that the chain starts from; None if it is local or made from scratch."""
    for step in chain:
        file = step.artifact.path / "policy.json" if step.artifact and step.is_source else None
        if file and file.exists():
            path = str(json.loads(file.read_text("utf-8")).get("path", ""))
            return path if HUB_ID.fullmatch(path) else None  # local folders are written there as absolute paths
    return None


def _front_matter(run: Run, chain: list[Step], base: str | None) -> str:
    from ruamel.yaml import YAML

    tags = ["align", "text-generation", *dict.fromkeys(TAGS[s.kind] for s in chain if s.kind in TAGS)]
    fields: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}
    if base:
        fields["base_model"] = base
    fields["model_name"] = run.name
    out = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(fields, out)
    return f"---\n{out.getvalue()}---"


def _opening(chain: list[Step], base: str | None) -> str:
    words = [f"{TAUGHT[s.kind][0].lower()} (`{s.name}`)" for s in chain if s.kind in TAUGHT and not s.is_source]
    start = f"`{base}`" if base else "a local model"
    if any(s.kind == "pretrain" for s in chain):
        start = "nothing: its base model was made from scratch in the same run"
    return f"This model starts from {start}. Its way: {' → '.join(words)}."


def _stage(step: Step) -> str:
    """One stage: what it read, its settings and its closing figures."""
    assert step.artifact is not None  # lineage_of keeps finished steps only
    manifest = step.artifact.manifest
    title, sentence = TAUGHT.get(step.kind, (step.kind, ""))
    read = "; ".join(f"{role}: {', '.join(f'`{n}`' for n in names)}" for role, names in step.inputs.items())
    settings = ", ".join(f"`{_code(k)}: {_code(_portable(setting(v)))}`" for k, v in step.settings.items())
    figures = ", ".join(
        f"{readable(k)} {quantity(k, v)}"
        for k, v in manifest.metrics.items()
        if isinstance(v, int | float) and not k.endswith("_per_second")
    )
    lines = [
        f"### {step.name} · {title.lower()} ({step.kind})",
        sentence,
        "",
        f"- Read {read or 'nothing'}",
        f"- Settings: {settings or 'the defaults'}; seed {manifest.seed}",
    ]
    # No times: a card is part of the artifact, and equal runs give equal artifacts.
    if manifest.device:
        lines.append(f"- Made on {manifest.device}")
    return "\n".join(lines + ([f"- Closing figures: {figures}"] if figures else []))


def _data(chain: list[Step]) -> str:
    """The data sources, and data made on the way, with counts and content hashes."""
    rows = ["| data | kind | rows | content (SHA-256) |", "|---|---|---|---|"]
    for step in chain:
        counted = row_counts(step.artifact) if step.artifact else ""
        if step.artifact and counted:
            rows.append(f"| {step.name} | {step.makes} | {counted} | `{step.artifact.manifest.content[:16]}` |")
    said = [_labels(step) for step in chain if step.manifest and "export_sha256" in step.manifest.metrics]
    return "\n".join(rows) + "".join(said) if len(rows) > 2 else "No data artifact is on record."


def _labels(step: Step) -> str:
    """Whose labels a stage took, by pseudonym, and the hash of the file they came from."""
    assert step.manifest is not None  # asked for beforehand
    figures = step.manifest.metrics
    counts = ", ".join(f"`{_code(name)}` {number:,}" for name, number in figures["annotators"].items())
    digits = str(figures["export_sha256"])[:16]
    return f"\n\n`{step.name}` are labels of people: {counts} rankings; their export has SHA-256 `{digits}`."


def _results(found: list[Evaluation], name: str) -> str:
    """What each evaluation says of this policy, beside its baseline."""
    if not found:
        return "Nothing was measured on held-out prompts in this run."
    parts = []
    for evaluation in found:
        shown = [p for p in evaluation.models if p.name in (name, evaluation.baseline)]
        rows = [
            "| | " + " | ".join(p.name for p in shown) + " |",
            "|---|" + "---:|" * len(shown),
            "| mean score | " + " | ".join(NONE if p.score is None else figure(float(p.score)) for p in shown) + " |",
            f"| win rate against {evaluation.baseline} | " + " | ".join(_win_rate(p) for p in shown) + " |",
        ]
        rows += [
            f"| {_plain(m)} | " + " | ".join(measure(evaluation, p, m) for p in shown) + " |"
            for m in evaluation.measures
        ]
        by = f", judged by {_plain(_portable(evaluation.judge))}" if evaluation.judge else ""
        one = evaluation.model_copy(update={"models": shown, "reward": []})
        said = headline(one) if len(shown) > 1 else "It is the baseline that the others are compared with."
        parts.append(f"`{evaluation.name}`{by}. {said}\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _limits(found: list[Evaluation]) -> str:
    """What a reader must not conclude."""
    lines = ["- The figures hold for prompts like the held-out ones of this run; other prompts were not tried."]
    if found:
        asked = max(e.prompts for e in found)
        lines.append(f"- They rest on {asked:,} held-out prompts, judged automatically, not by people.")
    else:
        lines.append("- It was not compared with any other policy on held-out prompts: use it only after measuring it.")
    lines += [
        "- A judge that rewards a habit gets that habit: read the answers in the run's report before trusting a score.",
        "- Nothing here shows that the model is safe, true or fair beyond the measures listed above.",
    ]
    return "\n".join(lines)


def _win_rate(policy: Policy) -> str:
    rate = policy.win_rate
    return f"{percent(rate.rate)} ({interval(rate.low, rate.high)})" if rate else "baseline"


def _plain(text: str) -> str:
    """Text from data inside Markdown: what would start a table cell, a tag or a link is escaped."""
    return re.sub(r"([\\|<>\[\]*_`])", r"\\\1", text).replace("\n", " ")


def _portable(text: str) -> str:
    """Text from settings without this machine's folders: of absolute paths in it, the last part."""
    return re.sub(r"(?<![^\s\"'])/[^\s\"']*/([^\s\"'/]+)", r"\1", text)


def _code(text: str) -> str:
    """Text inside backticks, where nothing can be escaped."""
    return text.replace("`", "'").replace("\n", " ")
