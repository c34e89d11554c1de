"""Models made on the spot: tiny, random, and shaped like Llama, Qwen3, Gemma 3 and GPT-2, with tokenizer and template.

The chat templates keep what matters of the real families': Llama 3's headers and trimming, Qwen3's <think> block that
is there in the last turn only, Gemma's alternation of user and model; GPT-2 has no template and no pad token.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1", TRL_EXPERIMENTAL_SILENCE="1")
os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import pytest

from align.artifacts import Artifact, Manifest, seal
from align.contract import Context, Inputs
from align.data.files import write_records
from align.data.records import Answer, Demonstration, Message, Preference, Prompt, Ranking, Record
from align.recipe.schema import Lora, StageBase

THIRD_PARTY = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # PEFT asks transformers for it
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),  # PEFT, on GPT-2's Conv1D
]
"""Marks of tests that run a stage in this process: warnings of libraries about each other."""

FAMILIES = ("llama", "qwen3", "gemma", "gpt2")

HIDDEN, LAYERS, HEADS, CONTEXT = 32, 2, 4, 256

LLAMA = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

QWEN3 = (
    "{%- set ns = namespace(last_query=-1) %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' %}{%- set ns.last_query = loop.index0 %}{%- endif %}"
    "{%- endfor %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'assistant' %}"
    "{%- set content = message.content %}{%- set thought = '' %}"
    "{%- if '</think>' in content %}"
    "{%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\n') %}"
    "{%- endif %}"
    "{{- '<|im_start|>assistant\n' }}"
    "{%- if loop.index0 > ns.last_query and (loop.last or thought) %}"
    "{{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}"
    "{%- else %}{{- content }}{%- endif %}"
    "{{- '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)

GEMMA = (
    "{{ bos_token }}"
    "{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('System role not supported') }}{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{%- endif -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\n' + (message['content'] | trim) + '<end_of_turn>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)

TEXTS = [
    "What is the capital of France? The capital of France is Paris.",
    "Name a colour. Blue is a colour, and so is red.",
    "user system assistant model think User: Assistant: System:",
    "How do I bake bread? Mix flour, water, salt and yeast, then wait and bake it.",
    "I do not know that. I cannot help with this. Yes. No. Thank you very much, you are welcome.",
]

SPECIALS: dict[str, dict[str, Any]] = {
    "llama": {
        "all": ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>",
                "<|end_header_id|>", "<|eot_id|>"],
        "named": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
                  "pad_token": "<|finetune_right_pad_id|>"},
        "template": LLAMA,
    },
    "qwen3": {
        "all": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "named": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        "template": QWEN3,
    },
    "gemma": {
        "all": ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        "named": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
        "template": GEMMA,
    },
    "gpt2": {"all": ["<|endoftext|>"], "named": {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"},
             "template": None},
}  # fmt: skip

SOURCE: dict[str, dict[str, str]] = {"gpt2": {"chat_template": "plain", "pad_token": "!"}}
"""What a recipe has to say beside the path."""


def tokenizer_of(family: str) -> Any:
    """A byte-level BPE tokenizer with the family's special tokens and chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    parts = SPECIALS[family]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=parts["all"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS, trainer)
    extra = [t for t in parts["all"] if t not in parts["named"].values()]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, model_max_length=CONTEXT, extra_special_tokens=extra, **parts["named"]
    )
    if family == "qwen3":
        fast.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    fast.chat_template = parts["template"]
    return fast


def model_of(family: str, tokenizer: Any, seed: int = 0, hidden: int = HIDDEN) -> Any:
    """A random causal model of the family's shape; weights large enough that attention matters."""
    import torch
    import transformers as hf

    shape = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": LAYERS,
             "num_attention_heads": HEADS, "max_position_embeddings": CONTEXT, "initializer_range": 0.2,
             "vocab_size": len(tokenizer)}  # fmt: skip
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    ends["bos_token_id"] = tokenizer.bos_token_id
    config: Any
    match family:
        case "llama":
            config = hf.LlamaConfig(**shape, **ends, num_key_value_heads=2)
        case "qwen3":
            config = hf.Qwen3Config(**shape, **ends, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)
        case "gemma":
            config = hf.Gemma3TextConfig(
                **shape, **ends, num_key_value_heads=1, head_dim=8, sliding_window=64, query_pre_attn_scalar=8,
                layer_types=["sliding_attention", "full_attention"],
            )  # fmt: skip
        case _:
            config = hf.GPT2Config(
                vocab_size=len(tokenizer), n_embd=hidden, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT,
                eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id, initializer_range=0.2,
            )  # fmt: skip
    torch.manual_seed(seed)
    model = hf.AutoModelForCausalLM.from_config(config)
    if family == "llama":
        model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eot_id|>"])
    if family == "gemma":
        model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<eos>", "<end_of_turn>"])
    return model


@functools.cache
def tiny_folder(family: str, seed: int = 0, hidden: int = HIDDEN) -> Path:
    """A Hugging Face folder with model and tokenizer, made once per process. Do not write into it: copy it."""
    import torch

    torch.set_num_threads(1)
    folder = _scratch() / f"{family}-{seed}-{hidden}"
    tokenizer = tokenizer_of(family)
    tokenizer.save_pretrained(folder)
    model_of(family, tokenizer, seed, hidden).save_pretrained(folder)
    return folder


@functools.cache
def _scratch() -> Path:
    folder = tempfile.mkdtemp(prefix="align-tiny-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def talk(*turns: str, system: str = "") -> list[Message]:
    """A conversation: user and assistant take turns, after an optional system message."""
    first = [Message(role="system", content=system)] if system else []
    return first + [Message(role="assistant" if i % 2 else "user", content=t) for i, t in enumerate(turns)]


QUESTIONS = ["What is the capital of France?", "Name a colour.", "How do I bake bread?", "Thank you.", "Say yes.",
             "Is it red?", "Do you know me?", "Help me."]  # fmt: skip
GOOD = ["Paris.", "Blue is a colour.", "Mix flour and water, then bake.", "You are welcome.", "Yes.", "No, it is blue.",
        "I do not know that.", "What do you need?"]  # fmt: skip
BAD = ["I cannot.", "Bread.", "No.", "Wait.", "The capital is red, no?", "France", "Salt and yeast.", "very very"]


def demonstrations() -> list[Record]:
    """Eight short conversations; the last has two turns."""
    rows: list[Record] = [Demonstration(messages=talk(q, a)) for q, a in zip(QUESTIONS, GOOD, strict=True)]
    return [*rows[:-1], Demonstration(messages=talk(QUESTIONS[0], GOOD[0], QUESTIONS[1], GOOD[1]))]


def preferences() -> list[Record]:
    """Eight pairs."""
    return [
        Preference(prompt=talk(q), chosen=[_says(g)], rejected=[_says(b)])
        for q, g, b in zip(QUESTIONS, GOOD, BAD, strict=True)
    ]


def rankings() -> list[Record]:
    """Eight rankings of three answers, the first best, the other two tied."""
    return [
        Ranking(
            prompt=talk(q),
            answers=[Answer(id=f"{i}{n}", text=t) for n, t in enumerate((g, b, "It is so."))],
            ranks=[1, 2, 2],
            annotator="test",
        )
        for i, (q, g, b) in enumerate(zip(QUESTIONS, GOOD, BAD, strict=True))
    ]


def prompts() -> list[Record]:
    """Eight questions with tags and references."""
    return [Prompt(prompt=talk(q), tags=["short"], reference=g) for q, g in zip(QUESTIONS, GOOD, strict=True)]


def _says(text: str) -> Message:
    return Message(role="assistant", content=text)


def data_artifact(
    runs: Path, name: str, kind: str, train: Sequence[Record], heldout: Sequence[Record] = (), **fields: Any
) -> Artifact:
    """Records sealed as the pipeline seals a source; fields: more of its manifest."""
    partial = runs / f"{name}.partial"
    partial.mkdir(parents=True)
    for file, records in (("train.jsonl", train), ("heldout.jsonl", heldout)):
        if records:
            write_records(partial / file, list(records))
    return seal(partial, Manifest(name=name, kind=kind, made_by="source", key=name, **fields))


def model_artifact(runs: Path, folder: Path, name: str = "base", kind: str = "policy", **fields: str) -> Artifact:
    """A model source, as the pipeline seals it."""
    partial = runs / f"{name}.partial"
    partial.mkdir(parents=True)
    pointer = {"path": str(folder), "revision": None, "chat_template": None, "pad_token": None} | fields
    (partial / "policy.json").write_text(json.dumps(pointer), "utf-8")
    return seal(partial, Manifest(name=name, kind=kind, made_by="source", key=name))


def base_of(runs: Path, family: str, name: str = "base") -> Artifact:
    """The tiny model of a family as a source."""
    return model_artifact(runs, tiny_folder(family), name, **SOURCE.get(family, {}))


def context_for(runs: Path, **changes: Any) -> Context:
    """A context as the pipeline gives it, in float32; `said` collects what the stage tells."""
    values: dict[str, Any] = {"seed": 7, "recipe_folder": runs, "precision": "fp32", "default_lora": Lora(r=4, alpha=8)}
    return Context(**(values | changes))


def run_in(runs: Path, settings: StageBase, inputs: dict[str, list[Artifact]], **changes: Any) -> Artifact:
    """Run a stage in this process and seal what it leaves, as the pipeline does."""
    from align.recipe.wiring import MAKES
    from align.stages import run_stage

    partial = runs / f"{settings.name}.partial"
    (partial / "logs").mkdir(parents=True, exist_ok=True)
    metrics = run_stage(settings, Inputs(inputs), partial, context_for(runs, **changes))
    shutil.rmtree(partial / "resume", ignore_errors=True)
    kind: str = settings.kind  # type: ignore[attr-defined]
    return seal(
        partial, Manifest(name=settings.name, kind=MAKES[kind], made_by=kind, key=settings.name, metrics=metrics)
    )
