"""Seconds of `higgs say` with a short sentence, shell to file, and what a second of sound costs.

    python benchmarks/pico_cold.py --json benchmarks/results/pico_cold.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report import carry_out
from evals import machine
from faster_higgs.checkpoint.files import PACKAGED
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.testing import tiny_checkpoint

MOST_SECONDS = 4
MOST_RTF = 0.25
SENTENCE = "The kettle is on, and the train to the coast leaves in twenty minutes."


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = parser.add_argument
    flag("--json", type=Path, help="where the result is written")
    flag("--rounds", type=int, default=3, help="of each; default: %(default)s")
    flag("--tiny", action="store_true", help="a model of a few thousand weights, to try")
    return carry_out(lambda: parser.parse_args(arguments), asked, rows)


def asked(settings: argparse.Namespace) -> dict[str, Any]:
    """The figures of pico, or of a model to try."""
    with TemporaryDirectory() as made:
        folder = tiny_checkpoint(made) if settings.tiny else PACKAGED
        return measure(folder, settings.rounds)


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """The command from cold, then the loaded model."""
    cold = machine.cold_start(folder, rounds)
    with Higgs.load(folder) as higgs:
        speak(higgs, 0)  # warm
        factors = [speak(higgs, seed) for seed in range(rounds)]
    return {
        "cold_start_s": cold,
        "rtf": statistics.median(factors),
        "sentence": SENTENCE,
        "rounds": {"rtf": factors},
    }


def speak(higgs: Higgs, seed: int) -> float:
    """Seconds of work for a second of sound."""
    begin = time.perf_counter()
    speech = higgs.speak(SENTENCE, sampling=Sampling(seed=seed, max_new_tokens=250))
    return (time.perf_counter() - begin) / (len(speech.samples) / higgs.rate)


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    return [
        ("", "seconds", ""),
        ("`higgs say`, cold", result["cold_start_s"], f"at most {MOST_SECONDS}"),
        ("a second of sound", result["rtf"], f"at most {MOST_RTF}"),
    ]


if __name__ == "__main__":
    sys.exit(main())
