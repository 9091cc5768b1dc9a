"""Frames a second of many requests at once: until computing, not memory, is the limit.

    python benchmarks/cpu_batch.py --precision int4 --json benchmarks/results/cpu_batch_int4.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.apart import Apart
from benchmarks.contestants import Ours
from benchmarks.flags import Flags, read_flags
from benchmarks.report import GIGA, carry_out

REAL_TIME = 25  # frames of one listener's second


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    flags = Flags(__doc__ or "")
    flags.add("--batches", type=int, nargs="+", default=[1, 8, 16], help="default: 1 8 16")
    flags.add("--frames", type=int, default=25, help="of each request; default: %(default)s")
    flags.add("--rounds", type=int, default=3, help="of each batch; default: %(default)s")
    return carry_out(lambda: read_flags(flags, arguments), measure, rows)


def measure(settings: Any) -> dict[str, Any]:
    """The batches in turns; the medians."""
    rates: dict[int, list[float]] = {batch: [] for batch in settings.batches}
    with Apart(Ours, settings.model) as ours:
        ours.ask("rate", max(rates), 2)  # warm
        for _ in range(settings.rounds):
            for batch, found in rates.items():
                found.append(ours.ask("rate", batch, settings.frames))
        peak = ours.peak_memory
    medians = {batch: statistics.median(found) for batch, found in rates.items()}
    alone = medians[min(medians)]
    return {
        "precision": settings.precision,
        "layers": settings.layers,
        "frames": settings.frames,
        "batches": {
            str(batch): {"frames_per_s": rate, "ratio": rate / alone, "rounds": rates[batch]}
            for batch, rate in medians.items()
        },
        "peak_rss_gb": peak / GIGA,
    }


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    head = (f"requests, {result['precision']}", "frames/s in all", "times the first", "listeners")
    return [head] + [
        (batch, found["frames_per_s"], found["ratio"], found["frames_per_s"] / REAL_TIME)
        for batch, found in result["batches"].items()
    ]


if __name__ == "__main__":
    sys.exit(main())
