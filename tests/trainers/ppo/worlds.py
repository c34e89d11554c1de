"""A problem small enough that its best policy can be written down: two words after one prompt.

With a reward r(answer) and a penalty beta x KL, the best policy is known in closed form (Rafailov et al. 2023, eq. 4):
pi*(answer) ~ reference(answer) x exp(r(answer) / beta).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align.data.chat import encode_prompt
from align.data.records import Message
from align.trainers.ppo.config import PPOConfig
from align.trainers.ppo.trainer import PPOTrainer

WORDS = [f"w{i}" for i in range(9)]
PROMPT = "w1 w2"
TEMPLATE = (
    "{% for m in messages %}{{ m.role + ' ' + m.content }}{% if m.role == 'assistant' %}{{ ' <end>' }}{% endif %}"
    "{{ ' ' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


@functools.cache
def tokenizer() -> Any:
    """Fourteen words, split at spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<end>", "user", "assistant", "?", *WORDS]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>", unk_token="?", padding_side="left"
    )
    fast.chat_template = TEMPLATE
    return fast


def model(seed: int = 0) -> Any:
    """A small Llama whose head is untied and wide enough that an adapter can reach the best policy."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=False, initializer_range=0.1,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    made = LlamaForCausalLM(config)
    torch.nn.init.normal_(made.lm_head.weight, std=0.25)
    return made


def lora() -> Any:
    """LoRA on every linear layer of the trunk."""
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def prompt_ids() -> list[int]:
    """The one prompt as tokens."""
    return encode_prompt(tokenizer(), [Message(role="user", content=PROMPT)])


@functools.cache
def answers() -> list[tuple[int, ...]]:
    """Every answer of at most two tokens: the end alone, or a token and any other."""
    size, end = len(tokenizer()), tokenizer().eos_token_id
    return [(a,) if a == end else (a, b) for a in range(size) for b in (range(size) if a != end else [0])]


@functools.cache
def rewards() -> dict[tuple[int, ...], float]:
    """A reward for every answer, drawn once."""
    generator = torch.Generator().manual_seed(5)
    return {a: float(torch.randn((), generator=generator)) for a in answers()}


def reward(completion_ids: list[list[int]]) -> list[float]:
    """The reward as PPO takes it."""
    return [rewards()[tuple(ids)] for ids in completion_ids]


@torch.no_grad()
def distribution(policy: Any) -> Tensor:
    """The probability of every answer under a policy, in the order of `answers`: [answers] in float64."""
    policy.eval()
    start = prompt_ids()
    first = torch.log_softmax(policy(input_ids=torch.tensor([start])).logits[0, -1].double(), -1)
    follow = torch.tensor([[*start, a] for a in range(len(tokenizer()))])
    second = torch.log_softmax(policy(input_ids=follow).logits[:, -1].double(), -1)
    return torch.stack([first[a[0]] + (second[a[0], a[1]] if len(a) == 2 else 0) for a in answers()]).exp()


def best(reference: Tensor, beta: float) -> Tensor:
    """The optimum for a reference distribution."""
    values = torch.tensor([rewards()[a] for a in answers()], dtype=torch.float64)
    return torch.softmax(reference.log() + values / beta, dim=0)


def total_variation(one: Tensor, other: Tensor) -> float:
    """Half the sum of differences: 0 for equal distributions, 1 for those without overlap."""
    return 0.5 * float((one - other).abs().sum())


def trainer(out: Path, made: Any = None, rewarded: Any = reward, prompts: Any = None, **settings: Any) -> PPOTrainer:
    """A trainer on the small problem; `settings` go to PPOConfig, and what it does not know to the trainer."""
    from transformers import PrinterCallback

    own = ("peft_config", "eval_dataset", "reward_weights", "ptx_dataset", "callbacks")
    further = {k: settings.pop(k) for k in own if k in settings}
    values: dict[str, Any] = {
        "output_dir": str(out), "max_steps": 8, "learning_rate": 2e-3, "rollout_batch_size": 16, "num_ppo_epochs": 2,
        "num_mini_batches": 2, "kl_coef": 0.5, "max_completion_length": 2, "missing_eos_penalty": 0.0, "use_cpu": True,
        "disable_tqdm": True, "save_strategy": "no", "report_to": "none", "seed": 1,
    }  # fmt: skip
    args = PPOConfig(**(values | settings))
    one = PPOTrainer(made or model(), rewarded, args, prompts or [PROMPT], processing_class=tokenizer(), **further)
    one.remove_callback(PrinterCallback)
    return one
