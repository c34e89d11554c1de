"""Find a recipe by path or by the name it is shipped under, and copy a shipped one to start from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from align.errors import RecipeError, SystemLimit
from align.recipe import words

PACKAGE = Path(__file__).resolve().parent.parent
CACHE = "__pycache__"


def expanded(path: str) -> Path:
    """A path with `~` as the home folder. That of a user who is not there stays as written, and leads nowhere: pathlib
    would raise a RuntimeError."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def shipped_folder() -> Path:
    """Where the shipped recipes are: inside the installed package, or `recipes/` of a checkout."""
    installed = PACKAGE / "_recipes"
    return installed if installed.is_dir() else PACKAGE.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every recipe that ships with align, sorted by name."""
    return {file.stem: file for file in sorted(shipped_folder().glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The recipe file meant by a path, or by a shipped recipe's name.

    Only a bare name such as `quickstart` means the shipped one: who writes a suffix or a folder has a file of their own
    in mind, and would be told about another. Raises RecipeError if nothing is found.
    """
    path = expanded(name)
    if path.is_file():
        return path
    shipped = shipped_recipes().get(name)
    if shipped is not None:
        return shipped
    raise missing_recipe(name)


def missing_recipe(name: str) -> RecipeError:
    """The error for a recipe that is not there, with the files and shipped names that come close."""
    path = expanded(name)
    shipped = shipped_recipes()
    folder = path if path.is_dir() else path.parent
    nearby = sorted(file for ending in ("*.yaml", "*.yml") for file in folder.glob(ending)) if folder.is_dir() else []
    allowed = f"a path, or a shipped recipe: {words.listing(shipped)}"
    if path.is_dir():
        remedy = f"name a file in it: {words.listing(map(str, nearby))}" if nearby else "name a file, not a folder"
        return RecipeError("this is a folder, not a recipe", where=name, allowed=allowed, remedy=remedy)
    known = {n: n for n in shipped} | {file.stem: str(file) for file in nearby}
    # Without the suffix, which alone makes short names alike.
    stem = path.name.removesuffix(".yaml").removesuffix(".yml")
    hint = words.did_you_mean(stem, known)
    if known.get(stem) == stem != name:
        hint = f"did you mean `{stem}`, which ships with align? `align new {stem}` copies it here"
    elif hint:
        hint = f"did you mean `{known[hint.split('`')[1]]}`?"
    return RecipeError(
        "there is no such recipe", where=name, allowed=allowed, remedy=hint or "align new quickstart makes one"
    )


def copy_recipe(name: str, destination: Path) -> list[Path]:
    """Copy a shipped recipe, and the folders beside it that it names, into the folder `destination`.

    Returns what was made: the YAML file first, then the folders; one that an earlier copy has put there whole is left
    as it is, since recipes share them. Raises RecipeError if the name is unknown or something else of that name is
    there already (nothing is copied then), SystemLimit if the folder cannot be written.
    """
    shipped = shipped_recipes()
    if name not in shipped:
        raise missing_recipe(name)
    source = shipped[name]
    text = source.read_text("utf-8")
    folders = [f for f in sorted(source.parent.iterdir()) if f.is_dir() and f"{f.name}/" in text]
    folders = [f for f in folders if not _is_copied(f, destination / f.name)]
    made = [destination / item.name for item in (source, *folders)]
    for target in made:
        if target.exists():
            raise RecipeError(
                "this exists already, and nothing is overwritten",
                where=str(target),
                remedy="move it away, or copy into another folder",
            )
    try:
        destination.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, made[0])
        for folder, target in zip(folders, made[1:], strict=True):
            shutil.copytree(folder, target, ignore=shutil.ignore_patterns(CACHE))
    except OSError as error:
        raise SystemLimit(
            f"cannot write: {error.strerror}", where=str(destination), remedy="choose a folder you can write to"
        ) from None
    return made


def _is_copied(folder: Path, copy: Path) -> bool:
    """Whether another folder holds every file of this one, to the byte."""
    files = [file for file in folder.rglob("*") if file.is_file() and CACHE not in file.parts]
    copies = [copy / file.relative_to(folder) for file in files]
    return all(b.is_file() and a.read_bytes() == b.read_bytes() for a, b in zip(files, copies, strict=True))
