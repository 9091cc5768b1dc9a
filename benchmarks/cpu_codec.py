"""Seconds the codec takes for a clip, both ways, beside transformers with the same weights.

    python benchmarks/cpu_codec.py --json benchmarks/results/cpu_codec.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.contestants import quiet
from benchmarks.report import carry_out, verdict
from benchmarks.weights import codec_folder, scratch
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.errors import EngineError, MissingExtra

MUST = {"decode": 1.5, "encode": 1.2}  # times the rival
CLOSE = 1e-3  # of the loudest sample; what float32 leaves of a difference

Work = Callable[[], torch.Tensor]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = parser.add_argument
    flag("--json", type=Path, help="where the result is written")
    flag("--folder", type=Path, default=scratch(), help="of weights; default: %(default)s")
    flag("--seconds", type=float, default=10.0, help="of sound; default: %(default)s")
    flag("--rounds", type=int, default=3, help="of each; default: %(default)s")
    flag("--tiny", action="store_true", help="a codec of a few thousand weights, to try")
    return carry_out(lambda: parser.parse_args(arguments), measure, rows)


@torch.inference_mode()
def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Both codecs in turns; the medians."""
    with TemporaryDirectory() as made:
        folder = codec_folder(Path(made) if settings.tiny else settings.folder, tiny=settings.tiny)
        ours, theirs = contestants(folder, settings.seconds)
        result: dict[str, Any] = {"seconds_of_sound": settings.seconds}
        for way in MUST:
            refuse_different(way, ours[way](), theirs[way]())  # and both are warm
            result[way] = race(ours[way], theirs[way], settings.rounds)
            result[way]["must"] = None if settings.tiny else MUST[way]
    return result


def contestants(folder: Path, seconds: float) -> tuple[dict[str, Work], dict[str, Work]]:
    """What each has to do: codes to samples, and samples to codes."""
    from transformers import HiggsAudioV2TokenizerModel

    if importlib.util.find_spec("torchaudio") is None:
        raise MissingExtra(
            "The rival, transformers' codec, needs torchaudio; install the release that belongs "
            "to this torch."
        )
    quiet()
    codec = load_codec(folder)
    rival = HiggsAudioV2TokenizerModel.from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(0)
    frames = round(seconds * codec.config.frame_rate)
    shape = (1, codec.num_codebooks, frames)
    codes = torch.randint(codec.config.codebook_size, shape, generator=generator)
    samples = 0.1 * torch.randn(1, frames * codec.hop, generator=generator)
    return (
        {"decode": lambda: codec.decode(codes), "encode": lambda: codec.encode(samples)},
        {
            "decode": lambda: rival.decode(codes).audio_values[:, 0],
            "encode": lambda: rival.encode(samples[:, None]).audio_codes,
        },
    )


def refuse_different(way: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """A race between two that do different things says nothing. Raises EngineError."""
    if way == "encode":  # a code that is nearly a tie may fall either way
        same = ours.shape == theirs.shape and float((ours == theirs).float().mean()) > 0.98
    else:
        same = ours.shape == theirs.shape
        same = same and bool((ours - theirs).abs().max() <= CLOSE * theirs.abs().max())
    if not same:
        raise EngineError(f"Both codecs {way} to different results; nothing was measured.")


def race(ours: Work, theirs: Work, rounds: int) -> dict[str, Any]:
    """In turns, so that a busy moment of the machine meets both."""
    taken: dict[str, list[float]] = {"ours": [], "rival": []}
    for _ in range(rounds):
        for name, work in (("ours", ours), ("rival", theirs)):
            begin = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - begin)
    mine, rival = (statistics.median(taken[name]) for name in ("ours", "rival"))
    return {"seconds": mine, "rival_seconds": rival, "ratio": rival / mine, "rounds": taken}


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    found: list[tuple[object, ...]] = [
        (f"{result['seconds_of_sound']:g} s of sound", "ours, s", "transformers, s", "ratio", "")
    ]
    for way in MUST:
        seconds, rival, ratio = (result[way][key] for key in ("seconds", "rival_seconds", "ratio"))
        found.append((way, seconds, rival, ratio, verdict(ratio, result[way]["must"])))
    return found


if __name__ == "__main__":
    sys.exit(main())
