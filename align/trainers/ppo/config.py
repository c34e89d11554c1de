"""PPOConfig: transformers' TrainingArguments and what PPO adds to them, in TRL's names where TRL has one."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from transformers import TrainingArguments

from align.errors import RecipeError
from align.recipe.trainer_arguments import PPO_RANGES

ENGINES = ("decode", "continuous", "vllm_colocate", "vllm_server")


def _option(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass
class PPOConfig(TrainingArguments):  # type: ignore[misc]
    """Arguments of `PPOTrainer`.

    One optimizer step is one update: a rollout of `rollout_batch_size` episodes is used for `num_ppo_epochs` x
    `num_mini_batches` of them. `num_train_epochs` counts passes over the prompts. Of TrainingArguments, batch sizes and
    gradient accumulation are not used: `micro_batch_tokens` says how much is in memory at once.

    Defaults are those the field agrees on (Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO"; verl;
    OpenRLHF), where they differ from transformers' own.
    """

    learning_rate: float = _option(1e-5, "Peak learning rate of the policy. 1e-5 suits LoRA, 3e-6 full fine-tuning.")
    value_learning_rate: float | None = _option(None, "Peak learning rate of the value model. Default: learning_rate.")
    lr_scheduler_type: str = _option("linear", "Learning rate schedule, from the peak to 0.")
    adam_beta2: float = _option(0.95, "Beta2 of AdamW.")
    adam_epsilon: float = _option(1e-5, "Epsilon of AdamW (Huang et al. 2024).")
    logging_steps: float = _option(1, "Log every so many updates.")
    max_grad_norm: float = _option(1.0, "Gradients are clipped to this norm, the policy's and the value model's apart.")

    rollout_batch_size: int = _option(64, "Episodes (a prompt and an answer) of a rollout.")
    num_ppo_epochs: int = _option(4, "Passes over a rollout.")
    num_mini_batches: int = _option(1, "Parts that a rollout is divided into; each gives one optimizer step.")
    micro_batch_tokens: int | None = _option(
        None, "Tokens in memory at once during updates. Default: 16384 on a GPU, half a GiB's worth on a CPU."
    )
    generation_batch_size: int | None = _option(None, "Answers sampled at once. Default: the rollout's episodes.")
    engine: str = _option(
        "decode",
        "What samples: `decode`, our own loop; `continuous`, transformers' continuous batching (CUDA); `vllm_colocate` "
        "or `vllm_server`, vLLM through TRL.",
        choices=list(ENGINES),
    )
    vllm_server_base_url: str | None = _option(None, "Address of the server of `engine: vllm_server`.")
    vllm_gpu_memory_utilization: float = _option(0.3, "Share of the GPU's memory that `engine: vllm_colocate` takes.")
    max_completion_length: int = _option(256, "Longest answer in tokens.")
    temperature: float = _option(1.0, "Sampling temperature; log-probabilities are taken at the same.")

    kl_coef: float = _option(0.05, "Weight of the KL penalty (k1) in the reward.")
    kl_target: float | None = _option(
        None, "Adapt kl_coef towards this KL, in nats an answer (Ziegler et al. 2019, 2.2)."
    )
    kl_horizon: int = _option(10_000, "Episodes over which an adaptive kl_coef moves.")
    kl_budget: float | None = _option(
        None, "Stop when the KL to the reference passes so many nats an answer, on held-out prompts if there are any."
    )
    gamma: float = _option(1.0, "Discount of rewards.")
    lam: float = _option(0.95, "Lambda of GAE (Schulman et al. 2016, eq. 16).")
    whiten_advantages: bool = _option(True, "Shift and scale a rollout's advantages to mean 0 and variance 1.")
    whiten_rewards: bool = _option(False, "Scale a rollout's rewards to variance 1, the mean kept.")
    cliprange: float = _option(0.2, "Clip of the policy's ratio (Schulman et al. 2017, eq. 7).")
    dual_clip: float | None = _option(None, "Bound on the loss at negative advantages, such as 3 (Ye et al. 2020).")
    cliprange_value: float | None = _option(0.2, "Clip of the value around the rollout's; null: none.")
    vf_coef: float = _option(0.1, "Weight of the value loss.")
    ratio_threshold: float = _option(10.0, "An update is skipped where the mean ratio is above.")
    target_kl: float | None = _option(
        None, "The rest of a rollout's updates is skipped once the policy has moved so far (approximate KL, k3)."
    )

    missing_eos_penalty: float = _option(1.0, "Taken off the score of an answer that does not end by itself.")
    score_clip: float | None = _option(10.0, "Normalised scores are clipped to +- this.")
    uncertainty_coef: float = _option(
        0.0, "Several reward models, or one of several heads: what a standard deviation between them costs the score."
    )
    value_model: str = _option(
        "auto",
        "`separate`: weights of its own, from the reward model where it fits; `shared`: a head on the policy's trunk; "
        "`auto`: separate where it can start from the reward model.",
        choices=["auto", "separate", "shared"],
    )
    value_warmup: int = _option(0, "Rollouts at the start on which only the value model learns.")
    ptx_coef: float = _option(
        0.05, "With demonstrations: weight of their likelihood beside the policy loss (Ouyang et al. 2022, eq. 2)."
    )
    ptx_batch_size: int = _option(16, "Demonstrations beside each update.")

    eval_prompts: int | None = _option(256, "Held-out prompts to answer at an evaluation; null: all.")
    keep_best: bool = _option(
        True, "End with the weights of the best evaluation (within kl_budget) in place of the last."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.rollout_batch_size
        refused = [
            ("gradient_accumulation_steps", self.gradient_accumulation_steps != 1, "1; use micro_batch_tokens"),
            ("fp16", self.fp16, "bf16, or neither: a skipped update would break fp16's gradient scaler"),
            ("world_size", self.world_size > 1, "1 process: start it without accelerate launch or torchrun"),
            ("rollout_batch_size", most < 1, "at least 1"),
            ("num_ppo_epochs", self.num_ppo_epochs < 1, "at least 1"),
            ("max_completion_length", self.max_completion_length < 1, "at least 1"),
            ("num_mini_batches", not 1 <= self.num_mini_batches <= most, f"1 to {most}, the episodes of a rollout"),
            ("temperature", not self.temperature > 0, "above 0: PPO learns from answers that vary"),
            ("engine", self.engine not in ENGINES, ", ".join(ENGINES)),
            ("value_model", self.value_model not in ("auto", "separate", "shared"), "auto, separate or shared"),
            (
                "value_warmup",
                self.value_warmup and self.value_model == "shared",
                "0: a shared trunk would move too",
            ),
        ]
        numbers = {f.name: getattr(self, f.name) for f in fields(self)}
        refused += [
            (n, numbers[n] is not None and not holds(numbers[n]), allowed) for n, (holds, allowed) in PPO_RANGES.items()
        ]
        refused += [
            (n, True, "a number") for n, value in numbers.items() if isinstance(value, float) and value != value
        ]
        for name, wrong, allowed in refused:
            if wrong:
                raise RecipeError(f"{name} is {getattr(self, name)}", where=f"PPOConfig.{name}", allowed=allowed)

    @property
    def updates_per_rollout(self) -> int:
        """Optimizer steps that a rollout gives."""
        return self.num_ppo_epochs * self.num_mini_batches
