"""A run that waits for people: the goal is checked, the answers are put before them, and the run ends or stays.

Nothing is lost by a kill in here. What is published is in the label database, and publishing again finds it there; how
far people are is asked of the database each time, and `resume/waiting.json` only tells the report. Which database that
is stands in the run folder before anything is published (`judges/desk.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from align.artifacts import WAITING, Artifact, read_artifact
from align.contract import HELDOUT, TRAIN
from align.data.files import write_bytes
from align.errors import AlignError, DataError, RecipeError, SystemLimit
from align.judges import desk as desks
from align.judges import people as judge
from align.judges.desk import Desk
from align.recipe.check import heldout_sources, items_of
from align.recipe.load import Loaded
from align.recipe.plan import Step, manifest_in
from align.recipe.schema import ByPeople, People, StageBase
from align.recipe.wiring import people_of

POLL_SECONDS = 2.0


class Told(Protocol):
    """What a wait tells while it goes."""

    def say(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int, note: str) -> None: ...


@dataclass(frozen=True)
class Waiting:
    """What a run waits for. rankings: that count towards `needed`. accounts: makes an account, where there are too few.
    command: opens the page at `address`. then: goes on with the run. left: who can still rank what is missing, where
    something is held up. secret: the database whose password the commands look for in ALIGN_LABELS. held_up: the people
    there are cannot do it."""

    stage: str
    rankings: int
    needed: int
    overlap: int
    agreement: float | None
    words: str
    project: str
    accounts: str
    command: str
    address: str
    then: str
    left: str = ""
    secret: str = ""
    held_up: bool = False

    def lines(self) -> list[str]:
        """What to tell the user."""
        first = [f"first:      {self.accounts}  (for each of {self.overlap} people)"] if self.accounts else []
        secret = f"database:   {self.secret}; with its password it is in ALIGN_LABELS, which these commands need"
        return [
            f"{self.stage} waits for people: {self.words}",
            *([f"left for:   {self.left}"] if self.left else []),
            *([secret] if self.secret else []),
            *first,
            f"rank them:  {self.command}",
            f"the page:   {self.address}",
            f"then:       {self.then}",
        ]


@dataclass(frozen=True)
class Ask:
    """A stage whose answers people are to rank, at a desk. partial: the folder it works in."""

    loaded: Loaded
    stage: StageBase
    step: Step
    answers: Artifact
    partial: Path
    desk: Desk

    @property
    def people(self) -> People:
        """What the stage asks of people."""
        found = people_of(self.stage)
        assert found is not None, "only a stage that people rank in waits for them"
        return found


def ask_people(ask: Ask, told: Told, wait: bool) -> tuple[StageBase, Waiting | None]:
    """Publish a stage's answers, and see whether people have ranked enough.

    Returns the stage with its label database written out, and what the run waits for: None if the stage may go on.
    wait: stay until it may.
    """
    told.progress("publishing answers", 0, 1, "")
    (ask.partial / WAITING).parent.mkdir(exist_ok=True)
    judge.make(ask.desk)
    _tell_moved(ask, told)
    desks.keep(ask.partial.parent, ask.stage.name, ask.desk)  # first, so that no kill leaves labels nobody looks for
    published = judge.publish(ask.desk, ask.people, ask.answers, _guidelines(ask), ask.step.seed)
    try:
        found = published.progress()
        now = None
        while not found.met:
            before, now = now, _waiting(ask, found, published.voices(ask.desk.project) or 1)
            write_bytes(ask.partial / WAITING, json.dumps(asdict(now), ensure_ascii=False).encode())
            if not wait:
                return ask.stage, now
            _tell(told, before, now)
            told.progress("waiting for people", found.counted, found.needed, "; ".join(found.notes()[:1]))
            found = _next_progress(published, found, told)
    except KeyboardInterrupt:
        told.say(f"stopped waiting; no ranking is lost, and people can go on. When they have: {_command(ask)}")
        raise
    finally:
        published.close()
    if now is not None:
        told.say(f"{ask.stage.name}: {found.words()}; the run goes on")
    (ask.partial / WAITING).unlink(missing_ok=True)
    by = ByPeople(people=judge.resolved(ask.people, ask.desk))
    return ask.stage.model_copy(update={"by": by}), None


def _tell_moved(ask: Ask, told: Told) -> None:
    """Say that a stage moves to another database: whoever asked for `--again` may not know that a shell names one."""
    before = desks.kept(ask.partial.parent).get(ask.stage.name, "")
    if before and before != desks.place_of(ask.desk.database) and not desks.is_gone(before):
        again = _again(ask.loaded, ask.stage, ask.partial.parent)
        back = desks.in_shell(replace(ask.desk, database=before, told=ask.people.labels is None), again)
        first = "" if ask.people.labels is None else f"`labels: {before}`, and "
        told.say(
            f"{ask.stage.name}: before people in {desks.place_of(ask.desk.database)} from now on; what was ranked in "
            f"{before} stays there, and does not count here. Back to it: {first}{back}"
        )


def _tell(told: Told, before: Waiting | None, now: Waiting) -> None:
    """Say what a run that stays waits for: once, and again when the people who are there cannot do it."""
    if before is None:
        for line in now.lines()[:-1]:
            told.say(line)
        told.say("this run stays, and goes on by itself; Ctrl-C stops waiting, and loses nothing")
    elif now.held_up and not before.held_up:
        for line in now.lines()[:2]:
            told.say(line)


def _next_progress(published: judge.Published, found: judge.Progress, told: Told) -> judge.Progress:
    """How far people are once something has been saved. A database that is away for a while is waited for, too."""
    away = False
    while True:
        time.sleep(POLL_SECONDS)
        try:
            if published.newer_than(found.version):
                return published.progress()
            away = False
        except SystemLimit as error:
            if not away:
                told.say(f"the label database cannot be asked now, and is tried again: {error.found}")
            away = True


def check_goals(
    loaded: Loaded, run: Path, steps: Sequence[Step], rows: Mapping[str, int], again: Collection[str] = ()
) -> None:
    """Raise RecipeError for a goal of any stage to come that can never be met, and what is wrong with its database.

    rows: data source -> its rows; each gives one item at most. again: as of `desk_of`.
    """
    items = items_of(loaded)
    sealed = {step.name for step in steps if step.state == "sealed"}
    for index, stage in enumerate(loaded.recipe.stages):
        people = people_of(stage)
        if people is not None and stage.name not in sealed:
            sources = {item.name for item in heldout_sources(items, getattr(stage, "answers", ""))}
            where = loaded.where(("stages", index, "by", "people"))
            desk = desk_of(loaded, stage, run, again)
            judge.check_goal(people, desk, sum(rows[name] for name in sources), where)


def look(loaded: Loaded, run: Path, steps: Sequence[Step]) -> list[Step]:
    """The steps of a plan, with what the label database says of stages that people rank in."""
    stages = {stage.name: stage for stage in loaded.recipe.stages if people_of(stage) is not None}
    states = {step.name: step.state for step in steps}
    found = []
    for step in steps:
        stage = stages.get(step.name)
        answers = run / step.reads["answers"][0] if stage is not None else run
        if stage is None or states[answers.name] != "sealed":
            found.append(step)
        elif step.state == "sealed":
            found.append(_since(loaded, stage, step, run))
        else:
            people = people_of(stage)
            assert people is not None
            now = judge.look(people, desk_of(loaded, stage, run), read_artifact(answers))
            waits = now is not None and not now.met
            before = "" if step.state == "continue" else f"{step.why}; "
            why = f"{before}{now.words()}" if now is not None else step.why
            found.append(replace(step, state="waits" if waits else step.state, why=why))
    return found


def _since(loaded: Loaded, stage: StageBase, step: Step, run: Path) -> Step:
    """A sealed stage, and whether people have ranked since, in the database that its manifest names."""
    figures = read_artifact(run / step.name).manifest.metrics
    answers = read_artifact(run / step.reads["answers"][0])
    people = people_of(stage)
    assert people is not None
    place = str(figures["database"])
    with_password = desks.named(people, loaded.path.parent)
    database = with_password if with_password and desks.place_of(with_password) == place else place
    desk = replace(desks.desk_at(database, people, loaded.recipe.name, stage.name), project=str(figures["project"]))
    # Begun anew elsewhere since, or a shell that names another database: the command would look for the labels there.
    elsewhere = {desks.kept(run).get(step.name, place), desks.place_of(with_password or place)} != {place}
    desk = replace(desk, told=desk.told or (people.labels is None and elsewhere))
    more, words = judge.later(desk, answers, figures)
    if not more:
        return replace(step, why=words)
    remedy = desks.in_shell(desk, [*_words(loaded, run), "--again", step.name])
    return replace(step, state="later", why=f"{words}; to take them: {remedy}")


def rows_of(artifact: Artifact) -> int:
    """The records of a data artifact."""
    files = [artifact.path / name for name in (TRAIN, HELDOUT)]
    return sum(file.read_bytes().count(b"\n") for file in files if file.exists())


def desk_of(loaded: Loaded, stage: StageBase, run: Path, again: Collection[str] = ()) -> Desk:
    """Where a stage's answers are ranked: the database that is named, or else the one they were published in.

    again: stages that may move to another database, or start anew where theirs is gone. Raises RecipeError where a
    stage that may not is asked to, DataError where its database is gone.
    """
    people = people_of(stage)
    assert people is not None, "only a stage that people rank in has a desk"
    database, before = desks.named(people, loaded.path.parent), desks.kept(run).get(stage.name, "")
    desk = desks.desk_at(database or before, people, loaded.recipe.name, stage.name)
    if before and stage.name not in again:
        moved = desks.place_of(desk.database) != before
        if moved or desks.is_gone(before):
            raise _moved(loaded, stage, run, desk, before) if moved else _gone(loaded, stage, run, before)
    return desk


def _moved(loaded: Loaded, stage: StageBase, run: Path, desk: Desk, before: str) -> AlignError:
    people = people_of(stage)
    written = people is not None and people.labels is not None
    other = replace(desk, told=not written)  # both commands name theirs: this shell names one, and the next may not
    back = f"set `labels:` back to {before}"
    if not written:
        back = f"go on there: {desks.in_shell(replace(other, database=before), _words(loaded, run))}"
    anew = desks.in_shell(other, _again(loaded, stage, run))
    index = [other.name for other in loaded.recipe.stages].index(stage.name)
    place = ("stages", index, "by", "people", *(("labels",) if written else ()))
    who = "`labels:`" if written else "ALIGN_LABELS"
    return RecipeError(
        f"the answers of `{stage.name}` were put before people in {before}, and {who} names "
        f"{desks.place_of(desk.database)} now",
        where=loaded.where(place),
        remedy=f"{back}; or put them before people in the other one, too: {anew}",
    )


def _gone(loaded: Loaded, stage: StageBase, run: Path, before: str) -> AlignError:
    people = people_of(stage)
    assert people is not None
    desk = desks.desk_at(before, people, loaded.recipe.name, stage.name)
    return DataError(
        f"the answers of `{stage.name}` are before people in this label database, and it is no longer there",
        where=before,
        remedy=f"put it back ({desks.restoring(desk)}), or start anew without its rankings: "
        + desks.in_shell(desk, _again(loaded, stage, run)),
    )


def _guidelines(ask: Ask) -> str:
    written = ask.people.guidelines
    return ask.loaded.resolve(written).read_text("utf-8") if written else ""


def _waiting(ask: Ask, found: judge.Progress, voices: int) -> Waiting:
    desk = ask.desk
    command, address = desks.opening(desk, found.overlap)
    return Waiting(
        stage=ask.stage.name,
        rankings=found.counted,
        needed=found.needed,
        overlap=found.overlap,
        agreement=found.agreement,
        words=found.words(),
        project=desk.project,
        accounts=desks.adding(desk) if found.overlap > voices else "",
        command=command,
        address=address,
        then=_command(ask),
        left=found.left(),
        secret=desks.place_of(desk.database) if desks.has_password(desk) else "",
        held_up=found.held_up,
    )


def _command(ask: Ask) -> str:
    """The command that goes on, for a shell of which nothing is known. A stage that is sealed goes on if asked to."""
    run = ask.partial.parent
    sealed = (manifest_in(run / ask.stage.name) or {}).get("key") == ask.step.key
    words = _again(ask.loaded, ask.stage, run) if sealed else _words(ask.loaded, run)
    return desks.in_shell(ask.desk, words)


def _again(loaded: Loaded, stage: StageBase, run: Path) -> list[str]:
    return [*_words(loaded, run), "--again", stage.name]


def _words(loaded: Loaded, run: Path) -> list[str]:
    # Whole paths: people take days, and the shell that goes on may stand in another folder, where `runs` is another.
    return ["align", "run", str(loaded.path.absolute()), "--runs", str(run.absolute().parent)]
