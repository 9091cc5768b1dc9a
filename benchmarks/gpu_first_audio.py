"""Milliseconds from asking to the first samples: one listener, and many who come one by one.

    python benchmarks/gpu_first_audio.py --precision bf16 --json OUT.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.contestants import TEXT, voice_prompt
from benchmarks.flags import Flags, judged, read_flags
from benchmarks.listeners import EDGES, WARM_UPS, Heard, Service, engine_for, percentile
from benchmarks.report import carry_out, limit, peak_on
from faster_higgs.prompt.template import Prompt

MOST_ALONE = 50  # ms to the first samples, half of the rounds
MOST = 300  # the same of many, 95 of 100
MOST_UNDERRUN = 100  # ms, any of them
KNOWN = 166  # ms that are told of vLLM-Omni with Higgs v3 on an H800, one stream
VOICES = 4
SHORT = 20  # frames that one listener asks for


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    flags = Flags(__doc__ or "", device=True)
    flags.sized("streams", 64, 4, told="of those who come one by one", type=int)
    flags.sized("over", 1.0, 0.1, told="seconds in which they come", type=float)
    flags.sized("clip", 250, 20, told="frames of a voice", type=int)
    flags.sized("frames", 250, 30, told="of each of the many", type=int)
    flags.sized("alone", 20, 3, told="rounds of one listener", type=int)
    flags.add("--rounds", type=int, default=3, help="of many; default: %(default)s")
    return carry_out(lambda: read_flags(flags, arguments), measure, rows)


def measure(settings: Any) -> dict[str, Any]:
    """Voices are heard once; then one listener at a time, then many."""
    voices = VOICES * (TEXT + settings.clip + EDGES)
    engine = engine_for(settings.streams, TEXT + settings.frames, voices)
    with Service(settings, engine) as service:
        prompts = texts(service, settings.clip)
        for prompt in itertools.islice(prompts, VOICES * WARM_UPS):
            service.gather([prompt], settings.frames)
        one = [service.gather([next(prompts)], SHORT)[0] for _ in range(settings.alone)]
        many = [
            crowd(service, prompts, settings, number)
            for number in range(WARM_UPS + settings.rounds)
        ][WARM_UPS:]
        rate = service.rate
    return {
        "precision": settings.precision,
        "layers": settings.layers,
        "clip_frames": settings.clip,
        "one": alone(settings, one),
        "many": together(settings, many, rate),
        "peak_card_gb": peak_on(settings.device),
    }


def texts(service: Service, clip: int) -> Iterator[Prompt]:
    """Texts of which none was read before, by the voices in turns."""
    for number in itertools.count():
        yield voice_prompt(service.config, clip, number % VOICES, number)


def crowd(service: Service, prompts: Iterator[Prompt], settings: Any, number: int) -> list[Heard]:
    """What is heard by listeners who come at random moments, the first one at once."""
    generator = torch.Generator().manual_seed(number)
    moments = (settings.over * torch.rand(settings.streams - 1, generator=generator)).tolist()
    asked = list(itertools.islice(prompts, settings.streams))
    return service.gather(asked, settings.frames, [0.0, *sorted(moments)])


def alone(settings: Any, heard: list[Heard]) -> dict[str, Any]:
    """The figures of one listener at a time."""
    first = [1000 * one.first for one in heard]
    return {
        "p50_ms": percentile(first, 50),
        "p95_ms": percentile(first, 95),
        "known_ms": KNOWN,
        "must": judged(settings, MOST_ALONE),
        "rounds": first,
    }


def together(settings: Any, rounds: list[list[Heard]], rate: int) -> dict[str, Any]:
    """The figures of all listeners of all rounds."""
    first = [[1000 * one.first for one in heard] for heard in rounds]
    underruns = [[1000 * one.underrun(rate) for one in heard] for heard in rounds]
    every = list(itertools.chain(*first))
    return {
        "streams": settings.streams,
        "over_s": settings.over,
        "frames": settings.frames,
        "p50_ms": percentile(every, 50),
        "p95_ms": percentile(every, 95),
        "must": judged(settings, MOST),
        "worst_underrun_ms": max(itertools.chain(*underruns)),
        "must_underrun": judged(settings, MOST_UNDERRUN),
        "rounds": {"first_ms": first, "underrun_ms": underruns},
    }


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    one, many = result["one"], result["many"]
    streams, underrun = many["streams"], many["worst_underrun_ms"]
    return [
        (f"first samples, {result['precision']}", "p50, ms", "p95, ms", ""),
        ("one stream", one["p50_ms"], one["p95_ms"], limit(one["p50_ms"], one["must"])),
        (f"{streams} streams", many["p50_ms"], many["p95_ms"], limit(many["p95_ms"], many["must"])),
        ("worst underrun, ms", underrun, None, limit(underrun, many["must_underrun"])),
    ]


if __name__ == "__main__":
    sys.exit(main())
