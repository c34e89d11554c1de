"""What benchmarks against a peer share: one side in a process of its own, and the two sides compared pair by pair."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]


def result_of(command: Sequence[str], env: Mapping[str, str]) -> dict[str, float]:
    """The figures that a process prints after the word RESULT. Exits with its output if it prints none."""
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
    result: dict[str, float] = json.loads(found[-1].removeprefix("RESULT "))
    return result


def report(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Medians, and the ratio of each pair."""
    for key in rows["ours"][0]:
        ours, theirs = ([r[key] for r in rows[side]] for side in ("ours", "trl"))
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True) if b)
        spread = f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})" if ratios else "-"
        print(f"{key:<20} ours {median(ours):10.3f}   TRL {median(theirs):10.3f}   ours / TRL {spread}")
