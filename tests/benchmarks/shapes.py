"""Models of a benchmark's size, with random weights: speed and memory do not depend on what a model knows."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from align.models.tiny import train_tokenizer

SMOLLM2_135M = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
"""The shape of SmolLM2-135M."""

WORDS = [f"word{i}" for i in range(400)]


def save_models(folder: Path, shape: dict[str, Any]) -> None:
    """`policy/` and `reward/` (a sequence classifier), each with the same tokenizer."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([" ".join(WORDS)] * 4, 1000, shape["max_position_embeddings"])
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(**shape, **ends)
    policy = AutoModelForCausalLM.from_config(config)
    policy.generation_config.eos_token_id = tokenizer.eos_token_id
    policy.save_pretrained(folder / "policy")
    config.num_labels = 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / "reward")
    for name in ("policy", "reward"):
        tokenizer.save_pretrained(folder / name)


def prompts_of(tokens: int, count: int) -> list[str]:
    """Texts that become exactly so many tokens of a user's turn, by `save_models`' tokenizer (see its template)."""
    return [" ".join(WORDS[(i * 37 + j) % len(WORDS)] for j in range(tokens)) for i in range(count)]


def resident_mb() -> float:
    """Memory the process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """The most it ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
