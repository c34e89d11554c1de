"""Sources become artifacts too: data files are checked, split and written as records, models are fingerprinted.

So every stage reads one form, and the lineage of a weight reaches back to the file a label came from.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from align.artifacts import (
    FORMAT,
    LOGS,
    MANIFEST,
    Artifact,
    Manifest,
    altered,
    hash_file,
    hash_json,
    read_artifact,
    seal,
)
from align.contract import DOCTOR, HELDOUT, TRAIN
from align.data.checks import check_imported, counts, drop_broken, leakage, raise_on_errors, told
from align.data.files import write_bytes, write_records
from align.data.importers import Imported, first_of, scan_file
from align.data.split import split_imported
from align.errors import DataError, ModelError, SystemLimit, unreadable
from align.recipe.find import expanded
from align.recipe.plan import source_settings
from align.recipe.schema import Recipe, Source
from align.recipe.words import did_you_mean

MODELS = ("policy", "reward_model")
TEMPLATES = ("chatml", "plain")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin")

HASHES = ".hashes.json"
"""Cache of file hashes by path, size and time: a model of 8 GB is read once, not at every `align run`."""


@dataclass(frozen=True)
class SourceSplit:
    """A data source as imported: its records for training, those held out, and what the data doctor found (code ->
    rows)."""

    train: Imported
    heldout: Imported
    doctor: dict[str, int] = field(default_factory=dict)


def source_keys(recipe: Recipe, folder: Path, cache: HashCache) -> dict[str, str]:
    """The key of every source: what its artifact would hold. Raises DataError or ModelError for a missing file."""
    for name, source in recipe.sources.items():
        if source.kind in MODELS and (place := local_model(source, folder)):
            check_model_folder(name, place, source.kind)
    return {name: _key(recipe, source, folder, cache) for name, source in recipe.sources.items()}


def _key(recipe: Recipe, source: Source, folder: Path, cache: HashCache) -> str:
    fields = [FORMAT, source.model_dump(exclude={"path", "heldout"}), recipe.seed if source.holdout else None]
    if source.kind in MODELS:
        place = local_model(source, folder)
        template = _template(source, folder)
        written = cache.of(Path(template)) if template and Path(template).is_file() else None
        # The path counts: artifacts over this base name it, and would look for it where it no longer is.
        return hash_json([*fields, written, str(place or source.path), cache.of_folder(place) if place else None])
    return hash_json([*fields, [cache.of(f) if f else None for f in data_files(source, folder)]])


def data_files(source: Source, folder: Path) -> tuple[Path, Path | None]:
    """The file of training rows and that of held-out rows. A sealed artifact of an earlier run may bring both."""
    path = resolved(folder, source.path)
    heldout = resolved(folder, source.heldout) if source.heldout else None
    if not (path / MANIFEST).is_file():
        return path, heldout
    kind = read_artifact(path).kind
    if kind != source.kind:
        raise DataError(
            f"the artifact there is of kind {kind}",
            where=str(path),
            allowed=source.kind,
            remedy=f"write `kind: {kind}`, or name another folder",
        )
    split = path / HELDOUT
    return path / TRAIN, heldout or (split if split.exists() and not source.holdout else None)


def resolved(folder: Path, path: str) -> Path:
    """A path written in the recipe: relative ones start at the recipe's folder, `~` is the home folder."""
    return folder / expanded(path)


def local_model(source: Source, folder: Path) -> Path | None:
    """The folder of a local model source; None for a hub id. Raises ModelError for a path that is not there."""
    place = resolved(folder, source.path).resolve()
    if place.is_dir():
        return place
    if source.path.startswith((".", "/", "~")) or source.path.count("/") != 1:
        raise ModelError(
            f"there is no model folder {source.path}",
            where=str(place),
            allowed="a folder as save_pretrained writes it, or a hub id such as Qwen/Qwen3-0.6B",
        )
    return None


def check_model_folder(name: str, place: Path, kind: str) -> None:
    """Raise ModelError unless the folder holds a model of this kind, an adapter, or a policy of an earlier run, with
    its weights.

    What only torch can tell (a tokenizer without pad token, an adapter for another base) comes out when it is loaded.
    """
    if not any((place / file).is_file() for file in ("config.json", "adapter_config.json", "policy.json")):
        raise ModelError(
            f"the folder of the source `{name}` holds no model: config.json is missing",
            where=str(place),
            allowed="a folder with config.json, weights and tokenizer, as save_pretrained writes it, or an adapter",
            remedy="name the folder that save_pretrained wrote, or a hub id",
        )
    is_pointer = not (place / "config.json").is_file() and not (place / "adapter_config.json").is_file()
    if not is_pointer and not any(any(place.glob(pattern)) for pattern in WEIGHTS):
        raise ModelError(
            f"the model folder of the source `{name}` holds no weights",
            where=str(place),
            allowed=", ".join(WEIGHTS),
            remedy="download or copy the weights into the folder",
        )
    is_reward_model = _scores(place)
    if is_reward_model is not None and is_reward_model != (kind == "reward_model"):
        found = "a reward model, which gives scores and no words" if is_reward_model else "a model without score head"
        raise ModelError(
            f"the source `{name}` of kind {kind} is {found}",
            where=str(place),
            allowed="policy: a causal language model; reward_model: a sequence classifier with one output",
            remedy=f"name another folder, or write kind: {'reward_model' if is_reward_model else 'policy'}",
        )


def _scores(place: Path) -> bool | None:
    """Whether the model or adapter of a folder is a sequence classifier; None where its files do not say."""
    for file, key in (("adapter_config.json", "task_type"), ("config.json", "architectures")):
        try:
            said = json.loads((place / file).read_text("utf-8")).get(key)
        except (OSError, ValueError, AttributeError):
            continue
        if said:
            told = " ".join([said] if isinstance(said, str) else said)
            return "SequenceClassification" in told or told == "SEQ_CLS"
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
            sealed[name] = _seal_data(name, source, recipe.seed, splits[name], run, keys[name])
        else:
            sealed[name] = _seal_model(name, source, folder, run, keys[name])
    return sealed


def check_sources(
    recipe: Recipe, folder: Path, run: Path, keys: dict[str, str], say: Callable[[str], None]
) -> dict[str, SourceSplit]:
    """Read and check all data sources, unless every one is sealed already: then they were checked, and {} is given."""
    data = {n: s for n, s in recipe.sources.items() if s.kind not in MODELS}
    if all(sealed_as(run / n, keys[n]) for n in data):
        return {}
    splits = {}
    for name, source in data.items():
        notes: list[str] = []
        splits[name] = read_source(source, folder, recipe.seed, notes.append)
        for note in notes:
            say(f"{name}: {note}")
    found = check_all(data, splits, say)
    return {name: replace(split, doctor=found[name]) for name, split in splits.items()}


def sealed_as(folder: Path, key: str) -> Artifact | None:
    """The artifact in `folder` if it is sealed under this key, and as it was."""
    if not (folder / MANIFEST).exists():
        return None
    artifact = read_artifact(folder)
    whole = not altered(folder, artifact.manifest.model_dump()["files"])
    return artifact if artifact.manifest.key == key and whole else None


def read_source(source: Source, folder: Path, seed: int, say: Callable[[str], None]) -> SourceSplit:
    """Import a data source, leave out what cannot be used if the recipe wants it so, and split it."""
    path, heldout = data_files(source, folder)
    train = _usable(_read(path, source), source, say)
    if heldout:
        return SourceSplit(train, _usable(_read(heldout, source), source, say))
    return SourceSplit(*split_imported(train, source.holdout, seed))


def _read(path: Path, source: Source) -> Imported:
    imported, broken = scan_file(path, source.kind, source.format)
    if not broken:
        return imported
    error = first_of(broken)
    if source.broken == "error":
        raise error
    copied = f"align data convert {shlex.quote(str(path))} OUT.jsonl{read_as(source)} --drop-broken"
    # The copy is in our own format, and would be refused under the name of another.
    renamed = "" if source.format in ("auto", "align") else f"; delete `format: {source.format}` then"
    raise DataError(
        f"{error.found}; `broken: drop` is for rows that can be read, and this one cannot",
        where=error.where,
        allowed=error.allowed,
        remedy=f"mend it, or name a copy without it, made by: {copied}{renamed}",
    )


def read_as(source: Source) -> str:
    """The options of `align data` with which it reads a file as a source does."""
    return f" --kind {source.kind}" + ("" if source.format == "auto" else f" --format {source.format}")


def _usable(imported: Imported, source: Source, say: Callable[[str], None]) -> Imported:
    """The rows that a source with `broken: drop` keeps; what is left out is said, by reason."""
    if source.broken == "error":
        return imported
    kept, faults = drop_broken(imported)
    file = Path(imported.path).name
    if not kept.records:
        raise DataError(
            "every row has an error, so nothing is left",
            where=imported.path,
            remedy=f"look at them: align data check {shlex.quote(imported.path)}{read_as(source)}",
        )
    for fault in faults:
        say(f"{fault.count} of {len(imported.records)} rows of {file} left out ({fault.code}): {fault.message}")
    return kept


def check_all(
    sources: dict[str, Source], splits: dict[str, SourceSplit], say: Callable[[str], None]
) -> dict[str, dict[str, int]]:
    """The data doctor over every source, and over all of them for leaks. Warnings are said, errors raised.

    Returns what was found in each source: code -> rows.
    """
    found = {
        name: [f for part in (parts.train, parts.heldout) if part.records for f in check_imported(part)]
        for name, parts in splits.items()
    }
    leaks = leakage({n: s.train for n, s in splits.items()}, {n: s.heldout for n, s in splits.items()})
    findings = [*(f for of_one in found.values() for f in of_one), *leaks]
    # The first error is of the first source that has one, if not a leak.
    name = next((name for name, of_one in found.items() if any(f.severity == "error" for f in of_one)), "")
    options = read_as(sources[name]) if name else ""
    raise_on_errors(findings, options=options, leave_out=f"write `broken: drop` in the source `{name}`")
    for finding in findings:
        say(told(finding))
    return {name: counts(of_one) for name, of_one in found.items()}


def _seal_data(name: str, source: Source, seed: int, parts: SourceSplit, run: Path, key: str) -> Artifact:
    manifest = Manifest(
        name=name,
        kind=source.kind,
        made_by="source",
        settings=source_settings(source),
        seed=seed if source.holdout else 0,
        key=key,
        metrics={
            "rows": len(parts.train.records),
            "heldout_rows": len(parts.heldout.records),
            "format": parts.train.format,
        }
        | ({DOCTOR: parts.doctor} if parts.doctor else {}),
    )
    with _partial_or_none(run, name) as partial:
        for file, part in ((TRAIN, parts.train), (HELDOUT, parts.heldout)):
            if part.records:
                write_records(partial / file, part.records)
        return seal(partial, manifest)


def _seal_model(name: str, source: Source, folder: Path, run: Path, key: str) -> Artifact:
    place = local_model(source, folder)
    fields = {
        "path": str(place) if place else source.path,
        "revision": source.revision,
        "chat_template": _template(source, folder),
        "pad_token": source.pad_token,
    }
    manifest = Manifest(name=name, kind=source.kind, made_by="source", settings=source_settings(source), key=key)
    with _partial_or_none(run, name) as partial:
        (partial / "policy.json").write_text(json.dumps(fields, indent=1), "utf-8")
        return seal(partial, manifest)


def _template(source: Source, folder: Path) -> str | None:
    """A model source's chat template: the name of a built-in one, or the absolute path of a Jinja file."""
    template = source.chat_template
    return template if template in (None, *TEMPLATES) else str(resolved(folder, template).resolve())


@contextlib.contextmanager
def _partial_or_none(run: Path, name: str) -> Iterator[Path]:
    """An empty partial folder that goes if it cannot be filled: a source is quickly made again from the start."""
    partial = fresh_partial(run, name)
    try:
        yield partial
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)
        raise


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
        self.known: dict[str, list[object]] = {}
        self.changed = False
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(path.read_text("utf-8"))
            if isinstance(known, dict):
                self.known = {k: v for k, v in known.items() if isinstance(v, list) and len(v) == 3}

    def of(self, file: Path) -> str:
        """The hash of a file. Raises DataError if there is none, SystemLimit if it may not be read."""
        try:
            stat = file.stat()
            name, mark = str(file.resolve()), [stat.st_size, stat.st_mtime_ns]
            found = self.known.get(name)
            if not found or found[:2] != mark:
                found = self.known[name] = [*mark, hash_file(file)]
                self.changed = True
        except FileNotFoundError:
            raise _no_file(file) from None
        except PermissionError:
            raise unreadable(file) from None
        except OSError as error:
            raise DataError(
                f"the file cannot be read: {error.strerror}", where=str(file), remedy="copy it again"
            ) from None
        return str(found[2])

    def of_folder(self, folder: Path) -> list[list[str]]:
        """Name and hash of every file directly in a model folder; code, cards and notes count as well."""
        return [[p.name, self.of(p)] for p in sorted(folder.iterdir()) if p.is_file()]

    def save(self) -> None:
        """Write the cache if the run folder exists and takes it; it only saves time."""
        if self.changed and self.path.parent.is_dir():
            with contextlib.suppress(SystemLimit):
                write_bytes(self.path, json.dumps(self.known).encode())


def _no_file(file: Path) -> DataError:
    siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
    return DataError("there is no such file", where=str(file), remedy=did_you_mean(file.name, siblings))
