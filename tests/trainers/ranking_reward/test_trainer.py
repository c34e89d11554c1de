"""RankingRewardTrainer on tiny real models: equal scores packed or alone, figures, checkpoints, utilities, heads."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from align.data.chat import encode_scored
from align.data.records import Answer, Message, Ranking
from align.errors import ModelError, RecipeError
from align.judges.reward import RewardJudge, read_scale
from align.models.heads import as_scorer, head_of
from align.models.load import load_causal, load_tokenizer
from align.models.score import score_heads
from align.trainers.ranking_reward.batches import bootstrap_weights, token_rows
from align.trainers.ranking_reward.config import RankingRewardConfig
from align.trainers.ranking_reward.model import RankingModel, can_share
from align.trainers.ranking_reward.rankings import read_rankings
from align.trainers.ranking_reward.trainer import LORA, RankingRewardTrainer, draw_heads
from tests import tiny
from tests.tiny import talk

pytestmark = tiny.THIRD_PARTY
WORDS = ["Paris.", "Blue.", "Red.", "Flour and water.", "Yes.", "No.", "Bread.", "I do not know that."]


def arguments(out: Path, **changes: Any) -> RankingRewardConfig:
    values: dict[str, Any] = {"output_dir": str(out), "use_cpu": True, "report_to": "none", "save_strategy": "no",
                              "disable_tqdm": True, "per_device_train_batch_size": 4, "learning_rate": 3e-3,
                              "max_steps": 4, "seed": 5, "max_length": 128, "logging_strategy": "steps"}  # fmt: skip
    return RankingRewardConfig(**(values | changes))


def ranking(question: str, texts: list[str], ranks: list[int | None], annotator: str = "ann", **more: Any) -> Ranking:
    answers = [Answer(id=str(i), text=text) for i, text in enumerate(texts)]
    return Ranking(prompt=talk(question), answers=answers, ranks=ranks, annotator=annotator, **more)


def trainer(out: Path, rows: Any = None, family: str = "llama", **changes: Any) -> RankingRewardTrainer:
    named = {name: changes.pop(name) for name in ("eval_dataset", "peft_config") if name in changes}
    causal, tokenizer = loaded(family)
    rows = tiny.rankings() if rows is None else rows
    named.setdefault("peft_config", None)
    return RankingRewardTrainer(causal, arguments(out, **changes), rows, processing_class=tokenizer, **named)


def loaded(family: str) -> tuple[Any, Any]:
    from align.models.load import ModelRef

    folder = str(tiny.tiny_folder(family))
    ref = ModelRef(folder, folder, **tiny.SOURCE.get(family, {}))
    return load_causal(ref, torch.float32), load_tokenizer(ref)


def logged(made: RankingRewardTrainer) -> list[dict[str, Any]]:
    return [row for row in made.state.log_history if "loss" in row]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_scores_are_equal_packed_and_alone(family: str, attention: str) -> None:
    """Beside its siblings behind one prompt, or as a row of its own: an answer has one score."""
    causal, tokenizer = loaded(family)
    scorer = as_scorer(causal).eval()
    scorer.set_attn_implementation(attention)
    torch.nn.init.normal_(head_of(scorer).weight)
    prompts, _ = read_rankings(tiny.rankings(), tokenizer, 128, True)
    longest = max(len(p.prompt_ids) + len(a) for p in prompts for a in p.answer_ids)
    assert can_share(scorer, prompts[0], longest)
    pad = tokenizer.pad_token_id
    scorer.config.get_text_config().pad_token_id = pad
    with torch.no_grad():
        shared, alone = (
            RankingModel(scorer, torch.empty(0), share)(**token_rows(prompts, share, pad)) for share in (True, False)
        )
    assert shared.shape == (24, 1)
    assert shared.std() > 0.1
    assert shared[:, 0].tolist() == pytest.approx(alone[:, 0].tolist(), abs=2e-4)
    own = [p.prompt_ids + a for p in prompts for a in p.answer_ids]
    assert shared.tolist() == [pytest.approx(row, abs=2e-4) for row in score_heads(scorer, pad, own)]


def test_a_prompt_goes_through_once() -> None:
    _, tokenizer = loaded("llama")
    prompts, _ = read_rankings(tiny.rankings()[:1], tokenizer, 128, True)
    tokens = len(prompts[0].prompt_ids) + sum(len(a) for a in prompts[0].answer_ids)
    assert token_rows(prompts, True, 0)["input_ids"].shape == (1, tokens)
    assert token_rows(prompts, False, 0)["input_ids"].shape[0] == 3


def test_a_window_shorter_than_the_rows_is_not_shared(tmp_path: Path) -> None:
    """The tiny Gemma's window holds 64 tokens; longer rows go alone, and train."""
    long = [ranking(q, ["Yes. " * 40, "No."], [1, 2]) for q in tiny.QUESTIONS]
    made = trainer(tmp_path / "long", long, "gemma")
    assert not made.shares_prompt
    made.train()
    assert trainer(tmp_path / "short", None, "gemma").shares_prompt


def test_attention_that_takes_no_mask_is_not_shared() -> None:
    """Tried, not looked up: a model whose answers see each other whatever the mask."""
    causal, tokenizer = loaded("llama")
    prompts, _ = read_rankings(tiny.rankings(), tokenizer, 128, True)
    scorer = as_scorer(causal)
    forward = scorer.model.forward
    scorer.model.forward = lambda *args, attention_mask=None, **named: forward(*args, **named)
    assert not can_share(scorer, prompts[0], 64)


def test_an_encoder_with_a_classifier_learns_too(tmp_path: Path) -> None:
    """BERT reads its score at the first token: its own forward pass is used, a row an answer."""
    from transformers import BertConfig, BertForSequenceClassification

    _, tokenizer = loaded("llama")
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, num_labels=1, max_position_embeddings=256,
                        pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    model = BertForSequenceClassification(config)
    made = RankingRewardTrainer(
        model, arguments(tmp_path, max_steps=30), tiny.rankings(), processing_class=tokenizer, peft_config=None
    )
    made.train()
    assert not made.shares_prompt
    assert logged(made)[-1]["loss"] < logged(made)[0]["loss"] - 0.2


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"ties": "drop"}, math.log(2)),
        # of three comparisons one is a tie, so nu is 1 and all three outcomes have 1/3
        ({"ties": "davidson"}, math.log(3)),
        ({"ties": "rao_kupper"}, math.log(3)),
    ],
)
def test_it_learns_from_a_head_at_zero(settings: dict[str, Any], first: float, tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=40, **settings)
    made.train()
    rows = logged(made)
    assert rows[0]["loss"] == pytest.approx(first, abs=1e-4)
    assert rows[-1]["loss"] < first - 0.3
    assert rows[-1]["accuracy"] == 1
    assert ("tie" in rows[0]) == (settings["ties"] != "drop")


def test_lora_is_the_default(tmp_path: Path) -> None:
    causal, tokenizer = loaded("qwen3")
    made = RankingRewardTrainer(causal, arguments(tmp_path), tiny.rankings(), processing_class=tokenizer)
    trained = [n for n, p in made.model.named_parameters() if p.requires_grad]
    assert all("lora_" in n or "score" in n or n == "log_tie" for n in trained)
    made.train()
    assert logged(made)[-1]["loss"] < logged(made)[0]["loss"]


def test_microbatches_do_not_change_the_gradient(tmp_path: Path) -> None:
    """Rankings weigh the same in whatever micro batch they are, though these hold different numbers of them."""
    rows = [*tiny.rankings(), *[ranking(tiny.QUESTIONS[0], WORDS[:2], [1, 2], f"a{i}") for i in range(3)]]
    whole = trainer(tmp_path / "whole", rows, per_device_train_batch_size=8, max_steps=1)
    whole.train()
    parts = trainer(tmp_path / "parts", rows, per_device_train_batch_size=2, gradient_accumulation_steps=4, max_steps=1)
    parts.train()
    for key in ("loss", "grad_norm"):
        assert logged(parts)[0][key] == pytest.approx(logged(whole)[0][key], rel=1e-3)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_continued_run_ends_as_an_undisturbed_one(how: str, tmp_path: Path) -> None:
    """The tie parameter, which is no part of the scorer, included."""
    more = {"peft_config": LORA, "heads": 3} if how == "lora" else {}
    kept = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6, "family": "gpt2", **more}
    whole = trainer(tmp_path / "one", **kept)
    whole.train()
    again = trainer(tmp_path / "two", **kept)
    again.train(resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-3"))
    ours, theirs = dict(whole.model.named_parameters()), dict(again.model.named_parameters())
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert float(whole.model.log_tie[0].detach()) != pytest.approx(0, abs=1e-4)


def test_heldout_rankings_are_watched(tmp_path: Path) -> None:
    made = trainer(tmp_path, tiny.rankings()[:6], eval_dataset=tiny.rankings()[6:], heads=2)
    found = made.evaluate()
    assert found["eval_loss"] == pytest.approx(math.log(3), abs=0.5)
    row = next(r for r in made.state.log_history if "eval_loss" in r)
    assert 0 <= row["eval_accuracy"] <= 1


def test_what_is_saved_judges(tmp_path: Path) -> None:
    made = trainer(tmp_path / "out", max_steps=20)
    made.train()
    made.save_model(str(tmp_path / "reward"))
    judge = RewardJudge(tmp_path / "reward", "fp32")
    items = [(talk(q), a) for q, a in zip(tiny.QUESTIONS, tiny.GOOD, strict=True)]
    texts = [encode_scored(judge.tokenizer, p, talk("", a)[1:], 128) for p, a in items]
    found = judge.score_all(items)
    assert found == pytest.approx([v for (v,) in score_heads(made.model.scorer, judge.tokenizer.pad_token_id, texts)])
    scale = json.loads((tmp_path / "reward/scale.json").read_text())
    assert scale["answers"] == 8
    assert scale["mean"] == pytest.approx(sum(found) / 8, abs=1e-4)
    assert scale["ties"]["model"] == "davidson"
    assert scale["ties"]["values"] == [pytest.approx(float(made.model.log_tie.detach().exp()), abs=1e-5)]
    assert judge.spread_all(items) == [0.0] * 8


def test_an_adapter_over_a_policys_adapter_is_found_again(tmp_path: Path) -> None:
    """Saved over a LoRA policy, a reward model says after loading what it said before; continued, it starts there."""
    from peft import LoraConfig, get_peft_model

    from align.models.load import ModelRef, save_model

    folder = str(tiny.tiny_folder("llama"))
    causal, tokenizer = loaded("llama")
    policy = get_peft_model(causal, LoraConfig(r=4, task_type="CAUSAL_LM", target_modules="all-linear"))
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(1))
    save_model(policy, tokenizer, tmp_path / "sft", ModelRef(folder, folder))
    made = RankingRewardTrainer(str(tmp_path / "sft"), arguments(tmp_path / "out"), tiny.rankings())
    made.train()
    made.save_model(str(tmp_path / "rm"))
    judge = RewardJudge(tmp_path / "rm", "fp32")
    items = [(r.prompt, a.text) for r in tiny.rankings() for a in r.answers]
    wanted = [s for (s,) in score_heads(made.model.scorer, tokenizer.pad_token_id, judge.encode(items))]
    assert judge.score_all(items) == pytest.approx(wanted, abs=1e-4)
    further = RankingRewardTrainer(str(tmp_path / "rm"), arguments(tmp_path / "more"), tiny.rankings())
    begun = [s for (s,) in score_heads(further.model.scorer, tokenizer.pad_token_id, judge.encode(items))]
    assert begun == pytest.approx(wanted, abs=1e-4) and max(map(abs, begun)) > 1e-3
    further.train()
    further.save_model(str(tmp_path / "rm2"))
    again = RewardJudge(tmp_path / "rm2", "fp32").score_all(items)
    wanted = [s for (s,) in score_heads(further.model.scorer, tokenizer.pad_token_id, judge.encode(items))]
    assert again == pytest.approx(wanted, abs=1e-4)


def test_local_attention_by_row_is_not_shared() -> None:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    _, tokenizer = loaded("llama")
    config = GPTNeoConfig(vocab_size=len(tokenizer), hidden_size=32, num_layers=2, num_heads=4, window_size=16,
                          attention_types=[[["global", "local"], 1]], max_position_embeddings=256)  # fmt: skip
    prompts, _ = read_rankings(tiny.rankings(), tokenizer, 128, True)
    assert not can_share(as_scorer(GPTNeoForCausalLM(config)).eval(), prompts[0], 100)


def test_a_reward_model_is_trained_further(tmp_path: Path) -> None:
    """From a folder with a sequence classifier: its head stays what it was."""
    made = trainer(tmp_path / "out", max_steps=10)
    made.train()
    made.save_model(str(tmp_path / "reward"))
    further = RankingRewardTrainer(tmp_path / "reward", arguments(tmp_path / "b"), tiny.rankings(), peft_config=None)
    assert torch.equal(head_of(further.model.scorer).weight, head_of(made.model.scorer).weight)


# --- utilities -------------------------------------------------------------------------------------------------------

UTILITIES = torch.linspace(-3, 3, len(WORDS))


def drawn(words: int, count: int) -> list[Ranking]:
    """Rankings of four of the first answers, of known worth, to any question; noise, and ties within 0.8."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for number in range(count):
        asked = torch.randperm(words, generator=generator)[:4]
        noisy = UTILITIES[asked] - torch.log(torch.empty(4).exponential_(generator=generator))
        ranks: list[int | None] = [1 + int((noisy > value + 0.8).sum()) for value in noisy]
        question = f"{tiny.QUESTIONS[number % 8]} {number // 8}"
        rows.append(ranking(question, [WORDS[i] for i in asked], ranks))
    return rows


def test_scores_follow_known_utilities(tmp_path: Path) -> None:
    made = trainer(
        tmp_path, drawn(8, 160), max_steps=60, per_device_train_batch_size=8, learning_rate=5e-3, logging_steps=60
    )
    made.train()
    tokenizer = made.processing_class
    texts = [encode_scored(tokenizer, talk(q), talk("", w)[1:], 128) for w in WORDS for q in tiny.QUESTIONS]
    scores = torch.tensor(score_heads(made.model.scorer, tokenizer.pad_token_id, texts)).reshape(len(WORDS), -1)
    found = torch.corrcoef(torch.stack([scores.mean(dim=1), UTILITIES]))[0, 1]
    assert float(found) >= 0.95


def test_an_unreliable_annotator_counts_less(tmp_path: Path) -> None:
    """Three agree, one says the opposite of everything: with weights the three are learned, and surer."""
    rows = [
        ranking(q, [g, b], [1, 2] if name != "contrary" else [2, 1], name)
        for q, g, b in zip(tiny.QUESTIONS, tiny.GOOD, tiny.BAD, strict=True)
        for name in ("one", "two", "contrary")
    ]
    made = trainer(tmp_path, rows, max_steps=1)
    weights = {j.weight for _, prompt in made.train_dataset for j in prompt.judgements}
    assert len(made.train_dataset) == 8
    assert min(weights) < 0.3 < 0.8 < max(weights)


# --- heads -----------------------------------------------------------------------------------------------------------


def test_heads_start_apart_about_zero() -> None:
    causal, _ = loaded("llama")
    scorer = as_scorer(causal, 5)
    draw_heads(scorer, 0.5, 1)
    weight = head_of(scorer).weight
    assert weight.shape == (5, tiny.HIDDEN)
    assert weight.mean(dim=0).abs().max() < 1e-6
    assert float(weight.detach().std()) * math.sqrt(tiny.HIDDEN) == pytest.approx(0.45, abs=0.15)


def test_each_head_resamples_the_prompts() -> None:
    drawn = bootstrap_weights(2000, 4, 0)
    assert drawn.shape == (2000, 4)
    assert drawn.mean(dim=0).tolist() == pytest.approx([1.0] * 4, abs=0.1)
    assert float(torch.corrcoef(drawn.T)[0, 1]) == pytest.approx(0, abs=0.1)
    assert torch.equal(drawn, bootstrap_weights(2000, 4, 0))
    assert bootstrap_weights(3, 1, 0).tolist() == [[1.0]] * 3


@pytest.mark.parametrize("how", ["full", "lora"])
def test_an_ensemble_is_one_model(how: str, tmp_path: Path) -> None:
    """Saved and loaded with all its heads: the score is their mean, the spread how far they are apart."""
    made = trainer(
        tmp_path / "out", drawn(6, 48), max_steps=20, heads=8, per_device_train_batch_size=8, learning_rate=5e-3,
        peft_config=LORA if how == "lora" else None,
    )  # fmt: skip
    made.train()
    made.save_model(str(tmp_path / "reward"))
    judge = RewardJudge(tmp_path / "reward", "fp32")
    items = [(talk(q), a) for q in tiny.QUESTIONS for a in WORDS[:6]]
    texts = [encode_scored(judge.tokenizer, p, talk("", a)[1:], 128) for p, a in items]
    heads = judge.score_heads(items)
    in_memory = score_heads(made.model.scorer, judge.tokenizer.pad_token_id, texts)
    assert heads == [pytest.approx(row, abs=1e-4) for row in in_memory]
    assert {len(row) for row in heads} == {8}
    assert judge.score_all(items) == pytest.approx([sum(row) / 8 for row in heads])
    scale = read_scale(tmp_path / "reward")
    assert scale is not None
    assert sum(scale.heads) / 8 == pytest.approx(scale.mean, abs=1e-4)
    spread = judge.spread_all(items)
    apart = [(v - m) / scale.std for v, m in zip(heads[0], scale.heads, strict=True)]
    assert spread[0] == pytest.approx(torch.tensor(apart).std(correction=0).item(), rel=1e-4)
    assert min(spread) > 1e-3


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "loss is hinge"),
        ({"ties": "split"}, "ties is split"),
        ({"pairs": "some"}, "pairs is some"),
        ({"heads": 0}, "heads is 0"),
        ({"margin_coef": -1.0}, "margin_coef is -1"),
        ({"loss": "plackett_luce", "ties": "rao_kupper"}, "davidson or drop with plackett_luce"),
        ({"loss": "plackett_luce", "pairs": "adjacent"}, "all with plackett_luce"),
    ],
)
def test_settings_that_fit_nothing(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        arguments(tmp_path, **settings)


def test_a_model_in_memory_needs_a_tokenizer_that_pads(tmp_path: Path) -> None:
    causal, tokenizer = loaded("llama")
    with pytest.raises(ModelError, match="needs its tokenizer"):
        RankingRewardTrainer(causal, arguments(tmp_path), tiny.rankings())
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(ModelError, match="no pad token of its own"):
        RankingRewardTrainer(causal, arguments(tmp_path), tiny.rankings(), processing_class=tokenizer)


def test_a_classifier_of_other_outputs(tmp_path: Path) -> None:
    causal, tokenizer = loaded("llama")
    with pytest.raises(ModelError, match="the model has 1 outputs, and heads is 3"):
        RankingRewardTrainer(
            as_scorer(causal), arguments(tmp_path, heads=3), tiny.rankings(), processing_class=tokenizer
        )


def test_messages_of_a_prompt_may_be_a_text(tmp_path: Path) -> None:
    rows = [{"prompt": q, "answers": [g, b], "ranks": [1, 2]} for q, g, b in zip(tiny.QUESTIONS, tiny.GOOD, tiny.BAD,
                                                                                strict=True)]  # fmt: skip
    made = trainer(tmp_path, rows)
    records = trainer(tmp_path, [ranking(r["prompt"], r["answers"], r["ranks"]) for r in rows])  # type: ignore[arg-type]
    assert [p for _, p in made.train_dataset] == [p for _, p in records.train_dataset]
    assert isinstance(rows[0]["prompt"], str)
    assert Message(role="user", content=tiny.QUESTIONS[0]) == talk(tiny.QUESTIONS[0])[0]
