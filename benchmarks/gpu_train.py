"""Full-size fine-tuning on a graphics card: positions a second, share of its best, memory.

    python benchmarks/gpu_train.py --json OUT.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.flags import device_named
from benchmarks.report import carry_out, verdict
from benchmarks.training import Clips
from benchmarks.weights import MODEL
from faster_higgs.config import ModelConfig
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.testing import tiny_config
from faster_higgs.train import lora
from faster_higgs.train.config import LanguageSettings, OptimizerSettings
from faster_higgs.train.flops import operations, peak_of
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.tune_config import AdapterSettings

MUST = 0.45  # of the card's best, for pairs without checkpointing
GIB = 2**30
ALL_LINEAR = ("attention", "text_ffn", "audio_ffn")
WARM_UPS = 3


@dataclass(frozen=True)
class Row:
    """One way to train, and the GiB that it should take."""

    name: str
    positions: int
    expected: float | None
    rank: int = 0  # 0: all weights learn
    checkpointing: bool = False
    kind: str = "adamw"


ROWS = (
    Row("LoRA r16, checkpointing, 2048", 2048, 12.6, 16, True),
    Row("LoRA r16, checkpointing, 8192", 8192, 14.7, 16, True),
    Row("LoRA r16, 1024", 1024, 15.3, 16),
    Row("LoRA r16, 2048", 2048, 18.8, 16),
    Row("LoRA r64, 4096", 4096, 27.5, 64),
    Row("LoRA r16, 8192", 8192, None, 16),
    Row("full, 8-bit Adam, checkpointing, 2048", 2048, 33.2, 0, True, "adamw8bit"),
    Row("full, fp32 master, checkpointing, 2048", 2048, 86.3, 0, True),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    return carry_out(lambda: ask(arguments), measure, rows)


def ask(arguments: Sequence[str] | None) -> Any:
    """The flags. Raises SettingError for a device that is not there."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    flag = parser.add_argument
    flag("--json", type=Path, help="where the result is written")
    flag("--device", help="cuda or cuda:N; default: cuda, with --tiny cpu")
    flag("--rounds", type=int, default=10, help="steps that count; default: %(default)s")
    flag("--only", default="", help="rows whose names hold this")
    flag("--tiny", action="store_true", help="a model of a few thousand weights, to try")
    found = parser.parse_args(arguments)
    found.device = device_named(found.device or ("cpu" if found.tiny else "cuda"))
    return found


def measure(settings: Any) -> dict[str, Any]:
    """One row after the other; one that has no room is told as such."""
    peak = None
    if settings.device.startswith("cuda"):
        peak = peak_of(torch.cuda.get_device_name(settings.device))
    chosen = [row for row in ROWS if settings.only in row.name]
    if settings.tiny:
        chosen = [row for row in chosen if row.kind == "adamw"]
    return {
        "rows": {row.name: tried(row, settings, peak) for row in chosen},
        "card_operations_per_s": peak,
        "must": None if settings.tiny else MUST,
    }


def tried(row: Row, settings: Any, peak: float | None) -> dict[str, Any]:
    """What a row takes; "no room" where the card's memory ends."""
    gc.collect()
    on_card = settings.device.startswith("cuda")
    if on_card:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(settings.device)
    try:
        speed, config = trained(row, settings)
    except torch.OutOfMemoryError:
        return {"no_room": True, "expected_gib": row.expected}
    done = speed * operations(config, learns=not row.rank)
    return {
        "positions_per_s": speed,
        "mfu": None if peak is None else done / peak,
        "peak_gib": torch.cuda.max_memory_reserved(settings.device) / GIB if on_card else None,
        "expected_gib": None if settings.tiny else row.expected,
    }


def trained(row: Row, settings: Any) -> tuple[float, ModelConfig]:
    """Positions a second, by the median step."""
    config = tiny_config() if settings.tiny else MODEL
    task = LanguageTask(made(config, row, settings), Clips(config, 64), asked(row, settings))
    speeds = []
    for number in range(WARM_UPS + settings.rounds):
        begin = time.perf_counter()
        positions = task.step(number)["num_positions"]  # numbers come back: the card is done
        speeds.append(positions / (time.perf_counter() - begin))
    return statistics.median(speeds[WARM_UPS:]), config


def asked(row: Row, settings: Any) -> LanguageSettings:
    """A batch filled to the last clip, and one step of each."""
    optimizer = OptimizerSettings(learning_rate=1e-5, kind=row.kind)  # type: ignore[arg-type]
    return LanguageSettings(
        budget=row.positions,
        window=64,
        checkpointing=row.checkpointing,
        optimizer=optimizer,
    )


def made(config: ModelConfig, row: Row, settings: Any) -> DualFFN:
    """Random weights of 16 bits, made where they are used."""
    with torch.device("meta"):
        model = DualFFN(config, text_head=False).to(torch.bfloat16)
    model.to_empty(device=settings.device)
    model.initialize(torch.Generator(settings.device).manual_seed(0))
    if row.rank:
        rank = 4 if settings.tiny else row.rank
        lora.put(model, AdapterSettings(parts=ALL_LINEAR, rank=rank))  # type: ignore[arg-type]
    return model


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    return [
        ("", "positions/s", "MFU", "GiB", "expected", ""),
        *(
            (
                name,
                "no room" if "no_room" in row else row["positions_per_s"],
                row.get("mfu"),
                row.get("peak_gib"),
                row["expected_gib"],
                told(name, row, result["must"]),
            )
            for name, row in result["rows"].items()
        ),
    ]


def told(name: str, row: dict[str, Any], must: float | None) -> str:
    """Judged are pairs on long batches, without checkpointing."""
    if name != "LoRA r16, 8192" or row.get("mfu") is None:
        return ""
    return verdict(row["mfu"], must)


if __name__ == "__main__":
    sys.exit(main())
