"""The same problem as PPO's, for DPO: it ends near the policy that mathematics says is best."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.trainers.ppo import worlds

pytestmark = tiny.THIRD_PARTY


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_dpo_with_labels_of_the_same_reward_comes_close(beta: float, tmp_path: Path) -> None:
    """DPO on Bradley-Terry labels of r has the same optimum (Rafailov et al. 2023, eq. 6): within 0.1 of pi*."""
    from datasets import Dataset
    from trl import DPOConfig

    from align.trainers.shim import TokenizedDPOTrainer

    made = worlds.model()
    start = worlds.distribution(made)
    wanted = worlds.best(start, beta)
    generator = torch.Generator().manual_seed(3)
    pairs = 98_304
    # Answers drawn from the reference and, so that rare ones are seen as well, evenly.
    mixed = 0.5 * start + 0.5 / len(start)
    drawn = torch.multinomial(mixed, 2 * pairs, replacement=True, generator=generator).view(pairs, 2).tolist()
    rows = []
    for a, b in drawn:
        one, other = worlds.answers()[a], worlds.answers()[b]
        wins = torch.sigmoid(torch.tensor(worlds.rewards()[one] - worlds.rewards()[other]))
        first = bool(torch.rand((), generator=generator) < wins)
        chosen, rejected = (one, other) if first else (other, one)
        if one != other:
            rows.append({"prompt_ids": worlds.prompt_ids(), "chosen_ids": list(chosen), "rejected_ids": list(rejected)})
    args = DPOConfig(
        output_dir=str(tmp_path), beta=beta, per_device_train_batch_size=768, num_train_epochs=2, learning_rate=5e-3,
        lr_scheduler_type="cosine", use_cpu=True, bf16=False, disable_tqdm=True, save_strategy="no", report_to="none",
        max_length=16, activation_checkpointing=False, seed=1, logging_strategy="no",
    )  # fmt: skip
    reference = worlds.model()
    trainer = TokenizedDPOTrainer(
        model=made, ref_model=reference, args=args, train_dataset=Dataset.from_list(rows),
        processing_class=worlds.tokenizer(),
    )  # fmt: skip
    trainer.train()
    found = worlds.total_variation(worlds.distribution(trainer.model), wanted)
    assert found < 0.1
