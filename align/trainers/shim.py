"""The one file that reaches into TRL. Pinned to TRL 1.16: what is overridden here is private there.

TRL's trainers take text, tokenise prompt and prompt + answer as wholes and look for where they part. Ours take rows
that `align.data.chat` has tokenised as the policy meets them when it answers: `prompt_ids` with `chosen_ids` and
`rejected_ids`, or with `completion_ids` and a `label` for KTO. Comparisons may have a `weight`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOConfig as CPOConfig
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOConfig as ORPOConfig
from trl.experimental.orpo import ORPOTrainer

WEIGHT = "weight"
"""What a row's loss is multiplied by: a column of the rows, and a tensor [B] in a batch."""


def weighing(model: Any, weights: torch.Tensor, name: str) -> Callable[..., Any]:
    """The model with the gradient of each row's output multiplied by the row's weight.

    A loss that is a mean over rows then has the gradient of the weighted mean, whatever TRL computes in between; its
    logged value stays the plain mean. weights: [B], for 2B sequences, chosen first. name: the output that the loss is
    made of, [2B, ...]. A loss that sorts its batch (aot) weighs each answer's own pull instead.
    """

    def forward(*given: Any, **named: Any) -> Any:
        output = model(*given, **named)
        made = output[name]
        if made.requires_grad:
            factor = weights.to(made).repeat(2).view(-1, *[1] * (made.dim() - 1))
            made.register_hook(lambda grad: grad * factor)
        return output

    return forward


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's DPO trainer on rows of tokens, weighed where they have a weight."""

    data_collator: Any

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.data_collator = with_weights(self.data_collator)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if WEIGHT not in self._signature_columns:
            self._signature_columns.append(WEIGHT)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *given: Any, **named: Any) -> Any:
        weights = inputs.pop(WEIGHT, None)
        weighed = model if weights is None else weighing(model, weights, "log_probs")
        return super().compute_loss(weighed, inputs, *given, **named)

    def reference_logprobs(self, rows: list[dict[str, Any]]) -> Any:
        """Summed log-probabilities of the reference: (chosen [B], rejected [B]). rows: the first of the training rows.

        Where they were computed before training, those that training will use.
        """
        if self.precompute_ref_logps:
            ahead = self.train_dataset[: len(rows)]
            return torch.tensor(ahead["ref_chosen_logps"]), torch.tensor(ahead["ref_rejected_logps"])
        batch = on_device(self, self.data_collator(rows))
        batch.pop(WEIGHT, None)
        return self.compute_ref_log_probs(self.ref_model or self.model, batch)


class TokenizedKTOTrainer(KTOTrainer):  # type: ignore[misc]
    """TRL's KTO trainer on rows of tokens.

    Rows that are in memory together lend each other their answers, from which the drift is estimated; so they stay
    together, in the order given, in every epoch.
    """

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        if not self.calculate_KL:
            return dataset

        def lend(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return {"KL_completion_ids": [rows["completion_ids"][-1], *rows["completion_ids"][:-1]]}

        return dataset.map(lend, batched=True, batch_size=args.per_device_train_batch_size)

    def reference_logprobs(self, rows: list[dict[str, Any]]) -> Any:
        """Summed log-probabilities of the reference: (answers [B],). rows: the first of the training rows."""
        ahead = [self.train_dataset[i] for i in range(len(rows))]  # with the answers lent to each other
        if self.precompute_ref_logps:
            return (torch.tensor([row["ref_logps"] for row in ahead]),)
        batch = on_device(self, self.data_collator(ahead))
        return self.compute_ref_log_probs(self.ref_model or self.model, batch)[:1]


class _WithoutReference:
    """What ORPO's and CPO's trainers, copies of each other, need to take rows of tokens."""

    data_collator: Any

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.data_collator = with_weights(self.data_collator)

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        prompt = feature["prompt_ids"]
        row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for side in ("chosen", "rejected"):
            ids = prompt + feature[f"{side}_ids"]
            labels = [-100] * len(prompt) + feature[f"{side}_ids"]
            row |= {f"{side}_input_ids": ids, f"{side}_attention_mask": [1] * len(ids), f"{side}_labels": labels}
        return row

    def get_batch_loss_metrics(self, model: Any, batch: dict[str, Any], train_eval: str = "train") -> Any:
        weighed = weighing(model, batch[WEIGHT], "logits") if WEIGHT in batch else model
        return super().get_batch_loss_metrics(weighed, batch, train_eval)  # type: ignore[misc]


class TokenizedORPOTrainer(_WithoutReference, ORPOTrainer):  # type: ignore[misc]
    """TRL's ORPO trainer on rows of tokens, weighed where they have a weight."""


class TokenizedCPOTrainer(_WithoutReference, CPOTrainer):  # type: ignore[misc]
    """TRL's CPO trainer, which computes SimPO as well, on rows of tokens, weighed where they have a weight."""


def with_weights(collate: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """The collator with the rows' weights, where they have some, as a tensor [B]."""

    def collated(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = {name: value for name, value in collate(rows).items() if isinstance(value, torch.Tensor)}
        return {**batch, WEIGHT: torch.tensor([row[WEIGHT] for row in rows])} if WEIGHT in rows[0] else batch

    return collated


def on_device(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch on the trainer's device."""
    return {name: tensor.to(trainer.accelerator.device) for name, tensor in batch.items()}
