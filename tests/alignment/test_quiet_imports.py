"""What a stage that asks for no 4 bits says while its libraries load: nothing."""

from __future__ import annotations

import subprocess
import sys

# A CPU with the instructions for which bitsandbytes would fetch a kernel of the hub.
SAYS = "import logging; logging.getLogger('bitsandbytes.backends.cpu.ops').warning('No gemm_4bit_forward')"


def _said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr


def test_loading_a_trainer_says_nothing() -> None:
    assert "gemm_4bit" not in _said(f"import alignment.training.trainer; {SAYS}")
    assert "gemm_4bit" in _said(SAYS)  # as it was
