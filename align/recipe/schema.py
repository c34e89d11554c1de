"""The recipe: sources, defaults and stages, each field with its type, unit and default. No torch in here.

A stage names its inputs by role (`model:`, `data:` ...); `align/recipe/wiring.py` says what fits where.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from align.recipe.base import DataKind as DataKind
from align.recipe.base import Format as Format
from align.recipe.base import Learning as Learning
from align.recipe.base import Lora as Lora
from align.recipe.base import Name as Name
from align.recipe.base import Pairs as Pairs
from align.recipe.base import People as People
from align.recipe.base import RewardLoss as RewardLoss
from align.recipe.base import Source as Source
from align.recipe.base import SourceKind as SourceKind
from align.recipe.base import StageBase as StageBase
from align.recipe.base import Strict as Strict
from align.recipe.base import Ties as Ties
from align.recipe.base import Training as Training
from align.recipe.base import in_memory


class Pretrain(Training):
    """A base model from scratch: a byte-level BPE tokenizer and a small Llama-shaped model, packed causal LM."""

    kind: Literal["pretrain"]
    data: str | list[str]
    """Corpora; conversations are accepted too and are read as plain text in the chat template."""
    vocab_size: int = Field(default=2048, ge=300)
    """Tokens in the vocabulary, special ones included."""
    hidden_size: int = Field(default=128, ge=16)
    """Width of the model."""
    layers: int = Field(default=4, ge=1)
    """Transformer blocks."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; hidden_size is a multiple."""
    context: int = Field(default=512, ge=32)
    """Longest sequence the model can read, in tokens."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of AdamW."""
    max_length: int = Field(default=256, ge=8)
    """Packed sequence length in tokens."""

    @model_validator(mode="after")
    def _shape_fits(self) -> Pretrain:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of 2 x heads ({2 * self.heads})")
        if self.max_length > self.context:
            raise ValueError(f"max_length {self.max_length} is above the context of {self.context} tokens")
        return self


class SFT(Training):
    """Supervised fine-tuning: follow good examples. Loss on the assistant's turns only."""

    kind: Literal["sft"]
    model: str
    """The policy to start from."""
    data: str | list[str]
    """Demonstrations, or preferences and rankings, whose best answer is then the example."""
    packing: bool = False
    """Put several conversations into one sequence."""


class Sample(StageBase):
    """Sample answers to prompts, K for each, from one or several policies."""

    kind: Literal["sample"]
    model: str | list[str]
    """The policies that answer."""
    prompts: str
    """Prompts; preferences and rankings are accepted for their prompts."""
    per_prompt: int = Field(default=4, ge=1, le=64)
    """Answers a prompt gets from each policy."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: the smallest set of tokens with this probability."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Longest answer in tokens."""
    batch_size: int = Field(default=64, ge=1)
    """Answers sampled at once."""


class ByRules(Strict):
    """Rank by a Python file: its `score(prompt, answer, reference, tags)` gives a number, higher is better."""

    rules: str
    """Path of the Python file, relative to the recipe."""


class ByReward(Strict):
    """Rank by a reward model's score."""

    reward: str
    """A reward stage before this one, or a reward_model source."""


class ByFile(Strict):
    """Take existing labels from a rankings source; answers without a label are left out, and counted."""

    file: str
    """A rankings source."""


class ByPeople(Strict):
    """Let people rank in the browser; the run waits until enough have."""

    people: People
    """How many rankings, by how many people, and where."""


class Rank(StageBase):
    """Rank the answers of each prompt."""

    kind: Literal["rank"]
    answers: str
    """The answers to rank."""
    by: ByRules | ByReward | ByFile | ByPeople
    """Who ranks: `{rules: judge.py}`, `{reward: STAGE}`, `{file: SOURCE}` or `{people: {overlap: 2}}`."""


class Comparing(Training):
    """What stages have that learn from comparisons."""

    data: str | list[str]
    """Rankings or preferences."""
    pairs: Pairs = "all"
    """Comparisons to take from a ranking: every strict one, those its best answers win, the best against the worst,
    or those between neighbouring ranks. For training rows; held-out accuracy counts all."""


class Reward(Comparing):
    """A reward model from rankings or preferences: be compared. Batch sizes count prompts with all answers."""

    kind: Literal["reward"]
    model: str
    """The policy whose weights the reward model starts from."""
    loss: RewardLoss = "bradley_terry"
    """Every comparison of a ranking (Bradley-Terry), or the best, then the best of the rest ... (Plackett-Luce)."""
    ties: Ties = "davidson"
    """Answers of equal rank: a model of ties, which learns that they are worth about the same, or `drop`."""
    heads: int = Field(default=1, ge=1, le=64)
    """Heads on one trunk. With several the score is their mean, and their spread how far they disagree."""
    margin_coef: float = Field(default=0.0, ge=0)
    """Nats of score that a unit of a labelled `margin` asks for; 0: margins do not count."""

    @model_validator(mode="after")
    def _loss_fits(self) -> Reward:
        if self.loss == "plackett_luce" and (self.ties == "rao_kupper" or self.pairs != "all"):
            raise ValueError("loss: plackett_luce takes whole rankings: pairs: all, and ties: davidson or drop")
        return self


class Preferring(Comparing):
    """What stages have that move a policy towards the better answer of each comparison."""

    model: str
    """The policy to improve."""
    weigh: Literal["rankings", "pairs"] = "pairs"
    """What counts alike: each ranking, however many pairs it gives, or each pair."""
    learning_rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate of AdamW."""


class DPO(Preferring):
    """Direct preference optimisation (Rafailov et al. 2023); the reference is the policy it starts from."""

    kind: Literal["dpo"]
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference."""
    loss: str | list[str] = "sigmoid"
    """TRL's `loss_type`: sigmoid, ipo, hinge, robust, apo_zero ..., or a list of them."""


class ORPO(Preferring):
    """Odds ratio preference optimisation (Hong et al. 2024), by TRL: the better answer is imitated, and made likelier
    than the other; no reference."""

    kind: Literal["orpo"]
    beta: float = Field(default=0.1, gt=0)
    """Weight of the odds ratio beside the imitation, the paper's lambda."""


class SimPO(Preferring):
    """Simple preference optimisation (Meng et al. 2024), by TRL: mean log-probability per token, and no reference."""

    kind: Literal["simpo"]
    beta: float = Field(default=2.0, gt=0)
    """Scale of the difference in mean log-probability per token."""
    gamma: float = Field(default=1.0, ge=0)
    """Margin by which the better answer should win, on the scale of beta."""


class KTO(Training):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024), by TRL: from thumbs up and down, without pairs; the
    reference is the policy it starts from."""

    kind: Literal["kto"]
    model: str
    """The policy to improve, which is also the reference."""
    data: str | list[str]
    """Feedback; of rankings the best answer counts as thumb up and the worst as thumb down, as do the two sides of
    preferences."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference."""
    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    """TRL's `loss_type`; the second measures against the reference alone and needs no estimate of the drift."""
    learning_rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate of AdamW."""

    @model_validator(mode="after")
    def _answers_beside_each_other(self) -> KTO:
        # Those in memory together are each other's measure of the drift (section 4.1 of the paper).
        if self.loss == "kto" and in_memory(self.batch_size, self.micro_batch) < 2:
            raise ValueError(
                f"kto measures drift on the answers in memory together, and batch_size {self.batch_size} leaves one; "
                "give a batch_size with a divisor up to 8, or a micro_batch of 2 or more"
            )
        return self


class Online(Learning):
    """What every stage has that learns from scores of the policy's own answers. One word swaps one for another."""

    model: str
    """The policy to improve, which is also the reference."""
    prompts: str
    """What it answers to learn from; held-out prompts are answered to watch it. Any data with prompts."""
    reward: str | ByRules | list[str | ByRules]
    """A reward stage's name, `{rules: judge.py}`, or a list of these, whose scores are added."""
    reward_weights: list[float] = Field(default_factory=list)
    """What each of several rewards counts; 1 each if left out."""
    batch_size: int = Field(default=64, ge=1)
    """Answers that are sampled and learnt from together."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate of the policy: 1e-5 suits LoRA, 3e-6 full fine-tuning of a large model."""
    kl_coef: float = Field(default=0.05, ge=0)
    """Weight of the pull towards the reference."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature of the answers to learn from."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Longest answer in tokens."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Online:
        rewards = len(self.reward) if isinstance(self.reward, list) else 1
        if rewards == 0:
            raise ValueError("reward: is an empty list; name a reward stage or {rules: judge.py}")
        if self.reward_weights and len(self.reward_weights) != rewards:
            raise ValueError(f"reward_weights: has {len(self.reward_weights)} entries for {rewards} rewards")
        return self


class PPO(Online):
    """Proximal policy optimisation (Schulman et al. 2017; Ouyang et al. 2022): answer, be scored, do better. A KL
    penalty holds it to the policy it starts from."""

    kind: Literal["ppo"]
    demonstrations: str | None = None
    """Examples whose likelihood is kept up meanwhile (PPO-ptx; Ouyang et al. 2022, eq. 2)."""
    ppo_epochs: int = Field(default=4, ge=1)
    """Passes over a rollout."""
    minibatches: int = Field(default=1, ge=1)
    """Parts a rollout is divided into; each gives an optimizer step."""
    kl_budget: float | None = Field(default=None, gt=0)
    """Stop when answers to held-out prompts are so many nats from the reference, and end with the best before."""
    value: Literal["auto", "separate", "shared"] = "auto"
    """The value model: weights of its own, from the reward model where that fits; a head on the policy's trunk; or
    `auto`: weights of its own where the reward model fits."""
    evaluate_every: int = Field(default=10, ge=1)
    """Rollouts between two looks at the held-out prompts."""

    @model_validator(mode="after")
    def _parts_fit(self) -> PPO:
        if self.minibatches > self.batch_size:
            raise ValueError(f"minibatches {self.minibatches} is more than the {self.batch_size} episodes of a rollout")
        return self


class Grouped(Online):
    """What GRPO and RLOO have: an answer is measured against others to the same prompt, so no value model is needed."""

    per_prompt: int = Field(default=8, ge=2)
    """Answers to a prompt that are measured against each other; divides batch_size."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Answers in memory at once during updates; divides batch_size. Default: the whole batch up to 8."""

    @model_validator(mode="after")
    def _groups_fit(self) -> Grouped:
        for name, value in (("per_prompt", self.per_prompt), ("micro_batch", self.micro_batch or 1)):
            if self.batch_size % value:
                raise ValueError(f"{name} {value} does not divide batch_size {self.batch_size}")
        return self


class GRPO(Grouped):
    """Group relative policy optimisation (Shao et al. 2024), by TRL."""

    kind: Literal["grpo"]
    kl_coef: float = Field(default=0.0, ge=0)
    """Weight of the pull towards the reference, as a loss; 0, the usual today, needs no reference."""


class RLOO(Grouped):
    """REINFORCE with the other answers' mean as baseline (Ahmadian et al. 2024), by TRL."""

    kind: Literal["rloo"]


class Evaluate(StageBase):
    """Compare policies on held-out prompts, and measure reward models on held-out comparisons."""

    kind: Literal["evaluate"]
    models: list[str] = Field(default_factory=list)
    """Policies; the first is the baseline that the others are compared with."""
    prompts: str | None = None
    """Whose held-out rows are asked."""
    judge: str | ByRules | None = None
    """A reward stage's name, or `{rules: judge.py}`."""
    reward: list[str] = Field(default_factory=list)
    """Reward models to measure on `data`'s held-out comparisons."""
    data: str | None = None
    """Rankings or preferences with held-out rows, for `reward`."""
    per_prompt: int = Field(default=1, ge=1)
    """Answers each policy gives to a prompt; scores are averaged over prompts."""
    temperature: float = Field(default=0.7, ge=0)
    """Sampling temperature, equal for all policies."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Longest answer in tokens."""
    batch_size: int = Field(default=64, ge=1)
    """Answers sampled at once."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only so many of the held-out prompts."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Evaluate:
        if not self.models and not self.reward:
            raise ValueError("nothing to evaluate; give models: with prompts: and judge:, or reward: with data:")
        if self.models and not (self.prompts and self.judge):
            raise ValueError("models: needs prompts: and judge:")
        if self.reward and not self.data:
            raise ValueError("reward: needs data: with held-out rankings or preferences")
        return self


class Export(StageBase):
    """Merge LoRA into the base and save safetensors with tokenizer, chat template and model card."""

    kind: Literal["export"]
    model: str
    """The policy to export."""


Stage = Annotated[
    Pretrain | SFT | Sample | Rank | Reward | DPO | ORPO | SimPO | KTO | PPO | GRPO | RLOO | Evaluate | Export,
    Field(discriminator="kind"),
]


class Recipe(Strict):
    """One experiment: what it starts from, and the stages in order."""

    name: Name
    """The run folder's name."""
    seed: int = 0
    """Every stage's seed is derived from this and the stage's name."""
    sources: dict[Name, Source] = Field(default_factory=dict)
    """Models and data, by the name that stages use."""
    lora: Lora | Literal["none"] = Field(default_factory=Lora)
    """Default of every stage that trains."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the device computes it natively, else fp32."""
    checkpoint_seconds: float = Field(default=120, ge=0)
    """Training saves a checkpoint to continue from when so many seconds have passed since the last; 0: every step."""
    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = "none"
    """Where trainers log besides the run folder."""
    stages: list[Stage] = Field(min_length=1)
    """The steps, in order. A stage reads sources and stages before it."""
