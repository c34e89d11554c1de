"""What all trainers share: batches, checkpoints, metrics.jsonl, the guard against losses that are no numbers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from align.errors import TrainingError
from align.recipe.base import in_memory
from align.recipe.schema import SFT
from align.trainers import progress
from tests import tiny


def settings(**changes: Any) -> SFT:
    return SFT(name="sft", kind="sft", model="m", data="d", **changes)


@pytest.mark.parametrize(
    ("batch", "asked", "wanted"), [(16, None, 8), (12, None, 6), (7, None, 7), (11, None, 1), (3, None, 3), (16, 4, 4)]
)
def test_micro_batches_divide_the_batch(batch: int, asked: int | None, wanted: int) -> None:
    assert in_memory(batch, asked) == wanted


def test_arguments_of_a_stage_and_of_its_trainer_block(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    stage = settings(batch_size=12, learning_rate=0.5, max_steps=7, trainer={"weight_decay": 0.25, "optim": "sgd"})
    found = progress.training_arguments(TrainingArguments, stage, tmp_path, tiny.context_for(tmp_path))
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (6, 2)
    assert (found.learning_rate, found.max_steps, found.seed) == (0.5, 7, 7)
    assert (found.weight_decay, found.optim) == (0.25, "sgd")
    assert Path(found.output_dir) == tmp_path / "resume"
    assert not found.bf16


def test_the_newest_whole_checkpoint_counts_and_others_go(tmp_path: Path) -> None:
    assert progress.last_checkpoint(tmp_path / "none") is None
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert progress.last_checkpoint(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    for step, complete in ((9, True), (10, True), (100, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_text("x")
        if complete:
            (folder / progress.COMPLETE).touch()
    assert progress.last_checkpoint(tmp_path) == tmp_path / "checkpoint-10", "by number, not by spelling"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


def test_rows_after_the_checkpoint_and_half_lines_go(tmp_path: Path) -> None:
    log = tmp_path / "logs/metrics.jsonl"
    log.parent.mkdir()
    rows = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "eval_loss": 2.5}, {"step": 3, "loss": 1.0}]
    log.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"step": 4, "lo')
    assert progress.read_metrics(log) == rows
    progress.keep_steps(log, 2)
    assert progress.read_metrics(log) == rows[:3]
    assert [p.name for p in log.parent.iterdir()] == ["metrics.jsonl"]
    progress.keep_steps(log, 0)
    assert log.read_text() == "", "without a checkpoint, training starts anew"
    assert progress.read_metrics(tmp_path / "none.jsonl") == []


def guard(tmp_path: Path, **changes: Any) -> progress.Progress:
    log = tmp_path / "sft.partial/logs/metrics.jsonl"
    log.parent.mkdir(parents=True)
    return progress.Progress(log, tiny.context_for(tmp_path, **changes))


@pytest.mark.parametrize("logs", [{"loss": float("nan")}, {"loss": 1.0, "grad_norm": float("inf")}])
def test_a_loss_or_gradient_that_is_no_number_stops_training(tmp_path: Path, logs: dict[str, float]) -> None:
    state = SimpleNamespace(global_step=3, max_steps=9)
    found = guard(tmp_path)
    with pytest.raises(
        TrainingError,
        match=r"sft\n(.|\n)*(loss is nan|grad_norm is inf) at step 3 of 9(.|\n)*lower learning_rate .now 0.1",
    ):
        found.on_log(SimpleNamespace(learning_rate=0.1), state, None, logs)
    assert not found.log.exists(), "the row is not kept"


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    found = guard(tmp_path)
    for step, logs in ((1, {"loss": 2.0, "text": "x"}), (1, {"eval_loss": 3.0}), (2, {"train_runtime": 1.0})):
        found.on_log(SimpleNamespace(learning_rate=0.1), SimpleNamespace(global_step=step, max_steps=2), None, logs)
    assert progress.read_metrics(found.log) == [{"step": 1, "loss": 2.0}, {"step": 1, "eval_loss": 3.0}]


def state(step: int, epoch: float) -> Any:
    return SimpleNamespace(global_step=step, max_steps=10, epoch=epoch)


def test_checkpoints_are_asked_for_when_time_has_passed_but_not_at_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, int, int, str]] = []
    found = guard(tmp_path, checkpoint_seconds=0, progress=lambda *values: told.append(values))
    args = SimpleNamespace(output_dir=str(tmp_path))
    assert found.on_step_end(args, state(3, 0.3), SimpleNamespace(should_save=False)).should_save
    assert not found.on_step_end(args, state(10, 1.0), SimpleNamespace(should_save=False)).should_save
    assert told == [("training", 3, 10, ""), ("training", 10, 10, "")]
    (tmp_path / "checkpoint-3").mkdir()
    found.on_save(args, state(3, 0.3), None)
    assert (tmp_path / "checkpoint-3/complete").exists()
    patient = progress.Progress(found.log, tiny.context_for(tmp_path, checkpoint_seconds=60))
    assert not patient.on_step_end(args, state(4, 0.4), SimpleNamespace(should_save=False)).should_save


def test_the_checkpoint_at_the_end_of_an_epoch_waits_for_its_evaluation(tmp_path: Path) -> None:
    found = guard(tmp_path, checkpoint_seconds=0)
    args = SimpleNamespace(output_dir=str(tmp_path))
    assert not found.on_step_end(args, state(5, 1.0), SimpleNamespace(should_save=False)).should_save
    assert found.on_epoch_end(args, state(5, 1.0), SimpleNamespace(should_save=False)).should_save
    assert not found.on_epoch_end(args, state(10, 2.0), SimpleNamespace(should_save=False)).should_save
