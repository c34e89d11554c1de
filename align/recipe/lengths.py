"""Whether answers can fit a policy's context, as far as a recipe and model folders say without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from align.recipe.document import Place, Problem
from align.recipe.load import Loaded
from align.recipe.schema import Pretrain, StageBase
from align.recipe.wiring import references

CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "n_ctx")


def length_problems(
    loaded: Loaded, stages: Mapping[str, StageBase], stage: StageBase, place: Place
) -> Iterator[Problem]:
    """An answer as long as the context leaves no token for its prompt."""
    longest = getattr(stage, "max_new_tokens", None)
    if longest is None:
        return
    read = references(stage)
    for name in (*read.get("model", []), *read.get("models", [])):
        context = context_of(loaded, stages, name)
        if context is not None and longest >= context:
            yield Problem(
                (*place, "max_new_tokens"),
                f"answers of up to {longest} tokens leave no room for a prompt: the context of `{name}` is {context}",
                f"below {context}, with room for the longest prompt",
                f"write `max_new_tokens: {max(context // 2, 1)}` or less",
            )
            return


def context_of(loaded: Loaded, stages: Mapping[str, StageBase], name: str) -> int | None:
    """The context in tokens of the policy that a name stands for, None where that is not known before it runs."""
    for _ in range(len(stages) + 1):  # a stage that reads itself is told elsewhere
        stage = stages.get(name)
        if isinstance(stage, Pretrain):
            return stage.context
        model = getattr(stage, "model", None)
        if not isinstance(model, str):
            break
        name = model
    source = loaded.recipe.sources.get(name)
    return context_of_folder(loaded.resolve(source.path)) if source and source.kind == "policy" else None


def context_of_folder(folder: Path) -> int | None:
    """What a model folder's config.json (an adapter's: its base's) says of the context; None if it says nothing."""
    config, adapter = folder / "config.json", folder / "adapter_config.json"
    if not config.is_file() and adapter.is_file():
        base = _read(adapter).get("base_model_name_or_path")
        config = folder / str(base) / "config.json"
    fields = _read(config)
    text = fields.get("text_config")
    for named in (fields, text if isinstance(text, dict) else {}):
        for field in CONTEXT_FIELDS:
            if isinstance(named.get(field), int) and named[field] > 0:
                return int(named[field])
    return None


def _read(file: Path) -> dict[str, Any]:
    """A JSON object in a file; empty if there is none. What is wrong with it is told when the model is loaded."""
    try:
        fields = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}
