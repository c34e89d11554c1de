"""Annotators played by a script: they lease, rank and submit as the ranking page does, by a score with noise."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence

from labeling_app.labels import submit
from labeling_app.people import Person, create_person, people
from labeling_app.projects import get_project
from labeling_app.queue import next_item
from labeling_app.store.database import Store
from labeling_app.submission import Submission
from labeling_app.views import ItemView

Score = Callable[[ItemView, str], float]
"""What an annotator thinks of an answer to the item they see."""


def account(store: Store, name: str) -> Person:
    """The account of this name, made if it is new; nobody logs in to it."""
    found = [person for person in people(store) if person.name == name]
    return found[0] if found else create_person(store, name, None)


def in_order(view: ItemView, text: str) -> float:
    """The tests' answers are numbered `answer K to N`: the lower the number, the better."""
    return -float(text.split()[1])


def backwards(view: ItemView, text: str) -> float:
    """The opposite opinion."""
    return -in_order(view, text)


def rank(
    store: Store, slug: str, person: Person, score: Score = in_order, most: int | None = None, noise: float = 0.0
) -> int:
    """Rank what the queue gives this person, at most so many items; how many there were.

    noise: standard deviation of a Gaussian added to each score. Equal scores tie.
    """
    project, rng = get_project(store, slug), random.Random(person.name)
    done = 0
    while most is None or done < most:
        view = next_item(store, person, project.id)
        if not isinstance(view, ItemView):
            break
        scores = {answer.key: score(view, answer.text) + rng.gauss(0, noise) for answer in view.answers}
        submit(store, person, Submission(lease=view.lease, token=secrets.token_hex(8), ranks=dense(scores), moves=1,
                                         seconds=20.0))  # fmt: skip
        done += 1
    return done


def dense(scores: dict[str, float]) -> dict[str, int | None]:
    """Ranks without gaps, 1 for the highest score."""
    places: Sequence[float] = sorted(set(scores.values()), reverse=True)
    return {key: places.index(value) + 1 for key, value in scores.items()}
