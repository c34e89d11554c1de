"""PPOTrainer on a small problem: steps, guards, evaluation, checkpoints, and what people get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from align.data.chat import Encoded
from align.errors import DataError, ModelError, RecipeError, TrainingError
from align.judges.reward import SCALE, RewardJudge
from align.models.score import score_sequences
from align.trainers.ppo import watch
from align.trainers.ppo.config import PPOConfig
from align.trainers.ppo.rewards import ModelReward
from align.trainers.ppo.rollout import collate
from align.trainers.ppo.state import BEST
from align.trainers.ppo.trainer import PPOTrainer
from align.trainers.weights import save_weights
from tests import tiny
from tests.trainers.ppo import worlds
from tests.trainers.ppo.test_rewards import reward_model

pytestmark = tiny.THIRD_PARTY


def weights(trainer: PPOTrainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}


def rows(trainer: PPOTrainer) -> list[dict[str, Any]]:
    return [r for r in trainer.state.log_history if "loss" in r]


@pytest.mark.parametrize(("epochs", "parts", "wanted"), [(1, 1, 1), (4, 1, 4), (1, 4, 4), (2, 3, 6)])
def test_each_minibatch_is_an_optimizer_step(epochs: int, parts: int, wanted: int, tmp_path: Path) -> None:
    """TRL's num_mini_batches did nothing (its issue 5645). Two passes over 16 prompts, 16 a rollout: two rollouts."""
    asked = 0

    def counting(completions: list[str]) -> list[float]:
        nonlocal asked
        asked += len(completions)
        return [0.0] * len(completions)

    trainer = worlds.trainer(
        tmp_path, rewarded=counting, prompts=[f"w{i % 9} w{i // 9}" for i in range(16)], max_steps=-1,
        num_train_epochs=2, num_ppo_epochs=epochs, num_mini_batches=parts,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 2 * wanted
    assert asked == 32 == trainer.episodes_seen()
    steps = {s for state in trainer.optimizer.state.values() for s in [int(state["step"])]}
    assert steps == {2 * wanted}


def test_minibatches_of_an_epoch_hold_every_episode_once(tmp_path: Path) -> None:
    trainer = worlds.trainer(tmp_path, num_mini_batches=3)
    for epoch in range(2):
        parts = [trainer.minibatch(0, 3 * epoch + i) for i in range(3)]
        assert sorted(i for p in parts for i in p) == list(range(16))
    assert trainer.minibatch(0, 0) != trainer.minibatch(0, 3)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_the_first_update_starts_at_ratio_1_and_kl_0(how: str, tmp_path: Path) -> None:
    extra = {"peft_config": worlds.lora()} if how == "lora" else {}
    trainer = worlds.trainer(tmp_path, num_ppo_epochs=1, num_mini_batches=1, max_steps=3, **extra)
    trainer.train()
    first = rows(trainer)[0]
    assert first["ratio"] == pytest.approx(1, abs=1e-5)
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    assert first["approx_kl"] == pytest.approx(0, abs=1e-8)
    assert first["clip_fraction"] == 0
    assert rows(trainer)[2]["kl"] != 0


@pytest.mark.parametrize("budget", [1, 40, 100_000])
def test_microbatches_do_not_change_the_gradient(budget: int, tmp_path: Path) -> None:
    """The loss is a mean over the minibatch's tokens, however they are divided."""
    trainer = worlds.trainer(tmp_path / "whole", max_steps=2)
    trainer.train()
    parted = worlds.trainer(tmp_path / "parts", max_steps=2, micro_batch_tokens=budget)
    parted.train()
    assert rows(parted)[0]["grad_norm"] == pytest.approx(rows(trainer)[0]["grad_norm"], rel=1e-4)
    assert rows(parted)[0]["loss/value"] == pytest.approx(rows(trainer)[0]["loss/value"], rel=1e-4)


def test_updates_that_go_too_far_are_skipped(tmp_path: Path) -> None:
    """A learning rate that throws the policy away: after the first update of a rollout the rest is not taken."""
    settings: dict[str, Any] = {"learning_rate": 0.3, "num_ppo_epochs": 4, "num_mini_batches": 1, "max_steps": 4}
    free = worlds.trainer(tmp_path / "free", **settings)
    free.train()
    assert [r["skipped"] for r in rows(free)] == [0, 0, 0, 0]
    held = worlds.trainer(tmp_path / "held", target_kl=0.01, **settings)
    held.train()
    assert [r["skipped"] for r in rows(held)] == [0, 1, 1, 1]
    assert rows(held)[1]["grad_norm"] == 0
    assert all(int(s["step"]) == 1 for s in held.optimizer.state.values())
    endless = worlds.trainer(tmp_path / "endless", max_steps=1)
    endless.experience = endless.roll_out(0)
    endless.experience.logprobs[0, 0] = -1e30
    assert endless.update(endless.experience, list(range(16))) == 0
    assert all(p.grad is None for p in endless.model.parameters())
    guarded = worlds.trainer(tmp_path / "guarded", ratio_threshold=0.5, **settings)
    before = weights(guarded)
    guarded.train()
    assert all(torch.equal(before[n], w) for n, w in weights(guarded).items())
    assert [r["skipped/ratio"] for r in rows(guarded)] == [1, 1, 1, 1]


def test_value_warmup_leaves_the_policy_alone(tmp_path: Path) -> None:
    trainer = worlds.trainer(tmp_path, value_warmup=1, value_model="separate", max_steps=4)
    before = weights(trainer)
    trainer.train()
    for name, weight in weights(trainer).items():
        assert torch.equal(before[name], weight) is name.startswith("policy."), name


def test_demonstrations_become_likelier(tmp_path: Path) -> None:
    """PPO-ptx: with a reward of nothing, what is left to learn is the demonstration."""
    said = [5 + 3, 5 + 4, 1]
    row = Encoded([*worlds.prompt_ids(), *said], [0] * len(worlds.prompt_ids()) + [1] * 3)
    trainer = worlds.trainer(
        tmp_path, rewarded=lambda completions: [0.0] * len(completions), ptx_dataset=[row], ptx_coef=1.0,
        kl_coef=0.0, max_steps=20, learning_rate=1e-2,
    )  # fmt: skip
    trainer.train()
    found = [r["loss/ptx"] for r in rows(trainer)]
    assert found[-1] < 0.5 * found[0]


# -- held-out prompts ---------------------------------------------------------------------------------------------


def test_evaluation_scores_keeps_the_best_and_writes_samples(tmp_path: Path) -> None:
    trainer = worlds.trainer(
        tmp_path, eval_dataset=["w3 w4", "w5"], eval_strategy="steps", eval_steps=4, max_steps=10, learning_rate=5e-3
    )
    trainer.train()
    looks = [r for r in trainer.state.log_history if "eval_score" in r]
    assert [r["step"] for r in looks] == [0, 4, 8, 10]
    assert looks[0]["eval_kl"] == pytest.approx(0, abs=1e-5)
    assert looks[0]["eval_length_ratio"] == 1
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text("utf-8").splitlines()]
    assert [(s["step"], s["prompt"][0]["content"]) for s in samples] == [
        (step, text) for step in (0, 4, 8, 10) for text in ("w3 w4", "w5")
    ]
    best = max(looks, key=lambda r: r["eval_score"])
    assert trainer.best["step"] == best["step"]
    again = trainer.evaluate()
    assert again["eval_score"] == pytest.approx(best["eval_score"], abs=1e-6)


def test_the_kl_budget_stops_and_ends_with_a_policy_within_it(tmp_path: Path) -> None:
    trainer = worlds.trainer(
        tmp_path, eval_dataset=["w1 w2"] * 8, eval_strategy="steps", eval_steps=4, max_steps=200, kl_coef=0.0,
        learning_rate=1e-2, kl_budget=0.3,
    )  # fmt: skip
    trainer.train()
    looks = [r for r in trainer.state.log_history if "eval_kl" in r]
    assert trainer.state.global_step < 200
    assert looks[-1]["eval_kl"] > 0.3
    assert trainer.best["kl"] <= 0.3
    assert trainer.evaluate()["eval_kl"] == pytest.approx(trainer.best["kl"], abs=1e-5)


def test_without_held_out_prompts_the_budget_watches_rollouts(tmp_path: Path) -> None:
    trainer = worlds.trainer(tmp_path, max_steps=200, kl_coef=0.0, learning_rate=1e-2, kl_budget=0.3)
    trainer.train()
    assert trainer.state.global_step < 200
    assert rows(trainer)[-1]["kl"] > 0.3


def test_an_adaptive_coefficient_follows_the_kl(tmp_path: Path) -> None:
    trainer = worlds.trainer(tmp_path, kl_target=5.0, kl_horizon=100, max_steps=12)
    trainer.train()
    coefs = [r["kl_coef"] for r in rows(trainer)]
    assert coefs[0] == pytest.approx(0.5 * (1 - 0.2 * 16 / 100))
    assert coefs == sorted(coefs, reverse=True)


# -- checkpoints --------------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for the SIGKILL."""


class KillAt(TrainerCallback):  # type: ignore[misc]
    def __init__(self, step: int) -> None:
        self.step = step

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Killed


@pytest.mark.parametrize("how", ["full", "lora"])
@pytest.mark.parametrize("step", [4, 6, 7])
def test_a_continued_run_equals_an_undisturbed_one(how: str, step: int, tmp_path: Path) -> None:
    """Between rollouts (4) and in the midst of one (6, 7): weights, figures and samples are the same to the bit."""

    def make(name: str, **more: Any) -> PPOTrainer:
        extra = {"peft_config": worlds.lora()} if how == "lora" else {}
        return worlds.trainer(
            tmp_path / name, max_steps=12, kl_target=1.0, kl_horizon=200, save_strategy="steps", save_steps=1,
            eval_strategy="steps", eval_steps=5, eval_dataset=["w3"], value_model="separate", keep_best=False,
            logging_steps=3, **extra, **more,
        )  # fmt: skip

    wanted = make("whole")
    wanted.train()
    with pytest.raises(Killed):
        make("parts", callbacks=[KillAt(step)]).train()
    found = make("parts")
    found.train(resume_from_checkpoint=str(tmp_path / f"parts/checkpoint-{step}"))
    assert weights(found).keys() == weights(wanted).keys()
    for name, weight in weights(wanted).items():
        assert torch.equal(weights(found)[name], weight), name
    timeless = [
        {k: v for k, v in r.items() if k != "loss"}  # transformers forgets the losses since its last log
        for t in (wanted, found)
        for r in t.state.log_history[:-1]
    ]
    assert timeless[: len(timeless) // 2] == timeless[len(timeless) // 2 :]
    assert (tmp_path / "parts/samples.jsonl").read_bytes() == (tmp_path / "whole/samples.jsonl").read_bytes()


def test_a_reward_that_fails_leaves_a_checkpoint_to_continue_from(tmp_path: Path) -> None:
    asked = 0

    def breaks(completions: list[str]) -> list[float]:
        nonlocal asked
        asked += 1
        return [float("nan") if asked == 3 else 1.0 for _ in completions]

    with pytest.raises(TrainingError, match="breaks gave nan"):
        worlds.trainer(tmp_path, rewarded=breaks, max_steps=16).train()
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-8"]
    again = worlds.trainer(tmp_path, rewarded=breaks, max_steps=16)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 16


def test_a_reward_that_fails_on_held_out_answers_leaves_one_too(tmp_path: Path) -> None:
    calls = 0

    def breaks(completions: list[str]) -> list[float]:
        nonlocal calls
        calls += len(completions) == 1
        return [float("nan") if calls == 2 else 1.0 for _ in completions]

    held_out: dict[str, Any] = {"eval_dataset": ["w3"], "eval_strategy": "steps", "eval_steps": 4}
    with pytest.raises(TrainingError, match="breaks gave nan"):
        worlds.trainer(tmp_path, rewarded=breaks, **held_out).train()
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]


def test_a_checkpoint_brings_its_own_best_weights(tmp_path: Path) -> None:
    """What a dead run found after its last checkpoint does not count: on a GPU it may not be found again."""
    held_out: dict[str, Any] = {"eval_dataset": ["w3"] * 4, "eval_strategy": "steps", "eval_steps": 4}
    first = worlds.trainer(tmp_path, save_strategy="steps", save_steps=4, **held_out)
    first.train()
    best = dict(first.best)
    save_weights(worlds.trainer(tmp_path / "other").model, tmp_path / BEST)  # stands for the dead run's
    again = worlds.trainer(tmp_path, max_steps=8, **held_out)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert again.best == best
    for name, weight in weights(first).items():
        assert torch.equal(weights(again)[name], weight), name
    steps = [json.loads(line)["step"] for line in (tmp_path / "samples.jsonl").read_text("utf-8").splitlines()]
    assert steps == [step for step in (0, 4, 8) for _ in range(4)]


def test_a_run_from_the_start_forgets_old_samples(tmp_path: Path) -> None:
    held_out: dict[str, Any] = {"eval_dataset": ["w3"], "eval_strategy": "steps", "eval_steps": 4, "max_steps": 4}
    for _ in range(2):
        worlds.trainer(tmp_path, **held_out).train()
    assert len((tmp_path / "samples.jsonl").read_text("utf-8").splitlines()) == 2


@pytest.mark.parametrize("held_out", [True, False])
def test_a_run_over_its_budget_stays_ended(held_out: bool, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_steps": 200, "kl_coef": 0.0, "learning_rate": 1e-2, "kl_budget": 0.3,
                                "save_strategy": "steps", "save_steps": 1}  # fmt: skip
    if held_out:
        settings |= {"eval_dataset": ["w1 w2"] * 8, "eval_strategy": "steps", "eval_steps": 4}
    first = worlds.trainer(tmp_path, **settings)
    first.train()
    again = worlds.trainer(tmp_path, **settings)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == first.state.global_step < 200
    for name, weight in weights(first).items():
        assert torch.equal(weights(again)[name], weight), name


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    worlds.trainer(tmp_path, max_steps=2, save_strategy="steps", save_steps=2).train()
    with pytest.raises(ModelError, match="belongs to another model"):
        worlds.trainer(tmp_path, peft_config=worlds.lora()).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_saved_policy_loads_as_any_model(how: str, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    worlds.model().save_pretrained(base)
    worlds.tokenizer().save_pretrained(base)
    extra = {"peft_config": worlds.lora()} if how == "lora" else {}
    trainer = worlds.trainer(tmp_path / "out", str(base), value_model="separate", **extra)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    loader = AutoPeftModelForCausalLM if how == "lora" else AutoModelForCausalLM
    loaded = loader.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(worlds.distribution(loaded), worlds.distribution(trainer.model.policy))
    files = {p.name for p in (tmp_path / "saved").iterdir()}
    assert "value" not in files and not any("value" in f for f in files) and "README.md" not in files


# -- the value model's start --------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("trained", ["full", "lora"])
def test_the_value_model_starts_from_the_reward_model(trained: str, heads: int, tmp_path: Path) -> None:
    """Before any update the value of an answer's last state is near its normal score: the same trunk, the same head."""
    folder = reward_model(tmp_path, "llama", heads=heads, **({"lora": "none"} if trained == "full" else {}))
    base = tiny.tiny_folder("llama")
    extra: dict[str, Any] = {}
    if trained == "lora":
        from peft import LoraConfig

        extra["peft_config"] = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    args = PPOConfig(
        output_dir=str(tmp_path / "out"), use_cpu=True, max_completion_length=4, max_steps=2, rollout_batch_size=4,
        num_ppo_epochs=1, report_to="none", disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    trainer = PPOTrainer(str(base), str(folder), args, ["Say yes.", "Name a colour."], **extra)
    assert "from the reward model reward" in trainer.value_start
    episode = trainer.sample(trainer.asked[:1], seed=3)[0]
    tokens = collate([episode.prompt_ids], [[*episode.answer_ids, 0]], args.device)  # one more: the state after all
    with torch.no_grad():
        value = float(trainer.model.answer_values(tokens)[-1])
    judge = RewardJudge(folder)
    sequence = episode.prompt_ids + episode.answer_ids
    wanted = score_sequences(judge.scorer, judge.tokenizer.pad_token_id, [sequence])[0]
    assert judge.scale is not None
    assert value == pytest.approx(judge.scale.normal(wanted), abs=1e-3)
    assert trainer.rewards([episode]).raw["reward"] == pytest.approx(judge.score_all([(episode.prompt, episode.text)]))
    # With LoRA the reward model lives on the policy's base; its own copy of it was never loaded.
    own = trainer.rewards.sources[0]
    assert isinstance(own, ModelReward)
    (said,) = judge.score_heads([(episode.prompt, episode.text)])
    assert own.heads([episode]) == [pytest.approx(said, abs=1e-5)]
    assert len(said) == heads
    assert ("scorer" in vars(own.judge)) is (trained == "full")
    trainer.train()


def test_a_reward_model_without_a_scale_gives_the_value_model_that_of_the_first_answers(tmp_path: Path) -> None:
    folder = reward_model(tmp_path, "llama", lora="none")
    (folder / SCALE).unlink()
    args = arguments(tmp_path / "out", max_steps=2, max_completion_length=4)
    trainer = PPOTrainer(str(tiny.tiny_folder("llama")), str(folder), args, ["Say yes.", "Name a colour."])
    experience = trainer.roll_out(0)
    scale = trainer.rewards.scales["reward"]
    assert scale.std != pytest.approx(1, abs=0.01)
    prompt, answer = experience.prompt_ids[0], experience.answer_ids[0]
    judge = RewardJudge(folder)
    said = score_sequences(judge.scorer, judge.tokenizer.pad_token_id, [prompt + answer])[0]
    with torch.no_grad():
        values = trainer.model.answer_values(collate([prompt], [[*answer, 0]], args.device))
    assert float(values[-1]) == pytest.approx(scale.normal(said), abs=1e-3)
    assert experience.values[0, : len(answer)].tolist() == pytest.approx(values[:-1].tolist(), abs=1e-4)
    trainer.train()


def test_a_reward_model_of_another_vocabulary_leaves_the_value_model_to_the_policy(tmp_path: Path) -> None:
    folder = reward_model(tmp_path, "gpt2", lora="none")
    made = worlds.trainer(tmp_path / "out", rewarded=str(folder), max_steps=2)
    assert made.value_start == "a head on the policy's trunk"
    made.train()
    separate = worlds.trainer(tmp_path / "two", rewarded=str(folder), max_steps=2, value_model="separate")
    assert separate.value_start == "weights of its own, from the policy"
    separate.train()


def test_a_reward_model_that_adapts_more_layers_than_the_policy(tmp_path: Path) -> None:
    """Policy on q and v, reward model on every linear layer: all of the latter work, and train as value model."""
    from peft import LoraConfig

    folder = reward_model(tmp_path, "llama")
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    args = arguments(tmp_path / "out", max_completion_length=4, max_steps=2, rollout_batch_size=4, learning_rate=1e-2)
    trainer = PPOTrainer(str(tiny.tiny_folder("llama")), str(folder), args, ["Say yes."], peft_config=config)
    episode = trainer.sample(trainer.asked[:1], seed=3)[0]
    judge = RewardJudge(folder)
    assert trainer.rewards([episode]).raw["reward"] == pytest.approx(
        judge.score_all([(episode.prompt, episode.text)]), abs=1e-5
    )
    before = {id(p): p.detach().clone() for p in trainer.model.value_parameters()}
    trainer.train()
    changed = [not torch.equal(before[id(p)], p) for p in trainer.model.value_parameters()]
    assert len(changed) == 2 * 7 * tiny.LAYERS + 2
    assert all(changed)


def arguments(out: Path, **settings: Any) -> PPOConfig:
    values: dict[str, Any] = {"output_dir": str(out), "use_cpu": True, "report_to": "none", "disable_tqdm": True,
                              "save_strategy": "no", "num_ppo_epochs": 1}  # fmt: skip
    return PPOConfig(**(values | settings))


@pytest.mark.parametrize("value", ["shared", "separate"])
def test_activation_checkpointing_changes_no_gradient(value: str, tmp_path: Path) -> None:
    """Layers are computed again after other adapters were at work: it must be with their own."""
    found = []
    for checkpointing in (False, True):
        trainer = worlds.trainer(
            tmp_path / str(checkpointing), peft_config=worlds.lora(), value_model=value, max_steps=3,
            activation_checkpointing=checkpointing,
        )  # fmt: skip
        trainer.train()
        found.append(weights(trainer))
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], atol=1e-6, rtol=1e-4)


def test_an_adapter_with_dropout_is_continued_without(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_dropout=0.5, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(worlds.model(), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    trainer = worlds.trainer(tmp_path, model, value_model="separate", max_steps=2, activation_checkpointing=True)
    trainer.train()
    assert rows(trainer)[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert rows(trainer)[0]["ratio"] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("setting", [{"modules_to_save": ["lm_head"]}, {"bias": "all"}])
def test_adapters_that_change_more_than_matrices_are_refused(setting: dict[str, Any], tmp_path: Path) -> None:
    """Their reference would move with the policy."""
    from peft import LoraConfig

    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", **setting)
    with pytest.raises(ModelError, match="cannot share a base"):
        worlds.trainer(tmp_path, peft_config=config)


def test_the_first_weights_of_an_adapter_follow_the_seed(tmp_path: Path) -> None:
    found = []
    for ambient, seed in ((1, 7), (2, 7), (1, 8)):
        model = worlds.model()
        torch.manual_seed(ambient)
        found.append(weights(worlds.trainer(tmp_path, model, peft_config=worlds.lora(), seed=seed)))
    name = next(n for n in found[0] if "lora_A" in n)
    assert torch.equal(found[0][name], found[1][name])
    assert not torch.equal(found[0][name], found[2][name])


def test_values_are_float32_under_bf16(tmp_path: Path) -> None:
    trainer = worlds.trainer(tmp_path, bf16=True, max_steps=2)
    torch.nn.init.normal_(trainer.model.value_head.weight)
    with trainer.autocast():
        assert trainer.model(collate([[2, 5]], [[6, 7]], torch.device("cpu")))[2].dtype == torch.float32
    trainer.train()
    assert trainer.model.policy.dtype == torch.float32


def test_a_model_whose_logits_are_not_its_heads(tmp_path: Path) -> None:
    model = worlds.model()
    forward = model.forward

    def louder(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits = out.logits * 3
        return out

    model.forward = louder
    with pytest.raises(ModelError, match="changes its logits in a way PPO does not know"):
        worlds.trainer(tmp_path, model)


# -- what people get wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps is 2"),
        ({"num_mini_batches": 17}, "num_mini_batches is 17"),
        ({"rollout_batch_size": 0}, "rollout_batch_size is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"value_model": "own"}, "value_model is own"),
        ({"value_warmup": 1, "value_model": "shared"}, "value_warmup is 1"),
        ({"lam": 1.5}, "lam is 1.5"),
        ({"fp16": True}, "fp16 is True"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], found: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=found) as caught:
        worlds.trainer(tmp_path, **settings)
    assert caught.value.allowed


def test_a_prompt_as_long_as_the_context(tmp_path: Path) -> None:
    """The small model reads 32 tokens; the answer takes 2, and `user` and `assistant` two more."""
    fits = "w1 " * 27 + "w1"
    worlds.trainer(tmp_path, prompts=[fits], max_steps=2).train()
    with pytest.raises(DataError, match="a prompt has 31 tokens") as caught:
        worlds.trainer(tmp_path, prompts=["w1", fits + " w1"])
    assert "row 1" in caught.value.where


def test_a_dataset_smaller_than_a_rollout_is_asked_again(tmp_path: Path) -> None:
    trainer = worlds.trainer(tmp_path, prompts=["w1", "w2", "w3"], max_steps=-1, num_train_epochs=1)
    trainer.train()
    assert trainer.episodes_seen() == 16


def test_an_adapter_and_another_one(tmp_path: Path) -> None:
    from peft import get_peft_model

    with pytest.raises(ModelError, match="peft_config asks for another"):
        worlds.trainer(tmp_path, get_peft_model(worlds.model(), worlds.lora()), peft_config=worlds.lora())


def test_a_model_in_memory_needs_its_tokenizer(tmp_path: Path) -> None:
    args = PPOConfig(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ModelError, match="needs its tokenizer"):
        PPOTrainer(worlds.model(), worlds.reward, args, ["w1"])


def test_a_reference_that_differs_is_noticed() -> None:
    same = torch.zeros(2, 3)
    watch.assert_no_kl(same, same + 1e-6, bf16=False)
    with pytest.raises(TrainingError, match="differ by 0.5000 nats"):
        watch.assert_no_kl(same, same + 0.5, bf16=True)
    with pytest.raises(TrainingError, match="differ by nan"):
        watch.assert_no_kl(same, same + float("nan"), bf16=False)
