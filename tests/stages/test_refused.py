"""Trainer arguments that a library refuses: the user's mistake, told with the stage and the argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align.errors import DataError, ModelError, RecipeError, TrainingError
from align.recipe.schema import DPO, KTO, PPO, SFT, Pretrain, Reward
from align.stages import out_of_range
from tests import tiny

pytestmark = tiny.THIRD_PARTY

SETTINGS = {"model": "base", "data": "data", "batch_size": 4, "max_steps": 1, "max_length": 128, "lora": "none"}


def sft(folder: Path, **changes: Any) -> None:
    inputs = {
        "model": [tiny.base_of(folder, "llama")],
        "data": [tiny.data_artifact(folder, "data", "demonstrations", tiny.demonstrations())],
    }
    tiny.run_in(folder, SFT(name="sft", kind="sft", **(SETTINGS | changes)), inputs)


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("warmup_steps", -3, "Expected value warmup_steps >= 0"),
        ("accelerator_config", "nope.json", "No such file"),
        ("optim", "adamw_8bit", "bitsandbytes"),
        ("adam_beta1", 5.0, "Invalid beta parameter"),
        ("warmup_steps", float("inf"), "OverflowError"),
        ("pad_to_multiple_of", 0, "ZeroDivisionError"),
        ("dataloader_num_workers", -2, "non-negative"),
    ],
)
def test_what_a_library_refuses(argument: str, value: Any, said: str, tmp_path: Path) -> None:
    """By the config, by the trainer, or before its first step. Those that leave traces: tests/test_bad_input.py."""
    with pytest.raises(TrainingError) as caught:
        sft(tmp_path, trainer={argument: value})
    error = caught.value
    assert error.where == f"stage sft, trainer.{argument}"
    assert said in error.found and f"`{argument}: " in error.found
    assert "under the stage's `trainer:`" in error.remedy


def test_the_argument_that_is_meant_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        sft(tmp_path, trainer={"weight_decay": 0.1, "warmup_steps": -3})
    assert caught.value.where == "stage sft, trainer.warmup_steps"
    with pytest.raises(TrainingError, match="adam_beta1: 5.0, weight_decay: 0.1"):
        sft(tmp_path, trainer={"adam_beta1": 5.0, "weight_decay": 0.1})  # torch speaks of no name


def test_a_layer_that_takes_no_adapter_is_no_argument_s_fault(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no adapter can sit there") as caught:
        sft(tmp_path, lora={"targets": ["self_attn"]}, trainer={"weight_decay": 0.1})
    assert caught.value.where.startswith("lora.targets")


def test_an_adapter_on_the_embeddings_trains(tmp_path: Path) -> None:
    sft(tmp_path, lora={"targets": ["embed_tokens"]})


def test_without_arguments_it_is_our_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any, **named: Any) -> None:
        raise ValueError("ours")

    monkeypatch.setattr("trl.SFTTrainer.__init__", fails)
    with pytest.raises(ValueError, match="ours"):
        sft(tmp_path)


def test_what_fails_in_training_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any, **named: Any) -> None:
        raise ValueError("in a step")

    monkeypatch.setattr("trl.SFTTrainer.training_step", fails)
    with pytest.raises(ValueError, match="in a step"):
        sft(tmp_path, trainer={"weight_decay": 0.1})


def test_a_refusal_of_dpo(tmp_path: Path) -> None:
    inputs = {
        "model": [tiny.base_of(tmp_path, "llama")],
        "data": [tiny.data_artifact(tmp_path, "data", "preferences", tiny.preferences())],
    }
    stage = DPO(name="dpo", kind="dpo", **(SETTINGS | {"trainer": {"warmup_steps": -3}}))
    with pytest.raises(TrainingError, match="warmup_steps: -3"):
        tiny.run_in(tmp_path, stage, inputs)


@pytest.mark.parametrize(
    ("changes", "where", "allowed", "remedy"),
    [
        ({"trainer": {"gamma": 7}}, "stage ppo, trainer.gamma", "0 to 1", "change `gamma` under the stage's"),
        ({"trainer": {"cliprange": -1}}, "stage ppo, trainer.cliprange", "above 0", "change `cliprange` under"),
    ],
)
def test_a_number_out_of_the_range_of_our_trainer(
    changes: dict[str, Any], where: str, allowed: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / "judge.py").write_text("def score(prompt, answer, reference=None, tags=()):\n    return len(answer)\n")
    inputs = {
        "model": [tiny.base_of(tmp_path, "llama")],
        "prompts": [tiny.data_artifact(tmp_path, "prompts", "prompts", tiny.prompts())],
    }
    settings: dict[str, Any] = {"model": "base", "prompts": "prompts", "reward": {"rules": "judge.py"}, "batch_size": 4}
    stage = PPO(name="ppo", kind="ppo", max_new_tokens=4, **(settings | changes))
    with pytest.raises(RecipeError) as caught:
        tiny.run_in(tmp_path, stage, inputs)
    assert (caught.value.where, caught.value.remedy[: len(remedy)]) == (where, remedy)
    assert caught.value.allowed.startswith(allowed)


def test_a_setting_of_the_stage_that_our_trainer_refuses() -> None:
    stage = SFT(name="one", kind="sft", model="base", data="data")
    error = out_of_range(stage, RecipeError("heads is 0", where="RankingRewardConfig.heads", allowed="at least 1"))
    assert (error.where, error.allowed, error.remedy) == ("stage one, heads", "at least 1", "use `heads` of the stage")


@pytest.mark.parametrize("settings", [DPO, Reward, KTO, Pretrain])
def test_rows_that_are_all_held_out(settings: type[Any], tmp_path: Path) -> None:
    """As where they were sampled from prompts that only measure: no ties are to blame."""
    inputs = {
        "model": [tiny.base_of(tmp_path, "llama")],
        "data": [tiny.data_artifact(tmp_path, "data", "rankings", [], tiny.rankings())],
    }
    kind = settings.__name__.lower()
    values = {"name": "stage", "kind": kind, "data": "data"} | ({} if kind == "pretrain" else {"model": "base"})
    with pytest.raises(DataError, match="no row is left to train on: all are held out") as caught:
        tiny.run_in(tmp_path, settings(**values), inputs)
    assert caught.value.where == "data" and "`holdout:`" in caught.value.remedy
