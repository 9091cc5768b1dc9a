"""Tests that take `kernels` run once per variant, and skip where nothing can be compiled."""

from __future__ import annotations

from platform import machine

import pytest

from faster_higgs.native.kernels import Kernels
from tests.native.variants import runnable

NAMES = ("plain", "avx2", "vnni", "amx") if "86" in machine() else ("plain", "neon")


@pytest.fixture(params=NAMES)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    if request.param not in runnable():
        pytest.skip(f"no compiler, or a processor without {request.param}")
    return runnable()[request.param]
