"""The label database with 1,000,000 answers: next item, submission, export, figures.

    python -m tests.benchmarks.labeling_store [--items 250000] [--db URL]

Items of 4 answers; 20 annotators, who have ranked as many items once as there are, in part the same ones. Then every
annotator in turn asks for an item and submits it; last, all rankings are exported by a process of its own, whose
memory is read at the first tenth and at the end, and which then computes what the quality page shows.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labeling_app.incoming import import_labels
from labeling_app.labels import submit
from labeling_app.outgoing import Filter, export, newest_version, ranking_lines
from labeling_app.people import Person, create_person
from labeling_app.projects import get_project, make_project
from labeling_app.quality import quality_of
from labeling_app.queue import next_item
from labeling_app.store.database import open_store
from labeling_app.submission import Submission
from labeling_app.views import ItemView

ROOT = Path(__file__).resolve().parents[2]
ANSWERS, PEOPLE, TURNS, CHARACTERS = 4, 20, 600, 200


def main() -> None:
    """Build the database, and print each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=250_000)
    parser.add_argument("--db", default="")
    parser.add_argument("--export", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.export:
        print(json.dumps(measure_export(chosen.db)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = chosen.db or str(folder / "labels.db")
        build(where, folder, chosen.items)
        turns(where)
        command = [sys.executable, "-m", "tests.benchmarks.labeling_store", "--export", "--db", where]
        print(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip())


def build(where: str, folder: Path, items: int) -> None:
    """Import items and rankings, through the importer that everybody uses."""
    rng = random.Random(0)
    words = ["word" + str(n) for n in range(1000)]
    with (folder / "answers.jsonl").open("w") as answers, (folder / "rankings.jsonl").open("w") as rankings:
        for number in range(items):
            row = item(rng, words, number)
            answers.write(json.dumps(row) + "\n")
            for annotator in ranked_by(number):
                ranks = rng.sample(range(1, ANSWERS + 1), ANSWERS)
                told = {"id": f"r{number}-{annotator}", "annotator": f"p{annotator}", "seconds": 20.0, "ranks": ranks}
                rankings.write(json.dumps({"prompt": row["prompt"], "answers": row["answers"]} | told) + "\n")
    store = open_store(where)
    project = make_project(store, "load", overlap=3)
    for file in ("answers.jsonl", "rankings.jsonl"):
        start = time.perf_counter()
        done = import_labels(store, project, folder / file)
        rows = done.items + done.rankings
        print(f"import {file}: {rows} rows, {rows / (time.perf_counter() - start):.0f} a second", flush=True)
    store.close()


def item(rng: random.Random, words: list[str], number: int) -> dict[str, Any]:
    """One row of an answers file."""
    texts = [" ".join(rng.choices(words, k=CHARACTERS // 8)) for _ in range(ANSWERS)]
    answers = [{"id": str(at), "text": text, "model": "m"} for at, text in enumerate(texts)]
    return {"id": f"i{number}", "prompt": [{"role": "user", "content": f"question {number}"}], "answers": answers}


def ranked_by(number: int) -> list[int]:
    """Annotators who ranked an item before: the first one far ahead of all others, half of the items untouched."""
    if number % 2:
        return []
    return [0] if number % 4 else [0, 1 + number % (PEOPLE - 1), 1 + (number + 1) % (PEOPLE - 1)]


def turns(where: str) -> None:
    """Next item and submission, one after the other, annotator by annotator."""
    store = open_store(where)
    project = get_project(store, "load")
    people = [Person(n, f"p{n}", p, "annotator") for n, p in ids_of(where)]
    people.append(create_person(store, f"new-{random.random()}"[:20], None))
    asked, submitted = [], []
    for turn in range(TURNS):
        person = people[turn % len(people)]
        view, seconds = timed(lambda person=person: next_item(store, person, project.id))
        asked.append(seconds)
        assert isinstance(view, ItemView)
        ranks = {answer.key: place for place, answer in enumerate(view.answers, start=1)}
        sent = Submission(lease=view.lease, token=f"bench-{random.getrandbits(60):x}-{turn}", ranks=ranks, moves=1)
        _, seconds = timed(lambda person=person, sent=sent: submit(store, person, sent))
        submitted.append(seconds)
    print(f"next item: {spread(asked)}; submit: {spread(submitted)}", flush=True)
    store.close()


def ids_of(where: str) -> list[tuple[int, str]]:
    """Annotators of the imported file."""
    from sqlalchemy import select

    from labeling_app.store.models import PersonRow

    store = open_store(where)
    with store.read() as session:
        rows = session.execute(select(PersonRow.id, PersonRow.pseudonym).where(PersonRow.pseudonym.like("p%"))).all()
    store.close()
    return [(number, pseudonym) for number, pseudonym in rows]


def measure_export(where: str) -> dict[str, Any]:
    """Rankings a second into a file, and the memory at a tenth of the rankings and at the end."""
    store = open_store(where)
    project = get_project(store, "load")
    only = Filter(upto=newest_version(store, project.id))
    peaks = []
    for number, _ in enumerate(ranking_lines(store, project.id, only)):
        if number == 20_000:
            peaks.append(peak_mb())
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        done = export(store, project, Path(name) / "rankings.jsonl", "rankings", only)
        seconds = time.perf_counter() - start
    rate = round(done.rows / seconds)
    told = {"rankings": done.rows, "a second": rate, "MB at 20,000": peaks[0] if peaks else None, "MB": peak_mb()}
    start, cpu = time.perf_counter(), time.process_time()
    quality_of(store, Person(0, "reviewer", "reviewer", "reviewer"), project.id)
    spent = {"figures, s": time.perf_counter() - start, "of a core, s": time.process_time() - cpu}
    return told | {name: round(seconds, 1) for name, seconds in spent.items()} | {"figures, MB": peak_mb()}


def peak_mb() -> float:
    """Peak resident memory of this process."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its seconds."""
    start = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start


def spread(seconds: list[float]) -> str:
    """Median, 95th percentile and maximum in milliseconds."""
    ordered = sorted(1000 * s for s in seconds)
    at = [ordered[len(ordered) // 2], ordered[int(0.95 * len(ordered))], ordered[-1]]
    return "median {:.1f} ms, p95 {:.1f} ms, max {:.1f} ms".format(*at)


if __name__ == "__main__":
    main()
