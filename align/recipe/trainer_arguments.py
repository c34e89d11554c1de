"""What may stand under `trainer:`: further arguments of a stage's TRL or transformers config.

The arguments and their types are read from `trainer_fields.json`, which `align/trainers/make_trainer_fields.py` writes
from the installed TRL and a test keeps true. Arguments that align sets itself are refused, each with the recipe's own
field.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from align.recipe import words
from align.recipe.document import Place, Problem

FIELDS_FILE = Path(__file__).with_name("trainer_fields.json")

_BATCH = "use `batch_size` (sequences per optimizer step) and `micro_batch` (in memory at once) of the stage"
_PRECISION = "use the recipe's `precision`"
_SEED = "use the recipe's `seed`; every stage's seed is derived from it and the stage's name"
_SAVING = "use the recipe's `checkpoint_seconds`; the pipeline saves and continues by itself"
_LOGGING = "every step is logged to logs/metrics.jsonl; for other places use the recipe's `report_to`"
_EVALUATION = "the loss on held-out rows is logged after each epoch; for more add a stage of kind `evaluate`"
_MODEL = "models are loaded by align; use the fields of the `policy` source"
_DATA = "the rows are prepared by align from the artifact in `data`"
_UPLOAD = "nothing is uploaded by a run; add a stage of kind `export` and upload its folder"

OURS: dict[str, str] = {
    "output_dir": "the pipeline decides where a stage saves; `name` is the folder's name",
    "learning_rate": "use `learning_rate` of the stage",
    "num_train_epochs": "use `epochs` of the stage",
    "max_steps": "use `max_steps` of the stage",
    "max_length": "use `max_length` of the stage",
    "beta": "use `beta` (dpo, orpo, simpo, kto) or `kl_coef` (grpo, rloo) of the stage",
    "loss_type": "use `loss` of the stage (dpo, kto), or another kind of stage",
    "simpo_gamma": "use `gamma` of the stage",
    **{name: f"use `{name}` of the stage" for name in ("loss", "ties", "pairs", "heads", "margin_coef")},
    "packing": "use `packing` of the stage",
    "rollout_batch_size": "use `batch_size` of the stage, the episodes of a rollout",
    "num_ppo_epochs": "use `ppo_epochs` of the stage",
    "num_mini_batches": "use `minibatches` of the stage",
    "num_generations": "use `per_prompt` of the stage",
    "generation_batch_size": "use `batch_size` of the stage",
    "steps_per_generation": "use `batch_size` of the stage",
    "reward_weights": "use `reward_weights` of the stage",
    "max_completion_length": "use `max_new_tokens` of the stage",
    "temperature": "use `temperature` of the stage",
    "kl_coef": "use `kl_coef` of the stage",
    "kl_budget": "use `kl_budget` of the stage",
    "value_model": "use `value` of the stage",
    "run_name": "use the recipe's `name`",
    "project": "use the recipe's `name`",
    "disable_tqdm": "use `align run --quiet`",
    "use_cache": "packed documents are kept apart only without it",
    **dict.fromkeys(
        ("per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size"),
        _BATCH,
    ),
    **dict.fromkeys(("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "use_cpu"), _PRECISION),
    **dict.fromkeys(("seed", "data_seed", "full_determinism"), _SEED),
    **dict.fromkeys(
        (
            "save_strategy",
            "save_steps",
            "save_total_limit",
            "save_only_model",
            "save_on_each_node",
            "enable_jit_checkpoint",
            "load_best_model_at_end",
            "metric_for_best_model",
            "greater_is_better",
            "resume_from_checkpoint",
            "ignore_data_skip",
            "restore_callback_states_from_checkpoint",
        ),
        _SAVING,
    ),
    **dict.fromkeys(
        (
            "report_to",
            "logging_strategy",
            "logging_steps",
            "logging_first_step",
            "logging_nan_inf_filter",
            "log_level",
            "log_level_replica",
            "log_on_each_node",
        ),
        _LOGGING,
    ),
    **dict.fromkeys(
        (
            "do_train",
            "do_eval",
            "do_predict",
            "eval_strategy",
            "eval_steps",
            "eval_delay",
            "eval_on_start",
            "eval_packing",
            "per_device_eval_batch_size",
            "eval_accumulation_steps",
            "eval_do_concat_batches",
            "eval_use_gather_object",
            "batch_eval_metrics",
            "include_for_metrics",
            "prediction_loss_only",
        ),
        _EVALUATION,
    ),
    **dict.fromkeys(("model_init_kwargs", "trust_remote_code", "chat_template_path", "eos_token", "pad_token"), _MODEL),
    **dict.fromkeys(
        (
            "dataset_text_field",
            "dataset_kwargs",
            "remove_unused_columns",
            "label_names",
            "assistant_only_loss",
            "completion_only_loss",
        ),
        _DATA,
    ),
    **dict.fromkeys(
        (
            "push_to_hub",
            "hub_token",
            "hub_private_repo",
            "hub_model_id",
            "hub_strategy",
            "hub_always_push",
            "hub_revision",
        ),
        _UPLOAD,
    ),
    "local_rank": "the launcher sets it",
}
"""Argument that align sets itself -> the recipe's field to use instead."""

ALLOWED_ANYWAY = {("sft", "loss_type"), ("grpo", "loss_type"), ("ppo", "generation_batch_size")}
"""`loss:` of the recipe is DPO's alone; PPO samples in batches of its own choice."""

GONE = {
    "warmup_ratio": "write `warmup_steps`; a number below 1 is a share of all steps",
    "evaluation_strategy": _EVALUATION,
    "group_by_length": "write `train_sampling_strategy: group_by_length`",
    "max_seq_length": "use `max_length` of the stage",
    "max_prompt_length": "use `max_length` of the stage",
    "no_cuda": _PRECISION,
    "save_safetensors": "models are always saved as safetensors",
    "logging_dir": _LOGGING,
    "overwrite_output_dir": _SAVING,
    "gradient_checkpointing": "write `activation_checkpointing`, its new name",
    "gradient_checkpointing_kwargs": "write `activation_checkpointing_kwargs`, its new name",
}
"""Arguments of older releases that many recipes on the web still show; refused even where TRL keeps an alias."""

PPO_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "gamma": (lambda value: 0 <= value <= 1, "0 to 1"),
    "lam": (lambda value: 0 <= value <= 1, "0 to 1"),
    "cliprange": (lambda value: value > 0, "above 0"),
    "generation_batch_size": (lambda value: value >= 1, "at least 1"),
    "kl_target": (lambda value: value > 0, "above 0"),
    "kl_horizon": (lambda value: value >= 1, "at least 1"),
    "score_clip": (lambda value: value >= 0, "0 or more, or null"),
    "eval_prompts": (lambda value: value >= 1, "at least 1, or null"),
}
"""Number of our PPO's config -> whether a value (other than null) is in its range, and the range in words."""

RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "warmup_steps": (lambda value: 0 <= value < math.inf, "0 or more; below 1 a share of all steps"),
    "neftune_noise_alpha": (lambda value: 0 <= value < math.inf, "0 or more, or null"),
    "pad_to_multiple_of": (lambda value: value >= 1, "1 or more, or null"),
}
"""The same for every kind of stage. Other mistakes are told by the library itself, when the stage runs."""

PACKAGES = {"use_liger_kernel": "liger-kernel", "deepspeed": "deepspeed"}
"""Argument that needs a package -> its name on PyPI."""

TYPES = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
    "null": "null",
}


@functools.cache
def _file() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FIELDS_FILE.read_text("utf-8"))
    return read


def fields_of(kind: str) -> dict[str, dict[str, list[str]]]:
    """The arguments of a stage kind's trainer config; empty for a kind that has no trainer."""
    fields: dict[str, dict[str, list[str]]] = _file()["fields"].get(kind, {})
    return fields


def dpo_loss_types() -> list[str]:
    """The values of TRL's `loss_type` for DPO."""
    names: list[str] = _file()["dpo_loss_types"]
    return names


def argument_problems(kind: str, arguments: dict[str, Any], place: Place) -> Iterator[Problem]:
    """What is wrong with the `trainer:` mapping of a stage of this kind."""
    fields = fields_of(kind)
    open_fields = [name for name in fields if not is_ours(kind, name) and name not in GONE]
    for name, value in arguments.items():
        here = (*place, name)
        if is_ours(kind, name):
            yield Problem(here, f"`{name}` is set by align", "any argument that align does not set itself", OURS[name])
        elif name not in open_fields:
            hint = GONE.get(name) or words.did_you_mean(name, open_fields)
            # Fifty names under a question would hide it; who is asked nothing needs them all.
            names = words.closest(name, open_fields) if hint else open_fields
            among = "among them " if hint else ""
            yield Problem(
                here,
                f"`{name}` is no argument of this stage's trainer",
                f"the arguments of {CONFIGS.get(kind, 'its trainer')}, {among}{words.listing(names)}",
                hint or "delete the line",
            )
        else:
            yield from _value_problems(name, value, fields[name], here)
            yield from _range_problems(kind, name, value, here)
            if name == "loss_weights" and isinstance(value, list):
                yield from _weight_problems(value, here)
            package = PACKAGES.get(name)
            if value and package and importlib.util.find_spec(package.replace("-", "_")) is None:
                found = f"`{name}` needs the package {package}, which is not installed"
                yield Problem(here, found, "an argument that needs no other package", f"pip install {package}")


CONFIGS = {
    "pretrain": "transformers.TrainingArguments",
    "sft": "trl.SFTConfig",
    "reward": "align.trainers.ranking_reward.config.RankingRewardConfig",
    "dpo": "trl.DPOConfig",
    "orpo": "trl.experimental.orpo.ORPOConfig",
    "simpo": "trl.experimental.cpo.CPOConfig",
    "kto": "trl.KTOConfig",
    "ppo": "align.trainers.ppo.config.PPOConfig",
    "grpo": "trl.GRPOConfig",
    "rloo": "trl.RLOOConfig",
}


def is_ours(kind: str, name: str) -> bool:
    """Whether align sets this argument of this kind of stage itself."""
    return name in OURS and (kind, name) not in ALLOWED_ANYWAY


def _value_problems(name: str, value: Any, field: dict[str, list[str]], place: Place) -> Iterator[Problem]:
    found = f"`{name}` is {words.show(value)}"
    types, closed = field["types"], field.get("choices", [])
    if not fits(value, types):
        allowed = " or ".join(TYPES[t] for t in types)
        remedy = f"write `{name}: {value}` without quotes" if isinstance(value, str) and _number(value) else ""
        yield Problem(place, found, allowed or "nothing: it cannot be given in a recipe", remedy or "change the value")
    elif isinstance(value, str) and closed and value not in closed:
        yield Problem(place, found, f"one of {words.listing(closed)}", words.did_you_mean(value, closed))


def _range_problems(kind: str, name: str, value: Any, place: Place) -> Iterator[Problem]:
    known = RANGES | PPO_RANGES if kind == "ppo" else RANGES
    if name in known and isinstance(value, int | float):
        holds, allowed = known[name]
        if not holds(value):
            yield Problem(place, f"`{name}` is {value}", allowed, f"change `{name}`, or delete it for the default")


def _weight_problems(weights: list[Any], place: Place) -> Iterator[Problem]:
    """DPO's losses are multiplied by them in the first step, whatever they are."""
    for weight in weights:
        if not fits(weight, ["float"]) or not math.isfinite(weight):
            found = f"an entry of `loss_weights` is {words.show(weight)}"
            yield Problem(place, found, "a list of numbers", "write one number for each loss")


def fits(value: Any, types: list[str]) -> bool:
    """Whether a YAML value has one of the types; a whole number counts as a number, true and false as neither."""
    match value:
        case None:
            return "null" in types
        case bool():
            return "bool" in types
        case int():
            return "int" in types or "float" in types
        case float():
            return "float" in types
        case str():
            return "str" in types
        case list():
            return "list" in types
        case _:
            return "dict" in types


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
