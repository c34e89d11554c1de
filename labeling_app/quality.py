"""A project in numbers: progress, each annotator's pace, gold accuracy and place bias, agreement, disputes.

Read from the rankings that stand: what was undone or superseded does not count. Nor does what a reviewer decided:
they see what others said, and are quicker by it; decided items are counted by their state.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import Text, case, func, select, type_coerce
from sqlalchemy.orm import aliased

from labeling_app.agreement import AgreementFigures, Ranks, _agreed_two, agreement_of, pair_agreement
from labeling_app.outgoing import no_test
from labeling_app.people import Person
from labeling_app.store.database import Store
from labeling_app.store.models import Item, Lease, PersonRow, RankingRow

BLOCKS, BLOCK_RANKINGS = 12, 10
"""Stretches of time that ranks are shown over: at most so many, each of at least so many rankings."""
PROMPT_CHARACTERS = 200
"""As much of a disputed prompt as tells which one it is."""


class Judged(NamedTuple):
    """One ranking that stands, as far as figures need it. gold: the right ranks, where the item is a test."""

    item: int
    uid: str
    annotator: str
    task: str
    ranks: tuple[int | None, ...]
    shown: tuple[int, ...]
    gold: tuple[int | None, ...] | None
    seconds: float | None
    created: str


@dataclass(frozen=True)
class Annotator:
    """One annotator. pace: median seconds for an item. gold: share of gold comparisons judged right, of `gold_count`.

    first_best: how often the best answer is the one shown first, of `first_count`, beside `first_chance`, what chance
    gives. first_low, first_high: its exact 95 % interval; place_bias: chance lies outside of it, as it does for one in
    twenty who have no bias. Figures are None where nothing was counted.
    """

    pseudonym: str
    rankings: int
    skipped: int
    pace: float | None
    gold: float | None
    gold_count: int
    first_best: float | None
    first_chance: float | None
    first_count: int
    first_low: float | None
    first_high: float | None
    place_bias: bool
    last: str


@dataclass(frozen=True)
class Dispute:
    """An item whose annotators agree on `agreement` of their comparisons. prompt: the beginning of its last turn."""

    uid: str
    item: int
    agreement: float
    annotators: int
    state: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class Block:
    """A stretch of time. ranks: the mean rank of the answers shown first, second, ...; None where none was ranked.

    mean: of all ranks, what each place would have if places did not matter.
    """

    start: str
    end: str
    rankings: int
    ranks: tuple[float | None, ...]
    mean: float


@dataclass(frozen=True)
class Quality:
    """A project's figures. rankings: of annotators, `tests` of them on test questions. counted: those that items
    needed; needed: those still to come. seconds_left: at the pace of all so far, for one person. states: items by
    state; of the open ones, those nobody has begun are `untouched`. by_day: rankings submitted on each day (UTC).
    over_time: of the rankings of `over_answers` answers, which is what most items have."""

    rankings: int
    tests: int
    counted: int
    needed: int
    pace: float | None
    seconds_left: float | None
    states: dict[str, int]
    annotators: tuple[Annotator, ...]
    agreement: AgreementFigures
    disputes: tuple[Dispute, ...]
    by_day: dict[str, int]
    over_answers: int
    over_time: tuple[Block, ...]


def quality_of(store: Store, person: Person, project_id: int, worst: int = 20) -> Quality:
    """Everything the dashboard shows; `worst` disputes. Raises Refused for a person who is no reviewer."""
    person.need("reviewer")
    with store.read() as session:
        states = session.execute(
            select(Item.state, func.count()).where(Item.project_id == project_id).group_by(Item.state)
        )
        by_state = {state: number for state, number in states}
        open_items = (Item.project_id == project_id) & (Item.state == "open")
        untouched = select(func.count()).select_from(Item).where(open_items, Item.taken == 0)
        by_state["untouched"] = session.execute(untouched).scalar_one()
        by_state["open"] = by_state.get("open", 0) - by_state["untouched"]
        needed = session.execute(select(func.sum(Item.need - Item.done)).where(open_items)).scalar() or 0
        skipped = session.execute(
            select(PersonRow.pseudonym, func.count())
            .join(Lease, Lease.person_id == PersonRow.id)
            .where(Lease.project_id == project_id, Lease.state == "skipped", Lease.task == "rank")
            .group_by(PersonRow.pseudonym)
        ).all()
    rankings = [ranking for ranking in judged(store, project_id) if ranking.task == "rank"]
    last: dict[int, dict[str, Judged]] = defaultdict(dict)
    for ranking in rankings:
        if ranking.gold is None:
            last[ranking.item][ranking.annotator] = ranking
    by_item = {item: list(said.values()) for item, said in last.items()}
    agreement = agreement_of([[(r.annotator, r.ranks) for r in item] for item in by_item.values()])
    paces = [r.seconds for r in rankings if r.seconds]
    pace = median(paces) if paces else None
    over_answers, over_time = _over_time(rankings)
    return Quality(
        rankings=len(rankings),
        tests=sum(ranking.gold is not None for ranking in rankings),
        counted=sum(map(len, by_item.values())),
        needed=int(needed),
        pace=pace,
        seconds_left=None if pace is None else int(needed) * pace,
        states={state: number for state, number in by_state.items() if number},
        annotators=_annotators(rankings, {name: number for name, number in skipped}),
        agreement=agreement,
        disputes=_with_prompts(store, _disputes(by_item, worst)),
        by_day=dict(sorted(Counter(ranking.created[:10] for ranking in rankings).items())),
        over_answers=over_answers,
        over_time=over_time,
    )


def judged(store: Store, project_id: int, upto: int = 0) -> Iterator[Judged]:
    """Every ranking of a project that stands, in the order of items and of submission.

    upto: the last version looked at, by number; 0 is the newest.
    """
    newer = aliased(RankingRow)
    superseded = select(newer.id).where(newer.lease_id == RankingRow.lease_id, newer.version > RankingRow.version)
    if upto:
        superseded = superseded.where(newer.id <= upto)
    lists = [type_coerce(column, Text) for column in (RankingRow.ranks, Lease.shown, Item.gold)]
    if upto:
        lists[2] = type_coerce(case((no_test(upto), None), else_=Item.gold), Text)
    wanted = (
        select(
            Item.id, Item.uid, PersonRow.pseudonym, Lease.task, *lists, RankingRow.seconds, RankingRow.created,
        )
        .join_from(RankingRow, Item, Item.id == RankingRow.item_id)
        .join(Lease, Lease.id == RankingRow.lease_id)
        .join(PersonRow, PersonRow.id == RankingRow.person_id)
        .where(RankingRow.project_id == project_id, RankingRow.action == "submit", ~superseded.exists())
        .order_by(RankingRow.item_id, RankingRow.id)
        .execution_options(yield_per=2000)
    )  # fmt: skip
    if upto:
        wanted = wanted.where(RankingRow.id <= upto)
    with store.read() as session:
        for item, uid, annotator, task, ranks, shown, gold, *rest in session.execute(wanted):
            yield Judged(
                item, uid, annotator, task, _listed(ranks), _listed(shown), _listed(gold) if gold else None, *rest
            )


@functools.lru_cache(maxsize=100_000)
def _listed(text: str) -> tuple[int, ...]:
    """A column's list, read once: there are far fewer ways to rank a few answers than there are rankings."""
    return tuple(json.loads(text))


def gold_score(ranks: Ranks, gold: Ranks) -> tuple[float, float]:
    """(right, asked): of the strict comparisons in `gold` that were judged, those judged right; a tie is half right."""
    return _agreed_two(tuple(gold), tuple(ranks))


def _annotators(rankings: list[Judged], skipped: dict[str, int]) -> tuple[Annotator, ...]:
    by_person: dict[str, list[Judged]] = defaultdict(list)
    for ranking in rankings:
        by_person[ranking.annotator].append(ranking)
    return tuple(
        _annotator(name, by_person.get(name, []), skipped.get(name, 0)) for name in sorted({*by_person, *skipped})
    )


def _annotator(name: str, rankings: list[Judged], skipped: int) -> Annotator:
    scores = [gold_score(r.ranks, r.gold) for r in rankings if r.gold is not None]
    asked = sum(count for _, count in scores)
    firsts = [found for r in rankings if (found := _first_is_best(r.ranks, r.shown)) is not None]
    paces = [r.seconds for r in rankings if r.seconds]
    chance = sum(chance for _, chance in firsts) / len(firsts) if firsts else None
    low, high = _exact_interval(sum(first for first, _ in firsts), len(firsts))
    return Annotator(
        pseudonym=name,
        rankings=len(rankings),
        skipped=skipped,
        pace=median(paces) if paces else None,
        gold=sum(right for right, _ in scores) / asked if asked else None,
        gold_count=int(asked),
        first_best=sum(first for first, _ in firsts) / len(firsts) if firsts else None,
        first_chance=chance,
        first_count=len(firsts),
        first_low=low,
        first_high=high,
        place_bias=chance is not None and low is not None and high is not None and not low <= chance <= high,
        last=max((r.created for r in rankings), default=""),
    )


@functools.lru_cache(maxsize=10_000)
def _exact_interval(count: int, of: int) -> tuple[float | None, float | None]:
    """95 % interval of a share, by inverting the binomial test (Clopper and Pearson 1934)."""
    if not of:
        return None, None
    from scipy.stats import binomtest

    found = binomtest(count, of).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


@functools.lru_cache(maxsize=100_000)
def _first_is_best(ranks: tuple[int | None, ...], shown: tuple[int, ...]) -> tuple[bool, float] | None:
    """Whether the one best answer was shown first, and the chance of it; None if several are best, or nobody knows
    where they were shown."""
    placed: list[Any] = [ranks[at] for at in shown if ranks[at] is not None]
    if len(placed) < 2 or placed.count(min(placed)) > 1:
        return None
    return placed[0] == min(placed), 1 / len(placed)


def _disputes(by_item: dict[int, list[Judged]], worst: int) -> tuple[Dispute, ...]:
    found = []
    for item, rankings in by_item.items():
        rate = pair_agreement([r.ranks for r in rankings]) if len(rankings) > 1 else None
        if rate is not None:
            found.append(Dispute(rankings[0].uid, item, rate, len({r.annotator for r in rankings})))
    return tuple(sorted(found, key=lambda d: (d.agreement, d.item))[:worst])


def _with_prompts(store: Store, disputes: tuple[Dispute, ...]) -> tuple[Dispute, ...]:
    """Disputes with what a reviewer needs to tell one from another."""
    wanted = select(Item.id, Item.state, Item.prompt).where(Item.id.in_([dispute.item for dispute in disputes]))
    with store.read() as session:
        known = {number: (state, prompt[-1]["content"]) for number, state, prompt in session.execute(wanted)}
    return tuple(
        replace(dispute, state=known[dispute.item][0], prompt=known[dispute.item][1][:PROMPT_CHARACTERS])
        for dispute in disputes
    )


def _over_time(rankings: Sequence[Judged]) -> tuple[int, tuple[Block, ...]]:
    """How many answers most items have, and the ranks given at each place, in blocks of as many rankings each."""
    rankings = [ranking for ranking in rankings if any(ranking.ranks) and ranking.shown]
    if not rankings:
        return 0, ()
    answers = Counter(len(ranking.shown) for ranking in rankings).most_common(1)[0][0]
    ordered = sorted((r for r in rankings if len(r.shown) == answers), key=lambda r: r.created)
    count = max(1, min(BLOCKS, len(ordered) // BLOCK_RANKINGS))
    ends = [len(ordered) * number // count for number in range(count + 1)]
    return answers, tuple(_block(ordered[start:end]) for start, end in pairwise(ends))


def _block(rankings: Sequence[Judged]) -> Block:
    answers = len(rankings[0].shown)
    sums, counts = [0] * answers, [0] * answers
    for (ranks, shown), number in Counter((r.ranks, r.shown) for r in rankings).items():
        for place, at in enumerate(shown):
            rank = ranks[at]
            if rank is not None:
                sums[place], counts[place] = sums[place] + number * rank, counts[place] + number
    return Block(
        start=rankings[0].created,
        end=rankings[-1].created,
        rankings=len(rankings),
        ranks=tuple(total / count if count else None for total, count in zip(sums, counts, strict=True)),
        mean=sum(sums) / sum(counts),
    )
