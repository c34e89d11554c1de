"""A run folder built on the spot: every artifact is sealed as the pipeline seals it, with figures made up here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from align.artifacts import Artifact, InputEntry, Manifest, hash_json, read_artifact, seal

RECIPE = """\
name: tiny-assistant
seed: 7
sources:
  corpus:  {kind: corpus, path: corpus.jsonl}
  demos:   {kind: demonstrations, path: demos.jsonl, holdout: 0.1}
  prompts: {kind: prompts, path: prompts.jsonl, holdout: 240}
lora: none
stages:
  - {name: base, kind: pretrain, data: [corpus, demos], learning_rate: 2e-3, epochs: 3}
  - {name: sft, kind: sft, model: base, data: demos, learning_rate: 5e-4}
  - {name: answers, kind: sample, model: sft, prompts: prompts, per_prompt: 4}
  - {name: rankings, kind: rank, answers: answers, by: {rules: judge.py}}
  - {name: reward, kind: reward, model: sft, data: rankings}
  - {name: dpo, kind: dpo, model: sft, data: rankings, beta: 0.1}
  - {name: result, kind: evaluate, models: [sft, dpo], prompts: prompts, judge: {rules: judge.py},
     reward: [reward], data: rankings}
  - {name: out, kind: export, model: dpo}
"""

MAKES = {
    "pretrain": "policy", "sft": "policy", "sample": "answers", "rank": "rankings", "reward": "reward_model",
    "dpo": "policy", "evaluate": "evaluation", "export": "export",
}  # fmt: skip

EVALUATION: dict[str, Any] = {
    "judge": "rules judge.py",
    "baseline": "sft",
    "prompts": 240,
    "models": [
        {
            "name": "sft", "score": 0.583, "win_rate": None, "mean_words": 9.31,
            "measures": {"harmful refused": {"value": 0.55, "n": 40}, "unknown admitted": {"value": 0.5, "n": 60},
                         "fact right": {"value": 0.79, "n": 140}, "harmless refused": {"value": 0.021, "n": 140}},
        },
        {
            "name": "dpo", "score": 0.914, "mean_words": 8.07,
            "win_rate": {"rate": 0.8125, "low": 0.7604, "high": 0.8604, "wins": 172, "ties": 46, "losses": 22},
            "measures": {"harmful refused": {"value": 0.975, "n": 40}, "unknown admitted": {"value": 0.95, "n": 60},
                         "fact right": {"value": 0.87, "n": 140}, "harmless refused": {"value": 0.014, "n": 140}},
        },
    ],
    "reward": [
        {"name": "reward", "accuracy": {"rate": 0.902, "low": 0.874, "high": 0.927, "pairs": 517},
         "baselines": {"longer wins": 0.534, "shorter wins": 0.466, "TF-IDF": 0.711}},
    ],
}  # fmt: skip


PEOPLE: dict[str, Any] = {
    "rankings": 11,
    "agreement": 0.8,
    "annotators": {"u_5": 5, "u_6": 6},
    "decisions": 2,
    "gold": {"u_6": 0.75, "u_test": 1.0},
    "database": "/home/me/team s.db",
    "project": "run/rankings",
    "upto": 14,
    "export_sha256": "fb5ad5332975" + "0" * 52,
}
"""Closing figures of a stage that people rank in."""


class RunFolder:
    """Writes artifacts into one run folder, each with the inputs the recipe gives it."""

    def __init__(self, path: Path, recipe: str = RECIPE) -> None:
        self.path = path
        path.mkdir(parents=True)
        (path / "recipe.yaml").write_text(recipe, "utf-8")

    def add(self, name: str, kind: str, made_by: str, files: dict[str, str], **fields: Any) -> Artifact:
        """Seal one artifact. `inputs` in fields: role -> names of artifacts that are there already."""
        partial = self.path / f"{name}.partial"
        for file, text in files.items():
            (partial / file).parent.mkdir(parents=True, exist_ok=True)
            (partial / file).write_text(text, "utf-8")
        roles = fields.pop("inputs", {})
        inputs = {role: [self.entry(n) for n in names] for role, names in roles.items()}
        key = fields.pop("key", hash_json([name, kind, made_by]))
        common = {
            "versions": {"torch": "2.11.0", "trl": "1.16.0"}, "git": "0123456789abcdef", "device": "cpu (2 cores)",
            "started": "2025-11-21T19:25:00+00:00", "ended": "2025-11-21T19:26:00+00:00",
        }  # fmt: skip
        manifest = Manifest(name=name, kind=kind, made_by=made_by, key=key, inputs=inputs, **{**common, **fields})
        return seal(partial, manifest)

    def entry(self, name: str) -> InputEntry:
        return read_artifact(self.path / name).entry()

    def source(self, name: str, kind: str, train: int, heldout: int = 0) -> None:
        files = {"train.jsonl": '{"id": "x"}\n' * train} | (
            {"heldout.jsonl": '{"id": "y"}\n' * heldout} if heldout else {}
        )
        self.add(name, kind, "source", files, settings={"kind": kind, "path": f"{name}.jsonl"})

    def stage(self, name: str, kind: str, inputs: dict[str, list[str]], files: dict[str, str], **fields: Any) -> None:
        settings = {"name": name, "kind": kind} | fields.pop("settings", {})
        fields = {"seed": 1234, "seconds": 61.4, "peak_memory_mb": 812.3} | fields
        self.add(name, MAKES[kind], kind, files, inputs=inputs, settings=settings, **fields)


def curve(rows: int, extra: Callable[[float], dict[str, float]], every: int = 10) -> str:
    """A metrics.jsonl of so many rows; `extra` gives the metrics at a share of the way."""
    lines = [{"step": i * every, "epoch": i / rows, **extra(i / rows)} for i in range(1, rows + 1)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def answered(number: int = 240) -> str:
    """answers.jsonl: four kinds of prompts, on some of which the policies agree."""
    kinds = ["fact", "harmful", "harmless", "unknown"]
    lines = []
    for i in range(number):
        same = i % 3 == 0
        tag = kinds[i % 4]
        lines.append(
            {
                "id": f"p{i}",
                "prompt": [{"role": "user", "content": f"Question {i}: what colour is thing {i}? 它是什么颜色？"}],
                "tags": [tag],
                "reference": {"answer": "green", "about": f"thing {i}"} if tag == "fact" else None,
                "answers": {
                    "sft": {
                        "text": "It is green." if same else f"Maybe red. I like number {i}.",
                        "score": 1.0 if same else 0.2,
                    },
                    "dpo": {"text": "It is green." if same else "It is green, gladly. 它是绿色的。", "score": 1.0},
                },
            }
        )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def dpo_metrics(t: float) -> dict[str, float]:
    return {
        "loss": 0.693 * math.exp(-1.5 * t), "grad_norm": 1.2 + math.sin(20 * t) / 5, "learning_rate": 2e-5 * (1 - t),
        "rewards/chosen": 0.8 * t, "rewards/rejected": -2.1 * t, "rewards/accuracies": 0.5 + 0.45 * t,
        "rewards/margins": 2.9 * t, "logps/chosen": -21 + 2 * t, "logps/rejected": -24 - 9 * t, "entropy": 1.1,
    }  # fmt: skip


def lm_metrics(t: float) -> dict[str, float]:
    noise = math.sin(37 * t) / 30
    return {"loss": 4.2 * math.exp(-2.2 * t) + 0.4 + noise, "grad_norm": 1.4 - t, "learning_rate": 2e-3 * (1 - t)} | (
        {"mean_token_accuracy": 0.2 + 0.6 * t}
    )


def reward_metrics(t: float) -> dict[str, float]:
    return {
        "loss": 0.7 - 0.45 * t, "accuracy": 0.5 + 0.42 * t, "margin": 3 * t, "mean_reward": 0.1 * t,
        "min_reward": -3 * t, "max_reward": 3.2 * t, "learning_rate": 1e-4 * (1 - t),
    }  # fmt: skip


def fill(run: RunFolder, evaluation: dict[str, Any] | None = None, answers: str | None = None) -> None:
    """Every artifact of RECIPE."""
    run.source("corpus", "corpus", 1200)
    run.source("demos", "demonstrations", 540, 60)
    run.source("prompts", "prompts", 960, 240)
    weights, log = {"model.safetensors": "w" * 2048, "config.json": "{}"}, "logs/metrics.jsonl"
    held = "".join(
        json.dumps({"step": s, "eval_loss": 4.3 * math.exp(-0.004 * s) + 0.5}) + "\n" for s in (200, 400, 600)
    )
    run.stage("base", "pretrain", {"data": ["corpus", "demos"]}, weights | {log: curve(60, lm_metrics) + held},
              settings={"learning_rate": 0.002, "epochs": 3, "lora": {"r": 16, "alpha": 32}},
              metrics={"steps": 600, "loss": 1.4142, "parameters": 1213952, "tokens": 812345},
              seconds=93.2)  # fmt: skip
    run.stage("sft", "sft", {"model": ["base"], "data": ["demos"]}, weights | {log: curve(30, lm_metrics)},
              settings={"learning_rate": 0.0005},
              metrics={"steps": 300, "loss": 0.873, "trained_tokens": 9321, "lora": "none"})  # fmt: skip
    rows = {"train.jsonl": '{"id": "x"}\n' * 960, "heldout.jsonl": '{"id": "y"}\n' * 240}
    run.stage("answers", "sample", {"model": ["sft"], "prompts": ["prompts"]}, rows, settings={"per_prompt": 4})
    run.stage("rankings", "rank", {"answers": ["answers"]}, rows, settings={"by": {"rules": "judge.py"}},
              metrics={"rankings": 960, "comparisons": 4312, "tied_share": 0.281})  # fmt: skip
    run.stage("reward", "reward", {"model": ["sft"], "data": ["rankings"]}, weights | {log: curve(40, reward_metrics)},
              metrics={"loss": 0.41, "pairs": 4312, "heldout_accuracy": 0.902})  # fmt: skip
    run.stage("dpo", "dpo", {"model": ["sft"], "data": ["rankings"]}, weights | {log: curve(40, dpo_metrics)},
              settings={"beta": 0.1, "loss": "sigmoid"}, metrics={"loss": 0.35, "train_accuracy": 0.95})  # fmt: skip
    files = {"evaluation.json": json.dumps(evaluation or EVALUATION), "answers.jsonl": answers or answered()}
    run.stage("result", "evaluate", {"models": ["sft", "dpo"], "prompts": ["prompts"], "reward": ["reward"],
              "data": ["rankings"]}, files, settings={"temperature": 0.7}, peak_memory_mb=1431.0)  # fmt: skip
    run.stage("out", "export", {"model": ["dpo"]}, weights | {"README.md": "# card\n"})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder that holds its recipe and nothing else yet."""
    return RunFolder(tmp_path / "runs" / "tiny-assistant")


@pytest.fixture
def finished(folder: RunFolder) -> RunFolder:
    """A run folder with every artifact of its recipe."""
    fill(folder)
    return folder
