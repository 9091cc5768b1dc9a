"""Seconds the codec takes to code a corpus, clips of equal length together, beside one by one.

    python benchmarks/data_encode.py --json benchmarks/results/data_encode.json
    python benchmarks/data_encode.py --device cuda --model bosonai/higgs-audio-v2-generation-3B-base

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.contestants import quiet
from benchmarks.report import carry_out, verdict
from faster_higgs.audio.files import read
from faster_higgs.audio.levels import Samples
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.files import find_codec, resolve
from faster_higgs.codec.codec import Codec
from faster_higgs.data.encode import batches, closed, coded, frames
from faster_higgs.data.place import BATCH_SECONDS

PICO = Path(__file__).parents[1] / "src" / "faster_higgs" / "pico"
RATE = 24_000
MUST = 400.0  # seconds of sound in a second, together on a graphics card


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = parser.add_argument
    flag("--json", type=Path, help="where the result is written")
    flag("--model", type=str, default=str(PICO), help="whose codec; default: pico")
    flag("--device", default="cpu", help="default: %(default)s")
    flag("--clips", type=int, default=256, help="default: %(default)s")
    flag("--longest", type=float, default=6.0, help="seconds; default: %(default)s")
    flag("--batch-seconds", type=float, default=BATCH_SECONDS, help="default: %(default)s")
    flag("--rounds", type=int, default=3, help="of each; default: %(default)s")
    flag("--tiny", action="store_true", help="eight short clips, to try")
    return carry_out(lambda: parser.parse_args(arguments), measure, rows)


@torch.inference_mode()
def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Both ways in turns; the medians."""
    quiet()
    codec = load_codec(find_codec(resolve(settings.model)), device=settings.device, encoder=True)
    count, longest = (8, 1.0) if settings.tiny else (settings.clips, settings.longest)
    clips = corpus(count, min(1.0, longest / 2), longest, codec.hop)
    ways: dict[str, Callable[[], list[Tensor]]] = {
        "one by one": lambda: alone(codec, clips),
        "together": lambda: coded(codec, clips, settings.batch_seconds),
    }
    found = {way: work() for way, work in ways.items()}  # and both are warm
    sound = sum(map(len, clips)) / RATE
    lengths = [frames(len(clip), codec.hop) for clip in clips]
    together = list(batches(lengths, codec, settings.batch_seconds))
    result: dict[str, Any] = {
        "seconds_of_sound": sound,
        "clips": count,
        "clips_in_a_batch": count / len(together),
        "clips_with_other_codes": other(*found.values()),
        "must": MUST if settings.device.startswith("cuda") else None,
    }
    rounds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(settings.rounds):
        for way, work in ways.items():
            begin = time.perf_counter()
            work()
            rounds[way].append(time.perf_counter() - begin)
    for way, taken in rounds.items():
        seconds = statistics.median(taken)
        result[way] = {"seconds": seconds, "times_real_time": sound / seconds, "rounds": taken}
    result["ratio"] = result["one by one"]["seconds"] / result["together"]["seconds"]
    return result


def corpus(count: int, shortest: float, longest: float, hop: int) -> list[Samples]:
    """Stretches of pico's voices, of lengths as they fall."""
    voices = np.concatenate([read(path) for path in sorted((PICO / "voices").glob("*.flac"))])
    drawn = random.Random(0)
    clips = []
    for _ in range(count):
        length = round(drawn.uniform(shortest, longest) * RATE)
        begin = drawn.randrange(len(voices) - length)
        clips.append(closed(voices[begin : begin + length], hop))
    return clips


def alone(codec: Codec, clips: Sequence[Samples]) -> list[Tensor]:
    """The codes of each clip."""
    return [codec.encode(torch.from_numpy(clip).to(codec.device)).cpu() for clip in clips]


def other(one: Sequence[Tensor], two: Sequence[Tensor]) -> int:
    """How many clips have different codes; a code that is nearly a tie may fall either way."""
    return sum(not torch.equal(a, b) for a, b in zip(one, two, strict=True))


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    sound, size = result["seconds_of_sound"], result["clips_in_a_batch"]
    title = f"{result['clips']} clips, {sound:.0f} s, {size:.1f} in a batch"
    slow, fast = result["one by one"], result["together"]
    return [
        (title, "s", "x real time", ""),
        ("one by one", slow["seconds"], slow["times_real_time"], ""),
        (
            "together",
            fast["seconds"],
            fast["times_real_time"],
            verdict(fast["times_real_time"], result["must"]),
        ),
        ("clips with other codes", result["clips_with_other_codes"], "", ""),
        ("ratio", result["ratio"], "", ""),
    ]


if __name__ == "__main__":
    sys.exit(main())
