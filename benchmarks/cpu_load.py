"""Seconds from a folder on a warm disk to the first drawn codes, beside transformers.

    python benchmarks/cpu_load.py --json benchmarks/results/cpu_load.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.apart import Apart
from benchmarks.contestants import Ours, Rival
from benchmarks.flags import Flags, read_flags
from benchmarks.report import GIGA, carry_out

MOST = 0.5  # times the rival's seconds
MOST_MEMORY = 1.1  # times the weights
_BLOCK = 1 << 24


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    flags = Flags(__doc__ or "", precision=False)
    flags.add("--rounds", type=int, default=3, help="of each; default: %(default)s")
    return carry_out(lambda: read_flags(flags, arguments), measure, rows)


def measure(settings: Any) -> dict[str, Any]:
    """A fresh process for each round of each; the medians."""
    contestants = {
        "ours": lambda: once(Ours, settings.model),
        "rival": lambda: once(Rival, settings.rival_model),
    }
    weights = warm(settings.model)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(settings.rounds):
        for name, load in contestants.items():
            rounds[name].append(load())
    ours, theirs = (middle(rounds[name]) for name in contestants)
    return {
        "layers": settings.layers,
        "seconds": ours["seconds"],
        "rival_seconds": theirs["seconds"],
        "time_fraction": ours["seconds"] / theirs["seconds"],
        "weights_gb": weights / GIGA,
        "peak_rss_gb": ours["peak"] / GIGA,
        "rival_peak_rss_gb": theirs["peak"] / GIGA,
        "memory_fraction": ours["peak"] / weights,
        "rival_memory_fraction": theirs["peak"] / weights,
        "rounds": rounds,
    }


def warm(folder: Path) -> int:
    """Read every file once, so that the disk is left out; the bytes of the weights."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                total += len(block)
    return total


def once(make: Callable[..., Any], *given: object) -> dict[str, float]:
    """Load, read a prompt, draw; what it took."""
    with Apart(make, *given) as made:
        first = made.ask("first")
        load = made.ask("facts")["load_seconds"]
        return {
            "seconds": load + first,
            "load_seconds": load,
            "first_seconds": first,
            "peak": made.peak_memory,
        }


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    return [
        ("", "seconds", "peak RSS, GB", "times the weights"),
        ("ours", result["seconds"], result["peak_rss_gb"], result["memory_fraction"]),
        (
            "transformers",
            *(result[f"rival_{key}"] for key in ("seconds", "peak_rss_gb", "memory_fraction")),
        ),
        ("fraction", result["time_fraction"], f"at most {MOST:g}", f"at most {MOST_MEMORY:g}"),
    ]


if __name__ == "__main__":
    sys.exit(main())
