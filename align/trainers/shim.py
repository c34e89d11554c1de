"""The one file that reaches into TRL. Pinned to TRL 1.16: what is overridden here is private there."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from trl import DPOTrainer


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's DPO trainer on rows that `align.data.chat` has tokenised.

    TRL 1.16 takes text only, tokenises prompt and prompt + answer as wholes and looks for where they part. Ours come as
    `prompt_ids`, `chosen_ids` and `rejected_ids`, tokenised as the policy meets them when it answers.
    """

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        return dataset

    def reference_logprobs(self, rows: list[dict[str, Any]]) -> Any:
        """Summed log-probabilities of the reference policy: (chosen [B], rejected [B])."""
        batch = self.accelerator.prepare(self.data_collator(rows))
        batch = {k: v.to(self.accelerator.device) if hasattr(v, "to") else v for k, v in batch.items()}
        model = self.ref_model if self.ref_model is not None else self.model
        return self.compute_ref_log_probs(model, batch)
