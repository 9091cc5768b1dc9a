"""Where the parity vectors are: HIGGS_PARITY_DIR, else the copy beside this file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.parity.place import vectors


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """A folder with `lm` and `codec` inside."""
    return vectors(os.environ.get("HIGGS_PARITY_DIR"), [Path.cwd()])
