"""Positions trained in a second: packed, one by one, and a plain loop over transformers.

    python benchmarks/train_throughput.py --json OUT.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import carry_out, verdict
from benchmarks.training import Clips, padded, shape
from faster_higgs.checkpoint.save import save_model
from faster_higgs.config import ModelConfig
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train.config import LanguageSettings, OptimizerSettings
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.packing import fill

MUST = 2.0  # times the plain loop
ROW = 2  # examples of a padded batch, as the known trainers take them
RATE = 1e-5


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    return carry_out(lambda: ask(arguments), measure, rows)


def ask(arguments: Sequence[str] | None) -> Any:
    """The flags."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    flag = parser.add_argument
    flag("--json", type=Path, help="where the result is written")
    flag("--layers", type=int, default=8, help="default: %(default)s")
    flag("--width", type=int, default=512, help="the rest in proportion; default: %(default)s")
    flag("--vocabulary", type=int, default=16_000, help="tokens of text; default: %(default)s")
    flag("--examples", type=int, default=20, help="of a round; default: %(default)s")
    flag("--budget", type=int, default=4096, help="positions packed; default: %(default)s")
    flag("--rounds", type=int, default=3, help="of each, in turns; default: %(default)s")
    flag("--dtype", choices=("bf16", "fp32"), default="bf16", help="of products: autocast, or not")
    flag("--device", default="cpu", help="cpu, cuda or cuda:N; default: %(default)s")
    flag("--compile", action="store_true", help="a row more: ours by torch.compile")
    flag("--tiny", action="store_true", help="a model of a few thousand weights, to try")
    return parser.parse_args(arguments)


def measure(settings: Any) -> dict[str, Any]:
    """All in turns on the same examples; medians of positions a second."""
    config = shape(settings.tiny, settings.layers, settings.width, settings.vocabulary)
    clips = Clips(config, settings.examples)
    lengths = [len(clips.example(number, 0)) for number in range(len(clips))]
    ways = {name: make(settings, config, clips) for name, make in WAYS.items()}
    if not settings.compile:
        ways.pop("compiled")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    work: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(settings.rounds + 1):
        for name, step in ways.items():
            found = timed(step, settings.device)
            if number:  # the first warms up
                seconds[name].append(found[0])
                work[name].append(found[1])
    speeds = {name: sum(lengths) / statistics.median(found) for name, found in seconds.items()}
    return {
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "dtype": settings.dtype,
        "examples": len(lengths),
        "positions": sum(lengths),
        "padding_percent": 100 * (1 - sum(lengths) / padded_positions(lengths)),
        "positions_per_s": speeds,
        "ratio": {name: speeds["packed"] / speed for name, speed in speeds.items()},
        "rounds_s": seconds,
        "processor_rounds_s": work,
        "must": None if settings.tiny else MUST,
    }


def padded_positions(lengths: Sequence[int]) -> int:
    """What the plain loop goes over."""
    rows = [lengths[i : i + ROW] for i in range(0, len(lengths), ROW)]
    return sum(len(row) * max(row) for row in rows)


def timed(step: Callable[[], None], device: str) -> tuple[float, float]:
    """Seconds of one round, by the clock and of processors."""
    gc.collect()
    begin, before = time.perf_counter(), time.process_time()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin, time.process_time() - before


def ours(
    settings: Any, config: ModelConfig, clips: Clips, *, packs: bool = True, compiled: bool = False
) -> Callable[[], None]:
    """One step of LanguageTask that takes every example once; not `packs`: one a batch."""
    lengths = [len(clips.example(number, 0)) for number in range(len(clips))]
    asked = LanguageSettings(
        budget=settings.budget if packs else max(lengths),
        window=len(clips) if packs else 1,
        accumulate=len(fill(lengths, settings.budget)) if packs else len(clips),
        autocast=settings.dtype == "bf16",
        compile=compiled,
        optimizer=OptimizerSettings(learning_rate=RATE),
    )
    task = LanguageTask(fresh(config).to(settings.device), clips, asked)
    return lambda: check(task.step(0)["loss"])


def plain(
    settings: Any, config: ModelConfig, clips: Clips, *, each: bool = False
) -> Callable[[], None]:
    """The model class of transformers on padded batches; `each`: AdamW after every batch."""
    from transformers import HiggsAudioV2ForConditionalGeneration

    with tempfile.TemporaryDirectory() as folder:
        save_model(fresh(config), config, folder)
        model = HiggsAudioV2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.train().to(settings.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    examples = [clips.example(number, 0) for number in range(len(clips))]
    batches = [
        padded(examples[i : i + ROW], config.pad_token_id) for i in range(0, len(examples), ROW)
    ]

    def step() -> None:
        for batch in batches:
            moved = {name: value.to(settings.device) for name, value in batch.items()}
            kind = settings.device.split(":")[0]
            with torch.autocast(kind, torch.bfloat16, enabled=settings.dtype == "bf16"):
                loss = model(**moved, use_cache=False).loss
            (loss if each else loss / len(batches)).backward()
            check(float(loss.detach()))
            if each or batch is batches[-1]:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    return step


def fresh(config: ModelConfig) -> DualFFN:
    """Random weights, the same for all; nobody asks for text."""
    model = DualFFN(config, text_head=False)
    model.initialize(torch.Generator().manual_seed(0))
    return model


def check(loss: float) -> None:
    """What a step of numbers that are not finite takes says nothing."""
    assert math.isfinite(loss), loss


WAYS: dict[str, Callable[..., Callable[[], None]]] = {
    "packed": ours,
    "compiled": partial(ours, compiled=True),
    "one by one": partial(ours, packs=False),
    "transformers": partial(plain, each=True),
    "transformers, one step": plain,
}


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    speeds, ratios = result["positions_per_s"], result["ratio"]
    heading = f"{result['positions']} positions, {result['dtype']}"
    return [
        (heading, "positions/s", "packed is x", ""),
        *(
            (name, speed, ratios[name], told(name, ratios[name], result["must"]))
            for name, speed in speeds.items()
        ),
    ]


def told(name: str, ratio: float, must: float | None) -> str:
    """Beside the plain loop: whether enough is gained."""
    return verdict(ratio, must) if name == "transformers" else ""


if __name__ == "__main__":
    sys.exit(main())
