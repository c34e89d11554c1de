"""`align data check | convert | stats`: look at a data file, change its format, count what is in it.

The heavy imports stand inside the commands, so that `align --help` stays fast.
"""

from __future__ import annotations

import json
import shlex
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from align.data.checks import Finding
    from align.data.importers import Imported
    from align.data.records import Message, Record
    from align.errors import DataError

app = typer.Typer(no_args_is_help=True, help="Check, convert and count data files.", rich_markup_mode=None)

# readable=False: Typer would refuse a forbidden file as wrong usage, and say no remedy.
InFile = Annotated[
    Path, typer.Argument(metavar="FILE", readable=False, help="A .jsonl, .json, .txt (also .gz) or .parquet file.")
]
Kind = Annotated[
    str,
    typer.Option(help="Artifact kind: corpus, prompts, demonstrations, answers, rankings, preferences or feedback."),
]
Format = Annotated[str, typer.Option(help="Format of the rows; auto looks at the first one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]

SHOWN = 20
"""Places named for a warning; of errors, every one is named."""


@app.command()
def check(
    file: InFile,
    kind: Kind = "",
    format: Format = "auto",
    heldout: Annotated[
        Path | None, typer.Option(readable=False, help="A file of held-out rows; prompts in both are errors.")
    ] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="A model's folder: count comparisons that are cut.")] = None,
    max_length: Annotated[int, typer.Option(help="With --tokenizer: tokens of prompt and answer.", min=8)] = 1024,
    as_json: AsJson = False,
) -> None:
    """Show every broken line and every doubtful row of a file. Exit code 3 if there is an error."""
    from align.data.checks import check_imported, leakage
    from align.data.importers import import_file, scan_file
    from align.errors import DataError

    try:
        kind = kind or _kind_of(file)
        imported, broken = scan_file(file, kind, format)
    except DataError as error:
        raise _not_again(error) from None
    broken = [_not_again(error) for error in broken]
    findings = check_imported(imported)
    if heldout:
        findings += leakage({str(file): imported}, {str(heldout): import_file(heldout, _kind_of(heldout))})
    if tokenizer:
        from align.data.truncation import check_lengths

        findings += check_lengths(imported, tokenizer, max_length)
    errors = len(broken) + sum(f.count for f in findings if f.severity == "error")
    if as_json:
        _print_json(
            {
                "file": str(file),
                "kind": kind,
                "format": imported.format,
                "rows": len(imported.records),
                "errors": errors,
                "broken": [error.to_dict() for error in broken],
                "findings": [_finding_row(finding) for finding in findings],
            }
        )
    else:
        _print_check(imported, broken, findings, errors)
    if errors:
        raise typer.Exit(3)


@app.command()
def convert(
    file: InFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .jsonl, .jsonl.gz or .parquet.")],
    kind: Kind = "",
    format: Format = "auto",
    drop_broken: Annotated[bool, typer.Option("--drop-broken", help="Leave out rows with errors.")] = False,
) -> None:
    """Write a file's rows as canonical records, whatever format they are in."""
    from align.data.checks import check_imported
    from align.data.checks import drop_broken as without_errors
    from align.data.files import write_records
    from align.data.importers import import_file, scan_file
    from align.errors import DataError, counted

    if out.exists() and out.samefile(file):
        raise DataError("the file to write is the file to read", where=str(out), remedy="name another file to write")
    kind = kind or _kind_of(file)
    if drop_broken:
        imported, broken = scan_file(file, kind, format)
        for error in broken:
            typer.echo(f"left out  {error.where}: {error.found}")
        imported, errors = without_errors(imported)
        for finding in errors:
            for place in finding.examples:
                typer.echo(f"left out  {place}: {finding.message}")
        left_out = len(broken) + len({row for finding in errors for row in finding.rows})
        _some_left(imported)
        write_records(out, imported.records)
        written = f"{counted(len(imported.records), 'row')} of {kind} written to {out}"
        typer.echo(f"{written}, {counted(left_out, 'row')} left out")
        return
    imported = import_file(file, kind, format)
    write_records(out, imported.records)
    typer.echo(f"{counted(len(imported.records), 'row')} of {kind} written to {out} (read as {imported.format})")
    faults = sum(f.count for f in check_imported(imported) if f.severity == "error")
    if faults:
        verb = "has an error that stops" if faults == 1 else "have errors that stop"
        typer.echo(f"{faults} of them {verb} a run; --drop-broken leaves such rows out", err=True)
        raise typer.Exit(3)


@app.command()
def stats(file: InFile, kind: Kind = "", format: Format = "auto", as_json: AsJson = False) -> None:
    """Count rows, turns, words and characters of a file."""
    from align.data.importers import import_file

    kind = kind or _kind_of(file)
    figures = figures_of(import_file(file, kind, format))
    if as_json:
        _print_json(figures)
    else:
        _print_stats(figures)


def figures_of(imported: Imported) -> dict[str, Any]:
    """What `align data stats` prints: counts, tags, and per part of a record min, median, 95th percentile and max."""
    import re
    from collections import Counter

    from align.data.annotators import agreement
    from align.data.preference_checks import longer_wins
    from align.data.records import CHINESE, Ranking, count_words, prompt_of
    from align.data.split import group_key

    records, chinese = imported.records, re.compile(f"[{CHINESE}]")
    parts: dict[str, list[str]] = {}
    for record in records:
        for part, texts in _parts(record).items():
            parts.setdefault(part, []).extend(texts)
    figures: dict[str, Any] = {
        "file": imported.path,
        "kind": imported.kind,
        "format": imported.format,
        "rows": len(records),
        "different prompts": len({group_key(record) for record in records}),
        "rows with Chinese": sum(
            any(chinese.search(t) for texts in _parts(r).values() for t in texts) for r in records
        ),
        "turns": _spread([len(prompt_of(record) or []) for record in records]),
        "parts": {
            part: {"words": _spread([count_words(t) for t in texts]), "characters": _spread([len(t) for t in texts])}
            for part, texts in parts.items()
        },
        "tags": dict(Counter(tag for record in records for tag in getattr(record, "tags", [])).most_common()),
    }
    share, pairs = longer_wins(records)
    if pairs:
        figures |= {"pairs": pairs, "longer wins": round(share, 4)}
    if imported.kind == "rankings":
        ranks = [[r for r in record.ranks if r is not None] for record in records if isinstance(record, Ranking)]
        figures["rankings with ties"] = sum(len(set(r)) < len(r) for r in ranks)
        found = agreement([record for record in records if isinstance(record, Ranking)])
        figures["annotators"] = len({record.annotator for record in records if isinstance(record, Ranking)})
        figures["comparisons that several judged"] = found.comparisons
        if found.rate is not None:
            figures["agreement"] = round(found.rate, 4)
    if imported.kind == "feedback":
        figures["labelled good"] = sum(bool(getattr(record, "label", False)) for record in records)
    return figures


def _parts(record: Record) -> dict[str, list[str]]:
    """The texts of a record, by the name of the part they belong to."""
    from align.data.records import Answers, Demonstration, Feedback, Preference, Ranking, Text, prompt_of

    if isinstance(record, Text):
        return {"text": [record.text]}
    parts = {"prompt": [_joined(prompt_of(record) or [])]}
    if isinstance(record, Demonstration):
        parts["answer"] = [record.messages[-1].content]
    elif isinstance(record, Answers | Ranking):
        parts["answer"] = [answer.text for answer in record.answers]
    elif isinstance(record, Preference):
        parts |= {"chosen": [_joined(record.chosen)], "rejected": [_joined(record.rejected)]}
    elif isinstance(record, Feedback):
        parts["completion"] = [_joined(record.completion)]
    return parts


def _joined(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _spread(values: list[int]) -> dict[str, float]:
    """min, median, 95th percentile (nearest rank) and max."""
    ordered = sorted(values)
    at = max(0, -(-95 * len(ordered) // 100) - 1)
    return {"min": ordered[0], "median": statistics.median(ordered), "p95": ordered[at], "max": ordered[-1]}


def _kind_of(file: Path) -> str:
    """The kind of the first row that can be read."""
    from align.data.fields import Place
    from align.data.files import scan_rows
    from align.data.importers import detect_kind, first_of
    from align.errors import DataError

    broken: list[DataError] = []
    for line, row in scan_rows(file):
        if not isinstance(row, DataError):
            return detect_kind(row, Place(str(file), line))
        broken.append(row)
    raise first_of(broken)  # there is one: scan_rows raises for an empty file


def _not_again(error: DataError) -> DataError:
    """Inside `data check` the command that shows every broken line is the one just typed."""
    from align.data.fields import SHOWS_ALL
    from align.errors import DataError

    remedy = "leave the rows out, or mend them" if error.remedy.endswith(SHOWS_ALL) else error.remedy
    return DataError(error.found, where=error.where, allowed=error.allowed, remedy=remedy)


def _some_left(imported: Imported) -> None:
    from align.errors import DataError

    if not imported.records:
        raise DataError(
            "every row has an error, so nothing is left to write",
            where=imported.path,
            remedy=f"look at them: align data check {shlex.quote(imported.path)} --kind {imported.kind}",
        )


def _finding_row(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "code": finding.code,
        "message": finding.message,
        "where": finding.where,
        "count": finding.count,
        "remedy": finding.remedy,
        "places": list(finding.examples),
    }


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))


def _print_check(imported: Imported, broken: list[DataError], findings: list[Finding], errors: int) -> None:
    from align.errors import counted

    _print_broken(imported, broken, findings)
    for finding in findings:
        if finding.severity == "error" and finding.rows and finding.code != "leakage":
            continue
        shown = finding.examples if finding.severity == "error" else finding.examples[:SHOWN]
        if finding.severity == "error" or not shown:
            for place in shown or (finding.where,):
                typer.echo(f"{finding.severity:<8} {place}: {finding.message}")
            typer.echo(f"{'':<8} -> {finding.remedy}")
            continue
        more = f" and {finding.count - len(shown)} more" if finding.count > len(shown) else ""
        # The file is named once; of the other places only the line.
        lines = [place.removeprefix(imported.path).lstrip(": ") for place in shown[1:]]
        places = ", ".join([shown[0], *lines])
        typer.echo(f"{finding.severity:<8} {finding.message}: {counted(finding.count, 'row')}, {places}{more}")
        typer.echo(f"{'':<8} -> {finding.remedy}")
    warnings = sum(f.severity == "warning" for f in findings)
    leaks = sum(f.count for f in findings if f.code == "leakage")
    read = f"{counted(len(imported.records), 'row')} of {imported.kind} read as {imported.format}"
    told = f"{counted(errors, 'error')}, {counted(warnings, 'kind')} of warning"
    typer.echo(f"{imported.path}: {read}, {told}")
    if errors > leaks and imported.records:  # a leak is between two files, and stays in a copy of one
        typer.echo(
            "a run stops at these errors; to leave the rows out: "
            f"align data convert {shlex.quote(imported.path)} OUT.jsonl --kind {imported.kind} --drop-broken"
        )


def _print_broken(imported: Imported, broken: list[DataError], findings: list[Finding]) -> None:
    """The rows that cannot be read and those that cannot be used, in the order of their lines, then what to do."""
    lines: list[tuple[int, str]] = []
    for error in broken:
        rest = error.where.removeprefix(imported.path).removeprefix(" row").lstrip(": ")
        line = int(rest.split(",")[0])
        allowed = f" (allowed: {error.allowed})" if error.allowed else ""
        lines.append((line, f"error    {error.where}: {error.found}{allowed}"))
    unusable = [f for f in findings if f.severity == "error" and f.rows and f.code != "leakage"]
    for finding in unusable:
        places = zip(finding.rows, finding.examples, strict=True)
        lines += [(imported.lines[row], f"error    {place}: {finding.message}") for row, place in places]
    for _, text in sorted(lines, key=lambda entry: entry[0]):
        typer.echo(text)
    for remedy in dict.fromkeys([e.remedy for e in broken] + [f.remedy for f in unusable]):
        typer.echo(f"{'':<8} -> {remedy}")


def _print_stats(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table()
    table.add_column("what")
    for name in ("min", "median", "p95", "max"):
        table.add_column(name, justify="right")
    spreads = {"turns of the prompt": figures["turns"]} if figures["kind"] != "corpus" else {}
    for part, units in figures["parts"].items():
        spreads |= {f"{part}, {unit}": spread for unit, spread in units.items()}
    for name, spread in spreads.items():
        table.add_row(name, *(f"{value:g}" for value in spread.values()))
    typer.echo(f"{figures['file']}: {figures['kind']}, read as {figures['format']}")
    for name, value in figures.items():
        if isinstance(value, int | float) and (value or name != "rows with Chinese"):
            typer.echo(f"{name}: {value}")
    if figures["tags"]:
        typer.echo("tags: " + ", ".join(f"{tag} {count}" for tag, count in figures["tags"].items()))
    console.print(table)
