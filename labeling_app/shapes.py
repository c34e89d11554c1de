"""Rankings in the shapes of other tools: Argilla's and Label Studio's JSON, and CSV; and back.

    argilla       fields prompt (chat) and answer-1 ...; a ranking question; a response for each annotator
    label-studio  data.prompt and data.answers (List); a Ranker with a bucket for each rank, so that ties stay
    csv           a row for each answer of each ranking

What these cannot say (sampling, ratings, meta) is left out; `rankings` leaves out nothing. Written, read and written
again they give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from align.data.fields import Place, fault, need, validate
from align.data.files import read_rows
from align.data.records import Ranking, stable_id
from align.errors import DataError

Read = Iterator[tuple[Place, Ranking | DataError]]
"""Rankings; a row that holds none that can be read comes as the error that says so."""

NAMES = {"argilla": "a file of Argilla", "label-studio": "a file of Label Studio", "csv": "CSV"}
"""Shape -> what we call it."""

CSV_COLUMNS = (
    "ranking", "annotator", "rank", "answer", "text", "model", "prompt", "tags", "margin", "comment", "seconds", "time",
)  # fmt: skip
_UNSAFE = ("=", "+", "-", "@", "\t", "\r", "'")
"""A spreadsheet runs cells that begin so: they get a quote in front, which reading takes off again."""


def to_argilla(group: Sequence[Ranking]) -> dict[str, Any]:
    """One record for all rankings of an item."""
    first = group[0]
    names = {answer.id: f"answer-{number}" for number, answer in enumerate(first.answers, start=1)}
    responses = []
    for ranking in group:
        placed = [
            {"value": names[answer.id], "rank": rank}
            for answer, rank in zip(ranking.answers, ranking.ranks, strict=True)
            if rank is not None
        ]
        values: dict[str, Any] = {"ranking": {"value": placed}}
        if ranking.comment is not None:
            values["comment"] = {"value": ranking.comment}
        told = {"id": ranking.id, "user_id": ranking.annotator, "status": "submitted", "values": values}
        responses.append(told | _given(inserted_at=ranking.time, seconds=ranking.seconds))
    prompt = [turn.model_dump() for turn in first.prompt]
    metadata = {"ids": list(names), "models": [answer.model for answer in first.answers], "tags": first.tags}
    return {
        "id": stable_id([prompt, *((a.id, a.text) for a in first.answers)]),
        "fields": {"prompt": prompt} | {names[answer.id]: answer.text for answer in first.answers},
        "metadata": metadata,
        "responses": responses,
        "suggestions": [],
    }


def from_argilla(row: dict[str, Any], place: Place) -> list[Ranking]:
    """The submitted responses of a record. Raises DataError for a record without a prompt or with foreign values."""
    fields, metadata = need(row, "fields", "object", place), row.get("metadata") or {}
    options = [name for name in fields if name not in ("prompt", "instruction")]
    prompt = fields.get("prompt", fields.get("instruction"))
    ids, models = metadata.get("ids", options), metadata.get("models", [""] * len(options))
    if len(ids) != len(options) or len(models) != len(options):
        raise fault(place, "metadata names other answers than the fields do", field="metadata")
    answers = [
        {"id": id_, "text": fields[name]} | ({"model": model} if model else {})
        for name, id_, model in zip(options, ids, models, strict=True)
    ]
    found = []
    for response in _argilla_responses(row, place):
        if response.get("status", "submitted") != "submitted":
            continue
        values = need(response, "values", "object", place, "responses")
        rank_of = _argilla_ranks(values, place)
        if not set(rank_of) <= set(options):
            raise fault(place, "a response ranks what is no field", field="responses", allowed=", ".join(options))
        others = [name for name in options if name not in rank_of]
        if others and "ids" not in metadata:
            says = "prompt or instruction, and the answers; or the ids of the answers in metadata.ids"
            raise fault(place, f"`{others[0]}` is neither the prompt nor ranked", field="fields", allowed=says)
        comment = values.get("comment", {}).get("value")
        more = _given(
            id=response.get("id"), comment=comment, time=response.get("inserted_at"), seconds=response.get("seconds")
        )
        ranks = [rank_of.get(name) for name in options]
        who = _someone(response.get("user_id"), place, "responses.user_id")
        head = {"prompt": _turns(prompt), "answers": answers, "ranks": ranks, "annotator": who}
        found.append(_ranking(head | more | _given(tags=metadata.get("tags") or None), place))
    return found


def _argilla_responses(row: dict[str, Any], place: Place) -> list[dict[str, Any]]:
    """Responses by person, as the server gives them. Argilla's SDK writes them by question."""
    given = need(row, "responses", "list | object", place)
    if isinstance(given, list):
        return given
    by_person: dict[str, dict[str, Any]] = {}
    for question, said in given.items():
        for one in said:
            who = _someone(one.get("user_id"), place, f"responses.{question}.user_id")
            response = by_person.setdefault(who, {"user_id": who, "values": {}})
            response["values"][question] = {"value": one["value"]}
    return list(by_person.values())


def _argilla_ranks(values: dict[str, Any], place: Place) -> dict[Any, Any]:
    """Rank by option. Without ranks, as the SDK has it, the order of the values is meant."""
    given = need(need(values, "ranking", "object", place, "responses.values"), "value", "list", place, "ranking")
    entries = [entry if isinstance(entry, dict) else {"value": entry} for entry in given]
    if any(entry.get("rank") is not None for entry in entries):
        return {entry["value"]: entry.get("rank") for entry in entries}
    return {entry["value"]: rank for rank, entry in enumerate(entries, start=1)}


def to_label_studio(group: Sequence[Ranking]) -> dict[str, Any]:
    """One task for all rankings of an item."""
    first = group[0]
    annotations = []
    for ranking in group:
        buckets: dict[str, list[str]] = {}
        for rank, answer in sorted(
            ((r, a) for r, a in zip(ranking.ranks, ranking.answers, strict=True) if r is not None), key=lambda p: p[0]
        ):
            buckets.setdefault(str(rank), []).append(answer.id)
        results: list[dict[str, Any]] = [_result("ranking", "ranker", {"ranker": buckets})]
        if ranking.comment is not None:
            results.append(_result("comment", "textarea", {"text": [ranking.comment]}))
        told = {"unique_id": ranking.id, "completed_by": {"email": ranking.annotator}, "result": results}
        annotations.append(told | _given(created_at=ranking.time, lead_time=ranking.seconds))
    answers = [{"id": a.id, "title": "", "body": a.text} | _given(model=a.model or None) for a in first.answers]
    data = {"prompt": [turn.model_dump() for turn in first.prompt], "answers": answers, "tags": first.tags}
    return {"data": data, "annotations": annotations}


def from_label_studio(row: dict[str, Any], place: Place) -> list[Ranking]:
    """The annotations of a task that hold a Ranker: with a bucket for each rank, or with one list, best first."""
    data = need(row, "data", "object", place)
    answers = [
        {"id": str(entry["id"]), "text": entry["body"]} | _given(model=entry.get("model"))
        for entry in need(data, "answers", "list", place, "data")
    ]
    found = []
    for annotation in need(row, "annotations", "list", place):
        results = {result.get("type"): result.get("value", {}) for result in annotation.get("result", [])}
        if "ranker" not in results or annotation.get("was_cancelled"):
            continue  # skipped, whatever was in it by then
        rank_of = _bucket_ranks(results["ranker"].get("ranker", {}), place)
        if not set(rank_of) <= {answer["id"] for answer in answers}:
            raise fault(place, "the ranker names an answer that is not in data.answers", field="annotations")
        who = annotation.get("completed_by")
        who = who.get("email") or who.get("id") if isinstance(who, dict) else who
        comment = results.get("textarea", {}).get("text")
        more = _given(
            id=annotation.get("unique_id"),
            comment=comment[0] if isinstance(comment, list) and comment else comment,
            time=annotation.get("created_at"),
            seconds=annotation.get("lead_time"),
            tags=data.get("tags") or None,
        )
        head = {
            "prompt": _turns(data.get("prompt")),
            "answers": answers,
            "ranks": [rank_of.get(answer["id"]) for answer in answers],
            "annotator": _someone(who, place, "annotations.completed_by"),
        }
        found.append(_ranking(head | more, place))
    return found


def to_csv(ranking: Ranking) -> Iterator[list[str]]:
    """The cells of a ranking: a row for each answer."""
    prompt, tags = json.dumps([t.model_dump() for t in ranking.prompt], ensure_ascii=False), ranking.tags
    common = [prompt, json.dumps(tags, ensure_ascii=False), ranking.margin, ranking.comment, ranking.seconds]
    for answer, rank in zip(ranking.answers, ranking.ranks, strict=True):
        cells = [ranking.id, ranking.annotator, rank, answer.id, answer.text, answer.model, *common, ranking.time]
        yield ["" if cell is None else str(cell) for cell in cells]


def csv_line(cells: Iterable[str]) -> str:
    """One line of CSV, every cell quoted, and none that a spreadsheet would run."""
    out = io.StringIO()
    safe = ["'" + cell if cell.startswith(_UNSAFE) else cell for cell in cells]
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(safe)
    return out.getvalue()


def read_csv(path: Path) -> Read:
    """The rankings of a CSV file. Raises DataError for other columns, broken text, or a ranking that does not fit."""
    csv.field_size_limit(10_000_000)
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            reader = csv.DictReader(source, strict=True)
            if tuple(reader.fieldnames or ()) != CSV_COLUMNS:
                found = f"the columns are {', '.join(reader.fieldnames or ()) or 'missing'}"
                missing = [name for name in CSV_COLUMNS if name not in (reader.fieldnames or ())]
                found += f"; missing: {', '.join(missing)}" if missing and reader.fieldnames else ""
                remedy = "name the columns so, in this order; cells may be empty where nothing is known"
                raise DataError(found, where=f"{path}:1", allowed=", ".join(CSV_COLUMNS), remedy=remedy)
            lined = ((reader.line_num, _plain(row, f"{path}:{reader.line_num}")) for row in reader)
            for _, group in groupby(lined, key=lambda pair: pair[1]["ranking"]):
                rows = list(group)
                place = Place(str(path), rows[0][0], "rankings")
                try:
                    yield place, _from_csv([row for _, row in rows], place)
                except DataError as error:
                    yield place, error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the file is no CSV in UTF-8: {error}", where=str(path), remedy="save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(path), remedy="name another") from None


def read_shape(path: Path, shape: str) -> Read:
    """The rankings of a file of a shape other than our own."""
    if shape == "csv":
        yield from read_csv(path)
        return
    read: Callable[[dict[str, Any], Place], list[Ranking]]
    read = from_argilla if shape == "argilla" else from_label_studio
    for line, row in read_rows(path):
        place = Place(str(path), line, "rankings")
        try:
            found = read(row, place)
        except (AttributeError, TypeError, KeyError) as error:
            yield place, fault(place, f"the row has not the shape of {shape}: {error}")
            continue
        except DataError as error:
            yield place, error
            continue
        for ranking in found:
            yield place, ranking


def shape_of(row: dict[str, Any]) -> str:
    """The tool that a row is obviously from; empty if it is from none of them."""
    keys = set(row)
    if isinstance(row.get("fields"), dict) and keys & {"responses", "suggestions", "metadata"}:
        return "argilla"
    return "label-studio" if isinstance(row.get("data"), dict) and keys & {"annotations", "predictions"} else ""


def _plain(row: dict[str | None, Any], where: str) -> dict[str, str]:
    if None in row or None in row.values():
        found = f"the row has {'more' if None in row else 'fewer'} cells than there are columns"
        raise DataError(found, where=where, allowed=f"{len(CSV_COLUMNS)} cells", remedy="quote cells that hold commas")
    return {str(name): cell.removeprefix("'") for name, cell in row.items()}


def _from_csv(rows: list[dict[str, str]], place: Place) -> Ranking:
    first = rows[0]
    try:
        more = _given(
            tags=json.loads(first["tags"] or "[]") or None,
            margin=float(first["margin"]) if first["margin"] else None,
            seconds=float(first["seconds"]) if first["seconds"] else None,
            comment=first["comment"] or None,
            time=first["time"] or None,
        )
        head = {
            "id": first["ranking"],
            "prompt": _turns(json.loads(first["prompt"])),
            "answers": [{"id": r["answer"], "text": r["text"]} | _given(model=r["model"] or None) for r in rows],
            "ranks": [int(r["rank"]) if r["rank"] else None for r in rows],
            "annotator": first["annotator"],
        }
    except ValueError as error:
        raise fault(place, f"a cell cannot be read: {error}") from None
    return _ranking(head | more, place)


def _bucket_ranks(buckets: dict[str, list[str]], place: Place) -> dict[str, int]:
    if len(buckets) == 1 and not next(iter(buckets)).isdigit():
        return {answer: rank for rank, answer in enumerate(next(iter(buckets.values())), start=1)}
    if not all(name.isdigit() for name in buckets):
        found = f"the ranker has the buckets {', '.join(buckets)}, which have no order"
        raise fault(place, found, field="annotations", allowed="buckets named 1, 2, ... or one list")
    return {answer: int(name) for name, inside in buckets.items() for answer in inside}


def _someone(who: Any, place: Place, field: str) -> str:
    """The annotator's name. All who have none would be taken for one person, who repeats themselves."""
    if who in (None, ""):
        raise fault(place, "nobody is named as the annotator", field=field, allowed="a name or number for each person")
    return str(who)


def _ranking(row: dict[str, Any], place: Place) -> Ranking:
    record = validate("rankings", row, place)
    assert isinstance(record, Ranking)
    return record


def _turns(prompt: Any) -> Any:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _result(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "answers", "type": kind, "value": value}
