"""What every trainer shares: arguments, metrics.jsonl, progress, checkpoints to continue from, the NaN guard."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from align.artifacts import METRICS
from align.contract import RESUME, Context, Interrupted, Metrics
from align.errors import TrainingError
from align.logged import last_tenth
from align.models.device import pick_device, pick_dtype
from align.recipe.base import in_memory
from align.recipe.schema import Grouped, Learning, Training

COMPLETE = "complete"
"""Marker in a checkpoint that was written whole; a kill while saving leaves one without."""


def training_arguments(config_class: Any, settings: Training | Grouped, out: Path, context: Context, **own: Any) -> Any:
    """A TrainingArguments of `config_class` from a stage's settings; `own` are the stage's further arguments.

    The recipe's `trainer:` block comes last; names that we set ourselves were refused when the recipe was checked.
    """
    micro = in_memory(settings.batch_size, settings.micro_batch)
    values: dict[str, Any] = {
        **common_arguments(settings, out, context),
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": settings.batch_size // micro,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
    }
    values.update(own)
    values.update(settings.trainer)
    return config_class(**values)


def common_arguments(settings: Learning, out: Path, context: Context) -> dict[str, Any]:
    """The arguments that every trainer is given, whatever it learns from."""
    context.building.now = True  # until training begins
    device = pick_device()
    return {
        "output_dir": str(out / RESUME),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "learning_rate": settings.learning_rate,
        "seed": context.seed,
        "data_seed": context.seed,
        "bf16": pick_dtype(context.precision, device) == torch.bfloat16,
        "use_cpu": device.type == "cpu",
        "activation_checkpointing": device.type == "cuda",
        "dataloader_pin_memory": device.type == "cuda",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "save_total_limit": 2,
        "report_to": context.report_to,
        "logging_first_step": True,
        "disable_tqdm": True,
    }


def run_training(trainer: Any, out: Path, context: Context) -> Metrics:
    """Train, from the last whole checkpoint if there is one, and give the closing figures.

    Raises TrainingError if the loss or the gradient stops being a number.
    """
    checkpoint = last_checkpoint(out / RESUME)
    steps_before = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    log = out / METRICS
    keep_steps(log, steps_before)
    if checkpoint:
        context.building.now = False  # the same arguments have trained before
        context.say(f"continues from step {steps_before}")
    trainer.add_callback(Progress(log, context))
    started = time.monotonic()
    context.interrupt.can_wait = True
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    context.interrupt.can_wait = False
    seconds = time.monotonic() - started
    steps = trainer.state.global_step
    loss = last_tenth(read_metrics(log), "loss")
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    return {
        "steps": steps,
        "loss": None if loss is None else round(loss, 6),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "trained_parameters": trained,
        "steps_per_second": round((steps - steps_before) / seconds, 3) if seconds > 0 else None,
    }


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole; unfinished ones are removed."""
    if not folder.is_dir():
        return None
    found = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    for path in [p for p in found if not (p / COMPLETE).exists()]:
        shutil.rmtree(path)
    whole = [p for p in found if p.exists()]
    return whole[-1] if whole else None


def read_metrics(log: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that a kill cut off is left out."""
    if not log.exists():
        return []
    text = log.read_text("utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1] if line]


def keep_steps(log: Path, step: int) -> None:
    """Remove rows of steps after `step`: they will be trained, and logged, again."""
    rows = [r for r in read_metrics(log) if r["step"] <= step] if step else []
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = log.with_name(log.name + ".new")
    kept.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    os.replace(kept, log)


class Progress(TrainerCallback):  # type: ignore[misc]
    """Writes metrics.jsonl, reports progress, asks for a checkpoint when time has passed, stops at NaN."""

    def __init__(self, log: Path, context: Context) -> None:
        self.log, self.context = log, context
        self.saved = time.monotonic()
        self.note = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.context.building.now = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self.context.progress("training", state.global_step, state.max_steps, self.note)
        # An epoch's last checkpoint waits for its evaluation, which draws random numbers and is not made again.
        return control if float(state.epoch).is_integer() else self._save_if_due(state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        return self._save_if_due(state, control)

    def _save_if_due(self, state: Any, control: Any) -> Any:
        last = state.global_step >= state.max_steps
        due = time.monotonic() - self.saved >= self.context.checkpoint_seconds
        # Not after the last step: continued from there, transformers would train one step more than max_steps.
        if not last and (due or self.context.interrupt.asked):
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
        self.saved = time.monotonic()
        if self.context.interrupt.asked:
            raise Interrupted

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        values = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        if "train_runtime" in values:
            return
        for name in ("loss", "grad_norm"):
            if name in values and not math.isfinite(values[name]):
                raise TrainingError(
                    f"{name} is {values[name]} at step {state.global_step} of {state.max_steps}",
                    where=str(self.log.parent.parent.name.removesuffix(".partial")),
                    allowed="a finite number",
                    remedy=f"lower learning_rate (now {args.learning_rate:g}), or set precision: fp32",
                )
        if "loss" in values:
            self.note = f"loss {values['loss']:.3f}"
        row = {"step": state.global_step, **values}
        with self.log.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
