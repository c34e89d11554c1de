"""The house's rules, read from the code: who imports whom, what is torch-free, sizes, docstrings."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [ROOT / "align", ROOT / "labeling_app"]

LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 60, 6
LONGEST_SCRIPT = 300
"""Lines of a script or a style sheet in labeling_app/static/: their lines are longer than Python's."""

LEVELS = [
    ["cli", "console"],
    ["pipeline"],
    ["waiting", "worker"],
    ["warm"],
    ["stages"],
    ["trainers", "evaluation"],
    ["judges"],
    ["models", "sources", "whole"],
    ["contract"],
    ["data"],
    ["recipe"],
    ["artifacts"],
    ["errors", "logged"],
]
"""Rooms of align/ from top to bottom: each imports those below it and itself, never one beside or above it."""

BESIDE = {"report": {"artifacts", "errors", "logged"}}
"""Rooms outside the levels -> what they may import. Only the top level imports them."""

TO_LABELING = ("cli", "console", "judges.people", "judges.desk")
"""Modules of align/ that may import labeling_app: the commands, and the judge that is people, with where they sit."""

PEOPLE = ("align.judges.people", "align.judges.desk")
"""The judges that need no torch."""

FOR_LABELING = {"data", "artifacts", "errors"}
"""Rooms of align/ that labeling_app may import."""

EXCEPTIONS = {("align.stages.export", "align.report.model_card")}
"""A model card is a report on one model, and is written where the model is."""

TORCH = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "gradio"}
TORCH_FREE = [
    "cli",
    "console",
    "pipeline",
    "waiting",
    "worker",
    "sources",
    "whole",
    "contract",
    "data",
    "recipe",
    "artifacts",
    "errors",
    "logged",
    "report",
]
NOT_TORCH_FREE = {"align.data.chat"}

MANY_PARAMETERS = {
    "align.cli",
    "align.data.commands",
    "align.trainers.ppo.trainer",
    "align.trainers.ranking_reward.trainer",
    "labeling_app.commands",
    "labeling_app.project_commands",
    "labeling_app.serving",
}
"""Options of a command are its parameters; a trainer takes what TRL's trainers take."""


def files() -> list[Path]:
    return sorted(file for top in PACKAGES for file in top.rglob("*.py") if "_recipes" not in file.parts)


def module_of(file: Path) -> str:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"), str(file))


MODULES = {module_of(file): file for file in files()}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def torch_free(module: str) -> bool:
    return module.startswith("labeling_app") or room(module) in TORCH_FREE or module in PEOPLE


def imported(node: ast.AST, module: str) -> list[str]:
    """Full names of the modules that an import statement may load."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *([base] if base else [])])
        inner = [f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in MODULES]
        return [base, *inner]
    return []


def all_imports(module: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree_of(MODULES[module])):
        for name in imported(node, module):
            yield getattr(node, "lineno", 0), name


def imports_at_load(module: str) -> set[str]:
    """What importing a module loads: statements outside functions and outside `if TYPE_CHECKING:`."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree_of(MODULES[module]).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        found.update(imported(node, module))
        waiting += list(ast.iter_child_nodes(node))
    packages = {
        name.rsplit(".", n)[0] for name in found if name.startswith("align.") for n in range(1, name.count("."))
    }
    return found | packages


def allowed_rooms(name: str) -> set[str]:
    if name in BESIDE:
        return BESIDE[name] | {name}
    for number, level in enumerate(LEVELS):
        if name in level:
            below = {other for lower in LEVELS[number + 1 :] for other in lower}
            return below | {name} | (set(level) | set(BESIDE) if number == 0 else set())
    raise AssertionError(f"align/{name} has no place in LEVELS: say in this test where it belongs")


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("align.")])
def test_imports_go_downward(module: str) -> None:
    allowed = allowed_rooms(room(module))
    wrong = []
    for line, name in all_imports(module):
        if name.split(".")[0] == "labeling_app" and module.removeprefix("align.") not in TO_LABELING:
            wrong.append(f"{MODULES[module]}:{line} imports {name}")
        if (module, name) in EXCEPTIONS:
            continue
        if name.startswith("align.") and room(name) not in allowed:
            wrong.append(f"{MODULES[module]}:{line} imports {name}; {module} may import {sorted(allowed)}")
    assert wrong == []


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("labeling_app")])
def test_the_labeling_app_imports_data_artifacts_and_errors(module: str) -> None:
    wrong = [
        f"{MODULES[module]}:{line} imports {name}"
        for line, name in all_imports(module)
        if name.startswith("align.") and room(name) not in FOR_LABELING
    ]
    assert wrong == []


def test_the_package_itself_imports_nothing() -> None:
    assert imports_at_load("align") <= {"__future__", "importlib.metadata"}


@pytest.mark.parametrize("module", [m for m in MODULES if torch_free(m) and m not in NOT_TORCH_FREE])
def test_torch_is_not_loaded(module: str) -> None:
    """Follows the imports at module level through align: the command line must answer at once."""
    came_from: dict[str, str] = {module: ""}
    waiting = [module]
    while waiting:
        here = waiting.pop()
        for name in imports_at_load(here):
            if name.split(".")[0] in TORCH:
                chain = [name, here]
                while came_from[chain[-1]]:
                    chain.append(came_from[chain[-1]])
                pytest.fail("torch is loaded: " + " <- ".join(chain))
            if name in MODULES and name not in came_from:
                came_from[name] = here
                waiting.append(name)


@pytest.mark.parametrize(
    "module",
    [
        "align.errors",
        "align.artifacts",
        "align.recipe.load",
        "align.recipe.check",
        "align.recipe.plan",
        "align.recipe.find",
        "align.recipe.json_schema",
        "align.data.files",
        "align.cli",
        "align.pipeline",
        "align.report",
        *PEOPLE,
        "labeling_app.queue",
        "labeling_app.labels",
        "labeling_app.incoming",
        "labeling_app.outgoing",
        "labeling_app.quality",
        "labeling_app.goals",
        "labeling_app.server",
    ],
)
def test_torch_is_not_loaded_for_real(module: str) -> None:
    if module not in MODULES:
        pytest.fail(f"{module} is gone: change this list")
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {TORCH!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_sizes(module: str) -> None:
    file = MODULES[module]
    lines = len(file.read_text("utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{file} has {lines} lines"
    for node in ast.walk(tree_of(file)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        assert length <= LONGEST_FUNCTION, f"{file}:{node.lineno} {node.name} has {length} lines"
        count = parameters(node)
        fine = count <= MOST_PARAMETERS or module in MANY_PARAMETERS
        assert fine, f"{file}:{node.lineno} {node.name} has {count} parameters"


@pytest.mark.parametrize("file", sorted((ROOT / "labeling_app/static").iterdir()), ids=lambda file: file.name)
def test_scripts_are_small_and_say_what_they_are(file: Path) -> None:
    lines = file.read_text("utf-8").splitlines()
    assert len(lines) <= LONGEST_SCRIPT, f"{file} has {len(lines)} lines"
    assert lines[0].startswith(("// ", "/* ")), f"{file} does not say what it is"


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    named = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")])


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module: str) -> None:
    tree = tree_of(MODULES[module])
    if tree.body:
        assert ast.get_docstring(tree), f"{MODULES[module]} does not say what it is"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
            assert ast.get_docstring(node), f"{MODULES[module]}:{node.lineno} {node.name} has no docstring"


def committed() -> list[Path]:
    """Files that git has, and not what a user keeps beside them; without git, all of the source folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        return [file for name in listed.stdout.split("\0") if name and (file := ROOT / name).is_file()]
    tops = ("align", "labeling_app", "tests", "recipes")
    return [f for top in tops for f in (ROOT / top).rglob("*") if f.suffix in (".py", ".yaml")]


def test_no_machine_and_no_registry_is_named() -> None:
    """The repository installs from whatever index its user has, and from no folder of the machine it was made on."""
    # Written in pieces, so that this file does not name one either.
    names = ("pypi", "pythonhosted", "registry.npmjs", "conda.anaconda", "download.pytorch")
    hosts = [f"{name}.org" for name in names]
    words = [*hosts, "--index" + "-url", "/work/" + "shared", "/work/" + "main", "/tmp/w" + "/"]
    found = []
    for file in committed():
        if file == Path(__file__).resolve():
            continue
        text = file.read_bytes()
        found += [f"{file}: {word}" for word in words if word.encode() in text]
    assert found == []
