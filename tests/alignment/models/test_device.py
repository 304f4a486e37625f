"""The number types that a stage uses on its machine."""

from __future__ import annotations

import pytest
import torch

from alignment.models.device import dtype_for


def test_number_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert dtype_for(cpu, trained=False) is dtype_for(cpu, trained=True) is torch.float32
    assert dtype_for(gpu, trained=True) is torch.float32
    assert dtype_for(gpu, trained=False) is torch.bfloat16
