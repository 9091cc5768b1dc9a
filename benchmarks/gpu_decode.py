"""Frames a second of one request on a graphics card, beside what its memory allows.

    python benchmarks/gpu_decode.py --precision bf16 --json benchmarks/results/gpu_decode_bf16.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bandwidth import copy_bandwidth
from benchmarks.contestants import Ours, planned
from benchmarks.flags import Flags, judged, read_flags
from benchmarks.listeners import WARM_UPS
from benchmarks.report import GIGA, carry_out, peak_on, verdict

MUST = {"bf16": 0.75, "int8": 0.6, "int4": 0.5}  # of the floor


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    flags = Flags(__doc__ or "", device=True)
    flags.sized("frames", 250, 10, told="of each round", type=int)
    flags.add("--rounds", type=int, default=3, help="default: %(default)s")
    return carry_out(lambda: read_flags(flags, arguments), measure, rows)


def measure(settings: Any) -> dict[str, Any]:
    """The bandwidth while the card is empty, then the rounds; their median."""
    bandwidth = copy_bandwidth(settings.device, settings.memory)
    plan = planned(settings)
    ours = Ours(settings.model, plan.device, plan.engine)
    rounds = [ours.rate(1, settings.frames) for _ in range(WARM_UPS + settings.rounds)][WARM_UPS:]
    bytes_per_frame = ours.facts()["bytes_per_frame"]
    rate, floor = statistics.median(rounds), bandwidth / bytes_per_frame
    return {
        "precision": settings.precision,
        "layers": settings.layers,
        "frames": settings.frames,
        "frames_per_s": rate,
        "floor_frames_per_s": floor,
        "floor_fraction": rate / floor,
        "must": judged(settings, MUST.get(settings.precision)),
        "bytes_per_frame": bytes_per_frame,
        "bandwidth_gb_s": bandwidth / GIGA,
        "peak_card_gb": peak_on(settings.device),
        "rounds": rounds,
    }


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    fraction = result["floor_fraction"]
    return [
        (f"one request, {result['precision']}", "frames/s", ""),
        ("ours", result["frames_per_s"], None),
        ("floor", result["floor_frames_per_s"], f"{result['bandwidth_gb_s']:.0f} GB/s"),
        ("fraction", fraction, verdict(fraction, result["must"])),
    ]


if __name__ == "__main__":
    sys.exit(main())
