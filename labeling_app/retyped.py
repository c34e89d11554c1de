"""Commands as remedies name them, with the options without which they would do something else."""

from __future__ import annotations

import shlex


def typed(*words: str, **options: object) -> str:
    """`align` and words, as a shell takes them. options: by name; one that is empty, false or 0 is left out."""
    said = ["align", *words]
    for name, value in options.items():
        if value:
            said += [f"--{name.replace('_', '-')}"] if value is True else [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(said)
