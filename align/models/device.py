"""Device and number format: which to use, and why."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def pick_device() -> torch.device:
    """CUDA if there is a card, then Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively; emulation on a CPU is about a hundred times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() and torch.cpu._is_amx_tile_supported())
    return False


def pick_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """bfloat16 where asked for, or where `auto` finds it native; else float32."""
    if precision == "bf16" or (precision == "auto" and computes_bf16(device)):
        return torch.bfloat16
    return torch.float32


def device_name(device: torch.device) -> str:
    """A name for the manifest: the card's, or the device type with its threads, on which sums of floats depend."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name())
    return f"{device.type}, {torch.get_num_threads()} threads"
