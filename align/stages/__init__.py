"""The stages: one short file per kind, of the kind's name, each with a `run` of the same form."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from align.contract import DOCTOR, HELDOUT, TRAIN, Context, Inputs, Metrics
from align.data.checks import check_records, counts, told
from align.data.files import read_records
from align.data.records import RECORDS
from align.errors import RecipeError, TrainingError
from align.recipe import words
from align.recipe.schema import StageBase
from align.recipe.trainer_arguments import OURS
from align.recipe.wiring import MAKES, STAGES

REFUSALS = (
    ImportError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    AssertionError,
    ArithmeticError,
    FileNotFoundError,
)
"""What libraries raise at arguments that they cannot use. Not memory, nor a disk: those have errors of their own."""


def run_stage(settings: StageBase, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Run a stage of any kind. Only the module of its kind is imported, and with it torch.

    What the data doctor finds in data is said once, where the data is made, and stands in the figures of that artifact
    and of every stage that reads it.
    """
    (kind,) = (kind for kind, made in STAGES.items() if type(settings) is made)
    stage = importlib.import_module(f"align.stages.{kind}")
    try:
        metrics: Metrics = stage.run(settings, inputs, out, context)
    except RecipeError as error:
        if not context.building.now:
            raise
        raise out_of_range(settings, error) from error
    except REFUSALS as error:
        arguments = getattr(settings, "trainer", {})
        if not (arguments and context.building.now):
            raise
        raise refused(settings.name, arguments, error) from error
    of_inputs = doctor_of_inputs(inputs)
    known = {name.partition(".")[2] for name in of_inputs}
    found = of_inputs | examine(MAKES[kind], out, known, context)
    return metrics | context.counted | ({DOCTOR: found} if found else {})


def out_of_range(settings: StageBase, error: RecipeError) -> RecipeError:
    """An error of our own trainers' configs, which know the argument and not the stage, for the user of a recipe."""
    name = error.where.partition(".")[2]
    if name in getattr(settings, "trainer", {}):
        where, remedy = f"trainer.{name}", f"change `{name}` under the stage's `trainer:`"
    else:
        where, remedy = name, OURS.get(name, "change the stage's settings")
    return RecipeError(error.found, where=f"stage {settings.name}, {where}", allowed=error.allowed, remedy=remedy)


def refused(stage: str, arguments: dict[str, Any], error: Exception) -> TrainingError:
    """What a library says to the `trainer:` arguments of a stage, while a trainer is made from them.

    Named are the arguments that it speaks of, or all of them.
    """
    said = " ".join(str(error).split())
    meant = [name for name in arguments if name in said] or list(arguments)
    written = ", ".join(f"{name}: {json.dumps(arguments[name], default=str)}" for name in meant)
    return TrainingError(
        f"no trainer can be made with `{written}`: {type(error).__name__}: {said}",
        where=f"stage {stage}, {words.listing(f'trainer.{name}' for name in meant)}",
        allowed="arguments that the installed libraries can use, on this machine",
        remedy="change or delete them under the stage's `trainer:`; if it fails without, it is a fault in align",
    )


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
