"""Number formats."""

from __future__ import annotations

import pytest
import torch

from align.models import device


def test_precision_is_what_was_asked_for_and_auto_asks_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert device.pick_dtype("bf16", cpu) == torch.bfloat16
    assert device.pick_dtype("fp32", cpu) == torch.float32
    for native, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "computes_bf16", lambda _, native=native: native)
        assert device.pick_dtype("auto", cpu) == wanted


def test_the_device_has_a_name() -> None:
    assert device.device_name(torch.device("cpu")) == f"cpu, {torch.get_num_threads()} threads"
    assert device.computes_bf16(torch.device("mps")) is False
    assert device.pick_device().type in ("cpu", "cuda", "mps")
