"""Whether the paths of a recipe lead somewhere: data files, model folders, and other files it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from align.recipe import words
from align.recipe.document import Place, Problem
from align.recipe.load import Loaded
from align.recipe.schema import Source

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
MODEL_FILES = ("config.json", "adapter_config.json", "tokenizer.json", "policy.json")
DATA_ENDINGS = (".jsonl", ".json", ".parquet", ".txt", ".gz", ".csv")


def data_path_problems(loaded: Loaded, kind: str, written: str, place: Place) -> Iterator[Problem]:
    """What is wrong with the path of a data source."""
    path = loaded.resolve(written)
    if path.is_dir() and not (path / "manifest.json").is_file():
        files = [f.name for f in sorted(path.iterdir()) if f.name.endswith(DATA_ENDINGS)]
        yield Problem(
            place,
            f"`{written}` is a folder, and {kind} are read from a file",
            "a JSON Lines or Parquet file, or the folder of a finished artifact",
            f"name a file in it: {words.listing(files)}" if files else "name a file",
        )
    elif not path.exists():
        yield missing_path(loaded, place, written, ".jsonl, .json, .txt (each also as .gz) or .parquet")


def model_path_problems(loaded: Loaded, source: Source, place: Place) -> Iterator[Problem]:
    """What is wrong with the path of a model source; a hub id is not looked up."""
    allowed = "a model folder, or a hub id such as `Qwen/Qwen3-0.6B`"
    path = loaded.resolve(source.path)
    if path.is_file():
        remedy = "name a model's folder or a hub id"
        if source.path.endswith(DATA_ENDINGS) and path.name not in MODEL_FILES:
            remedy += "; if the file holds data, write its kind: `kind: demonstrations`, `kind: prompts` ..."
        elif (folder := Path(source.path).parent) != Path("."):
            remedy = f"name the folder: `path: {folder}`"
        yield Problem(place, f"`{source.path}` is a file, and a model is a folder", allowed, remedy)
    elif path.is_dir():
        if source.revision:
            yield Problem(
                (*place[:-1], "revision"), "`revision` is for hub models, and `path` is a folder here", "", "delete it"
            )
    elif not HUB_ID.fullmatch(source.path) or source.path.endswith(DATA_ENDINGS):
        yield missing_path(loaded, place, source.path, allowed)


def missing_path(loaded: Loaded, place: Place, written: str, allowed: str) -> Problem:
    """The problem of a path where nothing is, with the name beside it that comes close."""
    path = loaded.resolve(written)
    siblings = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = words.did_you_mean(path.name, siblings)
    if hint:
        hint = f"did you mean `{written.removesuffix(path.name)}{hint.split('`')[1]}`?"
    elif not path.parent.is_dir():
        hint = f"the folder {path.parent} does not exist either; paths start at the recipe's folder"
    return Problem(
        place, f"there is no `{written}` (looked for {path})", allowed, hint or "paths start at the recipe's folder"
    )
