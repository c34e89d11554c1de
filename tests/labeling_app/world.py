"""A small project to label."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from labeling_app.incoming import import_labels
from labeling_app.labels import Receipt, submit
from labeling_app.people import Person, create_person
from labeling_app.projects import ProjectInfo, make_project
from labeling_app.queue import next_item
from labeling_app.store.database import Store
from labeling_app.submission import Submission
from labeling_app.views import ItemView

_numbers = itertools.count()


def answers_row(number: int, count: int = 4) -> dict[str, Any]:
    """A row of an answers file; its models have names that nobody must see."""
    answers = [{"id": f"{number}-{k}", "text": f"answer {k} to {number}", "model": f"secret-{k}"} for k in range(count)]
    return {"id": f"i{number}", "prompt": [{"role": "user", "content": f"question {number}"}], "answers": answers}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def made(store: Store, folder: Path, items: int = 3, **settings: Any) -> ProjectInfo:
    """A project of `items` items without gold questions, and with nothing for a reviewer to decide."""
    project = make_project(store, "p", **{"gold_share": 0.0, "adjudicate_below": None, **settings})
    import_labels(store, project, write(folder / "answers.jsonl", [answers_row(n) for n in range(items)]))
    return project


def person(store: Store, name: str, role: Any = "annotator") -> Person:
    """An account that nobody logs in to."""
    return create_person(store, name, None, role)


def asked(store: Store, who: Person, project: ProjectInfo, task: Any = "rank") -> ItemView:
    """The next item, which must be there."""
    view = next_item(store, who, project.id, task)
    assert isinstance(view, ItemView), view
    return view


def ranking(view: ItemView, ranks: list[int | None] | None = None, **more: Any) -> Submission:
    """A submission with ranks in the order shown; 1, 2, 3 ... if none are given."""
    given = ranks or list(range(1, len(view.answers) + 1))
    by_key = {answer.key: rank for answer, rank in zip(view.answers, given, strict=True)}
    values: dict[str, Any] = {"token": f"token-{next(_numbers):08}", "moves": 1, "seconds": 3.0, **more}
    return Submission(lease=view.lease, ranks=by_key, **values)


def by_text(view: ItemView, order: list[int]) -> list[int | None]:
    """Ranks in the order shown that put the item's own answers in `order`: order[k] is the rank of answer k."""
    return [order[int(answer.text.split()[1])] for answer in view.answers]


def ranked(store: Store, who: Person, project: ProjectInfo, order: list[int] | None = None, **more: Any) -> Receipt:
    """Rank the next item, by the item's own order of answers if one is given."""
    view = asked(store, who, project)
    return submit(store, who, ranking(view, by_text(view, order) if order else None, **more))
