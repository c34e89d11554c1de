"""The stages: one short file per kind, of the kind's name, each with a `run` of the same form."""

from __future__ import annotations

import importlib
from pathlib import Path

from align.contract import Context, Inputs, Metrics
from align.recipe.schema import StageBase
from align.recipe.wiring import STAGES


def run_stage(settings: StageBase, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Run a stage of any kind. Only the module of its kind is imported, and with it torch."""
    (kind,) = (kind for kind, made in STAGES.items() if type(settings) is made)
    metrics: Metrics = importlib.import_module(f"align.stages.{kind}").run(settings, inputs, out, context)
    return metrics
