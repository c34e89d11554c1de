"""The commands. The one place that catches a user error and prints it; imports wait inside the command that needs them.

Exit codes: 0 done · 1 other user error · 2 recipe or usage · 3 data · 4 model · 5 training · 6 the machine (disk,
permission, memory, lock) · 7 waiting for people, no error · 70 a fault of ours · 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from align.data.commands import app as data_app
from align.errors import AlignError, RecipeError
from labeling_app.commands import app as labels_app
from labeling_app.project_commands import app as projects_app
from labeling_app.serving import label

app = typer.Typer(
    name="align",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the pretty help costs a third of the half second that `align --help` may take
    epilog="Exit codes: 0 done, 1 other user error, 2 recipe or usage, 3 data, 4 model, 5 training, "
    "6 the machine (disk, permission, memory, lock), 7 waiting for people, 70 a fault of ours, 130 interrupted.",
)
app.add_typer(data_app, name="data")
labels_app.add_typer(projects_app, name="projects")
app.add_typer(labels_app, name="labels")
app.command()(label)

USAGE, WAITING_FOR_PEOPLE, OUR_FAULT, INTERRUPTED = 2, 7, 70, 130

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Where run folders are kept.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
DEFAULT_RUNS = Path("runs")


def _show_version(asked: bool) -> None:
    if asked:
        from align import __version__

        print(f"align {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From a base model to an aligned one, in one recipe."""


@app.command()
def run(
    recipe: RecipeArgument,
    runs: RunsOption = DEFAULT_RUNS,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print notes, errors and the result only.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until people have ranked what a stage waits for.")] = False,
    again: Annotated[
        list[str] | None, typer.Option("--again", metavar="STAGE", help="Run this stage although it is sealed.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe, or what is left of it.

    Stages that are sealed are skipped; one that was interrupted continues. Where people rank, the run ends with exit
    code 7 until enough have; the same command goes on.
    """
    from align.console import Terminal
    from align.pipeline import Wishes, run_recipe
    from align.recipe.find import find_recipe
    from align.recipe.load import load_recipe

    loaded = load_recipe(find_recipe(recipe))
    terminal = Terminal(quiet or as_json)
    with terminal:
        result = run_recipe(loaded, runs, terminal, Wishes(again or (), wait))
    waiting = result.waiting
    page = _report(result.folder, result.order, fresh=bool(result.ran or waiting))
    if as_json:
        stages = {n: a.manifest.model_dump(by_alias=True, exclude={"files"}) for n, a in result.artifacts.items()}
        told: dict[str, Any] = {"run": str(result.folder), "report": str(page), "ran": result.ran, "artifacts": stages}
        _print_json({**told, "waiting": vars(waiting)} if waiting else told)
        raise typer.Exit(WAITING_FOR_PEOPLE if waiting else 0)
    from rich.console import Console

    from align.report.terminal import summary_table

    if not result.ran and not waiting:
        terminal.console.print("nothing to do: every stage is sealed")
    Console(highlight=False).print(summary_table(result.folder, result.order))
    for artifact in result.artifacts.values():
        if artifact.kind == "export":
            print(f"model:  {artifact.path} (its README.md says how to use it)")
    print(f"report: {page}")
    if waiting:
        print("", *waiting.lines(), sep="\n")
        raise typer.Exit(WAITING_FOR_PEOPLE)


@app.command()
def check(recipe: RecipeArgument, runs: RunsOption = DEFAULT_RUNS, as_json: JsonOption = False) -> None:
    """Check a recipe and its data; run nothing.

    Shows what is sealed and what would run, and why.
    """
    from align.pipeline import check_run
    from align.recipe.find import find_recipe
    from align.recipe.load import load_recipe

    warnings, steps = check_run(load_recipe(find_recipe(recipe)), runs)
    if as_json:
        rows = [{"name": s.name, "kind": s.kind, "state": s.state, "why": s.why, "reads": s.reads} for s in steps]
        _print_json({"ok": True, "warnings": warnings, "steps": rows})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("", "kind", "reads", "state", "why", box=None, header_style="dim")
    for step in steps:
        reads = ", ".join(dict.fromkeys(name for names in step.reads.values() for name in names))
        table.add_row(step.name, step.kind, reads, step.state, "" if step.state in ("later", "sealed") else step.why)
    console = Console(highlight=False)
    console.print(table)
    for step in steps:
        if step.why and step.state in ("later", "sealed"):  # with a path or command in it, which is to be copied whole
            console.print(f"note: {step.name}: {step.why}", markup=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"note: {warning}", markup=False, soft_wrap=True)
    console.print("the recipe is well-formed")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/quickstart.")],
) -> None:
    """Write the HTML report of a run, finished or not."""
    print(_report(folder, None, fresh=True))


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from align.recipe.json_schema import json_schema

    _print_json(json_schema())


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A shipped recipe; leave out to list them.")] = "",
    folder: Annotated[Path, typer.Option("--into", help="Where to put the copy.")] = Path("."),
) -> None:
    """Copy a shipped recipe to start from."""
    from align.recipe.find import copy_recipe, shipped_recipes

    if not name:
        for shipped, path in shipped_recipes().items():
            print(f"{shipped:<16}{_goal(path)}")
        return
    copied = copy_recipe(name, folder)
    for path in copied:
        print(path)
    print(f"next: align check {shlex.quote(str(copied[0]))}")


def _goal(recipe: Path) -> str:
    """The first comment line of a recipe: what it is for."""
    first = recipe.read_text("utf-8").split("\n", 1)[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def _report(folder: Path, order: list[str] | None, *, fresh: bool) -> Path:
    from align.artifacts import REPORT

    page = folder / REPORT
    # A run that was stopped between its last stage and its report left an older report, or none.
    if not fresh and page.exists() and all(m.stat().st_mtime <= page.stat().st_mtime for m in _manifests(folder)):
        return page
    from align.pipeline import system_errors
    from align.report import build_report

    with system_errors(folder):
        return build_report(folder, order)


def _manifests(folder: Path) -> list[Path]:
    from align.artifacts import MANIFEST

    return list(folder.glob(f"*/{MANIFEST}"))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def main() -> None:
    """Entry point: run the command, print a user error once, and exit with its code."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    try:
        code = app(arguments, standalone_mode=False)
    except AlignError as error:
        _print_error(error, "--json" in arguments)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        # Typer brings a copy of click's errors along or uses click's own, by version; both can show themselves.
        show = getattr(error, "show", None)
        if callable(show):
            show()
            return USAGE
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            _print_error(_too_long(error), "--json" in arguments)
            return USAGE
        return _our_fault(error)
    if code == INTERRUPTED:  # newer versions of Typer catch the interrupt themselves and give this code
        print("interrupted; the same command goes on from what was saved", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _too_long(error: OSError) -> RecipeError:
    """A path that no system takes, met wherever it is looked at first."""
    name = str(error.filename or "")
    return RecipeError(
        f"the path is too long: {len(name)} characters",
        where=f"{name[:60]}...",
        allowed="names of at most 255 bytes, as a rule, and paths of at most 4096",
        remedy="shorten it",
    )


def _print_error(error: AlignError, as_json: bool) -> None:
    if as_json:
        _print_json(error.to_dict())
    print(f"error: {type(error).__name__}\n{error}", file=sys.stderr)


def _our_fault(error: Exception) -> int:
    import traceback

    trace = getattr(error, "trace", None) or "".join(traceback.format_exception(error))
    print(trace, file=sys.stderr)
    print("this is a fault in align; please report it with the lines above", file=sys.stderr)
    return OUR_FAULT


if __name__ == "__main__":
    main()
