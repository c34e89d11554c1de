"""export: go out. A plain Hugging Face model: LoRA merged, safetensors, tokenizer, chat template, model card."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig

from align.contract import Context, Inputs, Metrics
from align.data.chat import stop_ids
from align.models.load import check_vocabulary, load_merged, load_tokenizer, resolve
from align.recipe.schema import Export
from align.report.model_card import model_card


def run(settings: Export, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Merge and save; the folder loads with `AutoModelForCausalLM.from_pretrained` alone."""
    policy = inputs.one("model")
    ref = resolve(policy)
    tokenizer = load_tokenizer(ref)
    # Merged in float32, where nothing is rounded away, then saved in the number format the base came in.
    model = load_merged(ref, torch.float32)
    check_vocabulary(model, tokenizer, ref.base)
    model = model.to(AutoConfig.from_pretrained(ref.base, revision=ref.revision).dtype or torch.float32)
    # Whoever loads it must stop where the chat template closes an answer, not only where the base's texts ended.
    model.generation_config.eos_token_id = stop_ids(tokenizer, model.generation_config.eos_token_id)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "README.md").write_text(model_card(policy.path.parent, policy.name), "utf-8")
    return {"parameters": sum(p.numel() for p in model.parameters()), "dtype": str(model.dtype).removeprefix("torch.")}
