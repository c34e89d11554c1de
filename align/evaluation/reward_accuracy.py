"""How often a reward model prefers what people preferred, beside what needs no model: length, and TF-IDF."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from align.data.comparisons import Comparison
from align.evaluation.intervals import bootstrap_ratio


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
