"""A judge that is people: answers go into the label database, and come back as rankings.

With `desk.py` the one room of align/ below the command line that knows labeling_app, which does the work. It is
imported inside the functions, so that commands that ask nobody do not wait for it; and no torch is needed to wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.artifacts import Artifact
from align.data.records import Answers, Ranking
from align.errors import AlignError, DataError, RecipeError, counted
from align.judges.desk import Desk, adding, is_gone, place_of
from align.recipe.schema import People

if TYPE_CHECKING:
    from labeling_app.agreement import AgreementFigures, Figure
    from labeling_app.projects import ProjectInfo
    from labeling_app.store.database import Store


MOST_NAMES = 5
"""Names of people shown at once."""


@dataclass(frozen=True)
class Progress:
    """How far people are. counted: rankings of items that `overlap` people ranked, at most that many each. extra: on
    items that still need someone. stuck: of those, items that too few people are left for. needed: what the stage waits
    for. agreement: None unless asked for, or not known. able: accounts that have unfinished items left, and how many,
    the most first."""

    counted: int
    needed: int
    overlap: int
    items: int
    extra: int
    skipped: int
    stuck: int
    agreement: float | None
    least: float | None
    version: int
    able: tuple[tuple[str, int], ...] = ()

    @property
    def met(self) -> bool:
        """Whether the stage may go on."""
        agreed = self.least is None or (self.agreement is not None and self.agreement >= self.least)
        return self.counted >= self.needed and agreed

    @property
    def held_up(self) -> bool:
        """Whether the people there are cannot rank enough."""
        return self.needed > (self.items - self.stuck) * self.overlap

    def words(self) -> str:
        """How far people are, in a line."""
        if self.met:
            agreed = f"; agreement {self.agreement:.2f}, {self.least:g} asked for" if self.least is not None else ""
            return f"goal met: {counted(self.counted + self.extra, 'ranking')}, {self.needed} asked for{agreed}"
        each = f", by {self.overlap} people each" if self.overlap > 1 else ""
        return "; ".join([f"{self.counted} of {self.needed} rankings{each}", *self.notes()])

    def notes(self) -> list[str]:
        """What else is to be said while people rank."""
        parts = []
        if self.extra:
            parts.append(f"{self.extra} more on items that need another person")
        if self.skipped:
            parts.append(f"{counted(self.skipped, 'item')} skipped by someone")
        within = (self.items - self.stuck) * self.overlap
        if self.held_up:
            remedy = f"add people, take back skips, or ask for `rankings: {within}`" if within else "add people"
            parts.append(f"too few people left who have not seen {counted(self.stuck, 'prompt')}: {remedy}")
        if self.least is not None and self.counted >= self.needed:
            found = "not known" if self.agreement is None else f"{self.agreement:.2f}"
            parts.append(f"agreement {found} of {self.least:g}")
            if self.counted >= self.items * self.overlap:
                parts.append("every item is ranked: raise overlap, or lower agreement")
        return parts

    def left(self) -> str:
        """Who can still rank what is missing, by name; empty where nothing is held up. For the terminal only: reports
        know pseudonyms."""
        if not (self.extra or self.stuck) or self.met:
            return ""
        shown = [f"{name} {counted(items, 'item')}" for name, items in self.able[:MOST_NAMES]]
        more = len(self.able) - len(shown)
        return ", ".join([*shown, *([f"{more} others"] if more else [])]) or "nobody has an item left"


@dataclass(frozen=True)
class Collected:
    """What people have said. rankings: by split. figures: for the manifest."""

    rankings: dict[str, list[Ranking]]
    figures: dict[str, Any]


def resolved(people: People, desk: Desk) -> People:
    """The settings with the desk written out, for a process that does not know the run."""
    return people.model_copy(update={"labels": desk.database, "project": desk.project})


def make(desk: Desk) -> None:
    """Make the label database if it is not there. Raises the database's own error if it cannot be used."""
    from labeling_app.store.database import open_store

    open_store(desk.database).close()


def check_goal(people: People, desk: Desk, most_items: int, where: str) -> None:
    """Raise RecipeError for a goal that can never be met, and the database's own error if it cannot be used.

    most_items: the most that can be there. A database that is not there yet is made when it is needed.
    """
    from labeling_app.goals import voices
    from labeling_app.store.database import open_store

    _reachable(people, most_items, where)
    if is_gone(desk.database):
        return
    store = open_store(desk.database, create=False)
    try:
        with store.write():
            pass  # locked, read-only or full: told now, not hours later
        there = voices(store, desk.project)
    finally:
        store.close()
    if there is not None and people.overlap > there:
        raise RecipeError(
            f"each item is to be ranked by {people.overlap} people, and there are {there}",
            where=where,
            allowed=f"an overlap of up to {there}",
            remedy=f"add people: {adding(desk)}",
        )


class Published:
    """A stage's answers before people. `close()` it at the end."""

    def __init__(self, store: Store, people: People, project: int, items: set[int]) -> None:
        self.store, self.people, self.project, self.items = store, people, project, items

    def progress(self) -> Progress:
        """How far people are with these items. Raises RecipeError if the goal is out of their reach."""
        return _progress(self.store, self.people, self.project, self.items)

    def newer_than(self, version: int) -> bool:
        """Whether anything was saved in the project since; costs one query."""
        from labeling_app.outgoing import newest_version

        return newest_version(self.store, self.project) > version

    def voices(self, project: str) -> int | None:
        """How many people can rank; None where there are no accounts, and whoever sits here ranks as one person."""
        from labeling_app.goals import voices

        return voices(self.store, project)

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()


def publish(desk: Desk, people: People, answers: Artifact, guidelines: str, seed: int) -> Published:
    """Put a stage's answers before people. What is there already stays: a publication that was killed is finished by
    the next.

    guidelines: shown beside each item; empty leaves what the project has. seed: of the order in which answers are
    shown. Raises DataError for answers that cannot be shown, SystemLimit if the database cannot be written.
    """
    from labeling_app.goals import show_only
    from labeling_app.incoming import check_import, import_checked
    from labeling_app.projects import make_project
    from labeling_app.store.database import open_store

    checked = check_import(answers.path)  # what is refused leaves no empty project behind
    settings: dict[str, Any] = {"overlap": people.overlap}
    if people.gold_share is not None:
        settings["gold_share"] = people.gold_share
    store = open_store(desk.database)
    try:
        project = make_project(store, desk.project, guidelines=guidelines, seed=seed, **settings)
        import_checked(store, project, checked)
        items = _items(store, project, answers)
        if desk.own:
            show_only(store, project.id, items)
    except BaseException:
        store.close()
        raise
    return Published(store, people, project.id, items)


def look(people: People, desk: Desk, answers: Artifact) -> Progress | None:
    """How far people are, without publishing anything; None if the stage has not asked them yet."""
    from labeling_app.store.database import open_store

    if is_gone(desk.database):
        return None
    store = open_store(desk.database, create=False)
    try:
        project = _project(store, desk)
        return _progress(store, people, project.id, _items(store, project, answers)) if project else None
    finally:
        store.close()


def later(desk: Desk, answers: Artifact, sealed: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether people have said more since a stage was sealed with these figures, and what, in words.

    What cannot be looked up is said as well, and stops nobody.
    """
    from labeling_app.goals import changed_since
    from labeling_app.store.database import open_store

    place, upto = place_of(desk.database), int(sealed.get("upto", 0))
    try:
        store = open_store(desk.database, create=False)
    except AlignError as error:
        return False, f"whether there are later labels is not known: {error.found} ({place})"
    try:
        project = _project(store, desk)
        if project is None:
            return False, f"its project {desk.project} is no longer in {place}"
        new, gone = changed_since(store, project.id, _items(store, project, answers), upto)
    finally:
        store.close()
    told = [f"{counted(new, 'ranking')} more than when this stage was sealed"] if new else []
    told += [f"{counted(gone, 'ranking')} taken back or changed since it was sealed"] if gone else []
    return bool(told), ", ".join(told)


def _items(store: Store, project: ProjectInfo, answers: Artifact) -> set[int]:
    """The numbers of the items that a stage's answers are in a project."""
    from align.contract import HELDOUT, TRAIN, rows
    from labeling_app.goals import items_named, keys_of_answers

    records = [r for split in (TRAIN, HELDOUT) for r in rows(answers, split) if isinstance(r, Answers)]
    return items_named(store, project.id, set(keys_of_answers(records)))


def _progress(store: Store, people: People, project: int, items: set[int]) -> Progress:
    from labeling_app.goals import agreement_on, standing

    now = standing(store, project, items, people.overlap)
    needed = people.rankings if people.rankings is not None else now.items * people.overlap
    _reachable(people, now.items, "by.people.rankings")
    ranked = now.complete * people.overlap
    agreement = None
    if people.agreement is not None and ranked >= needed:
        agreement = agreement_on(store, project, items).percent.value
    return Progress(
        counted=ranked,
        needed=needed,
        overlap=people.overlap,
        items=now.items,
        extra=now.extra,
        skipped=now.skipped,
        stuck=now.stuck,
        agreement=agreement,
        least=people.agreement,
        version=now.version,
        able=now.able,
    )


def _reachable(people: People, items: int, where: str) -> None:
    most = items * people.overlap
    if people.rankings is not None and people.rankings > most:
        raise RecipeError(
            f"{people.rankings} rankings are asked for, and there can be {most}: {items} items by "
            f"{people.overlap} people each",
            where=where,
            allowed=f"up to {most}",
            remedy="ask for fewer, leave out `rankings`, raise `overlap`, or add prompts",
        )


def _project(store: Store, desk: Desk) -> ProjectInfo | None:
    from labeling_app.projects import get_project

    try:
        return get_project(store, desk.project)
    except DataError:
        return None


def collect(people: People, answers: Mapping[str, Sequence[Answers]], scratch: Path) -> Collected:
    """Every ranking of these answers that stands now, by split, and what the manifest says of it.

    people: `resolved`. scratch: a folder for the export. Rankings of other items of the project are left out.
    """
    from align.data.files import read_records
    from labeling_app.goals import gold_accuracy, keys_of_answers
    from labeling_app.outgoing import export
    from labeling_app.projects import get_project
    from labeling_app.saving import item_key
    from labeling_app.store.database import open_store

    assert people.labels is not None and people.project is not None, "the settings are resolved"
    scratch.mkdir(parents=True, exist_ok=True)
    store = open_store(people.labels, create=False)
    try:
        project = get_project(store, people.project)
        made = export(store, project, scratch / "labels.jsonl")
        gold = gold_accuracy(store, project.id, made.filter.upto)
    finally:
        store.close()
    split_of = {key: split for split, records in answers.items() for key in keys_of_answers(records)}
    found: dict[str, list[Ranking]] = {split: [] for split in answers}
    by_item: dict[str, list[Ranking]] = {}
    for record in read_records(made.path, "rankings"):
        assert isinstance(record, Ranking)
        key = item_key(record.prompt, [(answer.id, answer.text) for answer in record.answers])
        if key in split_of:
            found[split_of[key]].append(record)
            by_item.setdefault(key, []).append(record)
    figures = _figures(by_item, gold)
    figures |= {
        "guidelines_version": project.guidelines_version,
        "project": people.project,
        "database": place_of(people.labels),
        "upto": made.filter.upto,
        "export_sha256": made.sha256,
    }
    return Collected(found, figures)


def _figures(by_item: Mapping[str, Sequence[Ranking]], gold: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    from labeling_app.agreement import agreement_of

    said: list[list[tuple[str, list[int | None]]]] = []
    counts: dict[str, int] = {}
    decisions = 0
    for rankings in by_item.values():
        # A reviewer who decides about an item has seen what others said: no evidence of agreement.
        said.append([(r.annotator, r.ranks) for r in rankings if r.meta.get("task") != "adjudicate"])
        decisions += len(rankings) - len(said[-1])
        for ranking in rankings:
            counts[ranking.annotator] = counts.get(ranking.annotator, 0) + 1
    agreement: AgreementFigures = agreement_of(said)
    figures: dict[str, Any] = {"items": len(by_item)}
    for name, figure in (("agreement", agreement.percent), ("alpha", agreement.alpha), ("tau_b", agreement.tau_b)):
        figures |= _figure(name, figure)
    figures["overlapping_items"] = agreement.overlapping
    right, asked = sum(r for r, _ in gold.values()), sum(a for _, a in gold.values())
    figures["gold_accuracy"] = round(right / asked, 4) if asked else None
    figures["annotators"] = dict(sorted(counts.items()))
    figures["decisions"] = decisions
    figures["gold"] = {name: round(r / a, 4) for name, (r, a) in sorted(gold.items()) if a}
    return figures


def _figure(name: str, figure: Figure) -> dict[str, Any]:
    if figure.value is None:
        return {name: None, f"{name}_unknown": figure.reason}
    interval = [] if figure.low is None or figure.high is None else [round(figure.low, 4), round(figure.high, 4)]
    return {name: round(figure.value, 4), f"{name}_interval": interval}
