"""The stages: one short file per kind. `run_stage` is the one place that knows them all."""

from __future__ import annotations

from pathlib import Path

from align.contract import Context, Inputs, Metrics
from align.recipe import schema


def run_stage(settings: schema.StageBase, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Run a stage of any kind. Only the module of its kind is imported, and with it torch."""
    match settings:
        case schema.Pretrain():
            from align.stages import pretrain

            return pretrain.run(settings, inputs, out, context)
        case schema.SFT():
            from align.stages import sft

            return sft.run(settings, inputs, out, context)
        case schema.Sample():
            from align.stages import sample

            return sample.run(settings, inputs, out, context)
        case schema.Rank():
            from align.stages import rank

            return rank.run(settings, inputs, out, context)
        case schema.Reward():
            from align.stages import reward

            return reward.run(settings, inputs, out, context)
        case schema.DPO():
            from align.stages import dpo

            return dpo.run(settings, inputs, out, context)
        case schema.PPO():
            from align.stages import ppo

            return ppo.run(settings, inputs, out, context)
        case schema.Evaluate():
            from align.stages import evaluate

            return evaluate.run(settings, inputs, out, context)
        case schema.Export():
            from align.stages import export

            return export.run(settings, inputs, out, context)
    raise AssertionError(f"no stage of kind {settings!r}")
