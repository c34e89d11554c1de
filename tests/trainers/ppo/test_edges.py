"""Edges of PPO: odd adapters, odd weights, odd prompts, odd moments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from align.data.chat import Encoded
from align.data.records import Message
from align.errors import DataError, RecipeError, TrainingError
from align.judges.reward import SCALE
from align.models.adapters import Adapters
from align.models.decode import _thin, thin_products
from align.models.generate import Sampling, SeededChoice
from align.models.load import load_tokenizer, resolve
from align.trainers.ppo.rewards import Episode, ModelReward, Rewards
from align.trainers.ppo.trainer import PPOTrainer
from tests import tiny
from tests.trainers.ppo import worlds
from tests.trainers.ppo.test_rewards import Settings, episode, length, reward_model, score
from tests.trainers.ppo.test_trainer import arguments

pytestmark = tiny.THIRD_PARTY


class Packed(torch.Tensor):
    """A quantised weight: it is multiplied by `linear` alone."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.matmul, torch.Tensor.__matmul__):
            raise NotImplementedError
        return super().__torch_function__(func, types, args, kwargs or {})


def test_quantised_weights_and_no_rows_multiply_as_they_did() -> None:
    layer = nn.Linear(512, 512)
    assert _thin(layer, torch.zeros(0, 512)).shape == (0, 512)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Packed))
    with torch.inference_mode(), thin_products(layer):
        assert layer(torch.ones(2, 512)).shape == (2, 512)


def test_autocast_gives_the_same_format_the_other_way_round() -> None:
    layer, x = nn.Linear(512, 512), torch.randn(4, 1, 512)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert _thin(layer, x).dtype == layer(x).dtype == torch.bfloat16


def test_logits_that_are_no_numbers_still_give_tokens() -> None:
    choose = SeededChoice(Sampling(), 0, torch.device("cpu"))
    assert int(choose(torch.full((3, 10), torch.nan), torch.arange(3)).max()) < 10


@pytest.mark.parametrize("first", ["evaluation", "failure"])
def test_a_scale_settled_before_the_first_rollout_reaches_the_value_model(first: str, tmp_path: Path) -> None:
    folder = reward_model(tmp_path, "llama", lora="none")
    (folder / SCALE).unlink()
    args = arguments(tmp_path / "out", max_completion_length=4)
    one = PPOTrainer(
        str(tiny.tiny_folder("llama")), str(folder), args, ["Say yes."], eval_dataset=["Help me.", "Thank you."]
    )
    if first == "evaluation":
        one.evaluate()
    else:
        one.rewards(one.sample(one.asked * 4, 3))  # and then another reward raised
    before = one.model.value_head.weight.detach().clone()
    one.roll_out(0)
    std = one.rewards.scales["reward"].std
    assert torch.allclose(one.model.value_head.weight, before / std)
    after = one.model.value_head.weight.detach().clone()
    one.roll_out(1)
    assert torch.equal(one.model.value_head.weight, after)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_shared_reward_model_reads_as_much_as_the_context(family: str, tmp_path: Path) -> None:
    folder = reward_model(tmp_path, family)
    from transformers import AutoModelForCausalLM

    policy = AutoModelForCausalLM.from_pretrained(tiny.tiny_folder(family))
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    one = PPOTrainer(policy, str(folder), arguments(tmp_path / "out", max_completion_length=4), ["Say yes."],
                     peft_config=adapter, processing_class=load_tokenizer(resolve(folder)))  # fmt: skip
    source = one.rewards.sources[0]
    assert isinstance(source, ModelReward)
    assert source.shared
    source.judge.max_length = tiny.CONTEXT
    long = Episode([Message(role="user", content="Say yes. " * 60)], [1], [2], "Yes. " * 10, True)
    (said,) = source.heads([long])
    assert said == pytest.approx(source.judge.score_all([(long.prompt, long.text)]), abs=1e-5)


def adapted(**settings: Any) -> Any:
    made = get_peft_model(worlds.model(), LoraConfig(r=4, task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, value in made.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                nn.init.normal_(value, std=0.3)
    return made


EMBEDDING, DORA = {"target_modules": ["q_proj", "embed_tokens"]}, {"target_modules": ["q_proj"], "use_dora": True}


@pytest.mark.parametrize("settings", [EMBEDDING, DORA])
def test_every_kind_of_lora_weight_is_copied_saved_and_read(settings: dict[str, Any], tmp_path: Path) -> None:
    made = adapted(**settings)
    made.save_pretrained(tmp_path, save_embedding_layers=False)
    adapters = Adapters(made)
    adapters.add_copy("twin", "default", trainable=True)
    adapters.add_saved("read", tmp_path, trainable=False)
    ids = torch.tensor([worlds.prompt_ids()])
    wanted = made(input_ids=ids).logits
    for name in ("twin", "read"):
        with adapters.using((name,)):
            assert torch.allclose(made(input_ids=ids).logits, wanted, atol=1e-6)
    learns = {n for n, p in made.named_parameters() if p.requires_grad and "twin" in n}
    assert learns == {n for n, _ in made.named_parameters() if "twin" in n}


@pytest.mark.parametrize("settings", [EMBEDDING, DORA])
def test_adapters_of_every_kind_are_continued(settings: dict[str, Any], tmp_path: Path) -> None:
    one = worlds.trainer(tmp_path, made=adapted(**settings), max_steps=2, value_model="separate")
    before = {n: p.detach().clone() for n, p in one.model.named_parameters()}
    values = {id(p) for p in one.model.value_parameters()}
    assert all(id(p) in values for n, p in one.model.named_parameters() if ".value" in f".{n}." and "lora" in n)
    one.train()
    moved = {n for n, p in one.model.named_parameters() if not torch.equal(p, before[n])}
    assert {n for n in before if "lora_" in n and ".default" in n} <= moved
    assert not any(".ref" in n for n in moved)


def test_a_first_prompt_of_one_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = "{% for m in messages %}{{ m.content }}{{ ' <end>' if m.role == 'assistant' else ' ' }}{% endfor %}"
    monkeypatch.setattr(worlds.tokenizer(), "chat_template", plain)
    one = worlds.trainer(tmp_path, prompts=["w1", "w2 w3"], max_steps=1)
    assert len(one.asked[0].ids) == 1
    one.train()


def test_what_is_scored_is_the_answer_whatever_columns_there_are() -> None:
    assert score(length, episode("ab", completions="from the dataset")) == [2.0]


class Ensemble:
    """Two heads that agree on all but a constant."""

    scale, folder = None, Path("ensemble")

    def score_heads(self, items: Any) -> list[list[float]]:
        return [[float(len(text)), float(len(text)) + 5] for _, text in items]


def test_heads_without_a_scale_that_differ_by_a_constant_agree() -> None:
    answers = [episode("x" * n) for n in range(1, 5)]
    judge: Any = Ensemble()
    sure, unsure = (
        Rewards([ModelReward(judge)], [1.0], Settings(uncertainty_coef=coef))(answers).total for coef in (0.0, 1.0)
    )
    assert unsure == pytest.approx(sure)


def test_resume_from_checkpoint_false(tmp_path: Path) -> None:
    one = worlds.trainer(tmp_path, max_steps=1)
    one.train(resume_from_checkpoint=False)
    assert one.state.global_step == 1


@pytest.mark.parametrize("prompt", [[{"role": "user"}], [1], [{"role": "martian", "content": "w1"}]])
def test_prompts_that_are_no_messages(prompt: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 0 has no prompt"):
        worlds.trainer(tmp_path, prompts=[{"prompt": prompt}])


def test_weights_that_are_no_numbers_end_the_run_with_an_error(tmp_path: Path) -> None:
    one = worlds.trainer(tmp_path, max_steps=30, logging_steps=50)
    step = one.training_step

    def spoilt(*args: Any, **named: Any) -> Any:
        loss = step(*args, **named)
        if one.state.global_step == 5:
            one.model.policy.lm_head.weight.grad.fill_(float("nan"))
        return loss

    one.training_step = spoilt
    with pytest.raises(TrainingError, match="no longer numbers in rollout 2"):
        one.train()


def test_a_trainer_begins_once_and_asks_its_own_prompts(tmp_path: Path) -> None:
    one = worlds.trainer(tmp_path, max_steps=1)
    with pytest.raises(TrainingError, match="held-out prompts that the trainer was made with"):
        one.evaluate(eval_dataset=["w1"])
    one.train()
    with pytest.raises(TrainingError, match="has made 1 steps") as caught:
        one.train()
    assert "resume_from_checkpoint=True" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [("vf_coef", float("nan")), ("eval_prompts", -1), ("temperature", float("nan")), ("cliprange", -0.1),
     ("score_clip", -1.0), ("generation_batch_size", -1), ("kl_target", 0.0), ("kl_horizon", 0)],
)  # fmt: skip
def test_numbers_that_cannot_be_meant(name: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=name):
        arguments(tmp_path, **{name: value})


def test_demonstrations_without_a_trained_token_are_left_out(tmp_path: Path) -> None:
    good, none = Encoded([2, 9, 3, 6, 1], [0, 0, 0, 1, 1]), Encoded([2, 9, 3, 6, 1, 6, 7], [0] * 7)
    one = worlds.trainer(tmp_path, max_steps=1, ptx_dataset=[good, none], micro_batch_tokens=8)
    one.train()
    assert one.state.log_history[0]["loss/ptx"] > 0
