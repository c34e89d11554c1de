"""Finished batches of sampled answers, one JSON line each, so that a killed stage does not sample them again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from align.models.generate import Sampled


class FinishedBatches:
    """Batches by index, kept in a file. A last line that a kill cut off is dropped, and its batch sampled again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[int, list[Sampled]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raw = path.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            for line in whole.decode("utf-8").split("\n")[:-1]:  # splitlines() would cut at U+2028 too
                row = json.loads(line)
                self.found[row["batch"]] = [Sampled(**answer) for answer in row["answers"]]
            if len(whole) < len(raw):
                os.truncate(path, len(whole))

    def get(self, index: int) -> list[Sampled] | None:
        """The answers of a finished batch, or None."""
        return self.found.get(index)

    def add(self, index: int, answers: list[Sampled]) -> None:
        """Keep a finished batch."""
        line = json.dumps({"batch": index, "answers": [asdict(a) for a in answers]}, ensure_ascii=False)
        with self.path.open("a", encoding="utf-8") as out:
            out.write(line + "\n")
