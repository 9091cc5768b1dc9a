"""Seconds to the first frame of a voice that was heard before, and of one that was not.

    python benchmarks/prefix.py --precision int4 --json benchmarks/results/prefix.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.contestants import Ours, voice_prompt
from benchmarks.flags import Flags, read_flags
from benchmarks.report import carry_out


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    flags = Flags(__doc__ or "")
    flags.add("--clip", type=int, default=250, help="frames of the voice; default: %(default)s")
    flags.add("--rounds", type=int, default=3, help="voices; default: %(default)s")
    return carry_out(lambda: read_flags(flags, arguments), measure, rows)


def measure(settings: Any) -> dict[str, Any]:
    """Each voice says two texts, one after the other; the medians."""
    ours = Ours(settings.model)
    columns = ours.model.config.num_codebooks + 1  # with these the first frame is whole
    taken: dict[str, list[float]] = {"new": [], "known": []}
    ours.first(columns=columns)  # warm
    for voice in range(settings.rounds):
        for text, kind in enumerate(taken):
            asked = voice_prompt(ours.model.config, settings.clip, voice, text)
            taken[kind].append(ours.first(asked, columns))
    new, known = (statistics.median(found) for found in taken.values())
    return {
        "precision": settings.precision,
        "layers": settings.layers,
        "clip_frames": settings.clip,
        "new_voice_s": new,
        "known_voice_s": known,
        "ratio": new / known,
        "rounds": taken,
    }


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    return [
        (f"first frame, {result['precision']}", "seconds"),
        ("a new voice", result["new_voice_s"]),
        ("a known voice", result["known_voice_s"]),
        ("ratio", result["ratio"]),
    ]


if __name__ == "__main__":
    sys.exit(main())
