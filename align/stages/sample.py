"""sample: answer. K answers to every prompt, from one or several policies; killed, it goes on at the next batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.artifacts import Artifact
from align.contract import HELDOUT, RESUME, TRAIN, Context, Inputs, Metrics, rows
from align.data.chat import encode_prompt
from align.data.files import write_records
from align.data.records import Answer, Answers, Message, Prompt, Record, count_words, prompt_key, prompt_of, stable_id
from align.errors import DataError, counted
from align.models.device import pick_device, pick_dtype
from align.models.generate import Sampled, Sampling, sample_batch
from align.models.load import check_vocabulary, context_of, load_merged, load_tokenizer, resolve
from align.recipe.schema import Sample
from align.stages.batches import FinishedBatches


@dataclass(frozen=True)
class Asking:
    """How prompts are asked: how to sample, answers a prompt gets, and answers sampled at once."""

    sampling: Sampling
    per_prompt: int
    batch_size: int


@dataclass(frozen=True)
class Job:
    """One answer to be sampled: which prompt, which of its K, its seed, and the prompt's tokens."""

    prompt: Prompt
    number: int
    seed: int
    ids: list[int]


def run(settings: Sample, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Sample answers for the training and the held-out prompts; write `answers` records."""
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_new_tokens)
    asking = Asking(sampling, settings.per_prompt, settings.batch_size)
    source = inputs.one("prompts")
    splits = {split: distinct_prompts(rows(source, split)) for split in (TRAIN, HELDOUT)}
    answers: dict[str, dict[str, list[Answer]]] = {split: {} for split in splits}
    finished = count = words = 0
    for artifact in inputs.all("model"):
        asked = [p for prompts in splits.values() for p in prompts]
        sampled = answer_all(artifact, asked, asking, out, context)
        how = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        for split, prompts in splits.items():
            for prompt in prompts:
                for number, one in enumerate(sampled[prompt_key(prompt.prompt)]):
                    name = stable_id([prompt_key(prompt.prompt), artifact.manifest.key, number])
                    answers[split].setdefault(prompt.id, []).append(
                        Answer(id=name, text=one.text, model=artifact.name, sampling=how)
                    )
                    finished, count, words = finished + one.finished, count + 1, words + count_words(one.text)
    for split, prompts in splits.items():
        if prompts:
            write_records(out / split, [with_answers(p, answers[split][p.id]) for p in prompts])
    return {
        "prompts": len(splits[TRAIN]),
        "heldout_prompts": len(splits[HELDOUT]),
        "answers": count,
        "finished_share": round(finished / count, 4),
        "mean_words": round(words / count, 2),
    }


def distinct_prompts(records: Sequence[Record]) -> list[Prompt]:
    """The prompts of any records that hold one, each conversation once, in order."""
    found: dict[str, Prompt] = {}
    for record in records:
        messages = prompt_of(record)
        if messages:
            key = prompt_key(messages)
            tags, reference = getattr(record, "tags", []), getattr(record, "reference", None)
            found.setdefault(key, Prompt(id=key, prompt=messages, tags=tags, reference=reference))
    return list(found.values())


def with_answers(prompt: Prompt, answers: list[Answer]) -> Answers:
    """The record of one prompt's answers."""
    return Answers(id=prompt.id, prompt=prompt.prompt, answers=answers, tags=prompt.tags, reference=prompt.reference)


def answer_seed(stage_seed: int, prompt: list[Message], number: int) -> int:
    """The seed of one answer: from the stage's seed, the prompt's text and which of the K answers it is (63 bits)."""
    text = f"{stage_seed}/{prompt_key(prompt)}/{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def answer_all(
    policy: Artifact, prompts: Sequence[Prompt], asking: Asking, out: Path, context: Context
) -> dict[str, list[Sampled]]:
    """K answers for each prompt, by prompt key. Finished batches are kept in `out/resume` and not sampled again.

    Raises DataError if a prompt leaves no room for an answer in the policy's context.
    """
    ref = resolve(policy)
    tokenizer = load_tokenizer(ref)
    device = pick_device()
    model: Any = load_merged(ref, pick_dtype(context.precision, device)).to(device)
    check_vocabulary(model, tokenizer, ref.base)
    jobs = make_jobs(prompts, asking.per_prompt, context.seed, lambda p: encode_prompt(tokenizer, p.prompt))
    check_room(jobs, context_of(model), asking.sampling.max_new_tokens)
    batches = [jobs[i : i + asking.batch_size] for i in range(0, len(jobs), asking.batch_size)]
    store = FinishedBatches(out / RESUME / f"{policy.name}.jsonl")
    results: dict[str, dict[int, Sampled]] = {}
    for index, batch in enumerate(batches):
        if (done := store.get(index)) is None:
            done = sample_batch(model, tokenizer, [j.ids for j in batch], [j.seed for j in batch], asking.sampling)
            store.add(index, done)
        for job, one in zip(batch, done, strict=True):
            results.setdefault(prompt_key(job.prompt.prompt), {})[job.number] = one
        context.progress(f"{policy.name} answers", index + 1, len(batches), f"{len(batch)} answers a batch")
    return {key: [by_number[n] for n in sorted(by_number)] for key, by_number in results.items()}


def make_jobs(
    prompts: Sequence[Prompt], per_prompt: int, seed: int, encode: Callable[[Prompt], list[int]]
) -> list[Job]:
    """Every answer to sample, prompts of similar length together so that batches carry little padding."""
    encoded = sorted(((encode(p), p) for p in prompts), key=lambda item: (len(item[0]), item[1].id))
    return [Job(p, n, answer_seed(seed, p.prompt, n), ids) for ids, p in encoded for n in range(per_prompt)]


def check_room(jobs: Sequence[Job], context_length: int, max_new_tokens: int) -> None:
    """Raise DataError if prompt and answer do not fit into the context."""
    limit = context_length - max_new_tokens
    long = [j for j in jobs if len(j.ids) > limit and j.number == 0]
    if long:
        worst = max(long, key=lambda j: len(j.ids))
        raise DataError(
            f"{counted(len(long), 'prompt')} too long: {worst.prompt.id} has {len(worst.ids)} tokens, and "
            f"{max_new_tokens} are kept free for the answer",
            where=f"prompt {worst.prompt.id}: {worst.prompt.prompt[-1].content[:60]!r}",
            allowed=f"at most {limit} tokens, for a context of {context_length}",
            remedy="shorten or remove these prompts, or lower max_new_tokens",
        )
