"""Our PPO against the last one TRL shipped (1.12.0), alternating, each run in a process of its own.

    python -m tests.benchmarks.ppo_vs_trl quickstart --run runs/quickstart     (a finished run of the quickstart)
    python -m tests.benchmarks.ppo_vs_trl 135m

TRL 1.12.0 is installed into a folder of its own, without touching the environment. Both get the same models, prompts,
reward, weight of the KL penalty and number of episodes, and each pair another seed; what is measured is `train()`:
rollouts and updates. Memory is the peak less what the process held after its imports. In the quickstart case the
recipe's judge also scores both policies on held-out prompts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.sides import report, result_of

ROOT = Path(__file__).resolve().parents[2]
TRL = "trl==1.12.0"

CASES: dict[str, dict[str, Any]] = {
    "quickstart": {
        "episodes": 1024,
        "answer": 40,
        "kl": 0.1,
        "ours": {"batch": 64, "epochs": 1, "parts": 2, "rate": 8e-4},
        "trl": {"batch": 128, "micro": 64, "epochs": 4, "rate": 3e-4},
    },
    "135m": {
        "episodes": 32,
        "answer": 64,
        "kl": 0.05,
        "ours": {"batch": 32, "epochs": 4, "parts": 1, "rate": 1e-5},
        "trl": {"batch": 32, "micro": 8, "epochs": 4, "rate": 1e-5},
    },
}
"""answer: tokens at most. kl: weight of the penalty, where scores are brought to deviation 1; TRL, which takes scores
as they are, gets it times their deviation, so that both are after the same."""


def main() -> None:
    """Prepare models, run pairs, print the figures and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--run", type=Path, help="a finished run folder of the quickstart")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--one", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help="of the first pair")
    parser.add_argument("--trl-kl", type=float, help="another weight of the KL penalty for TRL alone")
    chosen = parser.parse_args()
    if chosen.one:
        CASES[chosen.case]["trl"]["kl"] = chosen.trl_kl
        print("RESULT " + json.dumps(measure(chosen.case, chosen.one, chosen.folder, chosen.seed)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(chosen.case, folder, chosen.run)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder / "trl"), TRL],
            check=True,
        )
        rows: dict[str, list[dict[str, float]]] = {"ours": [], "trl": []}
        more = [] if chosen.trl_kl is None else ["--trl-kl", str(chosen.trl_kl)]
        for seed in range(chosen.seed, chosen.seed + chosen.pairs):
            for side in ("ours", "trl"):
                rows[side].append(alone(chosen.case, side, folder, ["--seed", str(seed), *more]))
                print(side, rows[side][-1], flush=True)
        report(rows)


def alone(case: str, side: str, folder: Path, more: list[str]) -> dict[str, float]:
    """One measurement in a process of its own."""
    path = [str(folder / "trl")] if side == "trl" else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)]), "TRL_EXPERIMENTAL_SILENCE": "1"}
    env |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "tests.benchmarks.ppo_vs_trl", case, "--one", side, "--folder", str(folder)]
    return result_of([*command, *more], env)


def prepare(case: str, folder: Path, run: Path | None) -> None:
    """`policy/`, `reward/` and `prompts.json` for both sides."""
    if case == "135m":
        from tests.benchmarks.shapes import SMOLLM2_135M, prompts_of, save_models

        save_models(folder, SMOLLM2_135M)
        rows = [{"prompt": [{"role": "user", "content": text}]} for text in prompts_of(14, CASES[case]["episodes"])]
        (folder / "prompts.json").write_text(json.dumps({"train": rows, "heldout": []}))
        return
    if run is None or not (run / "reward").is_dir():
        sys.exit("say where a finished quickstart is: --run runs/quickstart")
    import torch

    from align.data.files import read_records
    from align.judges.reward import SCALE
    from align.models.load import load_merged, load_scorer, load_tokenizer, resolve

    for name, source in (("policy", "sft"), ("reward", "reward")):
        ref = resolve(run / source)
        loader = load_merged if name == "policy" else load_scorer
        loader(ref, torch.float32).save_pretrained(folder / name)
        load_tokenizer(ref).save_pretrained(folder / name)
    (folder / "reward" / SCALE).write_bytes((run / "reward" / SCALE).read_bytes())
    splits = {
        split: [json.loads(r.model_dump_json()) for r in read_records(run / "prompts" / f"{split}.jsonl", "prompts")]
        for split in ("train", "heldout")
    }
    (folder / "prompts.json").write_text(json.dumps(splits))


def measure(case: str, side: str, folder: Path, seed: int) -> dict[str, float]:
    """Train once; seconds an episode, peak memory, and (quickstart) the judge's mean on held-out prompts."""
    import torch
    import transformers  # noqa: F401 - imports are not what is measured
    import trl

    from tests.benchmarks.shapes import peak_mb

    assert (trl.__version__ == "1.12.0") is (side == "trl"), trl.__version__
    torch.manual_seed(seed)
    splits = json.loads((folder / "prompts.json").read_text())
    trainer = (ours if side == "ours" else theirs)(case, folder, splits["train"], seed)
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    result = {"seconds_per_episode": seconds / CASES[case]["episodes"], "peak_mb": peak_mb() - IMPORTED[0]}
    if splits["heldout"]:
        policy = trainer.model.policy
        result["judge_score"] = judged(policy, folder, splits["heldout"])
    return result


IMPORTED: list[float] = []
"""What the process held after its imports, noted before models are loaded."""


def note_imports() -> None:
    """To be called when everything is imported and nothing is loaded."""
    from tests.benchmarks.shapes import resident_mb

    IMPORTED.append(resident_mb())


def ours(case: str, folder: Path, rows: list[dict[str, Any]], seed: int) -> Any:
    """Our trainer."""
    from peft import LoraConfig

    from align.trainers.ppo.config import PPOConfig
    from align.trainers.ppo.trainer import PPOTrainer

    note_imports()
    setting, own = CASES[case], CASES[case]["ours"]
    rollouts = setting["episodes"] // own["batch"]
    args = PPOConfig(
        output_dir=str(folder / "out-ours"), use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
        rollout_batch_size=own["batch"], num_ppo_epochs=own["epochs"], num_mini_batches=own["parts"],
        max_completion_length=setting["answer"], learning_rate=own["rate"], kl_coef=setting["kl"], seed=seed,
        logging_steps=1000,
        max_steps=rollouts * own["epochs"] * own["parts"],
    )  # fmt: skip
    lora = LoraConfig(r=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if case == "135m" else None
    return PPOTrainer(str(folder / "policy"), str(folder / "reward"), args, rows, peft_config=lora)


def theirs(case: str, folder: Path, rows: list[dict[str, Any]], seed: int) -> Any:
    """TRL 1.12.0's trainer, at its documented settings; its prompts are tokens."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    from align.data.chat import encode_prompt
    from align.data.records import Message

    note_imports()
    setting, own = CASES[case], CASES[case]["trl"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    ids = [encode_prompt(tokenizer, [Message(**m) for m in row["prompt"]]) for row in rows]
    small = case == "quickstart"
    scale = json.loads((folder / "reward" / "scale.json").read_text())["std"] if small else 1.0
    kl = setting["kl"] * scale if own["kl"] is None else own["kl"]
    args = PPOConfig(
        output_dir=str(folder / "out-trl"), use_cpu=True, bf16=False, report_to="none", save_strategy="no",
        per_device_train_batch_size=own["micro"], gradient_accumulation_steps=own["batch"] // own["micro"],
        total_episodes=setting["episodes"], num_ppo_epochs=own["epochs"], learning_rate=own["rate"],
        response_length=setting["answer"], temperature=1.0, kl_coef=kl, stop_token="eos", missing_eos_penalty=1.0,
        num_sample_generations=0, local_rollout_forward_batch_size=own["batch"] if small else 8, seed=seed,
        gradient_checkpointing=False, eval_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    load = AutoModelForCausalLM.from_pretrained
    lora = None if small else LoraConfig(r=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    score = AutoModelForSequenceClassification.from_pretrained
    return PPOTrainer(
        args=args, processing_class=tokenizer, model=load(folder / "policy", dtype="float32"),
        ref_model=load(folder / "policy", dtype="float32") if small else None,
        reward_model=score(folder / "reward", dtype="float32"), value_model=score(folder / "reward", dtype="float32"),
        train_dataset=Dataset.from_list([{"input_ids": i} for i in ids]),
        eval_dataset=Dataset.from_list([{"input_ids": i} for i in ids[:8]]), peft_config=lora,
    )  # fmt: skip


def judged(policy: Any, folder: Path, rows: list[dict[str, Any]]) -> float:
    """The mean of the quickstart's judge over sampled answers to the held-out prompts."""
    from align.data.chat import encode_prompt
    from align.data.records import Message
    from align.judges.rules import RulesJudge
    from align.models.generate import Sampling, sample_batch
    from align.models.load import ModelRef, load_tokenizer

    tokenizer = load_tokenizer(ModelRef(str(folder / "policy"), str(folder / "policy")))
    judge = RulesJudge(ROOT / "recipes" / "quickstart" / "judge.py")
    prompts = [[Message(**m) for m in row["prompt"]] for row in rows]
    ids = [encode_prompt(tokenizer, p) for p in prompts]
    marks: list[float] = []
    for seed in range(4):
        said = sample_batch(policy, tokenizer, ids, seed, Sampling(0.7, 1.0, 40))
        marks += [
            judge.score(p, one.text, row["reference"], row["tags"])
            for p, one, row in zip(prompts, said, rows, strict=True)
        ]
    return sum(marks) / len(marks)


if __name__ == "__main__":
    main()
