"""Frames a second while audio is decoded, beside transformers on the same cores, in turns.

    python benchmarks/cpu_decode.py --precision int4 --json benchmarks/results/cpu_decode_int4.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.apart import Apart
from benchmarks.bandwidth import read_bandwidth
from benchmarks.contestants import Ours, Rival
from benchmarks.flags import Flags, read_flags
from benchmarks.report import GIGA, carry_out, verdict

MUST = {"bf16": 1.1, "int8": 2.5, "int4": 6.0}  # times the rival, batch 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    flags = Flags(__doc__ or "")
    flags.add("--batch", type=int, default=1, help="requests at once; default: %(default)s")
    flags.add("--frames", type=int, default=50, help="of each round; default: %(default)s")
    flags.add("--rounds", type=int, default=3, help="of each; default: %(default)s")
    flags.add("--no-rival", action="store_true", help="measure ours alone")
    return carry_out(lambda: read_flags(flags, arguments), measure, rows)


def measure(settings: Any) -> dict[str, Any]:
    """Both loaded once, then in turns; the medians."""
    folder = settings.model
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        players = {"ours": stack.enter_context(Apart(Ours, folder))}
        if not settings.no_rival:
            players["rival"] = stack.enter_context(Apart(Rival, settings.rival_model))
        for player in players.values():
            player.ask("rate", settings.batch, 2)  # warm
        bandwidth = read_bandwidth(settings.memory)
        for _ in range(settings.rounds):
            for name, player in players.items():
                rate = player.ask("rate", settings.batch, settings.frames)
                rates.setdefault(name, []).append(rate)
        peaks = {name: player.peak_memory / GIGA for name, player in players.items()}
        facts = players["ours"].ask("facts")
    return summary(settings, rates, peaks, facts["bytes_per_frame"], bandwidth)


def summary(
    settings: Any,
    rates: dict[str, list[float]],
    peaks: dict[str, float],
    bytes_per_frame: int,
    bandwidth: float,
) -> dict[str, Any]:
    """The figures that are written."""
    ours = statistics.median(rates["ours"])
    theirs = statistics.median(rates["rival"]) if "rival" in rates else None
    floor = settings.batch * bandwidth / bytes_per_frame
    return {
        "precision": settings.precision,
        "batch": settings.batch,
        "layers": settings.layers,
        "frames": settings.frames,
        "frames_per_s": ours,
        "rival_frames_per_s": theirs,
        "ratio": ours / theirs if theirs else None,
        "must": MUST[settings.precision] if settings.batch == 1 and not settings.tiny else None,
        "floor_fraction": ours / floor,
        "bytes_per_frame": bytes_per_frame,
        "bandwidth_gb_s": bandwidth / GIGA,
        "peak_rss_gb": peaks["ours"],
        "rival_peak_rss_gb": peaks.get("rival"),
        "rounds": rates,
    }


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    found = [
        ("", "frames/s", "peak RSS, GB"),
        (f"ours, {result['precision']}", result["frames_per_s"], result["peak_rss_gb"]),
        ("floor", result["frames_per_s"] / result["floor_fraction"], None),
    ]
    if result["ratio"] is None:
        return found
    rival = ("transformers, bf16", result["rival_frames_per_s"], result["rival_peak_rss_gb"])
    return [*found, rival, ("ratio", result["ratio"], verdict(result["ratio"], result["must"]))]


if __name__ == "__main__":
    sys.exit(main())
