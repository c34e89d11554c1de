"""Whether people can rank what a recipe gives them, as far as it says before the label database is opened."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from align.recipe.document import Place, Problem
from align.recipe.load import Loaded
from align.recipe.schema import Sample, StageBase
from align.recipe.wiring import people_of

MOST_ANSWERS = 9
"""Answers that the ranking page can show; a test holds it against labeling_app."""
DATABASES = "a SQLite file, or postgresql://USER@HOST/DATABASE"


def people_problems(loaded: Loaded, stages: dict[str, StageBase], stage: StageBase, place: Place) -> Iterator[Problem]:
    """What is wrong with a stage that people rank in."""
    people = people_of(stage)
    if people is None:
        return
    inside: Place = (*place, "by", "people")
    if people.guidelines is not None:
        yield from _guidelines_problems(loaded, people.guidelines, (*inside, "guidelines"))
    if people.labels is not None:
        yield from _database_problems(people.labels, (*inside, "labels"))
    if people.project is not None and (people.project != people.project.strip() or not people.project.isprintable()):
        yield Problem((*inside, "project"), f"`{people.project}` is no name for a project", "printable characters")
    sample = stages.get(getattr(stage, "answers", ""))
    each = answers_each(sample) if isinstance(sample, Sample) else 0
    if each > MOST_ANSWERS:
        yield Problem(
            (*place, "answers"),
            f"`{getattr(stage, 'answers', '')}` samples {each} answers a prompt, more than people can rank at once",
            f"2 to {MOST_ANSWERS} answers",
            f"write `per_prompt: {max(2, MOST_ANSWERS * getattr(sample, 'per_prompt', 1) // each)}` in that stage",
        )


def answers_each(stage: Sample) -> int:
    """Answers that a prompt gets from all policies together."""
    return stage.per_prompt * (1 if isinstance(stage.model, str) else len(stage.model))


def _guidelines_problems(loaded: Loaded, written: str, place: Place) -> Iterator[Problem]:
    path = loaded.resolve(written)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        yield Problem(place, f"`{written}` cannot be read ({error})", "a Markdown file in UTF-8", "name another file")
        return
    if not text.strip() or "\x00" in text:
        found = "is empty" if not text.strip() else "holds NUL characters"
        yield Problem(place, f"`{written}` {found}", "a Markdown file in UTF-8", "write what annotators should do")


def _database_problems(written: str, place: Place) -> Iterator[Problem]:
    if "://" not in written:
        return
    try:
        url = urlsplit(written)
        scheme, password = url.scheme.split("+")[0], url.password
    except ValueError:
        scheme, password = "", None
    if scheme not in ("postgresql", "sqlite"):
        yield Problem(place, f"`labels` is {written.split('@')[-1]}", DATABASES, "name one of these")
    elif password is not None:
        yield Problem(
            place,
            "the URL holds a password, which would stand in the run folder and in every report",
            DATABASES,
            "leave out `labels` and set ALIGN_LABELS, or keep the password in ~/.pgpass",
        )
