"""Several adapters on one base: switched, copied and added by name, so that many roles share one set of weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from align.errors import ModelError
from align.models.load import ModelRef, check_adapter


def base_of(model: Any) -> Any:
    """The transformers model inside, adapters in place."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


class Adapters:
    """Which adapters of a PeftModel are at work. Several at once add up; none leaves the base alone.

    PEFT's own `set_adapter` also changes what takes gradients and knows one name only; this changes neither weights
    nor gradients, and costs a loop over the layers.
    """

    def __init__(self, model: Any) -> None:
        """Raises ModelError where an adapter changes more than its own matrices, which cannot be switched off."""
        self.model = model
        for config in model.peft_config.values():
            _only_matrices(config)
        if "default" not in model.peft_config:
            raise ModelError(
                f"the adapter is called {', '.join(model.peft_config)}",
                where="the policy",
                allowed="an adapter called default, as PEFT names it unless told otherwise",
            )
        self.find_layers()

    def find_layers(self) -> None:
        """Look for the layers again: an adapter may have targets that the ones before it did not."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        self.layers = [m for m in self.model.modules() if isinstance(m, BaseTunerLayer)]

    def active(self) -> list[str]:
        """The adapters at work now."""
        layer = self.layers[0]
        return [] if layer._disable_adapters else list(layer.active_adapters)

    @contextmanager
    def using(self, names: Sequence[str]) -> Iterator[None]:
        """Within the block, exactly these adapters are at work."""
        kept = [(layer._active_adapter, layer._disable_adapters) for layer in self.layers]
        for layer in self.layers:
            layer._active_adapter, layer._disable_adapters = list(names), not names
        try:
            yield
        finally:
            for layer, (active, disabled) in zip(self.layers, kept, strict=True):
                layer._active_adapter, layer._disable_adapters = active, disabled

    def add_copy(self, name: str, of: str, *, trainable: bool) -> None:
        """Add the adapter `name` with the weights that `of` has now. Dropout in it is off, as in every role of PPO."""
        config = copy.deepcopy(self.model.peft_config[of])
        config.lora_dropout = 0.0
        self.model.add_adapter(name, config)
        self.find_layers()
        own = self._weights(name)
        with torch.no_grad():
            for key, value in self.model.named_parameters():
                if (plain := _without(key, of)) is not None:
                    own[plain].copy_(value)
        self.train_only(name, trainable)

    def add_saved(self, name: str, folder: Path, *, trainable: bool) -> None:
        """Add an adapter folder under a name; a sequence classifier's head in it is left out."""
        from peft import PeftConfig
        from safetensors.torch import load_file

        check_adapter(self.model.get_base_model(), folder)
        config = PeftConfig.from_pretrained(str(folder))
        config.task_type, config.modules_to_save, config.inference_mode = "CAUSAL_LM", None, False
        config.lora_dropout = 0.0
        self.model.add_adapter(name, config)
        self.find_layers()
        own = self._weights(name)
        with torch.no_grad():
            for key, value in load_file(folder / "adapter_model.safetensors").items():
                if ".lora_" in key:
                    own[key].copy_(value)
        self.train_only(name, trainable)

    def _weights(self, name: str) -> dict[str, torch.nn.Parameter]:
        """An adapter's weights by the names they have in its file."""
        found = {_without(key, name): value for key, value in self.model.named_parameters()}
        return {key: value for key, value in found.items() if key is not None}

    def train_only(self, name: str, trainable: bool) -> None:
        """Let one adapter's weights take gradients, or not; the others stay as they are."""
        for key, value in self.model.named_parameters():
            if _without(key, name) is not None:
                value.requires_grad_(trainable)


def _without(key: str, name: str) -> str | None:
    """What a weight of the adapter `name` is called in its file; None for a weight that is not its own.

    The name stands before the last part, except in embeddings (`lora_embedding_A.NAME`), which have none after it.
    """
    if f".{name}." not in f"{key}.":
        return None
    plain = f"{key}.".replace(f".{name}.", ".")[:-1]
    return plain.replace(".lora_magnitude_vector.weight", ".lora_magnitude_vector")


def _only_matrices(config: Any) -> None:
    whole = getattr(config, "modules_to_save", None) or getattr(config, "trainable_token_indices", None)
    biased = getattr(config, "bias", "none") != "none"
    if whole or biased:
        raise ModelError(
            f"the adapter trains {'biases' if biased else f'whole modules ({whole})'}, which cannot share a base with "
            "the reference",
            where="bias of the LoRA settings" if biased else "modules_to_save of the LoRA settings",
            allowed="LoRA matrices only",
            remedy="leave it out, or merge the adapter and train all weights",
        )


def chain_of(ref: ModelRef) -> list[Path]:
    """The adapters that lie over a model's base, undermost first."""
    return [folder for folder in (ref.merge, ref.adapter) if folder is not None]


def same_base(model: Any, ref: ModelRef) -> bool:
    """Whether a loaded model's base is the one that `ref` names."""
    name = str(getattr(model.get_base_model(), "name_or_path", "") or "")
    here, there = Path(name), Path(ref.base)
    if here.is_dir() and there.is_dir():
        return here.resolve() == there.resolve()
    return bool(name) and name == ref.base
