"""Every variant of the compiled kernels that this machine can run; none without a C compiler."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import hatch_build
from faster_higgs.native.kernels import LIBRARY, Kernels, open_library, variants


@cache
def runnable() -> dict[str, Kernels]:
    """Those of the installed library, or of one compiled now where that is missing or stale."""
    best = open_library(LIBRARY).kernels
    if best is None:
        try:
            hatch_build.compiler()
        except hatch_build.NoKernels:
            return {}
        made = hatch_build.build(Path(tempfile.mkdtemp()) / "libkernels.so")
        best = open_library(made).kernels
        assert best is not None, "a library that was compiled now is fresh"
    return {kernels.name: kernels for kernels in variants(best.library)}
