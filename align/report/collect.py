"""A run folder as named records: the steps of the recipe in order, what each has made, and what it logged.

A run in progress is a normal case: a step without an artifact is `not yet`, one with a `.partial` folder is
`unfinished` (or `waiting` for people), and one whose inputs have been made again since is `out of date`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align.artifacts import MANIFEST, METRICS, WAITING, Artifact, Manifest, read_artifact
from align.errors import DataError

RECIPE = "recipe.yaml"
ALLOWED = "a folder runs/NAME made by `align run`"
SOURCE = "source"
DONE, UNFINISHED, WAITS, NOT_YET, OLD = "done", "unfinished", "waiting", "not yet", "out of date"


@dataclass(frozen=True)
class Step:
    """One source or stage of the recipe, and what is there of it."""

    name: str
    kind: str
    """Stage kind (sft, dpo ...) or `source`."""
    state: str
    """DONE, UNFINISHED, WAITS, NOT_YET or OLD."""
    artifact: Artifact | None
    inputs: dict[str, list[str]]
    """Role -> the names read in that role."""
    settings: dict[str, Any]
    """Dotted field -> value; without the name, the kind and the inputs."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The lines of metrics.jsonl."""
    waiting: dict[str, Any] = field(default_factory=dict)
    """What it waits for, as `align/waiting.py` has written it; empty if it does not wait for people."""

    @property
    def manifest(self) -> Manifest | None:
        """The artifact's; None while it is being made again, since its figures are those of other settings."""
        return self.artifact.manifest if self.artifact and self.state not in (UNFINISHED, WAITS) else None

    @property
    def is_source(self) -> bool:
        return self.kind == SOURCE

    @property
    def makes(self) -> str:
        """The artifact kind, as far as it is known."""
        return self.artifact.kind if self.artifact else str(self.settings.get("kind", ""))


@dataclass(frozen=True)
class Run:
    """A run folder, read."""

    path: Path
    name: str
    steps: list[Step]
    """Sources, then stages, in the recipe's order."""

    @property
    def stages(self) -> list[Step]:
        return [s for s in self.steps if not s.is_source]

    @property
    def manifests(self) -> list[Manifest]:
        return [s.artifact.manifest for s in self.steps if s.artifact]


def read_run(run: Path, order: list[str] | None = None) -> Run:
    """Read the folder of a run. `order`: names of sources and stages; without it, as recipe.yaml has them.

    Raises DataError if the folder is no run folder, or a manifest or metrics file in it is broken.
    """
    if not run.is_dir():
        raise _no_folder(run)
    recipe = _recipe(run)
    planned: dict[str, dict[str, Any]] = {n: {**s, "made_by": SOURCE} for n, s in recipe.get("sources", {}).items()}
    planned |= {str(s["name"]): {**s, "made_by": s.get("kind", "")} for s in recipe.get("stages", []) if "name" in s}
    sealed = {a.name: a for a in _artifacts(run)}
    if not planned and not sealed:
        raise DataError(
            "this folder holds neither recipe.yaml nor a finished artifact, so there is no run to report on",
            where=str(run),
            allowed=ALLOWED,
            remedy="align run RECIPE",
        )
    names = [n for n in planned if n not in (order or [])] + list(order) if order else list(planned)
    names += [] if planned or order else sorted(sealed, key=lambda n: (sealed[n].manifest.started, n))
    old: set[str] = set()
    steps = []
    for name in names:
        step = _step(run / name, planned.get(name, {}), sealed, set(names))
        if step.artifact and _is_old(step.artifact.manifest, sealed, old):
            old.add(name)
            step = Step(**{**vars(step), "state": OLD if step.state == DONE else step.state})
        steps.append(step)
    return Run(run, str(recipe.get("name", run.name)), steps)


def _no_folder(run: Path) -> DataError:
    found = "this is a file, and a report is made of a run folder" if run.exists() else "this folder does not exist"
    named = Path("runs") / run.stem
    remedy = f"did you mean `{named}`?" if named.is_dir() else "align run RECIPE makes one"
    return DataError(found, where=str(run), allowed=ALLOWED, remedy=remedy)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; none if there is no such file.

    A last line that was cut off by a kill is left out. Any other broken line raises DataError with its number.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # no newline follows: the writer was stopped in the middle of it
                break
            raise DataError(
                f"this line is not JSON: {error}",
                where=f"{path}:{number}",
                remedy="delete the line, or run the stage again",
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                "this line is no JSON object", where=f"{path}:{number}", allowed='{"step": 10, "loss": 2.3}'
            )
        rows.append(row)
    return rows


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names: {"lora": {"r": 8}} -> {"lora.r": 8}."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _recipe(run: Path) -> dict[str, Any]:
    """recipe.yaml as plain data; empty if there is none. It was checked before it ran, so no more is asked of it."""
    path = run / RECIPE
    if not path.exists():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        recipe = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"the recipe of this run cannot be read: {error}", where=str(path), remedy="align run RECIPE"
        ) from None
    return recipe if isinstance(recipe, dict) else {}


def _artifacts(run: Path) -> Iterator[Artifact]:
    """Every sealed artifact in the run folder, by folder name; folders in the making or being replaced are not."""
    for manifest in sorted(run.glob(f"*/{MANIFEST}")):
        if not manifest.parent.name.endswith((".partial", ".old")):
            yield read_artifact(manifest.parent)


def _step(folder: Path, planned: dict[str, Any], sealed: dict[str, Artifact], names: set[str]) -> Step:
    """What the recipe plans under one name, joined with what is on disk."""
    artifact = sealed.get(folder.name)
    partial = folder.with_name(folder.name + ".partial")
    kind = artifact.manifest.made_by if artifact else planned.get("made_by", "")
    skip = {"name", "made_by"} | (set() if kind == SOURCE else {"kind"})
    flat = {k: v for k, v in flatten(planned).items() if k not in skip}
    inputs = {k: v for k, v in ((k, _names(v, names)) for k, v in flat.items()) if v} if kind != SOURCE else {}
    if artifact:
        inputs = {role: [e.name for e in entries] for role, entries in artifact.manifest.inputs.items()}
        flat = {k: v for k, v in flatten(artifact.manifest.settings).items() if k not in skip}
    state = UNFINISHED if partial.is_dir() else DONE if artifact else NOT_YET
    logged = (partial if state == UNFINISHED else folder) / METRICS
    waiting = _waiting(partial / WAITING)
    state = WAITS if waiting else state
    settings = {k: v for k, v in flat.items() if k not in inputs and v is not None and v != {}}
    return Step(folder.name, kind, state, artifact, inputs, settings, read_metrics(logged), waiting)


def _waiting(file: Path) -> dict[str, Any]:
    """What a stage waits for; empty where none does, or the file goes away meanwhile."""
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _names(value: Any, names: set[str]) -> list[str]:
    """The names of sources and stages in a field of the recipe; none if it holds something else."""
    listed = value if isinstance(value, list) else [value]
    return list(listed) if listed and all(isinstance(v, str) and v in names for v in listed) else []


def _is_old(manifest: Manifest, sealed: dict[str, Artifact], old: set[str]) -> bool:
    """Whether an input has been made again since this was made, and differs; or is itself out of date."""
    entries = [e for role in manifest.inputs.values() for e in role]
    return any(e.name in old or (e.name in sealed and sealed[e.name].entry() != e) for e in entries)
