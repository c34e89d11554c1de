"""Our ranking trainer against TRL's RewardTrainer on expanded pairs, alternating, each run in a process of its own.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.reward_vs_trl k4
    OMP_NUM_THREADS=1 python -m tests.benchmarks.reward_vs_trl k8
    OMP_NUM_THREADS=1 python -m tests.benchmarks.reward_vs_trl quickstart --run runs/quickstart   (a finished run)

Both get the same rankings, model, number of epochs and, in memory at once, the same number of answers. k4 and k8: a
random Llama of 4 million parameters, prompts and answers of about 64 tokens. Measured is `train()`; on a
machine with other work the processor's seconds tell more than the clock's. Memory is the peak
less what the process held after its imports. In the quickstart case both are scored on its held-out comparisons.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.sides import report, result_of

ROOT = Path(__file__).resolve().parents[2]
SHAPE = {
    "vocab_size": 1000, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "k4": {"answers": 4, "rankings": 16, "epochs": 1, "lr": 1e-4, "ours": (8, 4), "trl": (48, 8)},
    "k8": {"answers": 8, "rankings": 8, "epochs": 1, "lr": 1e-4, "ours": (4, 2), "trl": (112, 8)},
    "quickstart": {"answers": 4, "epochs": 2, "lr": 6e-4, "ours": (8, 8), "trl": (16, 16)},
}
"""ours, trl: rankings (or pairs) of a step, and in memory at once."""


def main() -> None:
    """Prepare model and rankings, run pairs, print the figures and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--run", type=Path, help="a finished run folder of the quickstart")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--one", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print("RESULT " + json.dumps(measure(chosen.case, chosen.one, chosen.folder, chosen.seed)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(chosen.case, folder, chosen.run)
        rows: dict[str, list[dict[str, float]]] = {"ours": [], "trl": []}
        for seed in range(chosen.pairs):
            for side in ("ours", "trl"):
                rows[side].append(alone(chosen.case, side, folder, seed))
                print(side, rows[side][-1], flush=True)
        report(rows)


def alone(case: str, side: str, folder: Path, seed: int) -> dict[str, float]:
    """One measurement in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "tests.benchmarks.reward_vs_trl", case, "--one", side]
    command += ["--folder", str(folder), "--seed", str(seed)]
    return result_of(command, env)


def prepare(case: str, folder: Path, run: Path | None) -> None:
    """`policy/`, `train.jsonl` and `heldout.jsonl` for both sides."""
    import shutil

    if case != "quickstart":
        from align.data.files import write_records
        from tests.benchmarks.shapes import save_models

        save_models(folder, SHAPE)
        write_records(folder / "train.jsonl", rankings_of(CASES[case]))
        return
    if run is None or not (run / "rankings").is_dir():
        sys.exit("say where a finished quickstart is: --run runs/quickstart")
    shutil.copytree(run / "base", folder / "policy")
    for name in ("train.jsonl", "heldout.jsonl"):
        shutil.copy(run / "rankings" / name, folder / name)


def rankings_of(setting: dict[str, Any]) -> list[Any]:
    """Rankings without ties of answers whose lengths vary about 64 tokens."""
    import random

    from align.data.records import Answer, Message, Ranking
    from tests.benchmarks.shapes import WORDS, prompts_of

    draw = random.Random(0)
    found = []
    for text in prompts_of(57, setting["rankings"]):
        said = [" ".join(draw.choices(WORDS, k=draw.randint(47, 79))) for _ in range(setting["answers"])]
        ranks: list[int | None] = list(range(1, len(said) + 1))
        draw.shuffle(ranks)
        answers = [Answer(id=str(i), text=t) for i, t in enumerate(said)]
        prompt = [Message(role="user", content=text)]
        found.append(Ranking(prompt=prompt, answers=answers, ranks=ranks, annotator="draw"))
    return found


def measure(case: str, side: str, folder: Path, seed: int) -> dict[str, float]:
    """Train one side; seconds, rankings a second, memory and, where there are held-out comparisons, accuracy."""
    import datasets  # noqa: F401
    import transformers.trainer  # noqa: F401
    from trl import RewardTrainer  # noqa: F401

    from align.contract import Context
    from align.data.comparisons import comparisons
    from align.data.files import read_records
    from align.stages.reward import heldout_accuracy
    from tests.benchmarks.shapes import peak_mb, resident_mb

    imported = resident_mb()
    records = read_records(folder / "train.jsonl", "rankings")
    trainer, tokenizer = (ours if side == "ours" else theirs)(case, folder, records, seed)
    started, worked = time.monotonic(), time.process_time()
    trainer.train()
    seconds, worked = time.monotonic() - started, time.process_time() - worked
    rankings = CASES[case]["epochs"] * len(records)
    found = {"rankings_per_second": rankings / seconds, "rankings_per_cpu_second": rankings / worked}
    found["memory_mb"] = peak_mb() - imported
    if case == "quickstart":
        heldout = comparisons(read_records(folder / "heldout.jsonl", "rankings"))
        scorer = trainer.model.scorer if side == "ours" else trainer.model
        context = Context(seed=0, recipe_folder=folder)
        found["accuracy"] = heldout_accuracy(scorer, tokenizer, heldout, 128, context)["heldout_accuracy"]
    return found


def arguments(case: str, side: str, folder: Path, seed: int) -> dict[str, Any]:
    """What both sides are told alike."""
    setting = CASES[case]
    batch, micro = setting[side]
    return {
        "output_dir": str(folder / f"out-{side}"), "use_cpu": True, "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True, "per_device_train_batch_size": micro, "gradient_accumulation_steps": batch // micro,
        "learning_rate": setting["lr"], "num_train_epochs": setting["epochs"],
        "lr_scheduler_type": "cosine", "warmup_steps": 0.2, "max_grad_norm": 1.0, "seed": seed, "max_length": 192,
        "logging_steps": 10, "bf16": False, "activation_checkpointing": False, "dataloader_pin_memory": False,
    }  # fmt: skip


def start(folder: Path) -> tuple[Any, Any]:
    """The causal model, and its tokenizer."""
    import torch

    from align.models.load import ModelRef, load_merged, load_tokenizer

    ref = ModelRef(str(folder / "policy"), str(folder / "policy"))
    return load_merged(ref, torch.float32), load_tokenizer(ref)


def ours(case: str, folder: Path, records: Any, seed: int) -> Any:
    """Our trainer, on whole rankings."""
    from align.trainers.ranking_reward.config import RankingRewardConfig
    from align.trainers.ranking_reward.trainer import RankingRewardTrainer

    causal, tokenizer = start(folder)
    # Ties are left out, as they are of TRL's pairs: else the two would not learn from the same comparisons.
    args = RankingRewardConfig(**arguments(case, "ours", folder, seed), ties="drop")
    return RankingRewardTrainer(causal, args, records, processing_class=tokenizer, peft_config=None), tokenizer


def theirs(case: str, folder: Path, records: Any, seed: int) -> Any:
    """TRL's trainer, on every strict comparison, tokenised as ours."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    from align.data.chat import encode_pair
    from align.data.comparisons import comparisons
    from align.models.heads import as_scorer

    causal, tokenizer = start(folder)
    encoded = [encode_pair(tokenizer, c.prompt, c.chosen, c.rejected, 192) for c in comparisons(records)]
    rows = [
        {"chosen_ids": e.prompt_ids + e.chosen_ids, "rejected_ids": e.prompt_ids + e.rejected_ids} for e in encoded if e
    ]
    args = RewardConfig(**arguments(case, "trl", folder, seed))
    trainer = RewardTrainer(
        model=as_scorer(causal), args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    return trainer, tokenizer


if __name__ == "__main__":
    main()
