"""Where a LoRA adapter sits on a model: its layers by name, checked before PEFT looks for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from align.data.fields import near
from align.errors import ModelError
from align.recipe.schema import Lora

LINEAR = "all-linear"
"""PEFT's word for every linear layer but the head, in whatever case."""


def lora_config(lora: Lora, task: str) -> Any:
    """PEFT's config for our settings. task: CAUSAL_LM or SEQ_CLS (whose head is then trained and saved as well)."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type=task,
    )


def check_targets(model: Any, lora: Lora, where: str, say: Callable[[str], None], *, keeps_head: bool = True) -> None:
    """Raise ModelError unless an adapter can sit on the layers that `targets` names: PEFT wants one or more, all of a
    kind that it adapts. Names of a list that this model does not have are said: the list may serve several models.

    keeps_head: false if a score takes the place of the head, so that an embedding tied to it is free.
    """
    if isinstance(lora.targets, str) and lora.targets.lower() == LINEAR:
        return
    targets = [lora.targets] if isinstance(lora.targets, str) else lora.targets
    fits = _matches if isinstance(lora.targets, str) else _ends
    # The model itself is a module too, of the name "", which the pattern `.*` matches.
    layers = dict(model.named_modules())
    head = model.get_output_embeddings()
    good = {name for name, layer in layers.items() if _adaptable(layer) and not _is_head(layer, head, keeps_head)}
    gone = []
    for target in targets:
        matched = [name for name in layers if fits(target, name)]
        if bad := [name for name in matched if name not in good]:
            raise _cannot_adapt(target, bad[0], layers[bad[0]], head, _names(layers, good, where))
        if not matched:
            gone.append(target)
    if len(gone) == len(targets):
        raise _no_layer(gone[0], isinstance(lora.targets, str), _names(layers, good, where))
    if gone:
        say(f"lora.targets: the model has no layer {', '.join(f'`{name}`' for name in gone)}; the others are adapted")


def _no_layer(target: str, is_pattern: bool, told: dict[str, Any]) -> ModelError:
    names = told.pop("names")
    if is_pattern and target in names:
        found = f"`{target}` is a text, so a pattern of whole paths such as `{names[target]}`, and matches none"
        return ModelError(found, **(told | {"remedy": f"write it as a list: `targets: [{target}]`"}))
    return ModelError(f"the model has no layer `{target}`{near(target, names)}", **told)


def _cannot_adapt(target: str, name: str, layer: Any, head: Any, told: dict[str, Any]) -> ModelError:
    told.pop("names")
    whole = f"`{name}`, " if name else ""
    name_of_it = type(layer).__name__
    kind = f"an {name_of_it}" if name_of_it[0] in "AEIOU" else f"a {name_of_it}"
    why = "which is neither linear nor an embedding"
    if layer is head:
        kind, why = f"the model's head {name_of_it}", "which gives the words their scores"
    elif _is_head(layer, head, tied=True):
        why = "whose weights are the head's as well, and an adapter that is merged into it would change both"
    return ModelError(f"the target `{target}` means {whole}{kind}, {why}: no adapter can sit there", **told)


def _names(layers: dict[str, Any], good: set[str], where: str) -> dict[str, Any]:
    """What errors share, and under `names` every layer's own name -> the path of the first that has it."""
    names = {name.rpartition(".")[2]: name for name in sorted(good, reverse=True)}
    linear = sorted(short for short in names if any(_is_linear(layers[n]) for n in good if _ends(short, n)))
    return {
        "where": f"lora.targets, model {where}",
        "allowed": ", ".join(linear),
        "remedy": f"lora: {{targets: [{linear[0]}]}}; or leave targets out, which is {LINEAR}",
        "names": names,
    }


def _ends(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _is_linear(layer: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(layer, torch.nn.Linear | Conv1D)  # GPT-2 has Conv1D


def _is_head(layer: Any, head: Any, tied: bool) -> bool:
    """Whether this layer gives the words their scores; tied: or is an embedding of the same weights."""
    return layer is head or (tied and head is not None and getattr(layer, "weight", None) is head.weight)


def _adaptable(layer: Any) -> bool:
    """Whether PEFT has an adapter for a layer of this kind."""
    from torch import nn

    return _is_linear(layer) or isinstance(layer, nn.Embedding | nn.Conv1d | nn.Conv2d | nn.Conv3d)
