"""The data doctor on what is compared: who contradicts whom, what goes round in a circle, what length and place tell.

A judgement here is a strict preference of one text over another to the same prompt. Preferences name no annotator and
are read as one voice.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from align.data.records import Preference, Ranking, Record, pairs_of, prompt_key, prompt_of

FEWEST_PAIRS = 50
"""Below so many pairs (or rankings), nothing is said about length (or place)."""
LENGTH_SHARE = (0.35, 0.65)
"""Share of pairs won by the longer text that is taken as no hint of the choice."""
PLACE_CHANCE, PLACE_DIFFERENCE = 0.001, 0.05
"""What is best stands first too often (or too rarely) if chance does that less often than this, and the share is so far
from what chance gives: with many rows, a difference of no weight is beyond chance too."""


def ranking_codes(ranking: Ranking) -> Iterable[str]:
    """The faults of one ranking's order."""
    ranks = [rank for rank in ranking.ranks if rank is not None]
    if len(ranks) < 2:
        yield "no-ranks"
    elif len(set(ranks)) == 1:
        yield "all-tied"
    # Ties share a rank or skip the ranks behind it; answers left out may have had one. More is a slip of the pen.
    spare = len(ranking.ranks) - len(ranks)
    if any(rank > 1 + spare + sum(other < rank for other in ranks) for rank in ranks):
        yield "rank-gap"
    at: dict[str, int | None] = {}
    for answer, rank in zip(ranking.answers, ranking.ranks, strict=True):
        if rank is not None and at.setdefault(answer.text, rank) != rank:
            yield "same-answer"
            return


def pairs(record: Record) -> list[tuple[str, str]]:
    """The comparisons in a record as (better, worse) texts."""
    if isinstance(record, Preference):
        return [("\n\n".join(m.content for m in record.chosen), "\n\n".join(m.content for m in record.rejected))]
    if isinstance(record, Ranking):
        return [(better.text, worse.text) for better, worse, _ in pairs_of(record)]
    return []


def conflicts(records: Sequence[Record]) -> dict[str, list[int]]:
    """Rows of `contradiction`, `disagreement` and `cycle`.

    The first two hold rows that prefer what an earlier row rejects in its favour, by the same annotator or by another.
    `cycle` holds the rows behind comparisons of three or more answers that go round in a circle, each taken as most of
    its judgements have it.
    """
    found: dict[str, list[int]] = {"contradiction": [], "disagreement": [], "cycle": []}
    for rows in _same_prompt(records):
        judged = {row: [(a, b) for a, b in pairs(records[row]) if a != b] for row in rows}
        said: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in rows:
            who = getattr(records[row], "annotator", "")
            against = [said.get((worse, better), set()) for better, worse in judged[row]]
            if any(who in others for others in against):
                found["contradiction"].append(row)
            elif any(against):
                found["disagreement"].append(row)
            for pair in judged[row]:
                said[pair].add(who)
        found["cycle"] += _cyclic(judged)
    return {code: sorted(rows) for code, rows in found.items()}


def _same_prompt(records: Sequence[Record]) -> Iterable[list[int]]:
    """Rows of comparisons that share their prompt with another row."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(records):
        if isinstance(record, Preference | Ranking):
            groups[prompt_key(prompt_of(record) or [])].append(row)
    return (rows for rows in groups.values() if len(rows) > 1)


def _cyclic(judged: Mapping[int, Sequence[tuple[str, str]]]) -> list[int]:
    """Rows with a comparison that others lead back from, to where it starts."""
    votes = Counter(pair for found in judged.values() for pair in found)
    beats: dict[str, set[str]] = defaultdict(set)
    for better, worse in votes:
        if votes[better, worse] > votes.get((worse, better), 0):
            beats[better].add(worse)
    if len(beats) < 3:
        return []
    below = {text: _reached(text, beats) for text in list(beats)}
    round_trip = {(a, b) for a in below for b in beats[a] if a in below.get(b, set())}
    return [row for row, found in judged.items() if any(pair in round_trip for pair in found)]


def _reached(start: str, beats: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for text in beats.get(waiting.pop(), set()) - reached:
            reached.add(text)
            waiting.append(text)
    return reached


def longer_wins(records: Sequence[Record]) -> tuple[float, int]:
    """How often the better text of a pair has more characters (equal lengths count half), and the number of pairs.

    The share is 0.5 where there are no pairs.
    """
    found = [pair for record in records for pair in pairs(record)]
    won = sum((len(a) > len(b)) + 0.5 * (len(a) == len(b)) for a, b in found)
    return (won / len(found) if found else 0.5), len(found)


def length_bias(records: Sequence[Record]) -> tuple[str, int]:
    """What length alone foretells, in a sentence, and the number of pairs; an empty one if it is no hint."""
    share, count = longer_wins(records)
    if count < FEWEST_PAIRS or LENGTH_SHARE[0] <= share <= LENGTH_SHARE[1]:
        return "", count
    # Pairs of one prompt go together, so an interval may count prompts only.
    prompts = len({prompt_key(prompt_of(record) or []) for record in records if pairs(record)})
    side, right = ("longer", share) if share > 0.5 else ("shorter", 1 - share)
    low, high = wilson(right, prompts)
    found = f"the {side} answer wins {right:.0%} of {count} pairs (95 % interval {low:.0%}-{high:.0%})"
    return f"length alone predicts the choice: {found}", count


def place_bias(records: Sequence[Record]) -> tuple[str, int]:
    """Whether the answer in the first place is the best one oftener, or more rarely, than by chance; and of how many
    rankings. Their answers stand as `meta.shown_order` (ids) has them, or else as written.

    A two-sided binomial test in its normal approximation: rankings of K answers with one best have it first with
    probability 1/K. An empty sentence if chance explains what is found.
    """
    first, chances = 0, []
    for record in records:
        if not isinstance(record, Ranking):
            continue
        placed = [rank for rank in _as_shown(record) if rank is not None]
        if len(placed) > 1 and placed.count(min(placed)) == 1:
            first += placed[0] == min(placed)
            chances.append(1 / len(placed))
    count, expected = len(chances), sum(chances)
    if count < FEWEST_PAIRS or abs(first - expected) / count < PLACE_DIFFERENCE:
        return "", count
    spread = math.sqrt(sum(p * (1 - p) for p in chances))
    chance = math.erfc(max(0.0, abs(first - expected) - 0.5) / spread / math.sqrt(2))
    if chance >= PLACE_CHANCE:
        return "", count
    often = f"{first / count:.0%} of {count} rankings, where chance gives {expected / count:.0%}"
    return f"the place of an answer predicts its rank: the first one is the best in {often} (p = {chance:.1g})", count


def _as_shown(ranking: Ranking) -> list[int | None]:
    """Ranks in the order in which the answers were shown."""
    by_id = {answer.id: rank for answer, rank in zip(ranking.answers, ranking.ranks, strict=True)}
    shown = ranking.meta.get("shown_order")
    if isinstance(shown, list) and {str(i) for i in shown} == set(by_id):
        return [by_id[str(i)] for i in shown]
    return list(ranking.ranks)


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` (Wilson 1927)."""
    z = 1.96
    middle = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - reach) / (1 + z * z / count), (middle + reach) / (1 + z * z / count)
