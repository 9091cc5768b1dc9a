"""Memory that was taken is given back, however often."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from faster_higgs.errors import EngineError
from faster_higgs.sampling import Sampling
from faster_higgs.server.starting import settle
from faster_higgs.speech import Higgs
from faster_higgs.testing import tiny_checkpoint
from tests.fresh import Fresh

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

for _ in range(2):
    round()
before = resident()
for _ in range(int(sys.argv[1])):
    round()
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("rounds", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_rounds_of_load_speak_unload_end_where_they_began(fresh: Fresh, rounds: int) -> None:
    assert float(fresh(ROUNDS, rounds)) < 50


@pytest.fixture
def higgs(tmp_path: Path) -> Higgs:
    return Higgs.load(tiny_checkpoint(tmp_path / "tiny"), device="cpu")


def test_what_needs_the_model_says_that_it_was_unloaded(higgs: Higgs) -> None:
    codes = higgs.encode(np.zeros(24_000, np.float32))
    higgs.unload()
    calls = [
        lambda: higgs.decode(codes),
        lambda: higgs.encode(np.zeros(24_000, np.float32)),
        lambda: higgs.speak("Hello."),
    ]
    for call in calls:
        with pytest.raises(EngineError, match="The model was unloaded; load it again"):
            call()
    higgs.unload()


def test_who_still_listens_is_told_so(higgs: Higgs) -> None:
    """Also where frames were ready that nobody had asked for yet."""
    long = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=7, max_new_tokens=400)
    pieces = higgs.pieces("And so they went on and on. " * 4, [], long)
    next(pieces)
    higgs.unload()
    with pytest.raises(EngineError, match="The model was unloaded while it was speaking"):
        list(pieces)


class Knot:
    """Something that knows itself, as recorded steps do."""

    def __init__(self) -> None:
        self.own = self


def test_unloading_gives_back_what_was_left_out_of_searches_for_garbage(higgs: Higgs) -> None:
    knot = Knot()
    seen = weakref.ref(knot)
    settle()
    try:
        del knot
        higgs.unload()
        assert seen() is None and gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_unloading_gives_back_what_torch_keeps_of_a_card(
    higgs: Higgs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all that held it has let go."""
    given = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given.append(higgs.codec.device.type))
    monkeypatch.setattr(torch.accelerator, "empty_host_cache", lambda: None)
    higgs.unload()
    assert given == ["meta"]
