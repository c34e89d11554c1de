"""rloo: practise. Each answer against the mean of the others, with TRL."""

from __future__ import annotations

from pathlib import Path

from align.contract import Context, Inputs, Metrics
from align.recipe.schema import RLOO
from align.stages.grouped import run_grouped


def run(settings: RLOO, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Train the policy on its own answers; see `run_grouped`."""
    from trl import RLOOConfig, RLOOTrainer

    return run_grouped((RLOOTrainer, RLOOConfig), settings, inputs, out, context)
