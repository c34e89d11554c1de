"""What a recipe waits for: so many rankings of its own items, at such an overlap and agreement.

A project may hold other items too, such as those of an earlier round, so a goal is about items by name. An item counts
once `overlap` people have ranked it: a hundred items ranked by one person each say nothing about agreement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, case, func, select, update
from sqlalchemy.orm import Session

from align.data.records import Answers
from labeling_app.agreement import AgreementFigures, Ranks, agreement_of
from labeling_app.outgoing import newest_version, no_test, stands
from labeling_app.people import LOCAL
from labeling_app.quality import gold_score, judged
from labeling_app.saving import item_key
from labeling_app.store.database import Store
from labeling_app.store.events import record_event
from labeling_app.store.models import Identity, Invitation, Item, Lease, PersonRow, Project, RankingRow

SHOWN = ("open", "adjudicate")
"""States in which an item is given to people."""


@dataclass(frozen=True)
class Standing:
    """How far some items are. items: that people may rank, tests aside. complete: of them, ranked by as many people as
    asked, or decided by a reviewer. extra: rankings on the others. skipped: of the others, those that somebody skipped.
    stuck: of the others, those that too few people are left for. version: of the project; all that was saved up to it
    is counted. able: (account, how many of the others it can still rank), the most first, where there are any."""

    items: int
    complete: int
    extra: int
    skipped: int
    stuck: int
    version: int
    able: tuple[tuple[str, int], ...] = ()


def keys_of_answers(answers: Sequence[Answers]) -> list[str]:
    """What names each record's item in a project."""
    return [item_key(record.prompt, [(answer.id, answer.text) for answer in record.answers]) for record in answers]


def items_named(store: Store, project_id: int, keys: Collection[str]) -> set[int]:
    """The numbers of a project's items of these keys, as far as they are there."""
    wanted = select(Item.id, Item.key).where(Item.project_id == project_id)
    with store.read() as session:
        return {number for number, key in session.execute(wanted) if key in keys}


def standing(store: Store, project_id: int, items: Collection[int], overlap: int) -> Standing:
    """How far these items of a project are."""
    skips = select(Lease.item_id).where(Lease.project_id == project_id, Lease.state == "skipped").distinct()
    # A reviewer's word ends an item, though fewer people ranked it: it is given to nobody any more.
    ends = case((Item.state == "settled", overlap), else_=0)
    wanted = select(Item.id, Item.done, ends).where(Item.project_id == project_id, Item.gold.is_(None))
    # First of all: on a server each query sees what was saved before it, and whoever waits asks for what came later.
    version = newest_version(store, project_id)
    with store.read() as session:
        done = {number: max(count, end) for number, count, end in session.execute(wanted) if number in items}
        skipped = set(session.execute(skips).scalars())
        rest = {number: count for number, count in done.items() if count < overlap}
        stuck, able = _left(session, store, project_id, rest, overlap) if rest else (0, ())
    complete, extra, passed = len(done) - len(rest), sum(rest.values()), len(rest.keys() & skipped)
    return Standing(len(done), complete, extra, passed, stuck, version, able)


def _left(
    session: Session, store: Store, project_id: int, rest: Mapping[int, int], overlap: int
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """How many of these items, with the rankings each has, more people would have to rank than are left, and what is
    left for each account: whoever has ranked or skipped a prompt does not see it again. None is stuck while there are
    fewer people than the overlap in any case."""
    logins = {number: name for number, name in session.execute(select(PersonRow.id, PersonRow.name).where(_enters()))}
    people = set(logins) or set(session.execute(select(PersonRow.id).where(PersonRow.name == LOCAL)).scalars())
    invited = session.execute(_invited(store)).scalar_one()
    turns = select(Lease.prompt_key, Lease.person_id).distinct()
    turns = turns.where(Lease.project_id == project_id, Lease.state.in_(("submitted", "skipped")))
    seen = [(prompt, who) for prompt, who in session.execute(turns) if who in people]
    prompts = select(Item.id, Item.prompt_key).where(Item.project_id == project_id, Item.done < overlap)
    prompt_of = {number: prompt for number, prompt in session.execute(prompts) if number in rest}
    open_ = set(prompt_of.values())
    by_person = Counter(who for prompt, who in seen if prompt in open_)
    able = [(name, len(open_) - by_person[who]) for who, name in logins.items()]
    able = sorted(((name, count) for name, count in able if count), key=lambda one: (-one[1], one[0]))
    if len(people) + invited < overlap:
        return 0, tuple(able)
    by_prompt = Counter(prompt for prompt, _ in seen)
    short = {number: len(people) + invited - by_prompt[prompt] for number, prompt in prompt_of.items()}
    return sum(short.get(number, overlap) < overlap - count for number, count in rest.items()), tuple(able)


def agreement_on(store: Store, project_id: int, items: Collection[int]) -> AgreementFigures:
    """How far the annotators of these items agree, reviewers aside."""
    said: dict[int, list[tuple[str, Ranks]]] = {}
    for one in judged(store, project_id):
        if one.item in items and one.gold is None and one.task == "rank":
            said.setdefault(one.item, []).append((one.annotator, one.ranks))
    return agreement_of(list(said.values()))


def gold_accuracy(store: Store, project_id: int, upto: int) -> dict[str, tuple[float, float]]:
    """Pseudonym → (right, asked): strict comparisons of test questions, as far as version `upto`."""
    found: dict[str, tuple[float, float]] = {}
    for one in judged(store, project_id, upto):
        if one.gold is not None:
            right, asked = gold_score(one.ranks, one.gold)
            before = found.get(one.annotator, (0.0, 0.0))
            found[one.annotator] = (before[0] + right, before[1] + asked)
    return found


def changed_since(store: Store, project_id: int, items: Collection[int], upto: int) -> tuple[int, int]:
    """(new, gone): rankings of these items that stand now and did not at version `upto`, and the other way round."""
    newest = newest_version(store, project_id)
    if newest <= upto:
        return 0, 0
    ranked = select(RankingRow.id, Item.id).join(Item, Item.id == RankingRow.item_id)
    ranked = ranked.where(RankingRow.project_id == project_id)
    with store.read() as session:
        now, then = (
            {number for number, item in session.execute(ranked.where(*there)) if item in items}
            for there in ((stands(RankingRow, limit), no_test(limit)) for limit in (newest, upto))
        )
    return len(now - then), len(then - now)


def show_only(store: Store, project_id: int, items: Collection[int]) -> int:
    """Give people these items of a project and no others; how many others were still to be ranked.

    What was ranked stays. Items put away earlier come back when they are named again. Who has seen a prompt in an item
    that is put away may see it again with other answers.
    """
    counted = case((Item.done >= Item.need, "done"), else_="open")
    with store.write() as session:
        ours = select(Item.id, Item.state).where(Item.project_id == project_id)
        states = session.execute(ours.where(Item.state.in_((*SHOWN, "closed")))).all()
        away = [number for number, state in states if number not in items and state != "closed"]
        back = [number for number, state in states if number in items and state == "closed"]
        for numbers, state in ((away, "closed"), (back, counted)):
            for start in range(0, len(numbers), 500):
                some = Item.id.in_(numbers[start : start + 500])
                session.execute(update(Item).where(some).values(state=state))
        _show_prompts_again(session, project_id, items)
        if away or back:
            told = {"shown": len(back), "put_away": len(away)}
            record_event(session, store.now(), "command", "change-project", f"project:{project_id}", **told)
    return len(away)


def _show_prompts_again(session: Session, project_id: int, items: Collection[int]) -> None:
    """Turns at items that are put away name no prompt: nobody has seen theirs, as far as the queue goes."""
    turns = select(Lease.item_id, Lease.prompt_key == "").join(Item, Item.id == Lease.item_id).distinct()
    turns = turns.where(Lease.project_id == project_id, Item.gold.is_(None))
    wrong = [number for number, away in session.execute(turns) if (number in items) == away]
    key = select(Item.prompt_key).where(Item.id == Lease.item_id).scalar_subquery()
    named = case((Lease.prompt_key == "", key), else_="")
    for start in range(0, len(wrong), 500):
        some = Lease.item_id.in_(wrong[start : start + 500])
        session.execute(update(Lease).where(some).values(prompt_key=named))


def voices(store: Store, project: str) -> int | None:
    """How many people can rank in a project, or have: accounts with a password or a login by OpenID Connect, open
    invitations, and who has labels in it although they cannot log in, because the labels were imported or the account
    was closed since.

    None where there are no accounts: whoever sits at this machine ranks as one person, and accounts may yet be made.
    """
    enters = _enters()
    accounts = select(func.count()).select_from(PersonRow).where(enters)
    others = (
        select(func.count(RankingRow.person_id.distinct()))
        .join(PersonRow, PersonRow.id == RankingRow.person_id)
        .join(Project, Project.id == RankingRow.project_id)
        .where(~enters, Project.slug == project)
    )
    with store.read() as session:
        there = session.execute(accounts).scalar_one()
        if not there:
            return None
        open_ = session.execute(_invited(store)).scalar_one()
        return int(there + open_ + session.execute(others).scalar_one())


def _enters() -> ColumnElement[bool]:
    """Accounts that someone can log in to."""
    by_provider = select(Identity.person_id).where(Identity.person_id == PersonRow.id).exists()
    return PersonRow.active & (PersonRow.password.is_not(None) | by_provider)


def _invited(store: Store) -> Select[int]:
    """Counts the invitations that can still be used."""
    still = (Invitation.used_by.is_(None)) & (Invitation.expires > store.now())
    return select(func.count()).select_from(Invitation).where(still)
