"""What a PPO checkpoint holds beside the optimizer's state, so that a continued run equals an undisturbed one.

trainable.safetensors   every weight that learns, policy and value model
ppo.pt                  the rollout in use, KL coefficient, scales of the scores, best evaluation so far
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from align.trainers.ppo.rollout import Experience
from align.trainers.weights import load_weights, save_weights

WEIGHTS, BEST, STATE = "trainable.safetensors", "best.safetensors", "ppo.pt"


def save_state(trainer: Any, folder: Path) -> None:
    """Write a checkpoint's part that is PPO's."""
    save_weights(trainer.model, folder / WEIGHTS)
    best = Path(trainer.args.output_dir) / BEST
    if trainer.best:
        put(best, folder / BEST)
    state = {
        "experience": trainer.experience.state() if trainer.experience else None,
        "kl_coef": trainer.kl.coef,
        "scales": trainer.rewards.state(),
        "best": dict(trainer.best),
        "start_length": trainer.start_length,
        "rest_skipped": trainer.rest_skipped,
        "looked_at": trainer.looked_at,
        "over_budget": trainer.over_budget,
        "pending": dict(trainer.pending),
    }
    torch.save(state, folder / STATE)


def put(file: Path, place: Path) -> None:
    """The same file at another place, as a link where the disk can; neither is written to, only replaced."""
    new = place.with_suffix(".new")
    new.unlink(missing_ok=True)
    try:
        os.link(file, new)
    except OSError:
        shutil.copyfile(file, new)
    os.replace(new, place)


def was_over_budget(folder: Path) -> bool:
    """Whether a checkpoint was made after the KL budget had ended training."""
    return bool(torch.load(folder / STATE, weights_only=True)["over_budget"])


def load_state(trainer: Any, folder: Path) -> None:
    """Read a checkpoint, and drop samples of evaluations after it: they will be made again."""
    load_weights(trainer.model, folder / WEIGHTS)
    state = torch.load(folder / STATE, weights_only=True)
    kept = state["experience"]
    trainer.experience = Experience.restore(kept, trainer.args.device) if kept else None
    trainer.kl.coef = state["kl_coef"]
    trainer.rewards.restore(state["scales"])
    trainer.model.unscaled = None  # the first rollout is over
    trainer.best, trainer.start_length = state["best"], state["start_length"]
    if trainer.best:
        put(folder / BEST, Path(trainer.args.output_dir) / BEST)
    trainer.looked_at, trainer.over_budget = state["looked_at"], state["over_budget"]
    trainer.rest_skipped = state["rest_skipped"]
    trainer.pending = defaultdict(list, state["pending"])
    step = json.loads((folder / "trainer_state.json").read_text("utf-8"))["global_step"]
    file = trainer.samples_file
    if file.exists():
        rows = [line for line in file.read_text("utf-8").split("\n")[:-1] if json.loads(line)["step"] <= step]
        new = file.with_suffix(".new")
        new.write_text("".join(row + "\n" for row in rows), "utf-8")
        os.replace(new, file)
