"""TRL on our tokens: what a trainer's batch holds, and that weights are those of the weighted loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from align.models.load import load_causal, load_tokenizer, resolve
from align.trainers.shim import (
    CPOConfig,
    ORPOConfig,
    TokenizedCPOTrainer,
    TokenizedDPOTrainer,
    TokenizedKTOTrainer,
    TokenizedORPOTrainer,
)
from tests import tiny

pytestmark = tiny.THIRD_PARTY

ROWS: list[dict[str, Any]] = [
    {"prompt_ids": [5, 6], "chosen_ids": [7, 8, 9], "rejected_ids": [10], "weight": 0.5},
    {"prompt_ids": [11], "chosen_ids": [12], "rejected_ids": [13, 14], "weight": 1.5},
]


def trainer_of(kind: str, folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, KTOConfig

    made, config = {
        "dpo": (TokenizedDPOTrainer, DPOConfig),
        "orpo": (TokenizedORPOTrainer, ORPOConfig),
        "simpo": (TokenizedCPOTrainer, CPOConfig),
        "kto": (TokenizedKTOTrainer, KTOConfig),
    }[kind]
    own: dict[str, Any] = {"loss_type": "simpo", "cpo_alpha": 0.0} if kind == "simpo" else {}
    base = tiny.base_of(folder, "llama")
    model = load_causal(resolve(base), torch.float32)
    args = config(output_dir=str(folder / "out"), use_cpu=True, bf16=False, activation_checkpointing=False,
                  per_device_train_batch_size=2, max_length=64, **(own | changes))  # fmt: skip
    data = Dataset.from_list(rows)
    needed = kind in ("dpo", "kto") and not changes.get("precompute_ref_log_probs")
    reference = {"ref_model": load_causal(resolve(base), torch.float32)} if needed else {}
    return made(model=model, args=args, train_dataset=data, processing_class=load_tokenizer(resolve(base)), **reference)


def gradient(trainer: Any) -> torch.Tensor:
    """The gradient of the loss over the training rows as one batch, all parameters in a row."""
    (batch,) = list(trainer.get_train_dataloader())
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", ["dpo", "simpo"])
def test_the_gradient_is_that_of_the_weighted_loss(kind: str, tmp_path: Path) -> None:
    """Each row alone gives its gradient; the batch gives their mean with the weights 0.5 and 1.5."""
    alone = [
        gradient(trainer_of(kind, tmp_path / str(i), [{k: v for k, v in row.items() if k != "weight"}]))
        for i, row in enumerate(ROWS)
    ]
    together = gradient(trainer_of(kind, tmp_path / "both", ROWS))
    wanted = (0.5 * alone[0] + 1.5 * alone[1]) / 2
    assert torch.allclose(together, wanted, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(together, (alone[0] + alone[1]) / 2, atol=1e-4)


def test_orpo_imitates_by_weight_too(tmp_path: Path) -> None:
    """A row of weight 0 leaves no trace but in the number of tokens that the imitation is a mean over."""
    rows = [ROWS[0] | {"weight": 1.0}, ROWS[1] | {"weight": 0.0}]
    other = [rows[0], rows[1] | {"chosen_ids": [20], "rejected_ids": [21, 22]}]
    found, same = (gradient(trainer_of("orpo", tmp_path / str(i), some)) for i, some in enumerate((rows, other)))
    assert torch.allclose(found, same, atol=1e-7) and found.abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["orpo", "simpo"])
def test_the_trainer_reads_our_tokens_and_no_others(kind: str, tmp_path: Path) -> None:
    (batch,) = list(trainer_of(kind, tmp_path, ROWS[:1]).get_train_dataloader())
    assert batch["chosen_input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["chosen_labels"].tolist() == [[-100, -100, 7, 8, 9]]
    assert batch["rejected_input_ids"].tolist() == [[5, 6, 10]]
    assert batch["rejected_labels"].tolist() == [[-100, -100, 10]]


def test_kto_measures_drift_on_the_answers_beside(tmp_path: Path) -> None:
    rows = [{"prompt_ids": [5 + i], "completion_ids": [9 + i, 1], "label": i % 2 == 0} for i in range(3)]
    first, last = list(trainer_of("kto", tmp_path, rows).get_train_dataloader())
    assert first["input_ids"].tolist() == [[5, 9, 1], [6, 10, 1]]
    assert first["KL_input_ids"].tolist() == [[5, 10, 1], [6, 9, 1]]
    assert first["completion_mask"].tolist() == first["KL_completion_mask"].tolist() == [[0, 1, 1], [0, 1, 1]]
    assert first["label"].tolist() == [True, False]
    assert last["input_ids"].tolist() == last["KL_input_ids"].tolist() == [[7, 11, 1]]


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_a_reference_asked_ahead_gives_the_same_loss(kind: str, tmp_path: Path) -> None:
    """After a change of the policy, so that it and its reference differ."""
    answered = [{"prompt_ids": r["prompt_ids"], "completion_ids": r["chosen_ids"], "label": i == 0}
                for i, r in enumerate(ROWS)]  # fmt: skip
    losses = []
    for ahead in (True, False):
        trainer = trainer_of(kind, tmp_path / str(ahead), ROWS if kind == "dpo" else answered,
                             precompute_ref_log_probs=ahead)  # fmt: skip
        torch.manual_seed(0)
        with torch.no_grad():
            for weights in trainer.model.parameters():
                weights.add_(0.02 * torch.randn_like(weights))
        (batch,) = list(trainer.get_train_dataloader())
        losses.append(float(trainer.compute_loss(trainer.model, batch).detach()))
    at_start = torch.log(torch.tensor(2.0)) if kind == "dpo" else torch.tensor(0.5)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert abs(losses[0] - float(at_start)) > 1e-3
