"""Labels out: rankings, preferences and feedback in the shared formats, and what other tools read.

An export is a stream: memory does not grow with the number of labels. It is reproducible: the filter with the last
version it saw, the count and the SHA-256 of the bytes are recorded, and the same filter gives the same bytes for ever,
whatever is labelled, undone or decided later.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Executable, Text, func, select, type_coerce
from sqlalchemy.orm import aliased
from sqlalchemy.sql.elements import ColumnElement

from align.data.fields import near
from align.data.files import row_of
from align.data.records import Feedback, Message, Preference, Ranking, pairs_of
from align.errors import DataError, SystemLimit
from labeling_app import shapes
from labeling_app.projects import ProjectInfo
from labeling_app.retyped import typed
from labeling_app.store.database import Store
from labeling_app.store.events import record_event
from labeling_app.store.models import BECAME_TEST, ExportRow, Item, Lease, PersonRow, RankingRow, dumps

Shape = Literal["rankings", "preferences", "feedback", "argilla", "label-studio", "csv"]
SUFFIXES: dict[str, str] = {
    "rankings": ".jsonl", "preferences": ".jsonl", "feedback": ".jsonl", "argilla": ".json", "label-studio": ".json",
    "csv": ".csv",
}  # fmt: skip
BATCH = 2000
"""Rows fetched at a time."""


@dataclass(frozen=True)
class Filter:
    """Which labels. annotators: pseudonyms; all if there are none. split: of the answers artifact. gold: test questions
    too. decided: where a reviewer decided, their ranking in place of the annotators'. upto: the last version looked at,
    by number; 0 is the newest."""

    annotators: tuple[str, ...] = ()
    split: str = ""
    gold: bool = False
    decided: bool = False
    upto: int = 0


@dataclass(frozen=True)
class Exported:
    """What was written. rows: lines or records. filter: with `upto` filled in, to make the same export again."""

    path: Path
    shape: Shape
    rows: int
    sha256: str
    filter: Filter


def export(
    store: Store, project: ProjectInfo, path: Path, shape: Shape = "rankings", only: Filter | None = None
) -> Exported:
    """Write a project's labels to a file, complete or not at all.

    Raises DataError if the suffix is another, or nothing fits the filter; SystemLimit if it cannot be written.
    """
    if path.suffix != SUFFIXES[shape]:
        raise DataError(
            f"the shape {shape} is not written to {path.suffix or 'a file without a suffix'}",
            where=str(path),
            allowed=SUFFIXES[shape],
            remedy=f"write to {path.with_suffix(SUFFIXES[shape])}",
        )
    asked = only or Filter()
    newest = newest_version(store, project.id)
    # A version that is still to come would make this export another one tomorrow.
    only = replace(asked, upto=min(asked.upto or newest, newest))
    _check_filter(store, project.id, only)
    rows, sha256 = _write(path, _TEXTS[shape](store, project.id, only), asked)
    with store.write() as session:
        kept = asdict(only) | {"annotators": list(only.annotators)}
        session.add(
            ExportRow(project_id=project.id, shape=shape, filter=kept, rows=rows, sha256=sha256, at=store.now())
        )
        told = {"shape": shape, "filter": kept, "rows": rows, "sha256": sha256}
        record_event(session, store.now(), "command", "export", f"project:{project.id}", **told)
    return Exported(path, shape, rows, sha256, only)


def _check_filter(store: Store, project_id: int, only: Filter) -> None:
    """Raises DataError for a pseudonym that nobody has, or a split that no item is of: with what there is."""
    with store.read() as session:
        who = select(PersonRow.pseudonym).where(PersonRow.pseudonym.in_(only.annotators))
        unknown = sorted(set(only.annotators) - set(session.execute(who).scalars()))
        if unknown:
            ours = select(PersonRow.pseudonym).join(RankingRow, RankingRow.person_id == PersonRow.id).distinct()
            there = session.execute(ours.where(RankingRow.project_id == project_id)).scalars().all()
            account = select(PersonRow.pseudonym).where(PersonRow.name == unknown[0])
            pseudonym = session.execute(account).scalar()
            see = f"see: {typed('labels', 'users', 'list', db=store.option)}"
            raise DataError(
                f"no annotator has the pseudonym `{unknown[0]}`",
                where=f"--annotator {unknown[0]}",
                allowed=", ".join(sorted(there)) or "none yet",
                remedy=f"that is an account's name; its pseudonym: --annotator {pseudonym}" if pseudonym else see,
            )
        splits = select(Item.split).where(Item.project_id == project_id).distinct()
        named = sorted(filter(None, session.execute(splits).scalars())) if only.split else []
    if only.split and only.split not in named:
        raise DataError(
            f"no item is of the split `{only.split}`{near(only.split, named)}",
            where=f"--split {only.split}",
            allowed=", ".join(named) or "none: the items are from files, not from an artifact",
            remedy=f"name one of these: --split {named[0]}" if named else "leave out --split",
        )


def newest_version(store: Store, project_id: int) -> int:
    """The number of the last version anyone saved in a project; 0 if there is none."""
    with store.read() as session:
        newest = select(func.max(RankingRow.id)).where(RankingRow.project_id == project_id)
        return session.execute(newest).scalar() or 0


def ranking_lines(store: Store, project_id: int, only: Filter) -> Iterator[tuple[int, str]]:
    """(item, line) of every ranking that stands: what `align.data.files.write_records` would write of the record.

    The parts are JSON in the database already, and are put together as they are. In the order of items and versions.
    """
    with store.read() as session:
        for row in session.execute(_wanted(project_id, only).execution_options(yield_per=BATCH)):
            item, uid, annotator, prompt, answers, ranks, tags, *rest = row
            line = f'{{"id": {dumps(uid)}, "prompt": {prompt}, "answers": {answers}, "ranks": {ranks}'
            line += f', "annotator": {dumps(annotator)}' + (f', "tags": {tags}' if tags != "[]" else "")
            for name, value in zip(_OPTIONAL, rest, strict=True):
                if value is not None:
                    line += f', "{name}": {dumps(value) if isinstance(value, float) else value}'
            yield item, line + "}\n"


_OPTIONAL = ("reference", "margin", "ratings", "comment", "edit", "seconds", "time", "meta")


def rankings(store: Store, project_id: int, only: Filter) -> Iterator[tuple[int, Ranking]]:
    """(item, record) of every ranking that stands."""
    for item, line in ranking_lines(store, project_id, only):
        yield item, Ranking.model_validate(json.loads(line))


def _wanted(project_id: int, only: Filter) -> Executable:
    raw = [type_coerce(column, Text) for column in (Item.prompt, Item.answers, RankingRow.ranks, Item.tags)]
    optional: list[ColumnElement[Any]] = [type_coerce(Item.reference, Text)]
    for name in _OPTIONAL[1:]:
        column = getattr(RankingRow, name)
        optional.append(column if name in ("margin", "seconds") else type_coerce(column, Text))
    wanted = (
        select(Item.id, RankingRow.uid, PersonRow.pseudonym, *raw, *optional)
        .join_from(RankingRow, Item, Item.id == RankingRow.item_id)
        .join(PersonRow, PersonRow.id == RankingRow.person_id)
        .where(RankingRow.project_id == project_id, stands(RankingRow, only.upto))
        .order_by(RankingRow.item_id, RankingRow.id)
    )
    if only.annotators:
        wanted = wanted.where(PersonRow.pseudonym.in_(only.annotators))
    if only.split:
        wanted = wanted.where(Item.split == only.split)
    if not only.gold:
        wanted = wanted.where(no_test(only.upto))
    if only.decided:
        # A reviewer's ranking of an item, as it stood at `upto`, takes the place of all others.
        decision, turn = aliased(RankingRow), aliased(Lease)
        decided = (
            select(decision.id)
            .join(turn, turn.id == decision.lease_id)
            .where(decision.item_id == RankingRow.item_id, turn.task == "adjudicate", stands(decision, only.upto))
        )
        wanted = wanted.join(Lease, Lease.id == RankingRow.lease_id)
        wanted = wanted.where((Lease.task == "adjudicate") | ~decided.exists())
    return wanted


def stands(row: Any, upto: int) -> ColumnElement[bool]:
    """Submitted, and at `upto` neither undone nor superseded."""
    newer = aliased(RankingRow)
    later = select(newer.id).where(newer.lease_id == row.lease_id, newer.version > row.version, newer.id <= upto)
    standing: ColumnElement[bool] = (row.action == "submit") & (row.id <= upto) & ~later.exists()
    return standing


def no_test(upto: int) -> ColumnElement[bool]:
    """Items that were no test questions at version `upto`."""
    mark = aliased(RankingRow)
    since = select(mark.id).where(mark.item_id == Item.id, mark.version == BECAME_TEST, mark.id > upto)
    return Item.gold.is_(None) | since.exists()


def preferences_of(ranking: Ranking) -> Iterator[Preference]:
    """Every strict comparison of a ranking, and the edited answer before the one it mends."""
    said = {answer.id: answer.text for answer in ranking.answers}
    pairs = [(better.text, worse.text, ranking.margin) for better, worse, _ in pairs_of(ranking)]
    if ranking.edit and ranking.edit["text"] != said[ranking.edit["answer"]]:
        pairs.append((ranking.edit["text"], said[ranking.edit["answer"]], None))
    for chosen, rejected, margin in pairs:
        yield Preference(
            prompt=ranking.prompt,
            chosen=[Message(role="assistant", content=chosen)],
            rejected=[Message(role="assistant", content=rejected)],
            margin=margin,
            source=ranking.annotator,
            tags=ranking.tags,
        )


def feedback_of(ranking: Ranking) -> Iterator[Feedback]:
    """A thumb up for the best answers of a ranking and down for the worst; nothing where all tie."""
    placed = [rank for rank in ranking.ranks if rank is not None]
    if len(set(placed)) < 2:
        return
    for answer, rank in zip(ranking.answers, ranking.ranks, strict=True):
        if rank in (min(placed), max(placed)):
            edited = ranking.edit if ranking.edit and ranking.edit["answer"] == answer.id else None
            yield Feedback(
                prompt=ranking.prompt,
                completion=[Message(role="assistant", content=answer.text)],
                label=rank == min(placed),
                edit=edited["text"] if edited else None,
                comment=ranking.comment,
                annotator=ranking.annotator,
                time=ranking.time,
                tags=ranking.tags,
            )


Texts = Iterator[tuple[int, str]]
"""(records in it, text) of the pieces of a file."""


def _ranking_texts(store: Store, project_id: int, only: Filter) -> Texts:
    return ((1, line) for _, line in ranking_lines(store, project_id, only))


def _derived(store: Store, project_id: int, only: Filter, of: Callable[[Ranking], Iterable[Any]]) -> Texts:
    for _, ranking in rankings(store, project_id, only):
        for record in of(ranking):
            yield 1, dumps(row_of(record)) + "\n"


def _preference_texts(store: Store, project_id: int, only: Filter) -> Texts:
    return _derived(store, project_id, only, preferences_of)


def _feedback_texts(store: Store, project_id: int, only: Filter) -> Texts:
    return _derived(store, project_id, only, feedback_of)


def _array(rows: Iterator[dict[str, Any]]) -> Texts:
    yield 0, "["
    for number, row in enumerate(rows):
        yield 1, (",\n" if number else "\n") + dumps(row)
    yield 0, "\n]\n"


def _by_item(store: Store, project_id: int, only: Filter) -> Iterator[list[Ranking]]:
    for _, group in itertools.groupby(rankings(store, project_id, only), key=lambda pair: pair[0]):
        yield [ranking for _, ranking in group]


def _argilla_texts(store: Store, project_id: int, only: Filter) -> Texts:
    return _array(shapes.to_argilla(group) for group in _by_item(store, project_id, only))


def _label_studio_texts(store: Store, project_id: int, only: Filter) -> Texts:
    return _array(shapes.to_label_studio(group) for group in _by_item(store, project_id, only))


def _csv_texts(store: Store, project_id: int, only: Filter) -> Texts:
    yield 0, shapes.csv_line(shapes.CSV_COLUMNS)
    for _, ranking in rankings(store, project_id, only):
        yield 1, "".join(shapes.csv_line(cells) for cells in shapes.to_csv(ranking))


_TEXTS: dict[Shape, Callable[[Store, int, Filter], Texts]] = {
    "rankings": _ranking_texts,
    "preferences": _preference_texts,
    "feedback": _feedback_texts,
    "argilla": _argilla_texts,
    "label-studio": _label_studio_texts,
    "csv": _csv_texts,
}


def _nothing(path: Path, asked: Filter) -> DataError:
    """Nobody ranked anything yet; or what is asked for leaves out all they did."""
    if asked != Filter():
        return DataError("no label fits what is asked for", where=str(path), remedy="ask for less, or label first")
    remedy = "rank answers first: align label; if all were test questions: --gold; if all were ties: --shape rankings"
    return DataError("there is no label to export", where=str(path), remedy=remedy)


def _write(path: Path, texts: Texts, asked: Filter) -> tuple[int, str]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    rows, digest = 0, hashlib.sha256()
    try:
        with temporary.open("wb") as out:
            for count, text in texts:
                data = text.encode()
                rows += count
                digest.update(data)
                out.write(data)
            if not rows:
                raise _nothing(path, asked)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise SystemLimit(
            f"the file cannot be written: {error.strerror or error}", where=str(path), remedy="write somewhere else"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return rows, digest.hexdigest()
