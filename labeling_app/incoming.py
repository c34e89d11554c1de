"""Prompts, answers and rankings into a project: from a file, or from a sealed artifact with its splits.

The file is read twice: first every row is checked, so that a broken line stops the import before anything is written,
the project included; then rows are saved in short transactions, so that people who rank meanwhile hardly wait. Whatever
is there already is left as it is: an import that was killed is finished by the same command.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align.artifacts import MANIFEST, hash_file, read_artifact
from align.data.fields import SHOWS_ALL, Place, fault
from align.data.files import read_rows, scan_rows
from align.data.importers import detect_format, detect_kind, record_from
from align.data.records import Answers, Prompt, Ranking
from align.errors import DataError
from labeling_app.gold import Truths, check_agrees, check_asks
from labeling_app.projects import MOST_ANSWERS, ProjectInfo
from labeling_app.saving import Batch, Imported, Labelable, Options, Rows, Source, save
from labeling_app.shapes import NAMES, read_shape, shape_of
from labeling_app.store.database import Store
from labeling_app.store.events import record_event

ANSWERS_NAMES = ("candidates", "choices", "completions", "generations", "outputs", "replies", "responses")
"""Names that others give to a list of answers."""
BATCH = 500
"""Records saved in one transaction."""
KINDS = ("prompts", "answers", "rankings")
NO_ANNOTATOR = "the field `annotator` is missing"
ANSWERS_ROW = '"answers": [{"id": "a", "text": "..."}, {"id": "b", "text": "..."}]'
"""What people can rank, as a row has it."""


@dataclass(frozen=True)
class Checked:
    """Files that can be imported. counts: rows of each source. equal: rows of which two answers have the same text.
    left_out: rows that are not imported, by path and number, and why: a line can hold many."""

    sources: list[Source]
    counts: list[int]
    options: Options
    equal: int
    left_out: dict[tuple[str, int], DataError]


def import_labels(store: Store, project: ProjectInfo, path: Path, options: Options | None = None) -> Imported:
    """Everything in a file or artifact into a project. Raises DataError for the first row that cannot be used."""
    return import_checked(store, project, check_import(path, options))


def check_import(path: Path, options: Options | None = None) -> Checked:
    """Read what is to be imported, before anything is written. Raises DataError for the first row that cannot be used,
    or leaves such rows out, if that is wished."""
    options = options or Options()
    sources = list(_sources(path, options))
    kind = sources[0].kind
    if options.gold and kind != "rankings":
        raise DataError(
            f"gold questions are made from rankings, and these are {kind}",
            where=str(path),
            remedy="rank them first, or leave out --gold",
        )
    truths: Truths = {}
    checks = [_check(source, options, truths) for source in sources]
    left_out = {key: error for check in checks for key, error in check.left_out.items()}
    counts = [check.count for check in checks]
    if left_out and not any(counts):
        raise _as_asked(next(iter(left_out.values())), options)
    return Checked(sources, counts, options, sum(check.equal for check in checks), left_out)


def import_checked(store: Store, project: ProjectInfo, checked: Checked) -> Imported:
    """What `check_import` has read into a project."""
    done = Imported(checked.sources[0].kind)
    done.equal = checked.equal
    done.left_out = [f"{error.where}: {error.found}" for error in checked.left_out.values()]
    groups: Iterable[list[Batch]] = _transactions(checked)
    if checked.options.gold:  # few, and one that contradicts a test in the database is to leave nothing behind
        groups = [list(itertools.chain.from_iterable(groups))]
    for batches in groups:
        with store.write() as session:
            for batch in batches:
                save(session, store, project, batch, done)
    for source in checked.sources:
        done.files.append(str(source.path))
        told = {"kind": done.kind, "items": done.items, "rankings": done.rankings, "sha256": hash_file(source.path)}
        with store.write() as session:
            record_event(session, store.now(), "command", "import", f"project:{project.id}", **told)
    return done


def _transactions(checked: Checked) -> Iterator[list[Batch]]:
    """All rows in about BATCH at a time; those of several files in turn and in proportion.

    Items are ranked in the order of import: where people rank only a part, it has held-out rows as well.
    """
    sources, counts = checked.sources, checked.counts
    rows = [_usable(source, checked) for source in sources]
    taken = [0] * len(sources)
    waiting: list[Batch] = []
    for share in _shares(max(1, min(counts)) if len(counts) > 1 else 1):
        for number, (source, count) in enumerate(zip(sources, counts, strict=True)):
            wanted = int(count * share)
            while taken[number] < wanted:
                some = list(itertools.islice(rows[number], min(BATCH, wanted - taken[number])))
                taken[number] += len(some)
                waiting.append(Batch(source, some, checked.options))
                if sum(len(batch.rows) for batch in waiting) >= BATCH:
                    yield waiting
                    waiting = []
    if waiting:
        yield waiting


def _usable(source: Source, checked: Checked) -> Iterator[tuple[Place, Labelable]]:
    for number, (place, record) in enumerate(source.read()):
        if not isinstance(record, DataError) and (place.path, number) not in checked.left_out:
            yield place, record


def _shares(least: int) -> Iterator[float]:
    """Growing shares of files of which the smallest has `least` rows, up to 1: a row at first, then a twentieth more
    than before, so that a large import has few parts."""
    share = 0.0
    while share < 1:
        share = min(1.0, max(share + 1 / least, share * 1.05))
        yield share


def answers_in(run: Path) -> list[Path]:
    """The sealed artifacts with answers in a run's folder."""
    sealed = sorted(path.parent for path in run.glob(f"*/{MANIFEST}"))
    return [path for path in sealed if read_artifact(path).kind == "answers"]


def _sources(path: Path, options: Options) -> Iterator[Source]:
    if path.is_dir() and ((path / MANIFEST).exists() or not any(path.glob("*.jsonl"))):
        yield from _splits(path, options)
        return
    if options.shape == "align":
        _check_shape(path, options.again)
    kind = "rankings" if options.shape != "align" else options.kind or _kind_of(path)
    _check_kind(kind, path)
    yield _source(path, kind, "", options)


def _splits(path: Path, options: Options) -> Iterator[Source]:
    answers = [] if (path / MANIFEST).exists() else answers_in(path)
    if answers:
        names = ", ".join(folder.name for folder in answers)
        remedy = f"name its answers: {answers[0]}"
        raise DataError("this is a run, not one of its stages", where=str(path), allowed=names, remedy=remedy)
    artifact = read_artifact(path)
    _check_kind(artifact.kind, path)
    files = sorted(path.glob("*.jsonl"), key=lambda p: (p.stem != "train", p.stem))
    if not files:
        remedy = "delete the folder and run its recipe again: align run RECIPE"
        raise DataError("this artifact has lost its files", where=str(path), allowed="*.jsonl", remedy=remedy)
    for file in files:
        yield _source(file, artifact.kind, file.stem, options)


def _check_kind(kind: str, path: Path) -> None:
    """Raises DataError for what nobody can rank."""
    if kind in KINDS:
        return
    remedy = "sample answers from the prompts first: kind: sample in a recipe"
    if kind == "preferences":
        remedy = f"for people to rank the two answers, write them as {ANSWERS_ROW}; or {remedy}"
    if path.is_dir() and (answers := answers_in(path.parent)):
        remedy = f"name the answers of this run: {answers[0]}"
    raise DataError(f"{kind} cannot be labelled", where=str(path), allowed=", ".join(KINDS), remedy=remedy)


def _source(path: Path, kind: str, split: str, options: Options) -> Source:
    def read() -> Rows:
        if options.shape != "align":
            yield from read_shape(path, options.shape)
            return
        format = ""
        for line, row in scan_rows(path, kind):
            place = Place(str(path), line, kind)
            if isinstance(row, DataError):
                yield place, row
                continue
            if options.gold and "ranks" in row:
                row = {"annotator": "gold", **row}  # who wrote a test is nobody's business
            try:
                format = format or detect_format(row, kind, place)
                record = record_from(row, kind, format, place)
            except DataError as error:
                yield place, error
                continue
            assert isinstance(record, Prompt | Answers | Ranking)
            yield place, record

    return Source(path, kind, split, read)


def _kind_of(path: Path) -> str:
    line, row = next(iter(read_rows(path)))
    place = Place(str(path), line)
    try:
        kind = detect_kind(row, place)
    except DataError as error:
        raise DataError(
            error.found, where=error.where, allowed=", ".join(KINDS), remedy="say it: --kind KIND"
        ) from None
    for name in row if kind == "prompts" else ():
        if name not in Prompt.model_fields and _looks_like_answers(name, row[name]):
            found = f"`{name}` is a list of {len(row[name])}, and answers stand in `answers`"
            remedy = "write it so; if these are prompts without answers: --kind prompts"
            raise fault(place, found, field=name, allowed=ANSWERS_ROW, remedy=remedy)
    return kind


def _looks_like_answers(name: str, value: Any) -> bool:
    """Whether a field that prompts do not have holds answers under another name; other lists, such as keywords, are
    nobody's business."""
    if not (name in ANSWERS_NAMES or name.startswith("answer")) or not isinstance(value, list) or len(value) < 2:
        return False
    texts = [one.get("text", one.get("content")) if isinstance(one, dict) else one for one in value]
    return all(isinstance(text, str) and text for text in texts)


def _check_shape(path: Path, again: str) -> None:
    """Raises DataError for a file that another tool wrote; whoever has one may not know that it has to be said."""
    if path.suffix.lower() == ".csv" and path.is_file():
        shape = "csv"
    else:
        _, row = next(scan_rows(path))
        if isinstance(row, DataError):
            return  # said with its line, where all are read
        shape = shape_of(row)
    if shape:
        raise DataError(
            f"this looks like {NAMES[shape]}",
            where=str(path),
            allowed="our own records, as long as no other shape is named",
            remedy=f"{again} --shape {shape}",
        )


@dataclass
class _Check:
    """What a look through a file found. count: rows to import. equal, left_out: as in `Checked`."""

    count: int = 0
    equal: int = 0
    left_out: dict[tuple[str, int], DataError] = field(default_factory=dict)


def _check(source: Source, options: Options, truths: Truths) -> _Check:
    """Read every row. Raises DataError for the first that could not be shown, or not be saved, unless it may be left
    out."""
    seen: dict[str, int] = {}
    found = _Check()
    for number, (place, record) in enumerate(source.read()):
        try:
            if isinstance(record, DataError):
                raise record
            if options.gold and isinstance(record, Ranking):
                check_asks(place, record)
            _check_row(place, record, seen)
        except DataError as error:
            if options.broken == "stop":
                raise _as_asked(error, options) from None
            found.left_out[place.path, number] = error
            continue
        if options.gold and isinstance(record, Ranking):
            check_agrees(place, record, truths)
        found.count += 1
        if not isinstance(record, Prompt):
            found.equal += len({answer.text for answer in record.answers}) < len(record.answers)
    return found


def _as_asked(error: DataError, options: Options) -> DataError:
    """The error of a row, with what helps in an import: `align data check` reads our own shapes only, and finds nothing
    wrong with some rows that nobody can rank."""
    if not error.remedy.endswith(SHOWS_ALL):
        return error
    remedy = "mend the rows; there is no other to import"
    if options.broken == "stop":
        remedy = f"mend such rows, or leave them out: {options.again} --broken drop"
        if error.found.startswith(NO_ANNOTATOR) and not options.gold:
            remedy = f"name who ranked; if these are test questions: {options.again} --gold; else {remedy}"
    return DataError(error.found, where=error.where, allowed=error.allowed, remedy=remedy)


def _check_row(place: Place, record: Labelable, seen: dict[str, int]) -> None:
    """Raises DataError for a row that could not be shown, or not be saved. seen: the line of each ranking's id."""
    for name in ("id", "annotator"):
        value = getattr(record, name, "-")
        if not 0 < len(value) <= 200 or "\x00" in value:
            raise fault(place, f"`{name}` has {len(value)} characters", field=name, allowed="1 to 200, none of NUL")
    if isinstance(record, Prompt):
        return
    ids = Counter(answer.id for answer in record.answers)
    if ids.most_common(1)[0][1] > 1:
        raise fault(place, f"two answers have the id {ids.most_common(1)[0][0]}", field="answers")
    if isinstance(record, Answers) and not 2 <= len(ids) <= MOST_ANSWERS:
        few = "there is 1 answer" if len(ids) == 1 else f"there are {len(ids)} answers"
        found = f"{few}, and people can rank 2 to {MOST_ANSWERS}"
        raise fault(place, found, field="answers", allowed=f"2 to {MOST_ANSWERS} answers")
    if isinstance(record, Ranking):
        _check_ranking(place, record)
        if seen.setdefault(record.id, place.line) != place.line:
            raise fault(place, f"the id {record.id} stands on line {seen[record.id]} already", field="id")


def _check_ranking(place: Place, record: Ranking) -> None:
    """Raises DataError for what compares nothing, or an export or a page of figures would stumble over."""
    ranked = sum(rank is not None for rank in record.ranks)
    if ranked < 2:
        found = f"{ranked or 'none'} of {len(record.ranks)} answers has a rank, and a ranking compares two or more"
        raise fault(place, found, field="ranks", allowed=f"ranks of two or more; for people to rank: {ANSWERS_ROW}")
    for name in ("seconds", "margin"):
        value = getattr(record, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise fault(place, f"`{name}` is {value}", field=name, allowed="a number from 0")
    ids = [answer.id for answer in record.answers]
    if record.edit is not None and (set(record.edit) != {"answer", "text"} or record.edit["answer"] not in ids):
        allowed = '{"answer": the id of one of the answers, "text": ...}'
        raise fault(place, "`edit` is not of one of the answers", field="edit", allowed=allowed)
