"""`align labels ...`: labels in and out, backups, accounts. Imports wait inside the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from labeling_app.store.database import Store

app = typer.Typer(
    no_args_is_help=True, help="Labels of people: import, export, back up, accounts.", rich_markup_mode=None
)
users = typer.Typer(no_args_is_help=True, help="Accounts of the labeling app.", rich_markup_mode=None)
app.add_typer(users, name="users")

Database = Annotated[
    str,
    typer.Option("--db", envvar="ALIGN_LABELS", help="A SQLite file, or postgresql://USER@HOST/DATABASE."),
]
ProjectName = Annotated[str, typer.Option("--project", help="The project's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
AccountName = Annotated[str, typer.Argument(metavar="NAME", help="The account's name.")]
RoleName = Annotated[str, typer.Option("--role", help="annotator, reviewer or admin.")]
Email = Annotated[
    str | None, typer.Option("--oidc", metavar="EMAIL", help="Who has this e-mail at the OpenID provider; no password.")
]
PasswordFile = Annotated[Path | None, typer.Option(help="A file with the password; asked for if left out.")]


@contextmanager
def opened(db: str, create: bool = False) -> Iterator[Store]:
    """The label database that `--db` names, or the user's own."""
    from labeling_app.store.database import default_place, open_store

    store = open_store(db or default_place(), create=create)
    try:
        yield store
    finally:
        store.close()


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A data file, or a sealed artifact's folder.")],
    project: ProjectName,
    db: Database = "",
    kind: Annotated[str, typer.Option(help="prompts, answers or rankings; told from the file if left out.")] = "",
    shape: Annotated[str, typer.Option(help="align, argilla, label-studio or csv.")] = "align",
    gold: Annotated[bool, typer.Option("--gold", help="These rankings are right: they test annotators.")] = False,
    correct: Annotated[
        bool, typer.Option("--correct", help="With --gold: test questions that have other ranks get these.")
    ] = False,
    priority: Annotated[int, typer.Option(help="Items of a higher priority come first.")] = 0,
    overlap: Annotated[int | None, typer.Option(help="People who rank each item.", min=1)] = None,
    broken: Annotated[str, typer.Option(help="Rows that cannot be used: stop, or drop them.")] = "stop",
    as_json: AsJson = False,
) -> None:
    """Import prompts, answers or rankings into a project, which is made if it is new."""
    from align.errors import RecipeError, counted
    from labeling_app.incoming import KINDS, check_import, import_checked
    from labeling_app.projects import check_settings, make_project
    from labeling_app.retyped import typed
    from labeling_app.saving import Options
    from labeling_app.store.database import option_of_name

    shaped: Any = _one_of("--shape", shape, ("align", "argilla", "label-studio", "csv"))
    if kind:
        _one_of("--kind", kind, KINDS)
    dropped: Any = _one_of("--broken", broken, ("stop", "drop"))
    if correct and not gold:
        raise RecipeError(
            "only test questions can be corrected", where="--correct", allowed="with --gold", remedy="add --gold"
        )
    named: dict[str, Any] = {"kind": kind, "gold": gold, "priority": priority}
    more = named | {"overlap": overlap, "shape": "" if shape == "align" else shape, "db": option_of_name(db)}
    again = typed("labels", "import", str(path), project=project, **more)
    # First of all: a file that is refused leaves neither a project behind nor a database.
    checked = check_import(path, Options(shape=shaped, broken=dropped, again=again, correct=correct, **named))
    settings: dict[str, Any] = {"overlap": overlap} if overlap else {}
    check_settings(project, settings)
    with opened(db, create=True) as store:
        # Items take the overlap they are made under. Tests have none, and may be refused: then nothing is changed.
        made = make_project(store, project, **({} if gold else settings))
        done = import_checked(store, made, checked)
        if gold:
            make_project(store, project, **settings)
    if as_json:
        print_json({**vars(done)})
        return
    for line in done.lines(project):
        typer.echo(line)
    if overlap:  # of every item: those of earlier imports, too
        typer.echo(f"{project}: each item is ranked by {counted(overlap, 'annotator')}")


@app.command()
def export(
    path: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .jsonl, .json or .csv.")],
    project: ProjectName,
    db: Database = "",
    shape: Annotated[
        str, typer.Option(help="rankings, preferences, feedback, argilla, label-studio or csv.")
    ] = "rankings",
    annotator: Annotated[list[str] | None, typer.Option(help="Only this pseudonym; may be repeated.")] = None,
    split: Annotated[str, typer.Option(help="Only items of this split of the answers artifact.")] = "",
    gold: Annotated[bool, typer.Option("--gold", help="Test questions too, as rankings like others.")] = False,
    decided: Annotated[
        bool, typer.Option("--decided", help="A reviewer's ranking in place of the annotators'.")
    ] = False,
    upto: Annotated[int, typer.Option(help="As of this version, to make an earlier export again.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a project's labels to a file; filter, count and hash are recorded."""
    from labeling_app import outgoing
    from labeling_app.projects import get_project

    shaped: Any = _one_of("--shape", shape, tuple(outgoing.SUFFIXES))
    only = outgoing.Filter(tuple(annotator or ()), split, gold, decided, upto)
    with opened(db) as store:
        done = outgoing.export(store, get_project(store, project), path, shaped, only)
    if as_json:
        print_json({"path": str(path), "rows": done.rows, "sha256": done.sha256, "upto": done.filter.upto})
        return
    typer.echo(f"{done.rows} {shape if shape in ('rankings', 'preferences') else 'records'} written to {path}")
    typer.echo(f"sha256 {done.sha256}; the same again: --upto {done.filter.upto}")


@app.command()
def backup(path: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")], db: Database = "") -> None:
    """Copy the database as it is now, while people work. Exit code 3 if something is wrong with it."""
    from align.errors import DataError
    from labeling_app.store.care import backup as copy
    from labeling_app.store.care import verify as look
    from labeling_app.store.database import restoring

    with opened(db) as store:
        typer.echo(copy(store, path))  # a damaged one too: it may be all that there is
        faults = look(store).faults
        if faults:
            raise DataError(
                f"the database is damaged, and so is this copy: {faults[0]}",
                where=store.place,
                remedy=f"keep the older backups, and restore the newest that is whole: {restoring(store.engine.url)}",
            )


@app.command()
def restore(
    path: Annotated[Path, typer.Argument(metavar="BACKUP", help="A file made by labels backup.")],
    db: Database = "",
    replace: Annotated[bool, typer.Option("--replace", help="In place of the database that is there.")] = False,
) -> None:
    """Put a backup in the database's place, once it has been checked."""
    from labeling_app.store.care import restore as put_back
    from labeling_app.store.database import default_place

    store, kept = put_back(path, db or default_place(), replace=replace)
    typer.echo(f"restored to {store.place}" + (f"; what was there is kept in {kept}" if kept else ""))
    store.close()


@app.command()
def verify(db: Database = "", as_json: AsJson = False) -> None:
    """Check the database, its event log and its counts. Exit code 3 if something is wrong."""
    from labeling_app.store.care import verify as look
    from labeling_app.store.database import restoring

    with opened(db) as store:
        found, remedy = look(store), restoring(store.engine.url)
    if as_json:
        print_json({**vars(found), "faults": list(found.faults)})
    else:
        for fault in found.faults:
            typer.echo(f"fault    {fault}")
        if found.faults:
            typer.echo(f"do       restore a backup made before that: {remedy}")
        typer.echo(f"{found.items} items, {found.rankings} versions of rankings, {found.events} events")
    if found.faults:
        raise typer.Exit(3)


@users.command("list")
def list_(db: Database = "", as_json: AsJson = False) -> None:
    """Show every account with its role, pseudonym and OpenID e-mail."""
    from labeling_app.identities import emails
    from labeling_app.people import people
    from labeling_app.retyped import typed

    with opened(db) as store:
        found, add_one = people(store), typed("labels", "users", "add", "NAME", db=store.option)
        with store.read() as session:
            oidc = emails(session)
    if as_json:
        print_json({"users": [{**vars(person), "oidc": oidc.get(person.id)} for person in found]})
        return
    for person in found:
        email = f"  {oidc[person.id]}" if person.id in oidc else ""
        inactive = "" if person.active else "  inactive"
        typer.echo(f"{person.name:<23} {person.role:<11} {person.pseudonym}{email}{inactive}")
    if not found:
        typer.echo(f"nobody has an account; make one: {add_one}")


@users.command()
def add(
    name: AccountName,
    role: RoleName = "annotator",
    db: Database = "",
    password_file: PasswordFile = None,
    oidc: Email = None,
) -> None:
    """Make an account."""
    from labeling_app.people import create_person

    wanted: Any = _one_of("--role", role, ("annotator", "reviewer", "admin"))
    password = None if oidc and password_file is None else _password(password_file)
    with opened(db, create=True) as store:
        person = create_person(store, name, password, wanted, email=oidc)
    typer.echo(f"{person.name} is {person.role}, and {person.pseudonym} in labels")


@users.command()
def change(
    name: AccountName,
    role: Annotated[str, typer.Option("--role", help="annotator, reviewer or admin; as it is if left out.")] = "",
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether they may log in.")] = None,
    password: Annotated[bool, typer.Option("--password", help="Give a new password.")] = False,
    db: Database = "",
    password_file: PasswordFile = None,
    oidc: Annotated[
        str | None, typer.Option("--oidc", metavar="EMAIL", help="Whose it is at the OpenID provider; '' for nobody's.")
    ] = None,
) -> None:
    """Change an account's role, password or OpenID e-mail, or whether it may log in."""
    from labeling_app.oidc.accounts import change_email
    from labeling_app.people import change_person

    wanted: Any = _one_of("--role", role, ("annotator", "reviewer", "admin")) if role else None
    new = _password(password_file) if password or password_file else None
    with opened(db) as store:
        if oidc is not None:
            change_email(store, name, oidc)
        person = change_person(store, name, role=wanted, active=active, password=new)
    typer.echo(f"{person.name} is {person.role}{'' if person.active else ', and may not log in'}")
    if oidc is not None:
        typer.echo(f"logs in at the provider as {oidc}" if oidc else "no login at the provider leads to this account")


@users.command()
def token(name: AccountName, db: Database = "") -> None:
    """Print a token with which a script may use the API as this person, for 30 days."""
    from labeling_app.people import script_token

    with opened(db) as store:
        typer.echo(script_token(store, name))


@users.command()
def invite(
    role: RoleName = "annotator",
    db: Database = "",
    origin: Annotated[str, typer.Option(help="The app's address, such as https://labels.example.org.")] = "",
) -> None:
    """Print an invitation link, good for one person and one week; its path, if the app's address is not given."""
    from labeling_app.people import invite as make
    from labeling_app.serving import checked_origin

    wanted: Any = _one_of("--role", role, ("annotator", "reviewer", "admin"))
    address = checked_origin(origin) if origin else ""
    with opened(db, create=True) as store:
        typer.echo(f"{address}/join/{make(store, wanted)}")
    if not address:
        typer.echo("this goes after the app's address; --origin ADDRESS prints the whole link", err=True)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    from align.data.fields import near
    from align.errors import RecipeError

    if value not in allowed:
        raise RecipeError(
            f"`{value}` is unknown{near(value, allowed)}",
            where=option,
            allowed=", ".join(allowed),
            remedy=f"name one of those: {option} {allowed[0]}",
        )
    return value


def _password(file: Path | None) -> str:
    from align.errors import RecipeError

    if file is None:
        return _typed_password()
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not in UTF-8"
        raise RecipeError(
            f"the password cannot be read: {why}",
            where=str(file),
            allowed="a file that you may read, with nothing but the password",
            remedy="name another: --password-file FILE; or leave it out, and type the password",
        ) from None


def _typed_password() -> str:
    """Asked for twice. Raises RecipeError without a terminal: what is typed elsewhere could be read by others."""
    import getpass
    import warnings

    from align.errors import RecipeError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    except getpass.GetPassWarning:
        typer.echo()  # ends the line of the question
        found = "a password is asked for in a terminal, and there is none"
        raise RecipeError(found, where="the password", remedy="put it into a file: --password-file FILE") from None


def print_json(value: dict[str, Any]) -> None:
    """What `--json` prints."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))
