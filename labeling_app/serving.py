"""`align label`: the labeling app on this machine for one person, or for a team with accounts.

On 127.0.0.1 the app needs no account, and says so: whoever may use this machine may label. Any other address demands
accounts, and the address it is reached at, because cookies and the guard against other sites depend on it.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode, urlsplit

import typer

from labeling_app.commands import Database

if TYPE_CHECKING:
    from fastapi import FastAPI

    from labeling_app.incoming import Checked
    from labeling_app.oidc.settings import Settings
    from labeling_app.store.database import Store

PORT = 7860

Issuer = Annotated[
    str, typer.Option("--oidc-issuer", envvar="ALIGN_OIDC_ISSUER", help="Log in by this OpenID Connect provider too.")
]
Client = Annotated[str, typer.Option("--oidc-client", envvar="ALIGN_OIDC_CLIENT", help="The client id there.")]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--oidc-secret-file",
        envvar="ALIGN_OIDC_SECRET_FILE",
        help="A file with the client's secret; or set ALIGN_OIDC_SECRET.",
    ),
]
ProviderName = Annotated[
    str, typer.Option("--oidc-name", envvar="ALIGN_OIDC_NAME", help="The provider's name on the button.")
]


@dataclass(frozen=True)
class Address:
    """Where the app listens. origins: the addresses browsers reach it at. accounts: whether they must log in."""

    host: str = "127.0.0.1"
    port: int = PORT
    origins: tuple[str, ...] = ()
    accounts: bool = False

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it, unless something passes on to it what others send."""
        return _is_local(self.host)

    @property
    def alone(self) -> bool:
        """Whether it is one person's, without accounts. Whoever names an origin elsewhere has others sent here."""
        return not self.elsewhere() and not self.accounts

    def elsewhere(self) -> str:
        """The option by which others than this machine are let in; empty if none is."""
        if not self.local:
            return f"--host {self.host}"
        others = (origin for origin in self.origins if not _is_local(urlsplit(origin).hostname or ""))
        return next((f"--origin {origin}" for origin in others), "")

    def reached_at(self) -> tuple[str, ...]:
        """The origins given, or those that follow from host and port."""
        names = ("127.0.0.1", "localhost") if self.local else (self.host,)
        return self.origins or tuple(f"http://{name}:{self.port}" for name in names)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def label(
    target: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run, an answers artifact or a file to label.")
    ] = None,
    project: Annotated[str, typer.Option("--project", help="The project; the run's name if left out.")] = "",
    db: Database = "",
    overlap: Annotated[int | None, typer.Option(help="People who rank each item.", min=1)] = None,
    host: Annotated[str, typer.Option(help="The address to listen at; others than this machine need accounts.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="The port to listen at.", min=1, max=65_535)] = PORT,
    origin: Annotated[
        list[str] | None, typer.Option(help="An address browsers reach it at, such as https://labels.example.org.")
    ] = None,
    accounts: Annotated[bool, typer.Option("--accounts", help="Demand a login on this machine too.")] = False,
    oidc_issuer: Issuer = "",
    oidc_client: Client = "",
    oidc_secret_file: SecretFile = None,
    oidc_name: ProviderName = "",
    open_: Annotated[bool, typer.Option("--open", help="Open the page in your browser.")] = False,
) -> None:
    """Rank answers in a browser: of a run, an answers artifact or a file."""
    from align.errors import RecipeError
    from labeling_app.oidc.settings import settings_of
    from labeling_app.projects import change_project, project_id
    from labeling_app.store.database import default_place, open_store

    if overlap and target is None and not project:
        raise RecipeError("an overlap is a project's", where="--overlap", remedy="name one: --project NAME")
    address = Address(host, port, tuple(map(checked_origin, origin or ())), accounts)
    oidc = settings_of(oidc_issuer, oidc_client, oidc_secret_file, oidc_name)
    checked = None
    if target is not None:
        if not project:
            check_waits(target)
        project, checked = looked_at(target, project, overlap, db)
    store = open_store(db or default_place(), create=checked is not None)  # without a RUN, an empty one helps nobody
    try:
        if checked is None and project:
            project_id(store, project)  # here, not in the browser, it is said that there is none
        check_port(address)
        app = build(store, address, oidc)  # before an import, which may take long and all be for nothing
        if checked is not None:
            take_in(store, project, checked, overlap)
        elif overlap:
            change_project(store, project, overlap=overlap)
        if oidc:
            told_of(oidc)
        page = f"{address.reached_at()[0]}/app" + (f"?{urlencode({'project': project})}" if project else "")
        run(app, address, [f"ranking page: {page}", *who_labels(store, address)], page if open_ else "")
    finally:
        store.close()


def checked_origin(origin: str) -> str:
    """An origin as browsers send it. Raises RecipeError for what is none."""
    from align.errors import RecipeError

    try:
        parts = urlsplit(origin.strip())
        port, known = parts.port, {"http": 80, "https": 443}
        fits = parts.scheme in known and parts.hostname and parts.path in ("", "/")
        if fits and not (parts.query or parts.fragment or "@" in parts.netloc):
            host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
            return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, known[parts.scheme]) else "")
    except ValueError:
        pass
    raise RecipeError(
        f"`{origin}` is no origin",
        where="--origin",
        allowed="http or https, host and port, without a path: https://labels.example.org, http://10.0.0.5:7860",
        remedy="write it as browsers show it: --origin https://HOST",
    )


def told_of(oidc: Settings) -> None:
    """Say if the provider does not answer. It may come up later, and passwords hold meanwhile."""
    from labeling_app.oidc.provider import silence

    why = silence(oidc)
    if why:
        typer.echo(f"{oidc.issuer} gives no usable answer ({why}): login by {oidc.name} will not work until it does")


def who_labels(store: Store, address: Address) -> list[str]:
    """Where nobody logs in: as whom people label, in a line."""
    from labeling_app.people import has_logins

    if not address.alone:
        return []
    if has_logins(store, by_provider=True):
        return ["no login: whoever uses this machine labels as one person; --accounts for the accounts that there are"]
    return ["no accounts: whoever uses this machine labels as one person (--accounts for several)"]


def looked_at(target: Path, project: str, overlap: int | None, db: str) -> tuple[str, Checked]:
    """The name of the project for a run, an artifact or a file, and what it holds. Raises DataError for the first row
    that cannot be ranked."""
    from labeling_app.incoming import check_import
    from labeling_app.retyped import typed
    from labeling_app.saving import Options
    from labeling_app.store.database import option_of_name

    path = answers_of(target)
    name = project or (target.resolve().name if target.is_dir() else target.stem)
    again = typed("labels", "import", str(path), project=name, overlap=overlap, db=option_of_name(db))
    return name, check_import(path, Options(again=again))


def take_in(store: Store, project: str, checked: Checked, overlap: int | None) -> None:
    """Import what was looked at, and say so."""
    from labeling_app.incoming import import_checked
    from labeling_app.projects import make_project

    settings: dict[str, Any] = {"overlap": overlap} if overlap else {}
    made = make_project(store, project, **settings)
    for line in import_checked(store, made, checked).lines(project):
        typer.echo(line)


def check_waits(run: Path) -> None:
    """Raises RecipeError for a run that waits for people: what they rank in another project, it never sees."""
    from align.artifacts import WAITING
    from align.errors import RecipeError

    for file in sorted(run.glob(f"*/{WAITING}")):
        try:
            waiting = json.loads(file.read_text("utf-8"))
            project, command = str(waiting["project"]), str(waiting["command"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # the run went on meanwhile
        raise RecipeError(
            f"this run waits for people to rank in its own project, {project}",
            where=str(run),
            allowed="another project, if it is named with --project: the run does not see what is ranked there",
            remedy=f"open that one: {command}",
        )


def answers_of(target: Path) -> Path:
    """The answers artifact of a run, or the artifact or file itself. Raises DataError if a run has none, or several."""
    from align.artifacts import MANIFEST
    from align.data.fields import near
    from align.errors import DataError
    from labeling_app.incoming import answers_in
    from labeling_app.retyped import typed

    if not target.exists():
        beside = [str(path) for path in target.parent.iterdir()] if target.parent.is_dir() else []
        found = f"there is no such file or folder{near(str(target), beside)}"
        remedy = (
            f"look what is there: ls {shlex.quote(str(target.parent))}" if beside else "make a run: align run RECIPE"
        )
        raise DataError(found, where=str(target), allowed="a run, an artifact or a file", remedy=remedy)
    if target.is_file() and target.suffix in (".yaml", ".yml"):
        raise DataError(
            "this is a recipe; the answers are in its run",
            where=str(target),
            allowed="a run, an artifact or a file",
            remedy=f"{typed('run', str(target))}, then: align label runs/NAME",
        )
    if target.is_file() or (target / MANIFEST).exists():
        return target
    answers = answers_in(target)
    if len(answers) == 1:
        return answers[0]
    runs = sorted({path.parent.parent for path in target.glob(f"*/*/{MANIFEST}") if answers_in(path.parent.parent)})
    if runs and not answers:
        raise DataError(
            "this is a folder of runs",
            where=str(target),
            allowed=", ".join(path.name for path in runs),
            remedy=f"name one: {typed('label', str(runs[0]))}",
        )
    raise DataError(
        f"this run has {len(answers)} stages with answers" if answers else "this run has no sampled answers yet",
        where=str(target),
        allowed=", ".join(path.name for path in answers) or "a run with a finished `kind: sample` stage",
        remedy=typed("label", str(answers[0])) if answers else "align run RECIPE",
    )


def build(store: Store, address: Address, oidc: Settings | None = None) -> FastAPI:
    """The application for an address. Raises RecipeError where it needs accounts and there are none."""
    from align.errors import RecipeError
    from labeling_app.pages import mount_pages
    from labeling_app.people import has_logins, local_person
    from labeling_app.retyped import typed
    from labeling_app.server import create_app

    if address.alone and oidc:
        raise RecipeError(
            "without accounts there is no login", where="--oidc-issuer", remedy="add --accounts, or leave this out"
        )
    if not address.alone and not has_logins(store, by_provider=oidc is not None):
        found = "this address needs accounts, and nobody has one"
        where = address.elsewhere()
        if not where:
            found, where = "accounts are demanded, and nobody has one", "--accounts"
        raise RecipeError(
            found,
            where=where,
            remedy=f"make one: {typed('labels', 'users', 'add', 'NAME', role='admin', db=store.option)}",
        )
    if not address.local and not address.origins and address.host in ("0.0.0.0", "::"):
        raise RecipeError(
            f"{address.host} is every address of this machine, and the app must know at which it is reached",
            where=f"--host {address.host}",
            remedy="say it: --origin https://labels.example.org",
        )
    only = local_person(store) if address.alone else None
    app = create_app(store, origins=address.reached_at(), only=only)
    if oidc:
        from labeling_app.oidc.routes import add_oidc

        add_oidc(app, store, oidc, address.reached_at())
    return mount_pages(app, store, only)


def check_port(address: Address) -> None:
    """Raises SystemLimit if nobody can listen there, as where the port is taken."""
    import errno

    from align.errors import SystemLimit

    def refused(found: str, error: OSError, remedy: str) -> SystemLimit:
        return SystemLimit(f"{found}: {error.strerror}", where=f"{address.host}:{address.port}", remedy=remedy)

    another = "take an address that this machine has; for itself alone: --host 127.0.0.1"
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except socket.gaierror as error:
            raise refused("the address cannot be used", error, another) from None
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise refused("the address cannot be used", error, another) from None
            free = address.port + 1 if 1024 <= address.port < 65_535 else PORT  # below, only root may listen
            raise refused("the port cannot be used", error, f"take another: --port {free}") from None


def run(app: FastAPI, address: Address, said: list[str], page: str) -> None:
    """Serve until stopped. said: lines to print once it answers. page: to open in a browser then, unless it is empty.

    Raises SystemLimit if the port is taken.
    """
    from labeling_app.pages import serve

    check_port(address)  # again: another app may have started during an import

    def ready() -> None:
        for line in said:
            typer.echo(line)
        typer.echo("stop with Ctrl-C; every ranking is saved as it is submitted")
        if page:
            webbrowser.open(page)

    serve(app, address.host, address.port, ready)
