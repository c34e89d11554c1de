"""A base model made from scratch: a byte-level BPE tokenizer and a small Llama-shaped model.

Left out on purpose: other architectures and tokenizers. `pretrain` exists so that the whole story, from reading to
alignment, runs on a laptop; whoever wants a strong base names one from a hub.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from align.data.chat import CHATML

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, context: int) -> Any:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) with ChatML's special tokens; END closes turns and texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[START],
        model_max_length=context,
        padding_side="left",
    )
    fast.chat_template = CHATML
    return fast


def make_model(tokenizer: Any, *, hidden_size: int, layers: int, heads: int, context: int) -> Any:
    """A Llama-shaped causal language model with random weights, embeddings tied, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3 // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5 / hidden_size**0.5,  # wide models' 0.02 would leave a narrow one close to zero
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
