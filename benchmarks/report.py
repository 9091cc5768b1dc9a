"""What every benchmark writes: a table for the eye, and JSON that says what it was measured with.

Knows nothing of what is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from evals import machine
from faster_higgs.errors import HiggsError, OutputError
from faster_higgs.native import kernels

GIGA = 1e9  # bytes; memory and bandwidth are told in these
STAT = Path("/proc/stat")
BUSY = 0.1  # of the cores; above it figures are too low


def about(device: str = "cpu") -> dict[str, Any]:
    """Hardware, versions, commit, date, the kernels, and how busy others kept the machine."""
    return {
        "busy": busy(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "threads": torch.get_num_threads(),
        "kernels": kernels.find().reason,
        "machine": machine.machine(),
        "device": device,
        "card": card(device),
        "versions": machine.versions(),
    }


def finish(
    result: Mapping[str, Any],
    rows: Iterable[Sequence[object]],
    path: Path | None,
    device: str = "cpu",
) -> None:
    """Print the rows as a table, and write the result where that is asked for."""
    print(*table(rows), sep="\n")
    facts = about(device)
    if facts["card"]:
        print(f"\n{facts['card']['name']}")
    if facts["busy"] > BUSY:
        print(f"Others keep {facts['busy']:.0%} of the cores busy; measure again.", file=sys.stderr)
    if path:
        write(path, {**result, **facts})
        print(f"\n{path}")


def carry_out(
    ask: Callable[[], Any],
    measure: Callable[[Any], Mapping[str, Any]],
    rows: Callable[[Any], Iterable[Sequence[object]]],
) -> int:
    """Measure what is asked for and finish; the exit code, after a sentence for a mistake."""
    try:
        settings = ask()
        result = measure(settings)
        finish(result, rows(result), settings.json, getattr(settings, "device", "cpu"))
    except HiggsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def busy(seconds: float = 0.5) -> float:
    """Share of the cores that is taken while this process sleeps; 0 where nothing tells."""
    before = _jiffies()
    time.sleep(seconds)
    spent = [after - then for after, then in zip(_jiffies(), before, strict=True)]
    return round(1 - sum(spent[3:5]) / sum(spent), 2) if sum(spent) else 0.0


def card(device: str) -> dict[str, str | float | None] | None:
    """The graphics card of that name, and the CUDA torch was built with; None if it is none."""
    if not device.startswith("cuda"):
        return None
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "memory_gb": round(found.total_memory / GIGA, 1),
        "capability": f"{found.major}.{found.minor}",
        "cuda": torch.version.cuda,
    }


def peak_on(device: str) -> float | None:
    """GB that torch took of a card at the most; None where the device is none."""
    return torch.cuda.max_memory_reserved(device) / GIGA if device.startswith("cuda") else None


def _jiffies() -> list[int]:
    """What the cores did so far: user, nice, system, idle, waiting for disks, and so on."""
    if not STAT.is_file():
        return []
    return [int(count) for count in STAT.read_text().split("\n", 1)[0].split()[1:9]]


def table(rows: Iterable[Sequence[object]]) -> list[str]:
    """Columns below each other, the first to the left and the others to the right."""
    cells = [[told(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in cells
    ]


def told(value: object) -> str:
    """Numbers with three digits that count, the rest as it is."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def verdict(value: float, least: float | None) -> str:
    """What is printed beside a ratio that has to be reached."""
    if least is None:
        return ""
    return f"must be {least:g}: {'reached' if value >= least else 'MISSED'}"


def limit(value: float, most: float | None) -> str:
    """What is printed beside a figure that has to stay small."""
    if most is None:
        return ""
    return f"at most {most:g}: {'kept' if value <= most else 'MISSED'}"


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Whole or not at all. Raises OutputError."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None
