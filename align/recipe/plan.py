"""What a run will do: the key of every source and stage, what is sealed already, what runs and why.

A key says what a stage is made of. Equal key and sealed: skipped. Keys chain through the inputs' keys, so that a
changed setting changes the key of its stage and of those after it, and of no other. No torch, and no file is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from align.artifacts import FORMAT, KEY_FILE, MANIFEST, altered, hash_file, hash_json
from align.recipe.check import kind_of
from align.recipe.load import Loaded
from align.recipe.schema import Learning, Lora, Recipe, Source, StageBase
from align.recipe.wiring import MAKES, files_of, references

State = Literal["sealed", "run", "continue", "waits", "later"]


@dataclass(frozen=True)
class Step:
    """One source or stage of a run, and what will happen to it."""

    name: str
    kind: str
    """Stage kind, or the artifact kind of a source."""
    what: Literal["source", "stage"]
    makes: str
    """Artifact kind."""
    reads: dict[str, list[str]]
    """Role -> names."""
    key: str
    seed: int
    state: State
    """sealed: skipped. continue: unfinished work of the same key is there. run: from the start. As `align check` has
    looked it up: waits: continue, once people have ranked enough. later: sealed, and people have ranked since."""
    why: str
    """Why it runs, in a few words; empty for a sealed step."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What goes into the key and the manifest."""


def stage_seed(recipe_seed: int, name: str) -> int:
    """A stage's seed, 31 bits, from the recipe's seed and the stage's name: inserting a stage changes no other's."""
    digest = hashlib.sha256(f"{recipe_seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def stage_key(
    kind: str, settings: Mapping[str, Any], seed: int, input_keys: Mapping[str, Sequence[str]], extra: Any = None
) -> str:
    """The hash of all that decides what a stage makes.

    input_keys: role -> keys of what is read in it.  extra: anything else, such as the hash of the rules file.
    """
    inputs = {role: list(keys) for role, keys in input_keys.items()}
    return hash_json([FORMAT, kind, dict(settings), seed, inputs, extra])


def effective_settings(recipe: Recipe, stage: StageBase) -> dict[str, Any]:
    """A stage's settings as JSON values, with the recipe's defaults folded in; without its name and kind.

    `checkpoint_seconds` and `report_to` are left out: they do not change the result.
    """
    settings = stage.model_dump(mode="json", exclude={"name", "kind"})
    if isinstance(stage, Learning):
        lora = stage.lora if stage.lora is not None else recipe.lora
        if kind_of(stage) == "pretrain":
            lora = "none"
        settings["lora"] = lora.model_dump(mode="json") if isinstance(lora, Lora) else lora
    if kind_of(stage) != "export":
        settings["precision"] = recipe.precision
    return settings


def source_settings(source: Source) -> dict[str, Any]:
    """A source's settings as JSON values. Its key is `stage_key` of these and of what the path holds."""
    return source.model_dump(mode="json", exclude={"kind"})


def make_plan(
    loaded: Loaded, run_folder: Path, source_keys: Mapping[str, str], again: Collection[str] = ()
) -> list[Step]:
    """Every source and stage in order, with its key and what will happen to it.

    loaded: a recipe that `check_recipe` has passed.  source_keys: source -> key.  run_folder need not exist.
    again: stages that run although they are sealed.
    Reads manifests and rules files. Raises FileNotFoundError if a rules file has gone since the check.
    """
    recipe = loaded.recipe
    keys = dict(source_keys)
    steps = []
    for name, source in recipe.sources.items():
        seed = recipe.seed if source.holdout else 0  # it draws what is held out
        steps.append(
            _step(
                run_folder,
                _Wanted(name, source.kind, "source", source.kind, {}, {}, keys[name], seed, source_settings(source)),
                again=False,
            )
        )
    for stage in recipe.stages:
        reads, settings = references(stage), effective_settings(recipe, stage)
        seed, kind = stage_seed(recipe.seed, stage.name), kind_of(stage)
        inputs = {role: [keys[name] for name in names] for role, names in reads.items()}
        files = files_of(stage)
        hashes = [hash_file(loaded.resolve(file)) for file, _ in files]
        extra = hashes[0] if len(hashes) == 1 else hashes or None
        keys[stage.name] = stage_key(kind, settings, seed, inputs, extra)
        told = ", ".join(words for _, words in files)
        wanted = _Wanted(stage.name, kind, "stage", MAKES[kind], reads, inputs, keys[stage.name], seed, settings, told)
        steps.append(_step(run_folder, wanted, again=stage.name in again))
    return steps


@dataclass(frozen=True)
class _Wanted:
    """A step before it is compared with what the run folder holds."""

    name: str
    kind: str
    what: Literal["source", "stage"]
    makes: str
    reads: dict[str, list[str]]
    inputs: dict[str, list[str]]
    """Role -> keys, in the order of `reads`."""
    key: str
    seed: int
    settings: dict[str, Any]
    files: str = ""
    """The files that decide what it makes, in words."""


def _step(run_folder: Path, wanted: _Wanted, again: bool) -> Step:
    state, why = _state(run_folder, wanted, again)
    return Step(
        name=wanted.name,
        kind=wanted.kind,
        what=wanted.what,
        makes=wanted.makes,
        reads=wanted.reads,
        key=wanted.key,
        seed=wanted.seed,
        state=state,
        why=why,
        settings=wanted.settings,
    )


def _state(run_folder: Path, wanted: _Wanted, again: bool) -> tuple[State, str]:
    manifest = manifest_in(run_folder / wanted.name)
    partial = run_folder / f"{wanted.name}.partial"
    unfinished = key_of(partial) == wanted.key
    same = manifest is not None and manifest.get("key") == wanted.key
    if manifest is not None and same and not again:
        if changed := _changed_inputs(run_folder, wanted, manifest):
            return "run", changed
        changed = altered(run_folder / wanted.name, manifest["files"])
        if not changed:
            return "sealed", ""
        if not unfinished:
            return "run", changed
    if unfinished:
        return "continue", "unfinished"
    if manifest is None:
        other = " (unfinished work there belongs to other settings)" if partial.is_dir() else ""
        return "run", "new" + other
    if same:
        return "run", "asked for again"
    return "run", _difference(wanted, manifest)


def manifest_in(folder: Path) -> dict[str, Any] | None:
    """The manifest as plain JSON (the file list of a large artifact is not worth validating here), or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if _well_formed(manifest) else None


def _well_formed(manifest: Any) -> bool:
    """Whether it has what a plan looks at, in its form."""
    if not isinstance(manifest, dict):
        return False
    files, inputs = manifest.get("files"), manifest.get("inputs")
    if not isinstance(files, list) or not isinstance(inputs, dict):
        return False
    entries = [entry for found in inputs.values() for entry in (found if isinstance(found, list) else [None])]
    return all(isinstance(f, dict) and {"path", "bytes"} <= f.keys() for f in files) and all(
        isinstance(e, dict) and {"name", "key"} <= e.keys() for e in entries
    )


def key_of(partial: Path) -> str | None:
    """The key of the work in a `.partial` folder; a finished one that was not renamed yet has it in its manifest."""
    manifest = manifest_in(partial)
    if manifest is not None:
        return str(manifest.get("key"))
    try:
        return (partial / KEY_FILE).read_text("utf-8").strip()
    except OSError:
        return None


def _changed_inputs(run_folder: Path, wanted: _Wanted, manifest: dict[str, Any]) -> str:
    """Inputs that were made again since and came out differently (as may happen on a GPU): the key cannot know."""
    for entries in manifest.get("inputs", {}).values():
        for entry in entries:
            now = manifest_in(run_folder / entry["name"])
            if now is not None and now.get("content") and entry.get("content") and now["content"] != entry["content"]:
                return f"input `{entry['name']}` was made again and differs"
    return ""


def _difference(wanted: _Wanted, manifest: dict[str, Any]) -> str:
    """What changed since the sealed artifact was made, in a few words."""
    maker = "source" if wanted.what == "source" else wanted.kind
    if (manifest.get("made_by"), manifest.get("kind")) != (maker, wanted.makes):
        return f"it was {_a_thing(manifest.get('made_by'), manifest.get('kind'))}, now {_a_thing(maker, wanted.makes)}"
    changes = _setting_changes(manifest.get("settings", {}), wanted.settings)
    if wanted.what == "stage" and manifest.get("seed") != wanted.seed:
        changes.append("the seed changed")
    elif wanted.settings.get("holdout") and manifest.get("seed") not in (0, wanted.seed):
        changes.append("the seed changed, which draws the held-out rows")
    old = {role: [(e["name"], e["key"]) for e in entries] for role, entries in manifest.get("inputs", {}).items()}
    for role, names in wanted.reads.items():
        for name, key in zip(names, wanted.inputs[role], strict=True):
            if (name, key) not in old.get(role, []) and f"input `{name}` changed" not in changes:
                changes.append(f"input `{name}` changed")
    if not changes:
        changes = [_unseen(wanted, manifest)]
    shown = changes[:3] + ([f"{len(changes) - 3} more"] if len(changes) > 3 else [])
    return ", ".join(shown)


def _a_thing(made_by: Any, kind: Any) -> str:
    return f"a source of kind {kind}" if made_by == "source" else f"a stage of kind {made_by}"


def _unseen(wanted: _Wanted, manifest: dict[str, Any]) -> str:
    if wanted.what == "source":
        # A 0 may also be of an earlier version, which did not write the seed of a source down.
        seeded = wanted.settings.get("holdout") and manifest.get("seed") != wanted.seed
        return "what its path holds, or the seed, changed" if seeded else "what its path holds changed"
    return f"{wanted.files} changed" if wanted.files else "this version of align makes it differently"


def _setting_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = dict(_flat(old)), dict(_flat(new))
    names = sorted(before.keys() | after.keys())
    return [
        f"`{name}` changed from {_short(before.get(name))} to {_short(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """{"lora": {"r": 16}} -> [("lora.r", 16)]."""
    rows = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows


def _short(value: Any) -> str:
    return "nothing" if value is None else str(value)
