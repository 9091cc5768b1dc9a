"""A plan for the full size, beside what a process takes that loads it and writes ten frames.

Needs the weights that `python benchmarks/weights.py --to int8 int4` makes; `pytest --slow` runs it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WEIGHTS = Path("~/.cache/faster-higgs/benchmarks").expanduser()
SPEAK = r"""
import re, sys
from pathlib import Path
import torch
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.fit import fit, loading, wish_for
from faster_higgs.checkpoint.load import load_model
from faster_higgs.config import EngineConfig
from faster_higgs.device import named
from faster_higgs.engine.engine import Engine
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling
folder, codec = map(Path, sys.argv[1:])
plan = fit(folder, codec, named("cpu"), wish_for(None, EngineConfig(slots=2, positions=512)))
config, model = load_model(folder, text_head=False, **loading(plan))
decoder, engine = load_codec(codec, encoder=False), Engine(model, plan.engine)
prompt = Prompt((*range(100), config.audio_out_bos_token_id), ())
engine.add(prompt, Sampling(seed=1, max_new_tokens=11 + config.num_codebooks))
frames = []
while not engine.idle:
    frames += [event.frames for event in engine.step()]
decoder.decode(torch.cat(frames, 1))
peak = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]
print(plan.needs.total, int(peak) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("held", ["int8", "int4"])
def test_the_full_size_takes_what_was_planned(held: str) -> None:
    model, codec = WEIGHTS / f"model-28-{held}", WEIGHTS / "codec"
    if not (model / "config.json").is_file() or not codec.is_dir():
        pytest.skip("no weights of the full size; see benchmarks/weights.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPEAK, str(model), str(codec)],
        capture_output=True,
        text=True,
        check=True,
    )
    planned, measured = map(int, done.stdout.split())
    assert planned == pytest.approx(measured, rel=0.1)
