"""What each comparison counts in training: rankings weighed alike, and one voice where annotators disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from align.data.annotators import judgements, preferred_share
from align.data.comparisons import Comparison, comparisons
from align.data.records import Ranking, Record, prompt_key
from align.recipe.schema import Pairs

Said = tuple[str, str, str]
"""A prompt's key, and two answers."""


@dataclass(frozen=True)
class Weighed:
    """A comparison and what its loss is multiplied by; over all rows of a training set the mean is 1."""

    comparison: Comparison
    weight: float


def weighed(records: Sequence[Record], pairs: Pairs, weigh: Literal["rankings", "pairs"]) -> list[Weighed]:
    """Every comparison that counts, with its weight.

    weigh: `pairs` gives each the same; `rankings` gives each 1 / (pairs of its ranking), so that a ranking counts once
    however many answers it orders (Ouyang et al. 2022, section 3.5: the K(K-1)/2 comparisons of a prompt are one
    element of a batch). A preference is a ranking of two.

    Two answers that several annotators compared become one voice: p is the share of them who prefer A to B
    (`preferred_share`: ties count half), and of the weight that the two answers have together, A over B gets p and
    B over A gets 1 - p. The expected loss is then p·L(A, B) + (1 - p)·L(B, A), which is label smoothing by 1 - p
    (conservative DPO; Mitchell 2023, section 2), here for every loss and row by row.
    """
    found = []
    for record in records:
        rows = comparisons([record], pairs)
        found += [Weighed(row, 1 / len(rows) if weigh == "rankings" else 1.0) for row in rows]
    found = _one_voice(found, [record for record in records if isinstance(record, Ranking)])
    mean = sum(row.weight for row in found) / max(1, len(found))
    return [replace(row, weight=row.weight / mean) for row in found]


def _one_voice(found: list[Weighed], rankings: list[Ranking]) -> list[Weighed]:
    """Answers that several annotators compared, as at most two rows; all else as it is."""
    if len({ranking.annotator for ranking in rankings}) < 2:
        return found
    contested = {two for two, by in judgements(rankings).items() if len(by) > 1}
    shares = preferred_share(rankings)
    rows: dict[Said | int, Weighed] = {}
    for number, row in enumerate(found):
        said = _said(row.comparison)
        key: Said | int = said if _sorted(said) in contested else number
        before = rows[key].weight if key in rows else 0.0
        rows[key] = Weighed(row.comparison, before + row.weight)
    together = {key: row.weight for key, row in rows.items()}
    for key, row in list(rows.items()):
        if isinstance(key, int):
            continue
        flipped = key[0], key[2], key[1]
        total = together[key] + together.get(flipped, 0.0)
        rows[key] = replace(row, weight=total * shares[key])
        if flipped not in rows:
            turned = replace(row.comparison, chosen=row.comparison.rejected, rejected=row.comparison.chosen)
            rows[flipped] = Weighed(turned, total * shares[flipped])
    return [row for row in rows.values() if row.weight > 0]


def _said(row: Comparison) -> Said:
    return prompt_key(row.prompt), row.chosen_text, row.rejected_text


def _sorted(said: Said) -> Said:
    key, a, b = said
    return (key, a, b) if a < b else (key, b, a)
