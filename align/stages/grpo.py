"""grpo: practise. Group relative policy optimisation, with TRL."""

from __future__ import annotations

from pathlib import Path

from align.contract import Context, Inputs, Metrics
from align.recipe.schema import GRPO
from align.stages.grouped import run_grouped


def run(settings: GRPO, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Train the policy on its own answers; see `run_grouped`."""
    from trl import GRPOConfig, GRPOTrainer

    return run_grouped((GRPOTrainer, GRPOConfig), settings, inputs, out, context)
