"""What samples a rollout's answers: our own loop, transformers' continuous batching, or vLLM.

An engine only samples; the log-probabilities that training uses come from the training forward whatever the engine, so
that another engine's kernels cannot bias them. With `decode` a continued run samples what an undisturbed one would
have; the others draw from generators of their own, so a continued run is another sample of the same process.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch

from align.errors import TrainingError
from align.models.generate import Sampled, Sampling, clean_settings, cut_at_stop, sample_batch, stops_of

Engine = Callable[[Sequence[list[int]], int], list[Sampled]]
"""f(prompts as token ids, seed) -> an answer to each, in order."""


def make_engine(trainer: Any) -> Engine:
    """The engine that a PPOTrainer's arguments ask for. Raises TrainingError where vLLM is not installed."""
    args = trainer.args
    sampling = Sampling(args.temperature, 1.0, args.max_completion_length)
    policy, tokenizer = trainer.model.policy, trainer.processing_class
    if args.engine == "decode":
        return lambda prompts, seed: sample_batch(policy, tokenizer, prompts, seed, sampling)
    if args.engine == "continuous":
        return lambda prompts, seed: sample_continuously(policy, tokenizer, prompts, seed, sampling)
    if importlib.util.find_spec("vllm") is None:
        raise TrainingError(
            f"engine is {args.engine}, and vLLM is not installed",
            where="engine",
            allowed="decode or continuous, which need nothing more",
            remedy="pip install 'rlhf-align[vllm]'",
        )
    return VLLMEngine(trainer, sampling)


def sample_continuously(
    policy: Any, tokenizer: Any, prompts: Sequence[list[int]], seed: int, sampling: Sampling
) -> list[Sampled]:
    """By transformers' continuous batching: a new prompt takes the place of an answer that has ended.

    Made for CUDA, where it takes what memory is free for its cache; on a CPU the cache is as large as the answers need.
    """
    from transformers import ContinuousBatchingConfig

    stops = stops_of(policy, tokenizer)
    own = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": sampling.top_p}
    config = ContinuousBatchingConfig(seed=seed % (1 << 31))
    if next(policy.parameters()).device.type == "cpu":
        config.num_blocks = sum(-(-(len(p) + sampling.max_new_tokens) // config.page_size) for p in prompts)
        config.max_batch_tokens = max(len(p) for p in prompts) + len(prompts)
    with clean_settings(policy, stops, max_new_tokens=sampling.max_new_tokens, **own) as settings, torch.no_grad():
        found = policy.generate_batch(
            [list(p) for p in prompts], generation_config=settings, continuous_batching_config=config
        )
    by_number = sorted(found.values(), key=lambda one: int(one.request_id.rsplit("_", 1)[-1]))
    failed = [one.error for one in by_number if one.error]
    if failed or len(by_number) != len(prompts):
        raise TrainingError(
            f"continuous batching answered {len(by_number) - len(failed)} of {len(prompts)} prompts: {failed[:1]}",
            where="engine",
            remedy="set engine: decode",
        )
    return [cut_at_stop(tokenizer, list(one.generated_tokens), stops) for one in by_number]


class VLLMEngine:
    """vLLM, in this process or as a server, through TRL's VLLMGeneration. The policy's weights go there before each
    rollout, its adapter merged."""

    def __init__(self, trainer: Any, sampling: Sampling) -> None:
        from trl.generation.vllm_generation import VLLMGeneration

        args, self.tokenizer = trainer.args, trainer.processing_class
        self.stops = stops_of(trainer.model.policy, self.tokenizer)
        self.vllm = VLLMGeneration(
            model=trainer.model.policy,
            accelerator=trainer.accelerator,
            processing_class=self.tokenizer,
            mode=args.engine.removeprefix("vllm_"),
            server_base_url=args.vllm_server_base_url,
            gpu_memory_utilization=args.vllm_gpu_memory_utilization,
            max_num_seqs=args.generation_batch_size or args.rollout_batch_size,
            temperature=sampling.temperature,
            max_completion_length=sampling.max_new_tokens,
            logprobs=None,
            generation_kwargs={"stop_token_ids": self.stops},
        )

    def __call__(self, prompts: Sequence[list[int]], seed: int) -> list[Sampled]:
        """Answers by the policy's weights as they are now. seed: not used by a server."""
        self.vllm.sync_weights()
        if self.vllm.mode == "colocate":
            self.vllm.generation_kwargs["seed"] = seed % (1 << 31)
        _, answers, *_ = self.vllm.generate(prompts=[list(p) for p in prompts], images=None, num_generations=1)
        return [cut_at_stop(self.tokenizer, list(ids), self.stops) for ids in answers]
