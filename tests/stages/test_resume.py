"""Killed and run again: the weights are, byte by byte, those of an undisturbed run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.artifacts import Artifact
from align.contract import Interrupt, Interrupted
from align.data.records import Record, Text
from align.recipe.schema import DPO, KTO, ORPO, PPO, SFT, ByRules, Pretrain, Reward, SimPO, StageBase
from tests import tiny

pytestmark = tiny.THIRD_PARTY

TRAINED: dict[str, Any] = {"epochs": 3, "batch_size": 3, "micro_batch": 1, "max_length": 64, "learning_rate": 1e-2}
"""Nine steps over three epochs: the kill falls into the second."""


RULES = ByRules(rules="judge.py")
PRACTISED: dict[str, Any] = {"batch_size": 3, "ppo_epochs": 2, "minibatches": 2, "max_steps": 10, "max_new_tokens": 5,
                             "learning_rate": 1e-2, "evaluate_every": 1}  # fmt: skip
"""Ten updates in three rollouts: the kill falls into the midst of the second."""


class Killed(Exception):
    """Stands for the SIGKILL."""


def kill_at(step: int) -> Any:
    def progress(what: str, done: int, total: int, note: str) -> None:
        if what == "training" and done == step:
            raise Killed

    return progress


STAGES: dict[str, StageBase] = {
    "sft-lora": SFT(name="stage", kind="sft", model="base", data="data", **TRAINED),
    "sft-full": SFT(name="stage", kind="sft", model="base", data="data", lora="none", **TRAINED),
    "sft-packed": SFT(name="stage", kind="sft", model="base", data="data", packing=True,
                      **(TRAINED | {"batch_size": 1, "epochs": 4})),
    "reward": Reward(name="stage", kind="reward", model="base", data="data", **TRAINED),
    "reward-full": Reward(name="stage", kind="reward", model="base", data="data", lora="none", **TRAINED),
    "dpo-new": DPO(name="stage", kind="dpo", model="base", data="data", **TRAINED),
    "dpo-continued": DPO(name="stage", kind="dpo", model="sft", data="data", **TRAINED),
    "dpo-full": DPO(name="stage", kind="dpo", model="base", data="data", lora="none", **TRAINED),
    "orpo-new": ORPO(name="stage", kind="orpo", model="base", data="data", **TRAINED),
    "simpo-continued": SimPO(name="stage", kind="simpo", model="sft", data="data", **TRAINED),
    "kto-continued": KTO(name="stage", kind="kto", model="sft", data="data", **(TRAINED | {"micro_batch": 3})),
    "kto-full": KTO(name="stage", kind="kto", model="base", data="data", lora="none",
                    **(TRAINED | {"micro_batch": 3})),
    "ppo-new": PPO(name="stage", kind="ppo", model="base", prompts="data", reward=RULES, **PRACTISED),
    "ppo-continued": PPO(name="stage", kind="ppo", model="sft", prompts="data", reward=RULES, value="separate",
                         **PRACTISED),
    "ppo-full": PPO(name="stage", kind="ppo", model="base", prompts="data", reward=RULES, lora="none", **PRACTISED),
    "pretrain": Pretrain(name="stage", kind="pretrain", data="data", vocab_size=320, hidden_size=32, layers=1, heads=2,
                         context=64, **(TRAINED | {"max_length": 32})),
}  # fmt: skip
FAST = {"sft-lora", "dpo-continued", "ppo-continued"}
JUDGE = "def score(prompt, answer, reference=None, tags=()):\n    return float(answer.count('e'))\n"


def inputs_of(case: str, runs: Path) -> dict[str, list[Artifact]]:
    records: list[Record] = tiny.preferences()
    kind = "preferences"
    if case == "pretrain":
        texts: list[Record] = [Text(text=t * 4) for t in tiny.TEXTS]
        return {"data": [tiny.data_artifact(runs, "data", "corpus", texts)]}
    if case.startswith("sft"):
        records, kind = tiny.demonstrations(), "demonstrations"
    # GPT-2 has dropout: the random numbers must continue as well.
    model = tiny.base_of(runs, "gpt2")
    (runs / "judge.py").write_text(JUDGE, "utf-8")
    if case.endswith("-continued"):
        demos = tiny.data_artifact(runs, "demos", "demonstrations", tiny.demonstrations())
        sft = SFT(name="sft", kind="sft", model="base", data="demos", max_steps=1, max_length=64)
        model = tiny.run_in(runs, sft, {"model": [model], "data": [demos]})
    role = "prompts" if case.startswith("ppo") else "data"
    return {"model": [model], role: [tiny.data_artifact(runs, "data", kind, records, records[6:])]}


@pytest.mark.parametrize(
    "case", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in STAGES]
)
def test_a_killed_stage_ends_as_an_undisturbed_one(case: str, tmp_path: Path) -> None:
    stage, inputs = STAGES[case], inputs_of(case, tmp_path)
    wanted = tiny.run_in(tmp_path, stage, inputs)
    wanted.path.rename(tmp_path / "undisturbed")
    total = wanted.manifest.metrics["steps"]
    assert total >= 4
    stop = total // 2 + 1
    with pytest.raises(Killed):
        tiny.run_in(tmp_path, stage, inputs, checkpoint_seconds=0, progress=kill_at(stop))
    resume = tmp_path / "stage.partial/resume"
    assert (resume / f"checkpoint-{stop - 1}/complete").exists()
    half = resume / f"checkpoint-{stop}"
    half.mkdir()
    (half / "trainer_state.json").write_text("{")  # a kill while saving: without `complete`, it does not count
    said: list[str] = []
    found = tiny.run_in(tmp_path, stage, inputs, say=said.append)
    assert f"continues from step {stop - 1}" in said
    assert not half.exists()
    assert differing(wanted, found) == []
    assert found.manifest.content == wanted.manifest.content
    rows = [json.loads(line) for line in (found.path / "logs/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if "loss" in r] == list(range(1, total + 1))
    assert found.manifest.metrics["loss"] == wanted.manifest.metrics["loss"]


def differing(one: Artifact, other: Artifact) -> list[str]:
    hashes = [{f.path: f.sha256 for f in a.manifest.files if not f.path.startswith("logs/")} for a in (one, other)]
    assert any("safetensors" in name for name in hashes[0])
    return [name for name in hashes[0] | hashes[1] if hashes[0].get(name) != hashes[1].get(name)]


@pytest.mark.slow
def test_a_stage_killed_twice(tmp_path: Path) -> None:
    """At step 3 and, gone on, at step 6."""
    stage, inputs = STAGES["sft-full"], inputs_of("sft-full", tmp_path)
    wanted = tiny.run_in(tmp_path, stage, inputs)
    wanted.path.rename(tmp_path / "undisturbed")
    for step in (3, 6):
        with pytest.raises(Killed):
            tiny.run_in(tmp_path, stage, inputs, checkpoint_seconds=0, progress=kill_at(step))
    found = tiny.run_in(tmp_path, stage, inputs)
    assert found.manifest.content == wanted.manifest.content


@pytest.mark.parametrize("case", ["reward", "sft-full", "ppo-new"])
def test_an_interrupted_stage_keeps_every_step(case: str, tmp_path: Path) -> None:
    stage, inputs = STAGES[case], inputs_of(case, tmp_path)
    wanted = tiny.run_in(tmp_path, stage, inputs)
    wanted.path.rename(tmp_path / "undisturbed")
    total = wanted.manifest.metrics["steps"]
    interrupt = Interrupt()

    def progress(what: str, done: int, of: int, note: str) -> None:
        interrupt.asked |= what == "training" and done == total // 2

    with pytest.raises(Interrupted):
        tiny.run_in(tmp_path, stage, inputs, progress=progress, interrupt=interrupt)
    (kept,) = (tmp_path / "stage.partial/resume").glob("checkpoint-*/complete")
    assert int(kept.parent.name.split("-")[1]) in (total // 2, total // 2 + 1)
    found = tiny.run_in(tmp_path, stage, inputs)
    assert differing(wanted, found) == []
    assert found.manifest.metrics["loss"] == wanted.manifest.metrics["loss"]
