"""What is shipped and what is stored stays small."""

from __future__ import annotations

import pytest

from tests.project.source import PACKAGE, ROOT

MEGABYTE = 1_000_000
LIMITS = {PACKAGE / "pico": 40, ROOT / "tests" / "parity" / "data": 8}


@pytest.mark.parametrize("folder", LIMITS, ids=lambda folder: folder.name)
def test_a_folder_stays_within_its_limit(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    size = sum(path.stat().st_size for path in files) / MEGABYTE
    assert 0 < size <= LIMITS[folder], f"{folder.name} has {size:.2f} MB"
