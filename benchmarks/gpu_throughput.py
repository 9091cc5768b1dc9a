"""Seconds of sound made in a second for many listeners at once, from prompts to samples.

    python benchmarks/gpu_throughput.py --precision bf16 --json OUT.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.contestants import prompt_ids
from benchmarks.flags import Flags, judged, read_flags
from benchmarks.listeners import WARM_UPS, Service, engine_for
from benchmarks.report import carry_out, peak_on, verdict
from faster_higgs.prompt.template import Prompt

MUST = 600  # seconds of sound a second, at the best number of streams
KNOWN = 60  # what is told of the original project's vLLM on an A100 with 40 GB
STREAMS = [1, 8, 32, 64, 128, 256]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    flags = Flags(__doc__ or "", device=True)
    flags.sized("streams", STREAMS, [1, 4], told="at once", type=int, nargs="+")
    flags.sized("prompt", 300, 40, told="positions of text", type=int)
    flags.sized("frames", 250, 30, told="of each stream", type=int)
    flags.add("--rounds", type=int, default=3, help="of each; default: %(default)s")
    return carry_out(lambda: read_flags(flags, arguments), measure, rows)


def measure(settings: Any) -> dict[str, Any]:
    """One number of streams after the other, loaded once; the medians."""
    engine = engine_for(max(settings.streams), settings.prompt + settings.frames)
    with Service(settings, engine) as service:
        prompts = texts(service, settings.prompt)
        once(service, prompts, 1, settings.frames)
        found = {n: point(service, prompts, n, settings) for n in settings.streams}
    best = max(found, key=lambda streams: found[streams]["sound_s_per_s"])
    return {
        "precision": settings.precision,
        "layers": settings.layers,
        "prompt": settings.prompt,
        "frames": settings.frames,
        "streams": {str(streams): one for streams, one in found.items()},
        "best_streams": best,
        "best_sound_s_per_s": found[best]["sound_s_per_s"],
        "known_sound_s_per_s": KNOWN,
        "must": judged(settings, MUST),
        "peak_card_gb": peak_on(settings.device),
    }


def texts(service: Service, positions: int) -> Iterator[Prompt]:
    """Prompts of which none begins like another, so that nobody has read a part of them."""
    for number in itertools.count():
        yield Prompt(tuple(prompt_ids(service.config, positions, number)), ())


def point(service: Service, prompts: Iterator[Prompt], streams: int, settings: Any) -> Any:
    """So many streams, again and again; the median after what warms up."""
    rounds = [
        once(service, prompts, streams, settings.frames) for _ in range(WARM_UPS + settings.rounds)
    ][WARM_UPS:]
    sound = statistics.median(rounds)
    frames = sound * service.rate / service.hop
    return {"sound_s_per_s": sound, "frames_per_s": frames, "rounds": rounds}


def once(service: Service, prompts: Iterator[Prompt], streams: int, frames: int) -> float:
    """Seconds of sound a second, from the first who asks until the last has heard all."""
    heard = service.gather(list(itertools.islice(prompts, streams)), frames)
    seconds = max(one.end for one in heard) - min(one.asked for one in heard)
    return sum(one.samples for one in heard) / service.rate / seconds


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    best, most = result["best_streams"], result["best_sound_s_per_s"]
    return [
        (f"streams, {result['precision']}", "sound s/s", "frames/s", ""),
        *(
            (streams, found["sound_s_per_s"], found["frames_per_s"], None)
            for streams, found in result["streams"].items()
        ),
        (f"best: {best}", most, None, verdict(most, result["must"])),
    ]


if __name__ == "__main__":
    sys.exit(main())
