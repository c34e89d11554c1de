"""PPOTrainer: proximal policy optimisation against rewards, on transformers' Trainer.

The loop, in the order of Ouyang et al. 2022 (section 3.5, "Reinforcement learning") and Schulman et al. 2017 (alg. 1):

    1  ask         prompts of this rollout                                  rollout.prompts_of_rollout
    2  answer      one sampled answer each                                  rollout.sample_episodes
    3  look back   log-probs of policy and reference, values                rollout.look_back
    4  score       reward of each answer, less where it did not end         rewards.Rewards
    5  credit      KL penalty and score per token, GAE, whitening           advantages
    6  update      epochs x minibatches of clipped policy and value loss    PPOTrainer.update, losses

transformers' Trainer runs the optimizer, schedule, logging, callbacks, checkpoints; one of its steps is one update.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerState, set_seed
from transformers.trainer_utils import get_last_checkpoint

from align.errors import AlignError, TrainingError
from align.models.adapters import base_of
from align.models.load import context_of
from align.trainers.ppo import advantages as adv
from align.trainers.ppo import watch
from align.trainers.ppo.config import PPOConfig
from align.trainers.ppo.engines import make_engine
from align.trainers.ppo.losses import policy_loss, value_loss
from align.trainers.ppo.models import autocast, check_head, likelihood_loss
from align.trainers.ppo.rewards import Episode, make_rewards
from align.trainers.ppo.rollout import (
    Experience,
    collate,
    derived_seed,
    look_back,
    micro_batches,
    prompts_of_rollout,
    read_prompts,
    sample_episodes,
    tokens_that_fit,
)
from align.trainers.ppo.shared import share_base
from align.trainers.ppo.start import assemble, open_policy, settle_value_model
from align.trainers.ppo.state import BEST, load_state, save_state, was_over_budget
from align.trainers.weights import load_weights, save_weights


class PPOTrainer(Trainer):  # type: ignore[misc]
    """PPO with a KL penalty towards the policy it starts from.

    model: a folder, a hub id, a causal model or a PeftModel (its adapter is then continued, and its start is the
    reference). reward: a reward model's folder, `f(prompts, completions, **columns) -> numbers`, or a list of these.
    train_dataset, eval_dataset: rows with a `prompt` (text or conversation) and further columns for functions.
    ptx_dataset: demonstrations as `align.data.chat.Encoded` rows, for PPO-ptx.

    Raises RecipeError, DataError, ModelError or TrainingError, each with place and remedy.
    """

    def __init__(  # noqa: PLR0913 - as many arguments as TRL's trainers take
        self,
        model: Any,
        reward: Any,
        args: PPOConfig,
        train_dataset: Any,
        *,
        eval_dataset: Any = None,
        processing_class: Any = None,
        peft_config: Any = None,
        reward_weights: Sequence[float] | None = None,
        ptx_dataset: Sequence[Any] = (),
        callbacks: list[Any] | None = None,
    ) -> None:
        set_seed(args.seed)  # a new adapter's first weights are drawn from it
        policy, tokenizer = open_policy(model, processing_class, peft_config, args)
        actor, self.reference = assemble(policy, peft_config)
        self.rewards = make_rewards(reward, reward_weights, args, "bf16" if args.bf16 else "fp32")
        share_base(actor, self.rewards)
        self.value_start = settle_value_model(actor, self.rewards, tokenizer, args.value_model)
        room = context_of(base_of(actor.policy)) - args.max_completion_length
        self.asked = read_prompts(train_dataset, tokenizer, room)
        self.heldout = read_prompts(eval_dataset, tokenizer, room)[: args.eval_prompts] if eval_dataset else []
        self.ptx_rows = [row for row in ptx_dataset if any(row.mask[1:])]
        rollouts = math.ceil(len(self.asked) / args.rollout_batch_size)
        self.optimizer: Any = None
        self.control: Any = None
        super().__init__(
            model=actor,
            args=args,
            data_collator=lambda items: items,
            train_dataset=range(rollouts * args.updates_per_rollout),
            eval_dataset=self.heldout or None,
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        self.reference.policy.to(args.device)
        check_head(actor.policy, self.asked[0].ids[:64], args.bf16)
        self.engine = make_engine(self)
        self.budget = args.micro_batch_tokens or tokens_that_fit(actor.policy, args.device)
        self.kl = adv.KLController(args.kl_coef, args.kl_target, args.kl_horizon)
        self.experience: Experience | None = None
        self.pending: dict[str, list[float]] = defaultdict(list)
        self.best: dict[str, float] = {}
        self.looked_at = -1
        self.over_budget = False
        self.start_length = 0.0
        self.rest_skipped = False
        self.samples_file = Path(args.output_dir) / "samples.jsonl"

    # -- the loop -----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """A count of updates: which prompts a rollout asks follows from its number alone."""
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=self.data_collator)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One update, after a new rollout where the last is used up. Returns the loss, gradients in place.

        If anything the user can mend goes wrong in the rollout, a checkpoint is left before the error goes on.
        """
        number, update = divmod(self.state.global_step, self.args.updates_per_rollout)
        if update == 0 or self.experience is None:
            with self.saved_on_error():
                self.experience = self.roll_out(number)
            watch.assert_numbers(self.experience.logprobs, number)  # no checkpoint: it would be of no use
            if self.state.global_step == 0 and self.heldout:
                self.evaluate()
        self.model.train(bool(self.args.activation_checkpointing))  # dropout is off; only checkpointing asks for it
        return self.update(self.experience, self.minibatch(number, update))

    @contextmanager
    def saved_on_error(self) -> Iterator[None]:
        """Where something the user can mend goes wrong inside, leave a checkpoint before the error goes on."""
        try:
            yield
        except AlignError:
            if self.state.global_step > 0 and self.is_in_train:
                self._save_checkpoint(self.model, trial=None)
                self.callback_handler.on_save(self.args, self.state, self.control)
            raise

    def roll_out(self, number: int) -> Experience:
        """Steps 1 to 5: a rollout and its advantages; its figures go to the log."""
        args = self.args
        self.model.eval()
        index = prompts_of_rollout(len(self.asked), args.rollout_batch_size, number, args.seed)
        episodes = self.sample([self.asked[i] for i in index], derived_seed(args.seed, "rollout", number))
        with self.autocast():
            found = look_back(self.model, self.reference, episodes, args, self.budget)
        mask, logprobs, reference = found["mask"], found["logprobs"], found["reference"]
        if self.state.global_step == 0:
            watch.assert_no_kl(logprobs, reference, bf16=args.bf16)
        scores = self.rewards(episodes)
        if self.model.unscaled:
            scale = self.rewards.scales[self.model.unscaled[0]]
            found["values"] = self.model.scale_values(scale.mean, scale.std, found["values"])
        kl = adv.k1(logprobs, reference) * mask
        rewards = adv.token_rewards(torch.tensor(scores.total, device=mask.device), kl, mask, self.kl.coef)
        if args.whiten_rewards:
            rewards = adv.whiten(rewards, mask, shift_mean=False)
        values = found["values"] * mask
        advantages, returns = adv.gae(rewards, values, mask, args.gamma, args.lam)
        figures = watch.figures_of(episodes, scores, found)
        figures["explained_variance"] = watch.explained_variance(values, returns, mask)
        for name, value in figures.items():
            self.pending[name].append(value)
        if args.whiten_advantages:
            advantages = adv.whiten(advantages, mask)
        self.kl.update(figures["kl"], len(episodes))
        if args.kl_budget is not None and not self.heldout and figures["kl"] > args.kl_budget:
            self.stop_over_budget()
        self.rest_skipped = False
        ids = ([e.prompt_ids for e in episodes], [e.answer_ids for e in episodes])
        return Experience(*ids, mask, logprobs, values, advantages, returns)

    def minibatch(self, number: int, update: int) -> list[int]:
        """The episodes of one update: each PPO epoch shuffles anew and deals them into `num_mini_batches` parts."""
        epoch, part = divmod(update, self.args.num_mini_batches)
        generator = torch.Generator().manual_seed(derived_seed(self.args.seed, "minibatch", number, epoch))
        order = torch.randperm(self.args.rollout_batch_size, generator=generator).tolist()
        return order[part :: self.args.num_mini_batches]

    def update(self, experience: Experience, index: list[int]) -> Tensor:
        """Step 6: gradients of one minibatch, in microbatches by tokens. The loss is a mean over its real tokens."""
        if self.rest_skipped:
            return self.skip("target_kl")
        args, device = self.args, self.args.device
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
        total = experience.mask[index].sum()
        lengths = [len(experience.prompt_ids[i]) + len(experience.answer_ids[i]) for i in index]
        for group in micro_batches(lengths, self.budget, device.type):
            rows = [index[i] for i in group]
            mask = experience.mask[rows].bool()
            tokens = collate([experience.prompt_ids[i] for i in rows], [experience.answer_ids[i] for i in rows], device)
            with self.autocast():
                logprobs, entropy, values = self.model(tokens, args.temperature)
            old = experience.logprobs[rows][mask]
            surrogate, held = policy_loss(
                logprobs, old, experience.advantages[rows][mask], args.cliprange, args.dual_clip
            )
            errors = value_loss(
                values, experience.values[rows][mask], experience.returns[rows][mask], args.cliprange_value
            )
            self.accelerator.backward((surrogate.sum() + args.vf_coef * errors.sum()) / total)
            with torch.no_grad():
                figures = {
                    "loss/policy": surrogate,
                    "loss/value": errors,
                    "ratio": torch.exp(logprobs - old),
                    "clip_fraction": held.float(),
                    "approx_kl": adv.k3(old, logprobs),
                    "entropy": entropy,
                }
                for name, values_of in figures.items():
                    sums[name] += values_of.detach().sum()
        means = {name: float(value / total) for name, value in sums.items()}
        return self.finish_update(means)

    def finish_update(self, means: dict[str, float]) -> Tensor:
        """Log an update's means; drop its gradients where the guards say so; add PPO-ptx."""
        args = self.args
        loss = means["loss/policy"] + args.vf_coef * means["loss/value"]
        if means["ratio"] > args.ratio_threshold:
            return self.skip("ratio")
        if args.target_kl is not None and means["approx_kl"] > args.target_kl:
            self.rest_skipped = True
            return self.skip("target_kl")
        if self.ptx_rows and args.ptx_coef:
            means["loss/ptx"] = self.imitate(self.pick_demonstrations())
            loss += args.ptx_coef * means["loss/ptx"]
        if self.state.global_step < args.value_warmup * args.updates_per_rollout:
            for weight in self.model.policy_parameters():
                weight.grad = None
        for name, value in means.items():
            self.pending[name].append(value)
        self.pending["skipped"].append(0.0)
        return torch.tensor(loss, device=args.device)

    def imitate(self, rows: Sequence[Any]) -> float:
        """Add PPO-ptx's gradients: the likelihood of the rows' trained tokens, in microbatches. Returns the loss."""
        total, loss = sum(sum(row.mask[1:]) for row in rows), 0.0
        for group in micro_batches([len(row.input_ids) for row in rows], self.budget, self.args.device.type):
            part = [rows[i] for i in group]
            with self.autocast():
                nll = likelihood_loss(self.model.policy, part, self.args.device)
            share = nll * (sum(sum(row.mask[1:]) for row in part) / total)
            self.accelerator.backward(self.args.ptx_coef * share)
            loss += share.item()
        return loss

    def stop_over_budget(self) -> None:
        """End training after this step; a run that continues from here ends as well."""
        self.over_budget = True
        self.control.should_training_stop = True

    def skip(self, why: str) -> Tensor:
        """No step: without gradients AdamW leaves weights and its own moments alone."""
        self.model.zero_grad(set_to_none=True)
        self.pending["skipped"].append(1.0)
        self.pending[f"skipped/{why}"].append(1.0)
        return torch.zeros((), device=self.args.device)

    def pick_demonstrations(self) -> list[Any]:
        """Rows for PPO-ptx at this step, drawn with replacement."""
        generator = torch.Generator().manual_seed(derived_seed(self.args.seed, "ptx", self.state.global_step))
        index = torch.randint(len(self.ptx_rows), (self.args.ptx_batch_size,), generator=generator)
        return [self.ptx_rows[i] for i in index.tolist()]

    # -- parts of Trainer that two models and text need otherwise -----------------------------------------------------

    def autocast(self) -> Any:
        """The number format of forward passes."""
        return autocast(self.args.device, self.args.bf16)

    def sample(self, asked: Sequence[Any], seed: int) -> list[Episode]:
        """Step 2: an answer to each prompt at the training temperature."""
        args = self.args
        batch = args.generation_batch_size or args.rollout_batch_size
        with self.autocast():
            return sample_episodes(self.engine, asked, batch, seed)

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW over the policy's and the value model's weights, each with its learning rate."""
        if self.optimizer is None:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            rate = self.args.learning_rate
            groups = [
                {"params": self.model.policy_parameters(), "lr": rate},
                {"params": self.model.value_parameters(), "lr": self.args.value_learning_rate or rate},
            ]
            self.optimizer = kind(groups, **{**settings, "weight_decay": self.args.weight_decay})
        return self.optimizer

    def _clip_grad_norm(self, model: Any) -> Tensor:
        """Clip policy and value model apart, lest the larger errors of the value model shrink the policy's steps."""
        limit = self.args.max_grad_norm
        parts = [self.model.policy_parameters(), self.model.value_parameters()]
        norms = [self.accelerator.clip_grad_norm_(weights, limit) for weights in parts]
        norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.as_tensor(n).float().cpu() for n in norms]))
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's log, with the means of what was noted since the last one."""
        if "loss" in logs:
            logs |= {name: fmean(values) for name, values in self.pending.items()}
            logs |= {"kl_coef": self.kl.coef, "episodes": self.episodes_seen()}
            self.pending.clear()
        super().log(logs, start_time)

    def episodes_seen(self) -> int:
        """Answers sampled for training so far."""
        rollouts = math.ceil(int(self.state.global_step) / int(self.args.updates_per_rollout))
        return rollouts * int(self.args.rollout_batch_size)

    # -- held-out prompts ---------------------------------------------------------------------------------------------

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Answer the held-out prompts, score the answers, write samples.jsonl, and keep the weights if they are best.

        The same random numbers are used each time, so that evaluations differ by the policy alone.
        """
        args = self.args
        watch.assert_own_prompts(eval_dataset)
        if not self.heldout or self.looked_at == self.state.global_step > 0 and self.is_in_train:
            return {}
        self.model.eval()
        with self.saved_on_error():
            episodes = self.sample(self.heldout, derived_seed(args.seed, "evaluation"))
            scores = self.rewards(episodes)
        with self.autocast():
            found = look_back(self.model, self.reference, episodes, args, self.budget)
        figures = watch.figures_of(episodes, scores, found)
        self.start_length = self.start_length or figures["length"]
        figures["length_ratio"] = figures["length"] / self.start_length
        watch.write_samples(self.samples_file, self.state.global_step, episodes, scores)
        self.looked_at = self.state.global_step
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(args, self.state, self.control, metrics)
        within = args.kl_budget is None or figures["kl"] <= args.kl_budget
        if within and figures["score"] > self.best.get("score", -math.inf):
            self.best = {"score": figures["score"], "step": self.state.global_step, "kl": figures["kl"]}
            save_weights(self.model, Path(args.output_dir) / BEST)
        if not within:
            self.stop_over_budget()
        return metrics

    # -- state --------------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: Any = None, **named: Any) -> Any:
        """Trainer's train; ends with the weights of the best evaluation where `keep_best` says so."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(self.args.output_dir)
        resume_from_checkpoint = resume_from_checkpoint or None  # transformers takes False for it
        if resume_from_checkpoint is None:
            watch.assert_untrained(self)
            self.samples_file.unlink(missing_ok=True)
        if resume_from_checkpoint is not None and was_over_budget(Path(resume_from_checkpoint)):
            self._load_from_checkpoint(resume_from_checkpoint)
            self.state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / "trainer_state.json"))
            result = None
        else:
            result = super().train(resume_from_checkpoint=resume_from_checkpoint, **named)
        if self.heldout and self.looked_at != self.state.global_step:
            self.evaluate()
        if self.heldout and self.args.keep_best and self.best.get("step", -1) != self.state.global_step:
            if not self.best:
                raise TrainingError(
                    f"no evaluation stayed within kl_budget {self.args.kl_budget}",
                    where="kl_budget",
                    remedy="raise kl_budget or kl_coef, or lower learning_rate",
                )
            load_weights(self.model, Path(self.args.output_dir) / BEST)
        return result

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the policy so that from_pretrained reads it; within a checkpoint, all that training needs instead."""
        out = Path(output_dir or self.args.output_dir)
        out.mkdir(parents=True, exist_ok=True)
        if _internal_call:
            save_state(self, out)
            return
        only = {"selected_adapters": ["default"]} if self.model.adapters else {}
        self.model.policy.save_pretrained(out, **only)
        (out / "README.md").unlink(missing_ok=True)  # PEFT's empty card
        self.processing_class.save_pretrained(out)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_state(self, Path(resume_from_checkpoint))
