"""Held-out rows: which are kept out of training is decided by a hash of the prompt, not by the order of the file.

All rows of a prompt fall on one side. With a share, a prompt's side depends on nothing but the seed and the prompt,
so that two files with the same share agree on every prompt they have in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeVar

from align.data.importers import Imported
from align.data.records import Record, prompt_key, prompt_of
from align.errors import DataError

R = TypeVar("R", bound=Record)
Holdout = float | int | Literal["all"]


def split(records: Sequence[R], holdout: Holdout, seed: int) -> tuple[list[R], list[R]]:
    """(training records, held-out records), each in the order given.

    holdout: a share of the prompts below 1, or a number of rows, or 0, or `all` for a file that only measures. A share
    above 0 holds out at least one prompt and leaves at least one. A number is reached exactly unless the sizes of the
    prompts' groups do not add up to it.
    Raises DataError if nothing would be left to train on, unless `all` asks for it.
    """
    out = _held_out(records, holdout, seed)
    return (
        [r for i, r in enumerate(records) if i not in out],
        [r for i, r in enumerate(records) if i in out],
    )


def split_imported(imported: Imported, holdout: Holdout, seed: int) -> tuple[Imported, Imported]:
    """`split` for an imported file; lines stay with their records."""
    try:
        out = _held_out(imported.records, holdout, seed)
    except DataError as error:
        raise DataError(error.found, where=imported.path, allowed=error.allowed, remedy=error.remedy) from None
    rows = range(len(imported.records))
    return imported.take([i for i in rows if i not in out]), imported.take([i for i in rows if i in out])


def group_key(record: Record) -> str:
    """What decides a record's side: its prompt, or for plain texts its id."""
    prompt = prompt_of(record)
    return prompt_key(prompt) if prompt else record.id


def _held_out(records: Sequence[Record], holdout: Holdout, seed: int) -> set[int]:
    """Positions of the held-out records."""
    if holdout == "all":
        return set(range(len(records)))
    if holdout == 0:
        return set()
    groups: dict[str, list[int]] = {}
    for position, record in enumerate(records):
        groups.setdefault(group_key(record), []).append(position)
    order = sorted(groups, key=lambda key: _point(seed, key))
    if len(order) < 2 or (holdout >= 1 and holdout >= len(records)):
        raise DataError(
            f"holdout {holdout} of {len(records)} rows with {len(order)} different prompts leaves nothing to train on",
            allowed="a share below 1, or a number of rows below the file's",
            remedy="lower `holdout:` of this source, or give it more rows",
        )
    if holdout >= 1 and holdout != int(holdout):
        raise DataError(
            f"holdout {holdout} is neither a share nor a number of rows",
            allowed="a share below 1, or a whole number",
            remedy="change `holdout:` of this source",
        )
    keys = _by_number(order, groups, int(holdout)) if holdout >= 1 else _by_share(order, holdout, seed)
    return {position for key in keys for position in groups[key]}


def _point(seed: int, key: str) -> float:
    """A number in [0, 1) that looks drawn at random, the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _by_share(order: list[str], share: float, seed: int) -> list[str]:
    below = [key for key in order if _point(seed, key) < share]
    return below[: len(order) - 1] or order[:1]


def _by_number(order: list[str], groups: dict[str, list[int]], number: int) -> list[str]:
    keys, rows = [], 0
    for key in order:
        if rows + len(groups[key]) <= number:
            keys.append(key)
            rows += len(groups[key])
    # Every prompt has more rows than were asked for: the smallest of them comes closest.
    return keys or [min(order, key=lambda key: len(groups[key]))]
