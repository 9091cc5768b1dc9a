"""What training steps take of memory, beside what `higgs memory` expects.

    python benchmarks/train_memory.py --json benchmarks/results/train_memory_cpu.json
    python benchmarks/train_memory.py --device cuda --json benchmarks/results/train_memory_cuda.json

On a processor a scaled-down model is measured by the high-water mark of a fresh process, on a card
the full one by what torch had allocated. benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import GIGA, carry_out
from faster_higgs.checkpoint.plan import PUBLISHED
from faster_higgs.config import ModelConfig
from faster_higgs.train.job import Job
from faster_higgs.train.memory import estimate
from faster_higgs.train.parts import TRAINED
from faster_higgs.train.probe import probe

MOST = 0.1  # that an estimate may be off

SCALED = replace(
    PUBLISHED.model,
    vocab_size=4_000,
    hidden_size=512,
    intermediate_size=1_376,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=64,
)
TINY = replace(SCALED, hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=16)

FULL: dict[str, Any] = {
    "adapters": (),
    "whole": tuple(part for part in TRAINED["full"] if part != "text_head"),
}
LANGUAGE: dict[str, Any] = {
    "adapters": ("attention", "text_ffn", "audio_ffn"),
    "whole": ("embed_audio", "audio_head"),
    "rank": 32,
}
AGAIN: dict[str, Any] = {"checkpointing": True}
WIDE: dict[str, Any] = {"base": "fp32"}
EIGHT: dict[str, Any] = {"optimizer": "adamw8bit"}
PROCESSOR: dict[str, dict[str, Any]] = {
    "voice": {},
    "voice, checkpointing": AGAIN,
    "voice, fp32 and autocast": WIDE,
    "voice, fp32 and autocast, checkpointing": {**WIDE, **AGAIN},
    "language": LANGUAGE,
    "language, checkpointing": {**LANGUAGE, **AGAIN},
    "full": FULL,
    "full, checkpointing": {**FULL, **AGAIN},
    "full, fp32 and autocast": {**FULL, **WIDE},
    "full, fp32 and autocast, checkpointing": {**FULL, **WIDE, **AGAIN},
}
CARD: dict[str, dict[str, Any]] = {
    "voice": {},
    "voice, 8192": {"positions": 8192},
    "voice, checkpointing": AGAIN,
    "voice, 8192, checkpointing": {"positions": 8192, **AGAIN},
    "language": LANGUAGE,
    "full, 8-bit, checkpointing": {**FULL, **EIGHT, **AGAIN},
    "full, checkpointing": {**FULL, **AGAIN},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--json", type=Path, help="where the result is written")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to see that it runs")
    parser.add_argument("--rounds", type=int, default=1, help="of each; default: %(default)s")
    return carry_out(lambda: parser.parse_args(arguments), measure, rows)


def measure(settings: Any) -> dict[str, Any]:
    """Each way to train in a process of its own."""
    config, jobs = _ways(settings)
    return {
        "tiny": settings.tiny,
        "model": asdict(config),
        "ways": {
            name: _once(config, job, settings.device)
            for name, job in jobs.items()
            for _ in range(settings.rounds)
        },
    }


def rows(result: Mapping[str, Any]) -> Iterable[Sequence[object]]:
    """The peaks, and how far off each estimate is."""
    yield ("way", "estimated GB", "measured GB", "off", f"at most {MOST:.0%}")
    for name, way in result["ways"].items():
        good = "yes" if abs(way["off"]) <= MOST else "no"
        expected, found = (f"{way[key] / GIGA:.3f}" for key in ("estimated", "measured"))
        yield (name, expected, found, f"{way['off']:+.1%}", good)


def _ways(settings: Any) -> tuple[ModelConfig, dict[str, Job]]:
    on_card = settings.device.startswith("cuda")
    config = TINY if settings.tiny else PUBLISHED.model if on_card else SCALED
    usual = {"positions": 128 if settings.tiny else 2048 if on_card else 1024}
    chosen = dict(_first(CARD if on_card else PROCESSOR, 2 if settings.tiny else None))
    return config, {name: Job(**{**usual, **more}) for name, more in chosen.items()}


def _first(ways: Mapping[str, Any], count: int | None) -> Iterator[tuple[str, Any]]:
    yield from list(ways.items())[:count]


def _once(config: ModelConfig, job: Job, device: str) -> dict[str, Any]:
    expected = estimate(config, job)
    found = probe(config, job, device, threads=1 if device == "cpu" else None)
    total = expected.expected(device)
    return {
        "job": asdict(job),
        "moment": expected.moment,
        "parts": {"estimated": dict(expected.parts), "measured": dict(found.parts)},
        "estimated": total,
        "measured": found.peak,
        "off": total / found.peak - 1,
        "seconds": found.seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
