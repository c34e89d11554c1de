"""RankingRewardConfig: transformers' TrainingArguments and what learning from rankings adds to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from transformers import TrainingArguments

from align.errors import RecipeError
from align.recipe.schema import Pairs, RewardLoss, Ties


def _option(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass
class RankingRewardConfig(TrainingArguments):  # type: ignore[misc]
    """Arguments of `RankingRewardTrainer`.

    Batch sizes count prompts, each with all its answers and all rankings of them (Ouyang et al. 2022, 3.5).
    """

    learning_rate: float = _option(1e-4, "Peak learning rate; 1e-4 suits LoRA, 1e-5 full fine-tuning of a large model.")
    lr_scheduler_type: str = _option("cosine", "Learning rate schedule.")
    logging_steps: float = _option(1, "Log every so many steps.")
    remove_unused_columns: bool = _option(False, "Rankings are no columns.")

    loss: str = _option(
        "bradley_terry",
        "`bradley_terry`: every comparison of a ranking; `plackett_luce`: the best, then the best of the rest ...",
        choices=sorted(get_args(RewardLoss)),
    )
    ties: str = _option(
        "davidson",
        "Answers of equal rank: a model of ties (Davidson 1970, Rao and Kupper 1967), or `drop`.",
        choices=sorted(get_args(Ties)),
    )
    pairs: str = _option(
        "all", "Comparisons of a ranking that count, for bradley_terry.", choices=sorted(get_args(Pairs))
    )
    heads: int = _option(1, "Heads on one trunk; their spread is how far they disagree.")
    head_prior: float = _option(
        0.5, "Several heads: standard deviation of their scores about the mean before training."
    )
    margin_coef: float = _option(0.0, "Nats of score that a unit of a labelled margin asks for; 0: none are used.")
    tie_learning_rate: float = _option(0.02, "Peak learning rate of the tie parameter.")
    center_rewards_coefficient: float | None = _option(
        None,
        "Weight of a penalty on a ranking's mean score, as in TRL (Eisenstein et al. 2023). Comparisons leave it open, "
        "and heads are only comparable where it is settled. Default: 0.05 with several heads, else 0.",
    )
    max_length: int = _option(1024, "Longest prompt and answer in tokens; longer ones are cut, all answers alike.")
    share_prompt: bool = _option(
        True, "Put a prompt through the model once for all its answers where the attention allows it."
    )

    @property
    def pull_to_zero(self) -> float:
        """The weight of the penalty on a ranking's mean score."""
        if self.center_rewards_coefficient is None:
            return 0.05 if self.heads > 1 else 0.0
        return self.center_rewards_coefficient

    def __post_init__(self) -> None:
        super().__post_init__()
        refused = [
            ("loss", self.loss not in get_args(RewardLoss), ", ".join(get_args(RewardLoss))),
            ("ties", self.ties not in get_args(Ties), ", ".join(get_args(Ties))),
            ("pairs", self.pairs not in get_args(Pairs), ", ".join(get_args(Pairs))),
            ("ties", self.loss == "plackett_luce" and self.ties == "rao_kupper", "davidson or drop with plackett_luce"),
            ("pairs", self.loss == "plackett_luce" and self.pairs != "all", "all with plackett_luce"),
            ("heads", self.heads < 1, "at least 1"),
            ("margin_coef", self.margin_coef < 0, "0 or more"),
            ("max_length", self.max_length < 8, "at least 8"),
        ]
        for name, wrong, allowed in refused:
            if wrong:
                found, where = f"{name} is {getattr(self, name)}", f"RankingRewardConfig.{name}"
                raise RecipeError(found, where=where, allowed=allowed)
