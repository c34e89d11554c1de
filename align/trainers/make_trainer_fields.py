"""Write `trainer_fields.json`: the arguments of the pinned trainers' configs, so that checking a recipe needs no torch.

    python -m align.trainers.make_trainer_fields

A test compares the file with the installed TRL and transformers; run this when it fails after an upgrade.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from align.recipe.trainer_arguments import FIELDS_FILE

NAMES = {str: "str", int: "int", float: "float", bool: "bool", list: "list", dict: "dict", type(None): "null"}


NOT_FOR_RANKINGS = ("label_smoothing_factor", "neftune_noise_alpha", "train_sampling_strategy")
"""Arguments of TrainingArguments that mean nothing where a row is a prompt with its rankings."""


def trainer_fields() -> dict[str, Any]:
    """Stage kind -> argument -> {"types": [...], "choices": [...] if closed}; and TRL's DPO loss types. Imports TRL."""
    import transformers
    import trl

    from align.trainers.ppo.config import PPOConfig
    from align.trainers.ranking_reward.config import RankingRewardConfig
    from align.trainers.shim import CPOConfig, ORPOConfig

    configs = {
        "pretrain": transformers.TrainingArguments,
        "sft": trl.SFTConfig,
        "reward": RankingRewardConfig,
        "dpo": trl.DPOConfig,
        "orpo": ORPOConfig,
        "simpo": CPOConfig,
        "kto": trl.KTOConfig,
        "ppo": PPOConfig,
        "grpo": trl.GRPOConfig,
        "rloo": trl.RLOOConfig,
    }
    fields = {kind: config_fields(config) for kind, config in configs.items()}
    for name in NOT_FOR_RANKINGS:
        del fields["reward"][name]
    fields["dpo"]["f_divergence_type"]["choices"] = f_divergences(trl.DPOConfig)
    return {"fields": fields, "dpo_loss_types": dpo_loss_types(trl.DPOConfig)}


def config_fields(config: type[Any]) -> dict[str, dict[str, list[str]]]:
    """The arguments of one dataclass that can be written in YAML, sorted by name."""
    hints = get_type_hints(config)
    fields = {}
    for item in sorted(dataclasses.fields(config), key=lambda f: f.name):
        if not item.init:
            continue
        entry = {"types": sorted(set(_types(hints[item.name])))}
        if closed := sorted(item.metadata.get("choices", ())) or _choices(hints[item.name]):
            entry["choices"] = closed
        fields[item.name] = entry
    return fields


def dpo_loss_types(config: type[Any]) -> list[str]:
    """The loss types that DPOConfig's own help names, in its order."""
    return re.findall(r"'(\w+)'", _listed(config, "loss_type"))


def f_divergences(config: type[Any]) -> list[str]:
    """The values of f_divergence_type, a text that TRL looks at in the first step only, sorted."""
    return sorted(re.findall(r"`(\w+)`", _listed(config, "f_divergence_type")))


def _listed(config: type[Any], name: str) -> str:
    help_text = config.__dataclass_fields__[name].metadata["help"]
    listed = re.search(r"Possible values are:(.*?)\. ", help_text)
    if listed is None:
        raise RuntimeError(f"the help of {name} no longer lists its values: {help_text}")
    return listed[1]


def _parts(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return [inner for part in get_args(hint) for inner in _parts(part)]
    return [hint]


def _types(hint: Any) -> list[str]:
    found = []
    for part in _parts(hint):
        base = get_origin(part) or part
        if base is Literal:
            found += [NAMES[type(value)] for value in get_args(part)]
        elif isinstance(base, type) and issubclass(base, enum.Enum):
            found.append("str")
        elif base in NAMES:
            found.append(NAMES[base])
    return found


def _choices(hint: Any) -> list[str]:
    enums = [part for part in _parts(hint) if isinstance(part, type) and issubclass(part, enum.Enum)]
    return sorted({str(member.value) for part in enums for member in part})


def render(fields: dict[str, Any]) -> str:
    """The file's text: one argument a line, so that an upgrade's changes can be read in a diff."""
    rows = ["{", ' "dpo_loss_types": ' + json.dumps(fields["dpo_loss_types"]) + ",", ' "fields": {']
    for kind, arguments in fields["fields"].items():
        rows.append(f"  {json.dumps(kind)}: {{")
        rows += [f"   {json.dumps(name)}: {json.dumps(entry)}," for name, entry in arguments.items()]
        rows[-1] = rows[-1].removesuffix(",")
        rows.append("  },")
    rows[-1] = rows[-1].removesuffix(",")
    return "\n".join([*rows, " }", "}"]) + "\n"


if __name__ == "__main__":
    FIELDS_FILE.write_text(render(trainer_fields()), "utf-8")
    print(f"wrote {FIELDS_FILE}")
