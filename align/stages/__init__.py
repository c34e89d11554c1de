"""The stages: one short file per kind, of the kind's name, each with a `run` of the same form."""

from __future__ import annotations

import importlib
from pathlib import Path

from align.contract import DOCTOR, HELDOUT, TRAIN, Context, Inputs, Metrics
from align.data.checks import check_records, counts, told
from align.data.files import read_records
from align.data.records import RECORDS
from align.recipe.schema import StageBase
from align.recipe.wiring import MAKES, STAGES


def run_stage(settings: StageBase, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Run a stage of any kind. Only the module of its kind is imported, and with it torch.

    What the data doctor finds in data is said once, where the data is made, and stands in the figures of that artifact
    and of every stage that reads it.
    """
    (kind,) = (kind for kind, made in STAGES.items() if type(settings) is made)
    metrics: Metrics = importlib.import_module(f"align.stages.{kind}").run(settings, inputs, out, context)
    of_inputs = doctor_of_inputs(inputs)
    known = {name.partition(".")[2] for name in of_inputs}
    found = of_inputs | examine(MAKES[kind], out, known, context)
    return metrics | context.counted | ({DOCTOR: found} if found else {})


def doctor_of_inputs(inputs: Inputs) -> dict[str, int]:
    """`NAME.code` -> rows, for every input whose maker had the data doctor look at it."""
    artifacts = {artifact.name: artifact for found in inputs.by_role.values() for artifact in found}
    return {
        f"{name}.{code}": rows
        for name, artifact in artifacts.items()
        if artifact.kind in RECORDS
        for code, rows in artifact.manifest.metrics.get(DOCTOR, {}).items()
        if "." not in code
    }


def examine(kind: str, out: Path, known: set[str], context: Context) -> dict[str, int]:
    """What the data doctor finds in the data that a stage has made: code -> rows. Nothing here stops a run.

    known: codes that were said of what the data is made from, and are not said again.
    """
    if kind not in RECORDS:
        return {}
    found = [
        finding
        for split in (TRAIN, HELDOUT)
        if (out / split).exists()
        for finding in check_records(kind, read_records(out / split, kind), split)
    ]
    for finding in found:
        if finding.code not in known:
            context.say(told(finding))
    return counts(found)
