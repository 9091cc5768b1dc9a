"""Where the parity vectors are: HIGGS_PARITY_DIR, else the copy beside this file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """A folder with `lm` and `codec` inside."""
    return Path(os.environ.get("HIGGS_PARITY_DIR") or Path(__file__).parent / "data")
