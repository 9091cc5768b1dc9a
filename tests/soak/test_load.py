"""Many clients at once get what they ask for, and the server stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.project.source import ROOT
from tests.soak.load import HEALTH, SLOPE

RESULT = ROOT / "benchmarks" / "results" / "soak.json"


def soak(path, *flags: str) -> dict:
    """What the run found; apart, because this process has work of its own."""
    command = [sys.executable, "-m", "tests.soak.load", "--json", str(path), *flags]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found = json.loads(path.read_text())
    assert not found["faults"] and not {"fault", "broken"} & found["outcomes"].keys()
    return found


def test_some_clients_for_some_seconds(tmp_path):
    found = soak(tmp_path / "found.json", "--clients", "8", "--seconds", "4")
    assert sum(found["outcomes"].values()) >= 8 and found["sound_s"] > 4
    assert found["health_ms"]["p50"] < HEALTH and found["health_ms"]["asked"] > 10
    assert found["memory"]["last_mb"] < 1500


@pytest.mark.slow
def test_64_clients_for_five_minutes():
    found = soak(RESULT, "--clients", "64", "--seconds", "300")
    assert found["memory"]["mb_per_minute"] < SLOPE
    assert found["health_ms"]["max"] < HEALTH
