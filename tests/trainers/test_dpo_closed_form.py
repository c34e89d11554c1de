"""The same problem as PPO's, for DPO: it ends near the policy that mathematics says is best."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.trainers.ppo import worlds

pytestmark = tiny.THIRD_PARTY


@pytest.fixture
def four_words(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The problem with 73 answers for 183: as many labels tell more of each, so that a quarter of them are enough."""
    made_once = (worlds.tokenizer, worlds.answers, worlds.rewards)
    monkeypatch.setattr(worlds, "WORDS", worlds.WORDS[:4])
    for made in made_once:
        made.cache_clear()
    yield
    for made in made_once:
        made.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("four_words")
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
    pairs = 24_576
    # Answers drawn from the reference and, so that rare ones are seen as well, evenly.
    mixed = 0.5 * start + 0.5 / len(start)
    drawn = torch.multinomial(mixed, 2 * pairs, replacement=True, generator=generator).view(pairs, 2)
    values = torch.tensor([worlds.rewards()[answer] for answer in worlds.answers()])[drawn]
    first = torch.rand(pairs, generator=generator) < torch.sigmoid(values[:, 0] - values[:, 1])
    prompt = worlds.prompt_ids()
    rows = []
    for (a, b), wins in zip(drawn.tolist(), first.tolist(), strict=True):
        chosen, rejected = (worlds.answers()[i] for i in ((a, b) if wins else (b, a)))
        if chosen != rejected:
            rows.append({"prompt_ids": prompt, "chosen_ids": list(chosen), "rejected_ids": list(rejected)})
    args = DPOConfig(
        output_dir=str(tmp_path), beta=beta, per_device_train_batch_size=256, num_train_epochs=2, learning_rate=5e-3,
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
    assert worlds.total_variation(start, wanted) > 0.3
    assert found < 0.1
