"""Data files in and out: JSON Lines, JSON arrays, Parquet and plain text in; JSON Lines and Parquet out.

Suffixes read: `.jsonl` `.ndjson` `.json` `.txt`, each also with `.gz`, and `.parquet`. A `.json` file holds one array
of objects, or objects one after the other. In a `.txt` file every line that is not blank is a document of its own.
Blank lines of `.jsonl` are separators; every other line is a record or an error, none is skipped in silence.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from align.artifacts import MANIFEST
from align.data.fields import Place, fault, show, validate
from align.data.records import Record
from align.errors import DataError, SystemLimit, unreadable

READ = (".jsonl", ".ndjson", ".json", ".txt", ".parquet")
WRITE = (".jsonl", ".jsonl.gz", ".parquet")
MEND_HERE = "mend it here: nothing after this place can be read"

Scanned = Iterator[tuple[int, dict[str, Any] | DataError]]


def read_rows(path: Path | str, kind: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file as (line, object); for Parquet, and for nothing else, the row number stands for the line.

    kind: only for the command that an error names. Raises DataError for a missing, unreadable or empty file, an
    unknown suffix, and the first broken line.
    """
    for line, row in scan_rows(path, kind):
        if isinstance(row, DataError):
            raise row
        yield line, row


def scan_rows(path: Path | str, kind: str = "") -> Scanned:
    """Like `read_rows`, but a broken line comes as the DataError that describes it, and reading goes on after it.

    Raises DataError only for what concerns the whole file, and SystemLimit for one that may not be read.
    """
    path = Path(path)
    suffix = _readable_suffix(path)
    found = False
    try:
        for line, row in _SCANNERS[suffix](path, kind):
            found = True
            yield line, row
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"the file is no complete gzip file: {error}", where=str(path), remedy="copy or download it again"
        ) from None
    except PermissionError:
        raise unreadable(path) from None
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}", where=str(path), remedy="copy it again"
        ) from None
    if not found:
        raise DataError(
            "the file is empty: it holds no records",
            where=str(path),
            allowed="at least one record",
            remedy="name another file, or make this one again",
        )


def read_records(path: Path | str, kind: str) -> list[Record]:
    """All canonical records of a file. Raises DataError for the first line that is not one of `kind`."""
    return [validate(kind, row, Place(str(path), line, kind)) for line, row in read_rows(path, kind)]


def write_records(path: Path | str, records: Sequence[Record]) -> None:
    """Write canonical records as JSON Lines (`.jsonl`, `.jsonl.gz`) or Parquet, by the suffix.

    Fields at their default are left out. Equal records give equal bytes. The file appears complete or not at all.
    Raises DataError for another suffix and SystemLimit if the machine cannot write.
    """
    path = Path(path)
    rows = [row_of(record) for record in records]
    if path.name.endswith(".parquet"):
        data = _parquet_bytes(rows)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        if path.name.endswith(".gz"):
            data = gzip.compress(data, mtime=0)
    else:
        raise DataError(
            f"`{path.name}` has no suffix that can be written",
            where=str(path),
            allowed=", ".join(WRITE),
            remedy=f"write to {path / 'OUT.jsonl' if path.is_dir() else path.name.split('.')[0] + '.jsonl'} instead",
        )
    write_bytes(path, data)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file through a temporary one beside it, so that it is complete or absent. Raises SystemLimit."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        remedies = {
            errno.ENOENT: f"make the folder {path.parent}, or write to one that exists",
            errno.ENOSPC: "free space on the disk, or write to another one",
        }
        raise SystemLimit(
            f"the file cannot be written: {error.strerror or error}",
            where=str(path),
            remedy=remedies.get(error.errno or 0, "write to a folder that you may write to"),
        ) from None


def row_of(record: Record) -> dict[str, Any]:
    """A record as the object of its line: `id` first, `meta` last, fields at their default left out."""
    row = record.model_dump(exclude_defaults=True)
    meta = row.pop("meta", None)
    return row | {"meta": meta} if meta else row


def _readable_suffix(path: Path) -> str:
    if path.is_dir():
        raise DataError("this is a folder, not a file", where=str(path), allowed=", ".join(READ), remedy=_inside(path))
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, siblings, n=1)
        hint = f"; did you mean `{path.with_name(close[0])}`?" if close else ""
        raise DataError(
            f"the file does not exist{hint}",
            where=str(path),
            remedy=f"look what is there: ls {path.parent}" if siblings else f"look for the folder {path.parent}",
        )
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in READ or (suffix == ".parquet" and path.name.endswith(".gz")):
        raise DataError(
            f"`{path.name}` has no suffix that can be read",
            where=str(path),
            allowed=", ".join(READ) + " (text ones also with .gz)",
            remedy="rename the file by what it holds, or convert it to one of these",
        )
    return suffix


def _inside(folder: Path) -> str:
    data = (p.name for p in folder.iterdir() if p.name != MANIFEST and p.name.removesuffix(".gz").endswith(READ))
    inside = sorted(data)
    return f"name a file in it: {', '.join(inside[:5])}" if inside else "name a data file"


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _scan_lines(path: Path, kind: str) -> Scanned:
    """JSON Lines."""
    with _open(path) as source:
        for line, raw in enumerate(source, start=1):
            text = _decode(raw, Place(str(path), line, kind), first=line == 1)
            if isinstance(text, DataError):
                yield line, text
            elif text.strip():
                yield line, _object(text.rstrip("\r\n"), Place(str(path), line, kind))


def _scan_text(path: Path, kind: str) -> Scanned:
    """Plain text: a document a line."""
    with _open(path) as source:
        for line, raw in enumerate(source, start=1):
            text = _decode(raw, Place(str(path), line, kind), first=line == 1)
            if isinstance(text, DataError):
                yield line, text
            elif text.strip():
                yield line, {"text": text.rstrip("\r\n")}


def _scan_json(path: Path, kind: str) -> Scanned:
    """A JSON array of objects, or objects one after the other. Nothing can be read after a syntax error."""
    with _open(path) as source:
        data = source.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(str(path), data[: error.start].count(b"\n") + 1, kind)
        yield place.line, _not_utf8(place, error)
        return
    escaped = "\\ud" in text.lower()
    position = _skip(text, 0)
    array = text[position : position + 1] == "["
    last = text.rstrip().count("\n") + 1  # a file that was cut off is at fault there, not behind it
    position, line, counted = _skip(text, position + array), 1, 0
    while position < len(text) and not (array and text[position] == "]"):
        line, counted = line + text.count("\n", counted, position), position
        place = Place(str(path), line, kind)
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            at = min(getattr(error, "lineno", line), last)
            yield at, _not_json(place._replace(line=at), error, MEND_HERE)
            return
        yield line, _checked_object(value, place, escaped)
        position = _skip(text, position)
        if array and text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif array and text[position : position + 1] != "]":
            at = min(line + text.count("\n", counted, position), last)
            cut = "the file ends inside the array" if position == len(text) else "no comma between two elements"
            allowed = "[ {...}, {...} ]"
            yield at, fault(place._replace(line=at), f"not JSON: {cut}", allowed=allowed, remedy=MEND_HERE)
            return


def _scan_parquet(path: Path, kind: str) -> Scanned:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            folded = json.loads((file.schema_arrow.metadata or {}).get(_FOLDED, b"[]"))
            line = 0
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    line += 1
                    yield line, _unfold(row, folded)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"the file is no Parquet: {error}", where=str(path), remedy="make it again, or rename it by what it holds"
        ) from None


_SCANNERS = {
    ".jsonl": _scan_lines,
    ".ndjson": _scan_lines,
    ".json": _scan_json,
    ".txt": _scan_text,
    ".parquet": _scan_parquet,
}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _decode(raw: bytes, place: Place, *, first: bool) -> str | DataError:
    try:
        return raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        return _not_utf8(place, error)


def _object(text: str, place: Place) -> dict[str, Any] | DataError:
    try:
        return _checked_object(_DECODER.decode(text), place, "\\ud" in text.lower())
    except (ValueError, RecursionError) as error:
        return _not_json(place, error)


def _checked_object(value: Any, place: Place, escaped: bool) -> dict[str, Any] | DataError:
    """escaped: the source holds a backslash-u-d, so a string might hold half of a surrogate pair."""
    if not isinstance(value, dict):
        return fault(place, f"the record is {show(value)}", allowed='an object: {"field": value, ...}')
    try:  # Half a pair is JSON, but no text: it could be neither hashed nor written.
        if escaped:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return fault(place, r"the text holds half a surrogate pair (\ud800 to \udfff alone)", allowed="valid Unicode")
    return value


def _not_json(place: Place, error: Exception, remedy: str = "") -> DataError:
    what = "nested too deeply" if isinstance(error, RecursionError) else str(getattr(error, "msg", error))
    what = what.removesuffix(" at")  # "Unterminated string starting at"
    column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
    return fault(place, f"not JSON: {what}{column}", allowed='one JSON object: {"field": value, ...}', remedy=remedy)


def _not_utf8(place: Place, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    found = f"not UTF-8: byte 0x{byte:02x} cannot be decoded"
    return fault(place, found, allowed="text in UTF-8", remedy="save the file as UTF-8")


# Parquet columns have one type, so free-form fields are kept in them as JSON text, and the file says which they are.
_FOLDED = b"align.json"
_FREE = ("meta", "reference", "ratings", "edit")


def _parquet_bytes(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    answer = pa.struct([(name, pa.string()) for name in ("id", "text", "model", "sampling")])
    special = {
        **dict.fromkeys(("prompt", "messages", "chosen", "rejected", "completion"), message),
        "answers": pa.list_(answer),
        "tags": pa.list_(pa.string()),
        "ranks": pa.list_(pa.int64()),
        "margin": pa.float64(),
        "seconds": pa.float64(),
        "label": pa.bool_(),
    }
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["id"]
    schema = pa.schema(
        [(name, special.get(name, pa.string())) for name in names],
        metadata={_FOLDED: json.dumps([*(n for n in names if n in _FREE), "sampling"])},
    )
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([_fold(row) for row in rows], schema=schema), out, compression="zstd")
    return out.getvalue()


def _fold(row: dict[str, Any]) -> dict[str, Any]:
    folded = {k: json.dumps(v, ensure_ascii=False) if k in _FREE else v for k, v in row.items()}
    if "answers" in row:
        folded["answers"] = [
            {**a, "sampling": json.dumps(a["sampling"], ensure_ascii=False)} if "sampling" in a else a
            for a in row["answers"]
        ]
    return folded


def _unfold(value: Any, folded: list[str]) -> Any:
    """A Parquet value as plain JSON: null fields of objects are absent fields, dates are text."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if v is not None}
        return {k: json.loads(v) if k in folded else _unfold(v, folded) for k, v in kept.items()}
    if isinstance(value, list):
        return [_unfold(v, folded) for v in value]
    return value if isinstance(value, str | bool | int | float | None) else str(value)
