"""RankingRewardTrainer: a reward model from whole rankings, on transformers' Trainer.

Ouyang et al. 2022 (3.5) put all K(K-1)/2 comparisons of a prompt into one batch element: an answer is then computed
once, not K-1 times, and no prompt is learned by heart. Here a batch element is a prompt with its distinct answers and
every ranking of them:

    1  read        records to tokens, one element a prompt                  rankings.read_rankings
    2  lay out     the prompt once for all its answers, where that fits     batches.token_rows
    3  score       each answer once                                         model.RankingModel
    4  compare     the likelihood of every ranking, ties and margins too    losses
"""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, set_seed

from align.errors import ModelError
from align.judges.reward import SCALE
from align.models.adapters import base_of
from align.models.device import pick_device, pick_dtype
from align.models.heads import as_scorer, head_of, saved_head
from align.models.load import (
    ModelRef,
    check_vocabulary,
    load_merged,
    load_scorer,
    load_tokenizer,
    resolve,
)
from align.models.load import save_model as save_adapter_or_model
from align.models.lora import lora_config
from align.models.score import score_heads
from align.recipe.schema import Lora
from align.trainers.ranking_reward.batches import bootstrap_weights, judged, ranked, token_rows
from align.trainers.ranking_reward.config import RankingRewardConfig
from align.trainers.ranking_reward.losses import Ranked, bradley_terry, compared, plackett_luce, tie_start
from align.trainers.ranking_reward.model import RankingModel, can_share
from align.trainers.ranking_reward.rankings import RankedPrompt, read_rankings
from align.trainers.weights import load_weights, no_dropout, save_weights

WEIGHTS = "trainable.safetensors"
SCALED_ON = 512
"""Best answers whose scores set the scale."""
LORA = lora_config(Lora(), "SEQ_CLS")


class RankingRewardTrainer(Trainer):  # type: ignore[misc]
    """A reward model from rankings and preferences.

    model: a folder, a hub id, a causal model (whose trunk gets a head at zero), or a sequence classifier.
    train_dataset, eval_dataset: `Ranking` and `Preference` records, or mappings with `prompt`, `answers` and `ranks`.
    peft_config: an adapter, by default LoRA on all linear layers; None trains all weights. `notes` says what of the
    data was left out or cut, `shares_prompt` whether a prompt goes through the model once for all its answers.

    Raises RecipeError, DataError or ModelError, each with place and remedy.
    """

    def __init__(  # noqa: PLR0913 - as many arguments as TRL's trainers take
        self,
        model: Any,
        args: RankingRewardConfig,
        train_dataset: Sequence[Any],
        *,
        eval_dataset: Sequence[Any] | None = None,
        processing_class: Any = None,
        peft_config: Any = LORA,
        callbacks: list[Any] | None = None,
    ) -> None:
        set_seed(args.seed)  # a new adapter's first weights are drawn from it
        scorer, tokenizer, self.base = open_scorer(model, processing_class, args, adapts=peft_config is not None)
        counts = args.ties != "drop"
        train, self.notes = read_rankings(train_dataset, tokenizer, args.max_length, counts)
        heldout = None
        if eval_dataset is not None:
            heldout, _ = read_rankings(eval_dataset, tokenizer, args.max_length, counts, "eval_dataset")
        longest = max(len(p.prompt_ids) + len(ids) for p in train for ids in p.answer_ids)
        no_dropout(scorer)
        if peft_config is not None:
            from peft import get_peft_model

            scorer = get_peft_model(scorer, copy.deepcopy(peft_config))  # PEFT writes the base's name into it
        for weight in scorer.parameters():
            if weight.requires_grad:  # in bfloat16 a small update would vanish in rounding
                weight.data = weight.data.float()
        shares = args.share_prompt and can_share(scorer, train[0], longest)
        said = judged([*train, *(heldout or [])], args.margin_coef)
        log_tie = tie_start(ranked(said), args.loss, args.ties, said["weights"], args.pairs)
        self.models_ties = len(log_tie) > 0
        self.bootstrap = bootstrap_weights(len(train), args.heads, args.seed)
        self.optimizer: Any = None
        self.pending: dict[str, list[float]] = defaultdict(list)
        super().__init__(
            model=RankingModel(scorer, log_tie, shares),
            args=args,
            data_collator=self.collate,
            train_dataset=list(enumerate(train)),
            eval_dataset=[(-1, prompt) for prompt in heldout] if heldout else None,
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        self.model_accepts_loss_kwargs = True  # `compute_loss` divides by the weight of all micro batches itself

    @property
    def shares_prompt(self) -> bool:
        """Whether a prompt goes through the model once for all its answers."""
        return bool(self.model.shares_prompt)

    def counts(self) -> dict[str, Any]:
        """Prompts and rankings to learn from, answers among them, and whether prompts are shared."""
        prompts = [prompt for _, prompt in self.train_dataset]
        return {
            "prompts": len(prompts),
            "rankings": sum(len(prompt.judgements) for prompt in prompts),
            "answers": sum(len(prompt.answer_ids) for prompt in prompts),
            "prompt_shared": self.shares_prompt,
        }

    # -- the loss -----------------------------------------------------------------------------------------------------

    def collate(self, items: Sequence[tuple[int, RankedPrompt]]) -> dict[str, Tensor]:
        """Step 2: prompts as one batch. Heads' weights are those of the prompts they were drawn for; 1 if held out."""
        prompts = [prompt for _, prompt in items]
        batch = token_rows(prompts, self.shares_prompt, self.processing_class.pad_token_id)
        batch |= judged(prompts, self.args.margin_coef)
        ones = torch.ones(self.args.heads)
        drawn = [self.bootstrap[i] if i >= 0 else ones for i, p in items for _ in p.judgements]
        return batch | {"head_weights": torch.stack(drawn)}

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Steps 3 and 4: the mean over rankings, each with its annotator's weight, and over heads."""
        layout = ("input_ids", "position_ids", "segments", "rows", "columns")
        scores = model(**{name: inputs[name] for name in layout})
        of_rankings = scores[inputs["answers"]].movedim(-1, 0)  # [E, R, K]
        said = ranked(inputs)
        weights = inputs["weights"]
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        loss = (self.likelihood(of_rankings, said) * inputs["head_weights"].T).mean(dim=0)
        if self.args.pull_to_zero:  # TRL squares the sum of two scores: twice their mean
            count = said.ranked.sum(dim=1)
            means = (of_rankings * said.ranked).sum(dim=2) / count
            loss = loss + self.args.pull_to_zero * (2 * means).square().mean(dim=0)
        loss = (loss * weights).sum() / total
        self.note(of_rankings.detach().mean(dim=0), said)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes
        return (loss, scores) if return_outputs else loss

    def likelihood(self, scores: Tensor, said: Ranked) -> Tensor:
        """Negative log-likelihood of each ranking, in nats: [E, R, K] -> [E, R]."""
        args, log_tie = self.args, self.accelerator.unwrap_model(self.model).log_tie
        ties = args.ties if self.models_ties else "drop"
        if args.loss == "plackett_luce":
            return plackett_luce(scores, said, ties, log_tie)
        return bradley_terry(scores, said, ties, log_tie, args.pairs)

    def note(self, scores: Tensor, said: Ranked) -> None:
        """Figures for the log: accuracy and margin of strict comparisons, and the scores' mean and ends."""
        wins = torch.sign(said.ranks[:, None, :] - said.ranks[:, :, None])
        gap = ((scores[:, :, None] - scores[:, None, :]) * wins)[compared(said) & (wins != 0)]
        kind = "" if self.model.training else "eval_"
        if len(gap):
            self.pending[f"{kind}accuracy"].append(float(((gap > 0) + 0.5 * (gap == 0)).mean()))
            self.pending[f"{kind}margin"].append(float(gap.mean()))
        found = scores[said.ranked]
        for name, value in (("mean", found.mean()), ("min", found.min()), ("max", found.max())):
            self.pending[f"{kind}{name}_reward"].append(float(value))

    def prediction_step(
        self, model: Any, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """The loss of held-out rankings."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        """The weight of the rankings in all micro batches of a step, on all processes."""
        total = torch.stack([batch["weights"].sum() for batch in batch_samples]).sum().to(device)
        return self.accelerator.gather(total).sum()  # type: ignore[no-any-return]

    # -- parts of Trainer that the tie parameter needs otherwise ------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW; the tie parameter has its own learning rate: it has to go as far however small the model's is."""
        if self.optimizer is None:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            weights = [p for p in self.model.scorer.parameters() if p.requires_grad]
            groups = [
                {"params": weights, "weight_decay": self.args.weight_decay},
                {"params": [self.model.log_tie], "lr": self.args.tie_learning_rate, "weight_decay": 0.0},
            ]
            self.optimizer = kind(groups[: 1 + self.models_ties], **settings)
        return self.optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's log, with the means of what was noted since the last one."""
        held = "eval_loss" in logs
        if held or "loss" in logs:
            names = [name for name in self.pending if name.startswith("eval_") is held]
            logs |= {name: fmean(self.pending.pop(name)) for name in names}
            if self.models_ties and not held:
                logs["tie"] = float(self.model.log_tie.detach()[0].exp())
        super().log(logs, start_time)

    # -- state --------------------------------------------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the reward model with its scale; within a checkpoint, the weights that train instead."""
        out = Path(output_dir or self.args.output_dir)
        out.mkdir(parents=True, exist_ok=True)
        if _internal_call:
            save_weights(self.model, out / WEIGHTS)
            return
        scorer = self.model.scorer
        if self.base is None and hasattr(scorer, "peft_config"):
            scorer = copy.deepcopy(scorer).merge_and_unload()  # an adapter alone would not find its base again
        if self.base is None:
            scorer.save_pretrained(out)
            self.processing_class.save_pretrained(out)
        else:
            bare = ModelRef(self.base.base, self.base.tokenizer, self.base.revision)
            save_adapter_or_model(scorer, self.processing_class, out, bare, merge=self.base.adapter)
        self.write_scale(out)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model, Path(resume_from_checkpoint) / WEIGHTS)

    def write_scale(self, folder: Path) -> None:
        """Leave mean and spread of the best answers' scores, and each head's mean: the scale PPO and judges share.

        And, where ties are modelled, the tie parameter: nu (or eta; or delta_2 ...) of `losses`.
        """
        prompts = [prompt for _, prompt in self.train_dataset]
        best = {
            (*prompt.prompt_ids, *prompt.answer_ids[judgement.ranks.index(rank)]): None
            for prompt in prompts
            for judgement in prompt.judgements
            for rank in [min(r for r in judgement.ranks if r is not None)]
        }
        step = max(1, len(best) // SCALED_ON)
        chosen = [list(ids) for ids in best][::step][:SCALED_ON]
        heads = score_heads(self.model.scorer, self.processing_class.pad_token_id, chosen)
        scores = [fmean(values) for values in heads]
        scale: dict[str, Any] = {
            "mean": round(fmean(scores), 6),
            "std": round(pstdev(scores), 6),
            "answers": len(chosen),
        }
        if self.args.heads > 1:
            scale["heads"] = [round(fmean(values), 6) for values in zip(*heads, strict=True)]
        if self.models_ties:
            values = self.model.log_tie.exp().tolist()
            scale["ties"] = {"model": self.args.ties, "values": [round(value, 6) for value in values]}
        (folder / SCALE).write_text(json.dumps(scale, indent=1), "utf-8")


def open_scorer(
    model: Any, tokenizer: Any, args: RankingRewardConfig, adapts: bool
) -> tuple[Any, Any, ModelRef | None]:
    """A sequence classifier and its tokenizer, from whatever the user gave, and where a new adapter's base is.

    The last is None where no folder or hub id holds what an adapter is trained over: a model in memory, or a reward
    model with an adapter of its own, which is folded in.

    Raises ModelError for a model in memory without a tokenizer, one with a padding token that is not its own, or a
    classifier with another number of outputs than `heads`.
    """
    base: ModelRef | None = None
    if isinstance(model, str | Path):
        ref = resolve(Path(model)) if Path(model).is_dir() else ModelRef(str(model), str(model))
        base = None if ref.merge or _has_head(ref) else ref
        tokenizer = tokenizer or load_tokenizer(ref)
        dtype = pick_dtype("bf16" if args.bf16 and adapts else "fp32", pick_device())
        model = load_scorer(ref, dtype) if scores_already(ref) else load_merged(ref, dtype)
    if tokenizer is None:
        raise ModelError("a model in memory needs its tokenizer", where="processing_class", allowed="a tokenizer")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ModelError(
            "the tokenizer has no pad token of its own, so that a score would be read one token early",
            where="processing_class",
            allowed="a pad_token that is not the EOS token",
        )
    check_vocabulary(model, tokenizer, str(getattr(model, "name_or_path", "")))
    if hasattr(model, "peft_config"):
        model = model.merge_and_unload().requires_grad_(True)
    if "ForSequenceClassification" not in type(model).__name__:
        model = as_scorer(model, args.heads)
        draw_heads(model, args.head_prior, args.seed)
    if model.config.num_labels != args.heads:
        raise ModelError(
            f"the model has {model.config.num_labels} outputs, and heads is {args.heads}",
            where="heads",
            allowed="as many heads as the model has outputs",
            remedy="start from the causal model, or set heads",
        )
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model, tokenizer, base


def _has_head(ref: ModelRef) -> bool:
    return ref.adapter is not None and saved_head(ref.adapter) is not None


def scores_already(ref: ModelRef) -> bool:
    """Whether a model folder or hub id holds a sequence classifier."""
    from transformers import AutoConfig

    if _has_head(ref):
        return True
    made = AutoConfig.from_pretrained(ref.base, revision=ref.revision).architectures or []
    return any("ForSequenceClassification" in name for name in made)


@torch.no_grad()
def draw_heads(scorer: Any, prior: float, seed: int) -> None:
    """Start several heads apart: their scores differ with a deviation of about `prior`, and their mean is 0.

    What no data speaks of, training leaves as it was drawn, so that heads disagree there (randomised priors; Osband et
    al. 2018). One head starts at 0.
    """
    weight = head_of(base_of(scorer)).weight
    if len(weight) == 1:
        return
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    drawn = (drawn - drawn.mean(dim=0)) * prior / math.sqrt(weight.shape[1])
    weight.copy_(drawn.to(weight.dtype))
