"""Rankings and preferences seen as comparisons: one better and one worse continuation of the same prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from align.data.records import Answer, Demonstration, Message, Preference, Ranking, Record, pairs_of, prompt_key
from align.recipe.schema import Pairs


@dataclass(frozen=True)
class Comparison:
    """Two continuations of one prompt, the better one first. group: equal for all comparisons of one prompt."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    group: str
    margin: float | None = None
    tags: tuple[str, ...] = ()

    @property
    def chosen_text(self) -> str:
        return "\n".join(m.content for m in self.chosen)

    @property
    def rejected_text(self) -> str:
        return "\n".join(m.content for m in self.rejected)


def comparisons(records: Sequence[Record], pairs: Pairs = "all") -> list[Comparison]:
    """Strict comparisons in rankings (ties and unranked answers give none) or preferences."""
    found: list[Comparison] = []
    for record in records:
        if isinstance(record, Preference):
            group = prompt_key(record.prompt)
            found.append(
                Comparison(record.prompt, record.chosen, record.rejected, group, record.margin, tuple(record.tags))
            )
        elif isinstance(record, Ranking):
            group = prompt_key(record.prompt)
            for better, worse in chosen_pairs(record, pairs):
                chosen, rejected = _says(better.text), _says(worse.text)
                found.append(Comparison(record.prompt, chosen, rejected, group, record.margin, tuple(record.tags)))
    return found


def chosen_pairs(ranking: Ranking, pairs: Pairs) -> list[tuple[Answer, Answer]]:
    """(better, worse) answers of the comparisons that count. Of several equal best or worst, `best_vs_worst` takes
    the first best and the last worst as written."""
    if pairs == "all":
        return [(a, b) for a, b, _ in pairs_of(ranking)]
    placed = sorted((rank, i) for i, rank in enumerate(ranking.ranks) if rank is not None)
    levels = sorted({rank for rank, _ in placed})
    if len(levels) < 2:
        return []
    if pairs == "best_vs_worst":
        wanted = [(placed[0][1], placed[-1][1])]
    else:
        below = dict(zip(levels, levels[1:], strict=False))
        wanted = [
            (i, j)
            for rank, i in placed
            for other, j in placed
            if (other == below.get(rank) if pairs == "adjacent" else rank == levels[0] < other)
        ]
    chosen = [(ranking.answers[i], ranking.answers[j]) for i, j in wanted]
    return [(better, worse) for better, worse in chosen if better.text != worse.text]


def best_as_demonstration(record: Record) -> Demonstration | None:
    """The example a record holds: a demonstration itself, a preference's chosen side, a ranking's best answer.

    None for a ranking in which nothing was ranked. Several best answers: the first as written.
    """
    if isinstance(record, Demonstration):
        return record
    if isinstance(record, Preference):
        return Demonstration(id=record.id, messages=[*record.prompt, *record.chosen], tags=record.tags)
    if isinstance(record, Ranking):
        placed = [(rank, i) for i, rank in enumerate(record.ranks) if rank is not None]
        if not placed:
            return None
        best = record.answers[min(placed)[1]]
        return Demonstration(id=record.id, messages=[*record.prompt, *_says(best.text)], tags=record.tags)
    return None


def _says(text: str) -> list[Message]:
    return [Message(role="assistant", content=text)]
