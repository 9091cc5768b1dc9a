"""Memory that was taken is given back, however often."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = """
import gc, sys
from pathlib import Path
from faster_higgs.checkpoint.files import PACKAGED
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs

def resident():
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096 / 1e6

def round():
    higgs = Higgs.load(PACKAGED, device="cpu")
    higgs.speak("Hello.", sampling=Sampling(seed=1, max_new_tokens=30))
    higgs.unload()

for _ in range(3):
    round()
before = resident()
for _ in range(int(sys.argv[1])):
    round()
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("rounds", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_rounds_of_load_speak_unload_end_where_they_began(rounds: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS, str(rounds)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 50
