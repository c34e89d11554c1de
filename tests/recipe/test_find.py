"""Finding and copying recipes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from align.errors import RecipeError, SystemLimit
from align.recipe import find
from align.recipe.find import copy_recipe, find_recipe, shipped_folder, shipped_recipes


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as a wheel installs it, with two recipes; the working folder is an empty one."""
    package = tmp_path / "site" / "align"
    recipes = package / "_recipes"
    (recipes / "small" / "__pycache__").mkdir(parents=True)
    (recipes / "other").mkdir()
    (recipes / "small.yaml").write_text("name: small\nsources: {a: {kind: corpus, path: small/a.jsonl}}\n")
    (recipes / "large.yaml").write_text("name: large\n")
    (recipes / "small" / "a.jsonl").write_text("{}")
    (recipes / "small" / "__pycache__" / "x.pyc").write_text("")
    monkeypatch.setattr(find, "PACKAGE", package)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return recipes


def test_shipped_recipes_of_an_install(installed: Path) -> None:
    assert shipped_recipes() == {"large": installed / "large.yaml", "small": installed / "small.yaml"}


def test_shipped_recipes_of_a_checkout() -> None:
    assert shipped_folder() == Path(__file__).resolve().parents[2] / "recipes"


def test_a_shipped_name_is_found(installed: Path) -> None:
    assert find_recipe("small") == installed / "small.yaml"


@pytest.mark.parametrize("name", ["small.yaml", "./small.yaml", "recipes/small.yaml", "recipes/small", "./small"])
def test_a_path_never_means_a_shipped_recipe(installed: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="there is no such recipe") as caught:
        find_recipe(name)
    assert caught.value.where == name
    assert caught.value.remedy == "did you mean `small`, which ships with align? `align new small` copies it here"


def test_a_file_that_exists_comes_first(installed: Path) -> None:
    Path("small").mkdir()  # the folder that `align new small` makes beside the recipe is not meant
    assert find_recipe("small") == installed / "small.yaml"
    Path("small.yaml").write_text("name: mine\n")
    assert find_recipe("small.yaml") == Path("small.yaml")
    assert find_recipe("small") == installed / "small.yaml"


def test_a_name_that_is_not_found(installed: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such recipe") as caught:
        find_recipe("smal")
    assert caught.value.exit_code == 2
    assert caught.value.where == "smal"
    assert caught.value.allowed == "a path, or a shipped recipe: large, small"
    assert caught.value.remedy == "did you mean `small`?"
    with pytest.raises(RecipeError, match="align new quickstart"):
        find_recipe("zzzzzz")
    with pytest.raises(RecipeError, match="there is no such recipe"):
        find_recipe("elsewhere/small.yaml")


@pytest.mark.parametrize("name", ["nosuch.yaml", "nosuch", "mine.yml", "experiment.yaml"])
def test_a_suffix_makes_no_name_alike(name: str, tmp_path: Path) -> None:
    """Of the recipes that ship, kto.yaml is like nosuch.yaml in nothing but its suffix."""
    with pytest.raises(RecipeError) as caught:
        find_recipe(str(tmp_path / name))
    assert caught.value.remedy == "align new quickstart makes one"


def test_a_file_nearby_is_suggested(installed: Path) -> None:
    Path("sub").mkdir()
    Path("sub/experiment.yaml").write_text("")
    with pytest.raises(RecipeError, match="did you mean `sub/experiment.yaml`"):
        find_recipe("sub/experimnt.yaml")
    with pytest.raises(RecipeError, match="did you mean `sub/experiment.yaml`"):
        find_recipe("sub/experiment")


def test_a_folder_is_no_recipe(installed: Path) -> None:
    Path("sub").mkdir()
    with pytest.raises(RecipeError, match="this is a folder, not a recipe") as caught:
        find_recipe("sub")
    assert caught.value.remedy == "name a file, not a folder"
    Path("sub/a.yaml").write_text("")
    with pytest.raises(RecipeError, match="name a file in it: sub/a.yaml"):
        find_recipe("sub")


def test_copy_brings_the_folders_that_the_recipe_names(installed: Path) -> None:
    made = copy_recipe("small", Path("new/place"))
    assert made == [Path("new/place/small.yaml"), Path("new/place/small")]
    files = sorted(str(p.relative_to("new/place")) for p in Path("new/place").rglob("*") if p.is_file())
    assert files == ["small.yaml", "small/a.jsonl"]
    assert made[0].read_text() == (installed / "small.yaml").read_text()


def test_a_folder_that_recipes_share_is_copied_once(installed: Path) -> None:
    (installed / "large.yaml").write_text("name: large\nsources: {a: {kind: corpus, path: small/a.jsonl}}\n")
    copy_recipe("small", Path("."))
    assert copy_recipe("large", Path(".")) == [Path("large.yaml")]
    Path("large.yaml").unlink()
    Path("small/a.jsonl").write_text("mine")
    with pytest.raises(RecipeError, match="this exists already") as caught:
        copy_recipe("large", Path("."))
    assert caught.value.where == "small"
    assert not Path("large.yaml").exists()
    assert Path("small/a.jsonl").read_text() == "mine"


@pytest.mark.parametrize("existing", ["small.yaml", "small"])
def test_copy_overwrites_nothing(installed: Path, existing: str) -> None:
    Path(existing).mkdir()
    with pytest.raises(RecipeError, match="this exists already") as caught:
        copy_recipe("small", Path("."))
    assert caught.value.where == existing
    assert [p.name for p in Path(".").iterdir()] == [existing]


def test_copy_of_an_unknown_recipe(installed: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean `large`"):
        copy_recipe("larg", Path("."))


def test_copy_into_something_that_is_no_folder(installed: Path) -> None:
    Path("file").write_text("")
    with pytest.raises(SystemLimit, match="cannot write"):
        copy_recipe("large", Path("file/sub"))


def test_copy_without_permission(installed: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(SystemLimit, match="cannot write"):
        copy_recipe("large", Path("locked"))


def test_the_home_of_a_user_who_is_not_there() -> None:
    with pytest.raises(RecipeError, match="there is no such recipe"):
        find_recipe("~nosuchuser/x.yaml")
    assert find.expanded("~/x") == Path.home() / "x"
