"""DPO: which weights train, that the reference is the policy it starts from, and what is cut."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from align.artifacts import Artifact
from align.contract import Inputs
from align.data.chat import encode_pair
from align.errors import DataError, ModelError, TrainingError
from align.models.load import load_causal, load_merged, load_tokenizer, resolve
from align.recipe.schema import DPO, SFT, Lora
from align.recipe.trainer_arguments import dpo_loss_types
from align.stages import dpo
from tests import tiny
from tests.tiny import talk

pytestmark = tiny.THIRD_PARTY


def settings(**changes: Any) -> DPO:
    values: dict[str, Any] = {"name": "dpo", "kind": "dpo", "model": "sft", "data": "pairs", "batch_size": 4,
                              "max_steps": 2, "max_length": 128, "learning_rate": 1e-2}  # fmt: skip
    return DPO(**(values | changes))


def sft_of(runs: Path, family: str = "llama", **changes: Any) -> Artifact:
    demos = tiny.data_artifact(runs, "demos", "demonstrations", tiny.demonstrations())
    values: dict[str, Any] = {"name": "sft", "kind": "sft", "model": "base", "data": "demos", "batch_size": 4,
                              "max_steps": 3, "max_length": 128, "learning_rate": 5e-2}  # fmt: skip
    return tiny.run_in(runs, SFT(**(values | changes)), {"model": [tiny.base_of(runs, family)], "data": [demos]})


def logged(artifact: Artifact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (artifact.path / "logs/metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("made_with", ["lora", "none"])
@pytest.mark.parametrize("trained_with", ["lora", "none"])
def test_every_hand_over_starts_at_its_reference(made_with: str, trained_with: str, tmp_path: Path) -> None:
    """At step 1 policy and reference agree: the loss is ln 2 and no side is rewarded. Afterwards they part."""
    lora: dict[str, Any] = {"lora": "none"} if made_with == "none" else {}
    sft = sft_of(tmp_path, **lora)
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    chosen: dict[str, Any] = {"lora": "none"} if trained_with == "none" else {}
    made = tiny.run_in(tmp_path, settings(max_steps=4, **chosen), {"model": [sft], "data": [pairs]})
    wanted = {
        ("lora", "lora"): "the adapter of sft continued, r 4",
        ("none", "lora"): "new adapter, r 4",
        ("lora", "none"): "full fine-tuning, adapter merged first",
        ("none", "none"): "full fine-tuning",
    }[made_with, trained_with]
    assert made.manifest.metrics["lora"] == wanted
    rows = logged(made)
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert rows[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert rows[-1]["loss"] < math.log(2) - 1e-3
    figures = made.manifest.metrics
    assert figures["reference_gap"] < 1e-3
    assert (figures["trained_parameters"] == figures["parameters"]) == (trained_with == "none")
    assert gain(sft, made) > 0.1, "the chosen side has gained on the rejected one"


def gain(before: Artifact, after: Artifact) -> float:
    """Mean growth of log p(chosen) - log p(rejected), nats, from weights as saved."""
    margins = []
    for artifact in (before, after):
        ref = resolve(artifact)
        tokenizer, model = load_tokenizer(ref), load_merged(ref, torch.float32).eval()
        total = 0.0
        for record in tiny.preferences():
            pair = encode_pair(tokenizer, record.prompt, record.chosen, record.rejected, 128)  # type: ignore[attr-defined]
            assert pair is not None
            ids = {"prompt_ids": pair.prompt_ids, "chosen_ids": pair.chosen_ids, "rejected_ids": pair.rejected_ids}
            chosen, rejected = dpo.answer_logprobs(model, [ids])[0].tolist()
            total += chosen - rejected
        margins.append(total / 8)
    return margins[1] - margins[0]


def test_what_is_saved_is_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy loaded back, attached or merged, gives the log-probabilities of the one in memory."""
    sft = sft_of(tmp_path)
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    in_memory: list[torch.Tensor] = []
    ids = torch.tensor([[9, 10, 11, 12, 13]])
    keep = dpo.save_model

    def save(model: Any, *rest: Any) -> None:
        with torch.no_grad():
            in_memory.append(model.eval()(input_ids=ids).logits)
        keep(model, *rest)

    monkeypatch.setattr(dpo, "save_model", save)
    made = tiny.run_in(tmp_path, settings(), {"model": [sft], "data": [pairs]})
    with torch.no_grad():
        for load in (load_causal, load_merged):
            found = load(resolve(made), torch.float32).eval()(input_ids=ids).logits
            assert torch.allclose(found, in_memory[0], atol=1e-4)
        started = load_merged(resolve(sft), torch.float32).eval()(input_ids=ids).logits
    assert not torch.allclose(started, in_memory[0], atol=1e-3)
    assert not (made.path / "ref").exists(), "the reference adapter is no part of the policy"


def test_another_reference_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer gets the base as its reference, which lacks what the SFT has learned."""
    sft = sft_of(tmp_path)
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    base = resolve(tiny.base_of(tmp_path, "llama", "other"))
    monkeypatch.setattr(dpo, "load_merged", lambda ref, dtype: load_merged(base, dtype))
    with pytest.raises(TrainingError, match=r"reference is not the policy this stage starts from: .* differ by \d"):
        tiny.run_in(
            tmp_path,
            settings(lora="none", trainer={"precompute_ref_log_probs": False}),
            {"model": [sft], "data": [pairs]},
        )


def test_a_reference_is_held_against_the_policy_itself(tmp_path: Path) -> None:
    """A difference that matters is an error, one of rounding is not."""
    rows = [{"prompt_ids": [5, 6], "chosen_ids": [7, 8], "rejected_ids": [9]}]
    model = load_causal(resolve(tiny.base_of(tmp_path, "llama")), torch.float32)
    expected = dpo.answer_logprobs(model, rows)

    class Trainer:
        """Gives the same log-probabilities, moved by `off` nats."""

        def __init__(self, off: float) -> None:
            self.off, self.model = off, model

        def reference_logprobs(self, sample: Any) -> Any:
            return expected[:, 0] + self.off, expected[:, 1]

    assert dpo.assert_reference(Trainer(0.0), expected, rows) == 0
    assert dpo.assert_reference(Trainer(1e-3), expected, rows) == pytest.approx(1e-3, abs=1e-4)
    with pytest.raises(TrainingError, match="differ by 0.5000 nats"):
        dpo.assert_reference(Trainer(0.5), expected, rows)


def test_answer_logprobs_by_hand() -> None:
    """A model that gives every one of 4 tokens the probability 1/4: two answer tokens cost 2 ln 4, one costs ln 4."""

    class Even(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: torch.Tensor) -> Any:
            return type("Out", (), {"logits": torch.zeros(*input_ids.shape, 4)})

    model = Even()
    found = dpo.answer_logprobs(model, [{"prompt_ids": [0, 1, 2], "chosen_ids": [3, 1], "rejected_ids": [2]}])
    assert found.tolist() == [pytest.approx([-2 * math.log(4), -math.log(4)])]
    assert model.training, "the mode is put back"


def test_another_rank_cannot_be_handed_over(tmp_path: Path) -> None:
    sft = sft_of(tmp_path)
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    inputs = {"model": [sft], "data": [pairs]}
    with pytest.raises(
        ModelError, match=r"asks for an adapter of r 8, alpha 8, but continues one of r 4(.|\n)*lora: none"
    ):
        tiny.run_in(tmp_path, settings(lora=Lora(r=8, alpha=8)), inputs)
    made = tiny.run_in(tmp_path, settings(lora=Lora(r=4, alpha=8)), inputs)
    assert made.manifest.metrics["lora"] == "the adapter of sft continued, r 4"


@pytest.mark.slow
def test_a_recipes_default_gives_way_to_the_adapter_that_is_there(tmp_path: Path) -> None:
    sft = sft_of(tmp_path)
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences())
    made = tiny.run_in(tmp_path, settings(), {"model": [sft], "data": [pairs]}, default_lora=Lora(r=64))
    assert made.manifest.metrics["lora"] == "the adapter of sft continued, r 4"


def test_rankings_of_equals_give_nothing_to_train_on(tmp_path: Path) -> None:
    tied = [r.model_copy(update={"ranks": [1, 1, 1]}) for r in tiny.rankings()]
    data = tiny.data_artifact(tmp_path, "pairs", "rankings", tied)
    with pytest.raises(
        DataError, match=r"no comparison is left to train on: the rankings hold only ties(.|\n)*per_prompt"
    ):
        tiny.run_in(tmp_path, settings(), {"model": [tiny.base_of(tmp_path, "llama")], "data": [data]})


def test_pairs_that_are_too_long_are_cut_and_said(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve(tiny.base_of(tmp_path, "llama")))
    same = "Mix flour, water, salt and yeast, then wait. " * 5
    records = [r.model_copy(update={"prompt": talk("Bread? " * 60)}) for r in tiny.preferences()[:1]]
    records += [
        r.model_copy(update={"chosen": talk("", same + "a")[1:], "rejected": talk("", same + "b")[1:]})
        for r in tiny.preferences()[1:2]
    ]
    from align.data.comparisons import comparisons

    pairs = comparisons([*records, *tiny.preferences()[2:]])
    said: list[str] = []
    context = tiny.context_for(tmp_path, say=said.append)
    rows = dpo.pair_rows(tokenizer, pairs, settings(max_length=64), context)
    assert context.counted == {"pairs_cut": 1, "pairs_lost": 1}
    assert said == [
        "cut, being longer than max_length 64: 1 of 8 comparisons",
        "1 comparison left out: cutting removes their difference",
    ]
    assert len(rows) == 7
    assert max(len(r["prompt_ids"] + r[side]) for r in rows for side in ("chosen_ids", "rejected_ids")) == 64
    with pytest.raises(DataError, match=r"stage dpo(.|\n)*cutting removes every difference(.|\n)*raise max_length"):
        dpo.pair_rows(tokenizer, comparisons(records[1:]), settings(max_length=64), None)


@pytest.mark.parametrize(("count", "most", "wanted"), [(3, 5, [0, 1, 2]), (10, 5, [0, 2, 4, 6, 8]), (11, 3, [0, 3, 6])])
def test_spread(count: int, most: int, wanted: list[int]) -> None:
    assert dpo.spread(list(range(count)), most) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [*dpo_loss_types(), ["sigmoid", "sft"]])
def test_every_loss_of_trl_trains(loss: Any, tmp_path: Path) -> None:
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences()[:4], tiny.preferences()[4:])
    smoothing = {"label_smoothing": 0.001} if loss == "exo_pair" else {}
    base = tiny.base_of(tmp_path, "llama")
    made = tiny.run_in(tmp_path, settings(loss=loss, trainer=smoothing), {"model": [base], "data": [pairs]})
    assert made.manifest.metrics["steps"] == 2
    assert made.manifest.metrics["reference_gap"] < 1e-3
    assert 0 <= made.manifest.metrics["heldout_accuracy"] <= 1
    assert gain(base, made) != 0, "the loss has no gradient"


@pytest.mark.parametrize(
    ("full", "changes", "wanted"),
    [
        (False, {"epochs": 2}, True),
        (False, {"epochs": 1}, False),
        (True, {"epochs": 1}, True),
        (True, {"epochs": 0.5}, False),
        (True, {"epochs": 3, "max_steps": 2}, False),
        (False, {"max_steps": 11}, True),
        (True, {"epochs": 2, "trainer": {"precompute_ref_log_probs": False}}, False),
        (True, {"epochs": 2, "trainer": {"sync_ref_model": True}}, False),
    ],
)
def test_when_the_reference_is_asked_ahead(full: bool, changes: dict[str, Any], wanted: bool) -> None:
    """Forty rows, four a step: it pays from the second pass on, and saves a second model from the first."""
    assert dpo.reference_ahead(settings(**({"max_steps": None} | changes)), full, 40) is wanted


@pytest.mark.parametrize("lora", ["continued", "none"])
def test_a_reference_asked_ahead_trains_the_same_policy(lora: str, tmp_path: Path) -> None:
    sft = sft_of(tmp_path)
    pairs = tiny.data_artifact(tmp_path, "pairs", "preferences", tiny.preferences(), tiny.preferences()[:2])
    changes: dict[str, Any] = {"epochs": 2, "max_steps": None} | ({"lora": "none"} if lora == "none" else {})
    made = []
    for ahead in (True, False):
        stage = settings(name=f"dpo-{ahead}".lower(), trainer={"precompute_ref_log_probs": ahead}, **changes)
        made.append(tiny.run_in(tmp_path, stage, {"model": [sft], "data": [pairs]}))
    losses = [[row.get("loss", row.get("eval_loss")) for row in logged(one)] for one in made]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0][0] == pytest.approx(math.log(2), abs=1e-4) and losses[0][-1] < 0.6


def test_rankings_are_weighed(tmp_path: Path) -> None:
    """A ranking of three answers gives three pairs, one of two gives one: each counts as one ranking."""
    three = [r.model_copy(update={"ranks": [1, 2, 3]}) for r in tiny.rankings()[:4]]
    two = [r.model_copy(update={"ranks": [1, 2, None]}) for r in tiny.rankings()[4:]]
    data = tiny.data_artifact(tmp_path, "pairs", "rankings", [*three, *two])
    base = tiny.base_of(tmp_path, "llama")
    tokenizer = load_tokenizer(resolve(base))
    context = tiny.context_for(tmp_path)
    inputs = Inputs({"data": [data]})
    weighed, _ = dpo.preference_rows(tokenizer, settings(weigh="rankings"), inputs, context)
    assert sorted(row["weight"] for row in weighed) == pytest.approx([2 / 3] * 12 + [2.0] * 4)
    plain, _ = dpo.preference_rows(tokenizer, settings(weigh="pairs"), inputs, context)
    assert plain == [{name: ids for name, ids in row.items() if name != "weight"} for row in weighed]
    made = tiny.run_in(tmp_path, settings(weigh="rankings", max_steps=4), {"model": [base], "data": [data]})
    assert made.manifest.metrics["pairs"] == 16
    assert logged(made)[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
