"""Artifacts: what a stage leaves behind. A folder with files, and a manifest written last.

A folder `NAME/` with a `manifest.json` is complete; work in progress lives in `NAME.partial/` and is renamed when the
manifest has been written. Files under `logs/` tell what happened (times, losses); everything else is what was made,
and it alone goes into the content hash: two undisturbed runs of one recipe on a CPU give equal content hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from align.errors import DataError

FORMAT = 1
"""Raise this when a stage of the same settings would make something else: old artifacts are then made again."""

MANIFEST = "manifest.json"
LOGS = "logs"
RESUME = "resume"
"""Folder inside a partial artifact for checkpoints and finished batches."""
WAITING = f"{RESUME}/waiting.json"
"""Inside `NAME.partial/`: what a stage that people rank in waits for, in words and figures, for the report."""
KEY_FILE = "KEY"
"""Inside `NAME.partial/`: the key of the work in progress, so that only the same work is continued."""
REPORT = "report.html"
"""Beside the artifacts in a run's folder: what became of it, for people."""
METRICS = "logs/metrics.jsonl"
"""One JSON object a line: `step` and the trainer's metrics at that step (loss, learning_rate, eval_loss ...)."""


UNLISTED = (MANIFEST, MANIFEST + ".new", RESUME, KEY_FILE)
"""What lies in an artifact's folder, or did while it was made, and is not part of it."""


class FileEntry(BaseModel):
    """One file of an artifact: path relative to the folder, size in bytes, SHA-256."""

    path: str
    bytes: int
    sha256: str


class InputEntry(BaseModel):
    """One input of a stage: the artifact's name, its key, and the hash of what it held."""

    name: str
    key: str
    content: str


class Manifest(BaseModel):
    """What an artifact is and where it came from."""

    model_config = ConfigDict(extra="forbid")

    schema_: str = Field(default="align.artifact/1", alias="schema")
    name: str
    kind: str
    """Artifact kind: policy, reward_model, prompts, ..."""
    made_by: str
    """Stage kind (sft, dpo, ...) or `source`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    key: str
    inputs: dict[str, list[InputEntry]] = Field(default_factory=dict)
    """Role -> the artifacts read in that role."""
    content: str = ""
    files: list[FileEntry] = Field(default_factory=list)
    metrics: dict[str, Any] = Field(default_factory=dict)
    """The stage's closing figures: numbers, or short texts."""
    versions: dict[str, str] = Field(default_factory=dict)
    git: str | None = None
    started: str = ""
    ended: str = ""
    seconds: float = 0.0
    device: str = ""
    peak_memory_mb: float = 0.0


class Artifact:
    """A sealed artifact on disk."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def kind(self) -> str:
        return self.manifest.kind

    def entry(self) -> InputEntry:
        return InputEntry(name=self.name, key=self.manifest.key, content=self.manifest.content)


def read_artifact(path: Path) -> Artifact:
    """The sealed artifact in `path`. Raises DataError if the folder has no manifest or one that cannot be read."""
    file = path / MANIFEST
    try:
        return Artifact(path, Manifest.model_validate_json(file.read_text("utf-8")))
    except FileNotFoundError:
        raise DataError(
            "this folder holds no manifest.json, so it is no finished artifact",
            where=str(path),
            remedy="run the recipe that makes it: align run RECIPE",
        ) from None
    except ValueError as error:
        raise DataError(
            f"the manifest cannot be read: {_first(error)}", where=str(file), remedy="delete the folder and run again"
        ) from None


def _first(error: ValueError) -> str:
    """What is wrong, in a line: the first of what pydantic found."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors()[0]
    return ": ".join([".".join(map(str, found["loc"])), found["msg"]] if found["loc"] else [found["msg"]])


def seal(partial: Path, manifest: Manifest) -> Artifact:
    """Hash the files of `partial`, write the manifest, and rename `NAME.partial` to `NAME`, replacing an older one.

    The older folder stays until the new one is complete; a kill between the two renames leaves the new one under its
    partial name with its manifest, which `finish_seal` puts in place. A kill before the manifest stands leaves what
    the stage continues from: hashing a large model takes a while.
    """
    manifest.files = list_files(partial)
    manifest.content = content_hash(manifest.files)
    text = manifest.model_dump_json(indent=1, by_alias=True)
    temporary = partial / (MANIFEST + ".new")
    with temporary.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, partial / MANIFEST)
    return finish_seal(partial)


def finish_seal(partial: Path) -> Artifact:
    """Rename a partial folder that already has its manifest to its final name."""
    shutil.rmtree(partial / RESUME, ignore_errors=True)
    (partial / KEY_FILE).unlink(missing_ok=True)
    final = partial.with_name(partial.name.removesuffix(".partial"))
    old = final.with_name(final.name + ".old")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(final, old)
    os.replace(partial, final)
    shutil.rmtree(old, ignore_errors=True)
    return read_artifact(final)


def altered(folder: Path, files: Iterable[Mapping[str, Any]]) -> str:
    """What a glance shows of a sealed artifact's files: the first that is gone, or of another size; empty if none is.

    files: as the manifest lists them. Logs may be deleted.
    """
    for entry in files:
        file = folder / str(entry["path"])
        if is_log(str(entry["path"])):
            continue
        if not file.is_file():
            return f"`{entry['path']}` is gone"
        if file.stat().st_size != entry["bytes"]:
            return f"`{entry['path']}` is not as it was sealed"
    return ""


def is_log(path: str) -> bool:
    """Whether a file of an artifact, by its path in the folder, only tells what happened."""
    return path.startswith(LOGS + "/")


def list_files(folder: Path) -> list[FileEntry]:
    """Every file below `folder`, sorted by path, with size and hash; not the manifest, nor what work continues from."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    made = [p for p in paths if p.relative_to(folder).parts[0] not in UNLISTED]
    return [FileEntry(path=p.relative_to(folder).as_posix(), bytes=p.stat().st_size, sha256=hash_file(p)) for p in made]


def content_hash(files: list[FileEntry]) -> str:
    """One hash over what was made; files under `logs/` do not count."""
    made = [[f.path, f.sha256] for f in files if not is_log(f.path)]
    return hash_json(made)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a value as JSON with sorted keys, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
