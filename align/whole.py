"""Before a stage reads what was sealed: is all of it still that, to the byte, with the models it stands on?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from align.artifacts import MANIFEST, Artifact, hash_file, is_log, read_artifact
from align.errors import DataError


def check_inputs(artifacts: Iterable[Artifact]) -> None:
    """Raises DataError unless these, and the models of the same run beneath them, hold what was sealed."""
    known: set[Path] = set()
    waiting = list(artifacts)
    while waiting:
        artifact = waiting.pop()
        if artifact.path.resolve() not in known:
            known.add(artifact.path.resolve())
            check_whole(artifact)
            waiting += beneath(artifact)


def beneath(artifact: Artifact) -> list[Artifact]:
    """The artifacts of the same run whose weights a model needs besides its own: an adapter's base, and an adapter that
    is folded into it first."""
    pointer = artifact.path / "policy.json"
    fields = json.loads(pointer.read_text("utf-8")) if pointer.is_file() else {}
    folders = [(artifact.path / path).resolve() for path in (fields.get("path"), fields.get("merge")) if path]
    run = artifact.path.resolve().parent
    return [read_artifact(folder) for folder in folders if folder.parent == run and (folder / MANIFEST).is_file()]


def check_whole(artifact: Artifact) -> None:
    """Raises DataError unless an artifact holds, byte for byte, what was sealed: else what is made of it would name an
    origin that it does not have. Reads every file."""
    manifest = artifact.manifest
    for entry in manifest.files:
        file = artifact.path / entry.path
        if not is_log(entry.path) and (not file.is_file() or hash_file(file) != entry.sha256):
            source = manifest.made_by == "source"
            again = f"delete {artifact.path}, and run" if source else f"align run RECIPE --again {artifact.name}"
            raise DataError(
                f"`{entry.path}` of the artifact `{artifact.name}` is not as it was sealed",
                where=str(file),
                allowed="the file that its manifest lists, by SHA-256",
                remedy=f"make it again: {again}",
            )
