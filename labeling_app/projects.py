"""Projects: a set of items ranked under one set of guidelines, and the settings of its queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy import bindparam, case, delete, func, select, update
from sqlalchemy.orm import Session

from align.data.fields import near
from align.errors import DataError, RecipeError
from labeling_app.disputes import judge_all
from labeling_app.errors import NoProject
from labeling_app.retyped import typed
from labeling_app.store.database import Store
from labeling_app.store.events import record_event
from labeling_app.store.models import Draft, ExportRow, Item, Lease, Project, RankingRow, Tally

MOST_ANSWERS = 9
"""Answers a page can show: one digit key each."""

Attribute = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


_NAMED = select(Project).where(Project.slug == bindparam("slug"))


class Settings(BaseModel):
    """What a project's queue follows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap: int = Field(default=1, ge=1, le=1000)
    """People who rank each item."""
    attributes: Annotated[list[Attribute], AfterValidator(_once), Field(max_length=12)] = [
        "helpful", "harmless", "honest",
    ]  # fmt: skip
    """What each answer may be rated on."""
    rating_max: int = Field(default=7, ge=2, le=100)
    """Ratings go from 1 to this."""
    gold_share: float = Field(default=0.1, ge=0, le=0.5)
    """Share of turns that are gold questions, as long as there are unseen ones."""
    lease_seconds: float = Field(default=900.0, gt=0)
    """How long an item waits for a person who does nothing."""
    adjudicate_below: float | None = Field(default=0.5, ge=0, le=1)
    """Items whose annotators agree on a smaller share of comparisons go to a reviewer; None: no item does.

    By default those on which they agree less often than two people would who guess (0.5). Published projects report
    0.6 to 0.8 on the average (HH-RLHF about 0.63, InstructGPT about 0.73), so that a threshold there would send every
    third item to a reviewer. It costs annotators and a waiting recipe nothing: all their rankings count in any case."""
    hidden: bool = False
    """Whether it is left out of everyone's menu."""


@dataclass(frozen=True)
class ProjectInfo:
    """A project as a page may know it. states: items by state. rankings: those that stand."""

    id: int
    slug: str
    guidelines: str
    guidelines_version: int
    settings: Settings
    states: dict[str, int]
    rankings: int


def make_project(store: Store, slug: str, *, guidelines: str = "", seed: int = 0, **settings: object) -> ProjectInfo:
    """The project of this name, made if it is new; an existing one keeps its settings unless others are given.

    settings: fields of Settings. Raises RecipeError if one does not fit, or the name is empty or too long.
    """
    if not 0 < len(slug) <= 100 or slug != slug.strip() or not slug.isprintable():
        raise RecipeError(
            f"`{slug}` is no name for a project",
            where="--project",
            allowed="1 to 100 printable characters, no space around them",
            remedy="name one: --project NAME",
        )
    with store.write() as session:
        row = session.execute(_NAMED, {"slug": slug}).scalar()
        if row is None:
            wanted = _settings(slug, settings)
            row = Project(slug=slug, guidelines=guidelines, seed=seed, settings=wanted, created=store.now())
            session.add(row)
            session.flush()
            record_event(session, store.now(), "command", "create-project", f"project:{row.id}", slug=slug, **wanted)
            return _info(session, row)
    return change_project(store, slug, guidelines=guidelines, **settings)


def check_settings(slug: str, settings: Mapping[str, object]) -> None:
    """Raises RecipeError for the first setting that does not fit."""
    _settings(slug, settings)


def change_project(store: Store, slug: str, *, guidelines: str = "", **settings: object) -> ProjectInfo:
    """Other settings, or guidelines, for a project that is there; what is not named stays as it is.

    Raises DataError if there is no such project, RecipeError if a setting does not fit.
    """
    with store.write() as session:
        row = project_named(session, store, slug)
        before, wanted = _settings(slug, row.settings), _settings(slug, {**row.settings, **settings})
        if guidelines and guidelines != row.guidelines:
            row.guidelines, row.guidelines_version = guidelines, row.guidelines_version + 1
        elif before == wanted:
            return _info(session, row)
        if before["overlap"] != wanted["overlap"]:
            _reopen(session, row.id, wanted["overlap"])
        row.settings = wanted
        record_event(session, store.now(), "command", "change-project", f"project:{row.id}", **wanted)
    if any(before[name] != wanted[name] for name in ("overlap", "adjudicate_below")):
        judge_all(store, row.id)
    return get_project(store, slug)


def delete_project(store: Store, slug: str) -> int:
    """Take away a project in which nobody has ranked or skipped anything, with its items; how many they were.

    Labels are never deleted: they are append-only, exports and sealed stages name them by version, and the log is a
    chain over what happened. So a project that has any is hidden instead. Raises DataError if there is no such project,
    or it has labels.
    """
    with store.write() as session:
        row = project_named(session, store, slug)
        for table in (RankingRow, ExportRow):
            if session.execute(select(table.id).where(table.project_id == row.id).limit(1)).first():
                hide = typed("labels", "projects", "set", slug, hide=True, db=store.option)
                raise DataError(
                    f"`{slug}` has labels, or an export was made of it; what people said is never deleted",
                    where=store.place,
                    allowed="a project in which nobody has ranked or skipped anything",
                    remedy=f"take it out of everyone's menu: {hide}",
                )
        leases = select(Lease.id).where(Lease.project_id == row.id)
        session.execute(delete(Draft).where(Draft.lease_id.in_(leases)))
        for table_of in (Lease, Tally, Item):
            counted = session.execute(delete(table_of).where(table_of.project_id == row.id))
        items = int(counted.rowcount)  # type: ignore[attr-defined]  # of a DELETE there is one
        session.delete(row)
        told = {"slug": slug, "items": items}
        record_event(session, store.now(), "command", "delete-project", f"project:{row.id}", **told)
        return items


def get_project(store: Store, slug: str) -> ProjectInfo:
    """The project of this name. Raises DataError if there is none, and names those that there are."""
    with store.read() as session:
        return _info(session, project_named(session, store, slug))


def project_id(store: Store, slug: str) -> int:
    """The number of the project of this name, without counting its items. Raises as `get_project`."""
    with store.read() as session:
        return project_named(session, store, slug).id


def project_named(session: Session, store: Store, slug: str) -> Project:
    """The project's row. Raises as `get_project`."""
    row = session.execute(_NAMED, {"slug": slug}).scalar()
    if row is None:
        there = session.execute(select(Project.slug).order_by(Project.slug)).scalars().all()
        remedy = f"make it: {typed('labels', 'import', 'FILE', project=slug, db=store.option)}"
        if there:  # a name that was mistyped is likelier than one of which nothing was imported yet
            remedy = f"name one of those there are: {typed('labels', 'projects', 'list', db=store.option)}"
        found = f"there is no project `{slug}`{near(slug, there)}"
        raise NoProject(found, where=store.place, allowed=", ".join(there) or "none yet", remedy=remedy)
    return row


def list_projects(store: Store, *, hidden: bool = False) -> list[ProjectInfo]:
    """The projects, by name; those that are hidden too, if asked for."""
    with store.read() as session:
        rows = session.execute(select(Project).order_by(Project.slug)).scalars()
        return [_info(session, row) for row in rows if hidden or not row.settings.get("hidden")]


def _settings(slug: str, given: Mapping[str, object]) -> dict[str, Any]:
    """All settings, with those given. Raises RecipeError for the first that does not fit."""
    try:
        return Settings.model_validate(given, strict=True).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        allowed, value = _allowed(str(first["loc"][0])), first["input"]
        found = f"`{name}` is {value:g}" if allowed and isinstance(value, int | float) else first["msg"]
        raise RecipeError(
            found, where=f"project {slug}, {name}", allowed=allowed, remedy="see: align labels projects set --help"
        ) from None


def _allowed(name: str) -> str:
    """What a setting may be, in words; empty for one that there is not."""
    field = Settings.model_fields.get(name)
    if field is None:
        return ""
    if name == "attributes":
        return "up to 12 names of 1 to 40 characters"
    limits = {
        word: getattr(limit, word) for limit in field.metadata for word in ("ge", "le", "gt") if hasattr(limit, word)
    }
    if "gt" in limits:
        return f"more than {limits['gt']}"
    return f"{limits['ge']} to {limits['le']}" if limits else "true or false"


def _reopen(session: Session, project_id: int, need: int) -> None:
    """Another overlap for every item but tests. What a reviewer has decided stays decided; what one was to decide goes
    to more people first, if it needs them now."""
    ours = (Item.project_id == project_id) & Item.gold.is_(None)
    state = case(
        (Item.state.in_(("open", "done")) & (Item.done >= need), "done"),
        (Item.state.in_(("done", "adjudicate")) & (Item.done < need), "open"),
        else_=Item.state,
    )
    session.execute(update(Item).where(ours).values(need=need, state=state))


def _info(session: Session, row: Project) -> ProjectInfo:
    counted = session.execute(
        select(Item.state, func.count()).where(Item.project_id == row.id).group_by(Item.state)
    ).all()
    states = {state: number for state, number in counted}
    rankings = session.execute(select(func.sum(Tally.submitted)).where(Tally.project_id == row.id)).scalar() or 0
    settings = Settings.model_validate(row.settings)
    return ProjectInfo(row.id, row.slug, row.guidelines, row.guidelines_version, settings, states, int(rankings))
