"""Peak memory of LoRA PPO beside LoRA SFT on the same base and token count, each in a process of its own.

    python -m tests.benchmarks.ppo_memory

A model of SmolLM2-135M's shape, LoRA on q and v; 32 sequences of 64 + 64 tokens. PPO's reward model is a LoRA adapter
over the same base. Memory is the peak less what the process held after its imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", choices=["sft", "ppo"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print("RESULT " + json.dumps((sft if chosen.one == "sft" else ppo)(chosen.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        from tests.benchmarks.shapes import SMOLLM2_135M, save_models

        save_models(Path(name), SMOLLM2_135M)
        save_adapter(Path(name))
        found = {}
        for side in ("sft", "ppo"):
            command = [sys.executable, "-m", "tests.benchmarks.ppo_memory", "--one", side, "--folder", name]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            rows = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if not rows:
                sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
            found[side] = json.loads(rows[-1].removeprefix("RESULT "))
            print(side, f"{found[side]:.0f} MB", flush=True)
        print(f"PPO / SFT {found['ppo'] / found['sft']:.3f}")


def lora(task: str) -> Any:
    """The same adapter for all."""
    from peft import LoraConfig

    return LoraConfig(r=16, target_modules=["q_proj", "v_proj"], task_type=task)


def save_adapter(folder: Path) -> None:
    """`adapter/`: a reward model as LoRA over `policy/`."""
    import torch
    from peft import get_peft_model

    from align.models.heads import as_scorer
    from align.models.load import ModelRef, load_causal, load_tokenizer, save_model

    base = ModelRef(str(folder / "policy"), str(folder / "policy"))
    model = get_peft_model(as_scorer(load_causal(base, torch.float32)), lora("SEQ_CLS"))
    (folder / "adapter").mkdir()
    save_model(model, load_tokenizer(base), folder / "adapter", base)


def sft(folder: Path) -> float:
    """TRL's SFTTrainer as our `sft` stage sets it, one pass over 32 sequences of 128 tokens, 8 in memory at once."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from tests.benchmarks.shapes import peak_mb, resident_mb

    before = resident_mb()
    rows = [{"input_ids": list(range(5, 133)), "labels": [-100] * 64 + list(range(69, 133))} for _ in range(32)]
    args = SFTConfig(
        output_dir=str(folder / "sft"), per_device_train_batch_size=8, gradient_accumulation_steps=4, max_steps=4,
        bf16=False, use_cpu=True, activation_checkpointing=False, save_strategy="no", report_to="none",
        disable_tqdm=True, max_length=128,
    )  # fmt: skip
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32), args=args,
        train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(folder / "policy"),
        peft_config=lora("CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    return peak_mb() - before


def ppo(folder: Path) -> float:
    """Our PPO, 32 episodes of 64 + 64 tokens a rollout, 4 updates, at its own settings for memory."""
    import transformers  # noqa: F401 - imports are not what is measured
    import trl  # noqa: F401

    from align.trainers.ppo.config import PPOConfig
    from align.trainers.ppo.trainer import PPOTrainer
    from tests.benchmarks.shapes import peak_mb, prompts_of, resident_mb

    before = resident_mb()
    args = PPOConfig(
        output_dir=str(folder / "ppo"), rollout_batch_size=32, num_ppo_epochs=4, max_steps=4, max_completion_length=64,
        use_cpu=True, save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = PPOTrainer(
        str(folder / "policy"), str(folder / "adapter"), args, prompts_of(14, 32), peft_config=lora("CAUSAL_LM")
    )
    trainer.train()
    return peak_mb() - before


if __name__ == "__main__":
    main()
