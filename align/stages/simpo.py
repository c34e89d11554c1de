"""simpo: practise. The better answer is to be likelier, token for token, by a margin; without reference."""

from __future__ import annotations

from pathlib import Path

from align.contract import Context, Inputs, Metrics
from align.recipe.schema import SimPO
from align.stages.paired import run_paired


def run(settings: SimPO, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Optimise the policy (Meng et al. 2024, eq. 6) with TRL's CPO trainer.

    `trainer: {cpo_alpha: 1.0}` adds imitation of the better answer (CPO-SimPO), `{alpha: ...}` makes it AlphaPO.
    """
    from align.trainers.shim import CPOConfig, TokenizedCPOTrainer

    own = {"loss_type": "simpo", "beta": settings.beta, "simpo_gamma": settings.gamma, "cpo_alpha": 0.0}
    return run_paired((TokenizedCPOTrainer, CPOConfig, own), settings, inputs, out, context)
