"""`align labels projects ...`: what a project asks of people, and which projects there are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from labeling_app.commands import AsJson, Database, opened, print_json

app = typer.Typer(no_args_is_help=True, help="Projects: list, change, delete.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The project's name.")]
Guidelines = Annotated[Path | None, typer.Option(help="A Markdown file, shown beside each item.")]
Hidden = Annotated[bool | None, typer.Option("--hide/--show", help="Leave it out of everyone's menu, or put it back.")]


@app.command("list")
def list_(db: Database = "", as_json: AsJson = False) -> None:
    """Show every project with its items, rankings and settings."""
    from align.errors import counted
    from labeling_app.projects import list_projects

    with opened(db) as store:
        found = list_projects(store, hidden=True)
    if as_json:
        told = [
            {
                "name": project.slug,
                "items": sum(project.states.values()),
                "states": project.states,
                "rankings": project.rankings,
                "settings": project.settings.model_dump(),
                "guidelines_version": project.guidelines_version if project.guidelines else None,
            }
            for project in found
        ]
        print_json({"projects": told})
        return
    for project in found:
        counts = f"{counted(sum(project.states.values()), 'item')}, {counted(project.rankings, 'ranking')}"
        typer.echo(f"{project.slug}{'  (hidden)' if project.settings.hidden else ''}")
        typer.echo(f"    {counts}; {_words(project.settings.model_dump(), bool(project.guidelines))}")


@app.command("set")
def set_(
    name: Name,
    db: Database = "",
    overlap: Annotated[int | None, typer.Option(help="People who rank each item.", min=1, max=1000)] = None,
    adjudicate_below: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="A reviewer decides items on which annotators agree less, 0 to 1; none: no item."
        ),
    ] = None,
    attributes: Annotated[
        str | None, typer.Option(metavar="A,B", help="What each answer may be rated on; none: nothing.")
    ] = None,
    rating_max: Annotated[int | None, typer.Option(help="Ratings go from 1 to this.", min=2, max=100)] = None,
    gold_share: Annotated[float | None, typer.Option(help="Share of turns that are test questions.")] = None,
    guidelines: Guidelines = None,
    hidden: Hidden = None,
) -> None:
    """Change a project's settings; what is not named stays."""
    from align.errors import RecipeError
    from labeling_app.projects import change_project

    given: dict[str, Any] = {"overlap": overlap, "rating_max": rating_max, "gold_share": gold_share, "hidden": hidden}
    wanted = {key: value for key, value in given.items() if value is not None}
    if adjudicate_below is not None:
        wanted["adjudicate_below"] = (
            None if adjudicate_below == "none" else _share("--adjudicate-below", adjudicate_below)
        )
    if attributes is not None:
        wanted["attributes"] = [] if attributes == "none" else [word.strip() for word in attributes.split(",")]
    text = _markdown(guidelines) if guidelines is not None else ""
    if not wanted and not text:
        raise RecipeError(
            "no setting is named", where=f"project {name}", remedy="see: align labels projects set --help"
        )
    with opened(db) as store:
        project = change_project(store, name, guidelines=text, **wanted)
    typer.echo(f"{name}: {_words(project.settings.model_dump(), bool(project.guidelines))}")
    if project.settings.hidden:
        typer.echo("hidden: in nobody's menu; its labels stay, and exports of it go on")
    if "adjudicate_below" in wanted or "overlap" in wanted:
        typer.echo(f"for a reviewer to decide: {project.states.get('adjudicate', 0)}")


@app.command()
def delete(name: Name, db: Database = "") -> None:
    """Delete a project in which nobody has ranked or skipped anything. One with labels can be hidden: set --hide."""
    from align.errors import counted
    from labeling_app.projects import delete_project

    with opened(db) as store:
        items = delete_project(store, name)
    typer.echo(f"{name} deleted, with {counted(items, 'item')} that nobody had ranked")


def _words(settings: dict[str, Any], guided: bool) -> str:
    """Settings in a line."""
    least = settings["adjudicate_below"]
    parts = [
        f"overlap {settings['overlap']}",
        "no item goes to a reviewer" if least is None else f"to a reviewer below {least:.0%} agreement",
        f"rated 1 to {settings['rating_max']} on {', '.join(settings['attributes'])}"
        if settings["attributes"]
        else "no ratings",
        f"gold share {settings['gold_share']:g}",
        "with guidelines" if guided else "no guidelines",
    ]
    return "; ".join(parts)


def _share(option: str, word: str) -> float:
    from align.errors import RecipeError

    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise RecipeError(
            f"`{word}` is no share", where=option, allowed="a number from 0 to 1, or none", remedy=f"{option} 0.5"
        )
    return value


def _markdown(path: Path) -> str:
    from align.errors import DataError

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not in UTF-8"
        raise DataError(
            f"the guidelines cannot be read: {why}",
            where=str(path),
            allowed="a Markdown file in UTF-8",
            remedy="name another: --guidelines FILE",
        ) from None
    if not text.strip() or "\x00" in text:
        found = "the guidelines hold NUL characters" if text.strip() else "the guidelines are empty"
        remedy = "write down what annotators are to look at"
        raise DataError(found, where=str(path), allowed="Markdown in UTF-8", remedy=remedy)
    return text
