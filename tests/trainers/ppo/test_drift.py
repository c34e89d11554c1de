"""Signs of over-optimisation."""

from __future__ import annotations

import pytest

from align.trainers.ppo.drift import repetition, signals


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("one two three four", 0),
        ("a b c a b c", 0.25),
        ("no no no no no no", 0.75),
        ("short", 2 / 3 * 0),
        ("", 0),
        ("好的好的好的好的", 4 / 6),
    ],
)
def test_repetition(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I can't help with that.", True),
        ("I'm sorry, but no.", True),
        ("I will not do this.", True),
        ("抱歉，我不能帮你。", True),
        ("Of course. You can do it.", False),
        ("Bees cannot swim.", False),
    ],
)
def test_refusals(text: str, refuses: bool) -> None:
    assert signals([text], [3], [True])["refusals"] == refuses


def test_means_over_answers() -> None:
    found = signals(["a", "I cannot help."], [2, 6], [True, False])
    assert (found["length"], found["finished"], found["refusals"]) == (4, 0.5, 0.5)
