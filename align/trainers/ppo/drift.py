"""Signs of over-optimisation in a policy's answers, cheap enough to log at every evaluation.

A policy that games its reward shows it before people do: answers grow, repeat themselves, or refuse everything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

REFUSAL = re.compile(
    r"\b(i (can(?:no|')t|can not|won't|will not|am (?:not able|unable)|must decline)|i'm (?:sorry|not able|unable)|"
    r"i (?:am )?sorry)\b|抱歉|我不能|我无法|不能帮",
    re.IGNORECASE,
)
"""How refusals begin, in English and Chinese; a sign to watch, not a measure (a judge measures)."""

START = 80
"""Characters of an answer in which a refusal shows."""


def signals(answers: Sequence[str], lengths: Sequence[int], finished: Sequence[bool]) -> dict[str, float]:
    """Mean length in tokens, share that closed by itself, share that refuses, and share of repeated three-word runs."""
    return {
        "length": fmean(lengths),
        "finished": fmean(finished),
        "refusals": fmean(bool(REFUSAL.search(a[:START])) for a in answers),
        "repetition": fmean(repetition(a) for a in answers),
    }


def repetition(text: str) -> float:
    """The share of a text's three-word runs that stood in it before: 0 for none, near 1 for a loop.

    Characters take the place of words where a text has no spaces, as Chinese has none.
    """
    words: Sequence[str] = text.split() if " " in text.strip() else text.strip()
    runs = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
