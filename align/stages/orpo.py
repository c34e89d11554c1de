"""orpo: practise. Imitate the better answer and make it likelier than the other, in one loss and without reference."""

from __future__ import annotations

from pathlib import Path

from align.contract import Context, Inputs, Metrics
from align.recipe.schema import ORPO
from align.stages.paired import run_paired


def run(settings: ORPO, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Optimise the policy (Hong et al. 2024, eq. 6). TRL imitates prompt and better answer, not the answer alone."""
    from align.trainers.shim import ORPOConfig, TokenizedORPOTrainer

    return run_paired((TokenizedORPOTrainer, ORPOConfig, {"beta": settings.beta}), settings, inputs, out, context)
