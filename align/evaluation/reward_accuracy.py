"""How often a reward model prefers what people preferred, beside what needs no model: length, and TF-IDF."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from align.data.annotators import agreement, judgements
from align.data.comparisons import Comparison
from align.data.records import Ranking, Record
from align.evaluation.intervals import bootstrap_ratio

FEWEST_PAIRS = 20
"""Tags with fewer comparisons are put together."""
OTHER_TAGS = "(tags with few pairs)"
EQUAL_LENGTH = 0.1
"""Lengths (characters) that differ by at most this share of the longer one are about equal."""


def accuracy(pairs: Sequence[Comparison], margins: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Share of comparisons whose margin (score of chosen less score of rejected) is above 0; 0 counts as half.

    Returns rate, low, high (95 %, resampling prompts) and the number of pairs.
    """
    right: dict[str, float] = defaultdict(float)
    count: dict[str, float] = defaultdict(float)
    for pair, margin in zip(pairs, margins, strict=True):
        right[pair.group] += 0.5 if margin == 0 else float(margin > 0)
        count[pair.group] += 1
    rate, low, high = bootstrap_ratio(list(right.values()), list(count.values()), seed)
    return {"rate": rate, "low": low, "high": high, "pairs": len(pairs)}


def longer_wins(pairs: Sequence[Comparison]) -> float:
    """Accuracy of preferring the longer answer (characters); equal lengths count as half."""
    margins = [len(p.chosen_text) - len(p.rejected_text) for p in pairs]
    return accuracy(pairs, margins)["rate"]  # type: ignore[no-any-return]


def tfidf_baseline(train: Sequence[Comparison], heldout: Sequence[Comparison]) -> float | None:
    """Held-out accuracy of a logistic regression on the difference of TF-IDF vectors (1-2 grams, min_df 2).

    None where the training texts leave no vocabulary.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2)
    texts = [t for p in train for t in (p.chosen_text, p.rejected_text)]
    if not train or not heldout:
        return None
    try:
        vectors.fit(texts)
    except ValueError:
        return None

    def difference(pairs: Sequence[Comparison]) -> Any:
        return vectors.transform([p.chosen_text for p in pairs]) - vectors.transform([p.rejected_text for p in pairs])

    x = difference(train)
    model = LogisticRegression(max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(vstack([x, -x]), [1] * len(train) + [0] * len(train))
    return accuracy(heldout, list(model.decision_function(difference(heldout)) - model.intercept_[0]))["rate"]  # type: ignore[no-any-return]


def by_tag(pairs: Sequence[Comparison], margins: Sequence[float], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Accuracy for each tag, the most frequent first. A comparison with several tags counts for each, one without for
    none. Tags with fewer than FEWEST_PAIRS comparisons stand together, last, under OTHER_TAGS.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for i, pair in enumerate(pairs):
        for tag in dict.fromkeys(pair.tags):
            rows[tag].append(i)
    many = sorted((t for t in rows if len(rows[t]) >= FEWEST_PAIRS), key=lambda t: (-len(rows[t]), t))
    few = sorted({i for tag in rows if tag not in many for i in rows[tag]})
    parts = {tag: rows[tag] for tag in many} | ({OTHER_TAGS: few} if few else {})
    return {tag: _part(pairs, margins, part, seed) for tag, part in parts.items()}


def by_length(pairs: Sequence[Comparison], margins: Sequence[float], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Accuracy where the chosen answer is shorter, about as long, and longer than the rejected one (characters)."""
    rows: dict[str, list[int]] = {"chosen is shorter": [], "about equal": [], "chosen is longer": []}
    for i, pair in enumerate(pairs):
        chosen, rejected = len(pair.chosen_text), len(pair.rejected_text)
        equal = abs(chosen - rejected) <= EQUAL_LENGTH * max(chosen, rejected)
        rows["about equal" if equal else "chosen is longer" if chosen > rejected else "chosen is shorter"].append(i)
    return {name: _part(pairs, margins, part, seed) for name, part in rows.items() if part}


def _part(pairs: Sequence[Comparison], margins: Sequence[float], rows: list[int], seed: int) -> dict[str, Any]:
    return accuracy([pairs[i] for i in rows], [margins[i] for i in rows], seed)


def annotator_agreement(records: Sequence[Record], seed: int = 0) -> dict[str, Any]:
    """How well annotators foretell each other, to read a reward model's accuracy against (`align.data.annotators`).

    rate (with low and high, 95 %, resampling prompts) and ceiling are None where no two judged the same answers;
    `reason` says so.
    """
    rankings = [record for record in records if isinstance(record, Ranking)]
    found = agreement(rankings)
    low = high = None
    if found.rate is not None:
        _, low, high = bootstrap_ratio(found.agreed, found.judged, seed)
    return {
        "rate": found.rate,
        "low": low,
        "high": high,
        "ceiling": found.ceiling,
        "comparisons": found.comparisons,
        "annotators": found.annotators,
        "reason": found.reason if rankings else "preferences do not say who judged",
    }


def ties(records: Sequence[Record]) -> int:
    """Pairs of answers that an annotator ranked equal, which no accuracy counts."""
    judged = judgements([record for record in records if isinstance(record, Ranking)])
    return sum(said == 0.5 for by in judged.values() for values in by.values() for said in values)
