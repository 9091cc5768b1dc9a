"""Kernels for graphics cards: why there are none, and where there is no card, what they compute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from faster_higgs.native import cuda


def reason() -> str:
    found = cuda.find.__wrapped__()
    assert found.kernels is None
    return found.reason


def pretend(monkeypatch, version="3.7.0", capability=(9, 0)):
    """As if there were a Triton and a card."""
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__=version))
    monkeypatch.setitem(
        sys.modules, "triton.errors", SimpleNamespace(TritonError=ZeroDivisionError)
    )
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda card: capability)


def test_without_triton_the_reason_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "Triton is missing" in reason()


def test_an_old_triton_and_an_old_card_are_told(monkeypatch):
    pretend(monkeypatch, version="3.2.0")
    assert "3.4 or newer" in reason()
    pretend(monkeypatch, capability=(7, 5))
    assert "8.0" in reason()


@pytest.mark.parametrize("error", [RuntimeError, OSError, ZeroDivisionError, AssertionError])
def test_a_triton_that_cannot_compile_is_told(monkeypatch, error):
    def fail():
        raise error("no C compiler\nin these places")

    pretend(monkeypatch)
    monkeypatch.setattr(cuda, "CudaKernels", lambda: SimpleNamespace(try_out=fail))
    assert reason().endswith("Triton cannot compile them: no C compiler")


def test_what_holds_on_a_card_holds_in_the_interpreter():
    """In a process of its own: Triton asks once, when it is imported, whether to interpret."""
    pytest.importorskip("triton", minversion="3.7")  # older interpreters need an older numpy
    tests = Path(__file__).with_name("test_cuda.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr
