"""Sources become artifacts too: data files are checked, split and written as records, models are fingerprinted.

So every stage reads one form, and the lineage of a weight reaches back to the file a label came from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from align.artifacts import FORMAT, LOGS, MANIFEST, Artifact, Manifest, hash_file, hash_json, read_artifact, seal
from align.data.checks import check_imported, leakage, raise_on_errors
from align.data.files import write_records
from align.data.importers import Imported, import_file
from align.data.split import split_imported
from align.errors import DataError, ModelError
from align.recipe.plan import source_settings
from align.recipe.schema import Recipe, Source

MODELS = ("policy", "reward_model")

HASHES = ".hashes.json"
"""Cache of file hashes by path, size and time: a model of 8 GB is read once, not at every `align run`."""


@dataclass(frozen=True)
class SourceSplit:
    """A data source as imported: its records for training, and those held out."""

    train: Imported
    heldout: Imported


def source_keys(recipe: Recipe, folder: Path, run: Path) -> dict[str, str]:
    """The key of every source: what its artifact would hold. Raises DataError or ModelError for a missing file."""
    cache = HashCache(run / HASHES)
    keys = {name: _key(recipe, source, folder, cache) for name, source in recipe.sources.items()}
    cache.save()
    return keys


def _key(recipe: Recipe, source: Source, folder: Path, cache: HashCache) -> str:
    fields = [FORMAT, source.model_dump(exclude={"path", "heldout"}), recipe.seed if source.holdout else None]
    if source.kind in MODELS:
        place = local_model(source, folder)
        return hash_json([*fields, cache.of_folder(place) if place else source.path])
    files = [folder / source.path] + ([folder / source.heldout] if source.heldout else [])
    return hash_json([*fields, [cache.of(f) for f in files]])


def local_model(source: Source, folder: Path) -> Path | None:
    """The folder of a local model source; None for a hub id. Raises ModelError for a path that is not there."""
    place = (folder / source.path).resolve()
    if place.is_dir():
        return place
    if source.path.startswith((".", "/", "~")) or source.path.count("/") != 1:
        raise ModelError(
            f"there is no model folder {source.path}",
            where=str(place),
            allowed="a folder as save_pretrained writes it, or a hub id such as Qwen/Qwen3-0.6B",
        )
    return None


def prepare_sources(
    recipe: Recipe, folder: Path, run: Path, keys: dict[str, str], say: Callable[[str], None]
) -> dict[str, Artifact]:
    """Every source as a sealed artifact; those sealed with the same key stay. Data is checked before any is written.

    Raises DataError for broken files, unusable records, and held-out prompts that are also in training.
    """
    sealed = {name: artifact for name, key in keys.items() if (artifact := sealed_as(run / name, key))}
    missing = [name for name in recipe.sources if name not in sealed]
    splits = check_sources(recipe, folder, run, keys, say)
    for name in missing:
        source = recipe.sources[name]
        if name in splits:
            sealed[name] = _seal_data(name, source, splits[name], run, keys[name])
        else:
            sealed[name] = _seal_model(name, source, folder, run, keys[name], say)
    return sealed


def check_sources(
    recipe: Recipe, folder: Path, run: Path, keys: dict[str, str], say: Callable[[str], None]
) -> dict[str, SourceSplit]:
    """Read and check all data sources, unless every one is sealed already: then they were checked, and {} is given."""
    data = {n: s for n, s in recipe.sources.items() if s.kind not in MODELS}
    if all(sealed_as(run / n, keys[n]) for n in data):
        return {}
    splits = {name: read_source(source, folder, recipe.seed) for name, source in data.items()}
    check_all(splits, say)
    return splits


def sealed_as(folder: Path, key: str) -> Artifact | None:
    """The artifact in `folder` if it is sealed under this key."""
    if not (folder / MANIFEST).exists():
        return None
    artifact = read_artifact(folder)
    return artifact if artifact.manifest.key == key else None


def read_source(source: Source, folder: Path, seed: int) -> SourceSplit:
    """Import a data source and split it."""
    train = import_file(folder / source.path, source.kind, source.format)
    if source.heldout:
        return SourceSplit(train, import_file(folder / source.heldout, source.kind, source.format))
    return SourceSplit(*split_imported(train, source.holdout, seed))


def check_all(splits: dict[str, SourceSplit], say: Callable[[str], None]) -> None:
    """The data doctor over every source, and over all of them for leaks. Warnings are said, errors raised."""
    findings = []
    for parts in splits.values():
        for part in (parts.train, parts.heldout):
            if part.records:
                findings += check_imported(part)
    findings += leakage({n: s.train for n, s in splits.items()}, {n: s.heldout for n, s in splits.items()})
    raise_on_errors(findings)
    for finding in findings:
        say(f"{finding.where}: {finding.message}")


def _seal_data(name: str, source: Source, parts: SourceSplit, run: Path, key: str) -> Artifact:
    partial = fresh_partial(run, name)
    for file, part in (("train.jsonl", parts.train), ("heldout.jsonl", parts.heldout)):
        if part.records:
            write_records(partial / file, part.records)
    manifest = Manifest(
        name=name,
        kind=source.kind,
        made_by="source",
        settings=source_settings(source),
        key=key,
        metrics={
            "rows": len(parts.train.records),
            "heldout_rows": len(parts.heldout.records),
            "format": parts.train.format,
        },
    )
    return seal(partial, manifest)


def _seal_model(name: str, source: Source, folder: Path, run: Path, key: str, say: Callable[[str], None]) -> Artifact:
    place = local_model(source, folder)
    if place is None and source.revision is None:
        say(f"{name}: {source.path} has no revision:, so another commit may be loaded another day")
    template = source.chat_template
    if template and template not in ("chatml", "plain"):
        template = str((folder / template).resolve())
    fields = {
        "path": str(place) if place else source.path,
        "revision": source.revision,
        "chat_template": template,
        "pad_token": source.pad_token,
    }
    partial = fresh_partial(run, name)
    (partial / "policy.json").write_text(json.dumps(fields, indent=1), "utf-8")
    manifest = Manifest(name=name, kind=source.kind, made_by="source", settings=source_settings(source), key=key)
    return seal(partial, manifest)


def fresh_partial(run: Path, name: str) -> Path:
    """An empty partial folder with its `logs/`."""
    partial = run / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / LOGS).mkdir(parents=True)
    return partial


class HashCache:
    """SHA-256 of files, remembered by path, size and modification time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.known: dict[str, list[object]] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            self.known = {}
        self.changed = False

    def of(self, file: Path) -> str:
        """The hash of a file. Raises DataError if there is none."""
        try:
            stat = file.stat()
        except OSError:
            raise _no_file(file) from None
        name, mark = str(file.resolve()), [stat.st_size, stat.st_mtime_ns]
        found = self.known.get(name)
        if not found or found[:2] != mark:
            found = self.known[name] = [*mark, hash_file(file)]
            self.changed = True
        return str(found[2])

    def of_folder(self, folder: Path) -> list[list[str]]:
        """Name and hash of every file directly in a model folder; code, cards and notes count as well."""
        return [[p.name, self.of(p)] for p in sorted(folder.iterdir()) if p.is_file()]

    def save(self) -> None:
        """Write the cache if the run folder exists; it only saves time."""
        if self.changed and self.path.parent.is_dir():
            self.path.write_text(json.dumps(self.known), "utf-8")


def _no_file(file: Path) -> DataError:
    import difflib

    near = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
    close = difflib.get_close_matches(file.name, near, 1)
    return DataError(
        "there is no such file", where=str(file), remedy=f"did you mean {file.with_name(close[0])}?" if close else ""
    )
