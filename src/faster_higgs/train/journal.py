"""What a run tells: a line for people, metrics.jsonl, and TensorBoard curves where it is installed.

Knows nothing of models; it is given numbers by name.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faster_higgs.errors import OutputError
from faster_higgs.train import figures

Say = Callable[[str], None]
LINE = {"clips": "clips/s", "audio_s": "s of sound/s", "frames": "frames/s"}
"""The amounts that people are told of."""
AMOUNTS = ("num_", "seconds_")


class Journal:
    """Collects the metrics of steps and writes their means down."""

    def __init__(self, folder: Path, say: Say, device: torch.device | None = None) -> None:
        self._folder, self._device = folder, device or torch.device("cpu")
        self._board: Any = None
        self._draws = False
        self._say = say
        self._seen: dict[str, list[float]] = {}
        self._since = time.monotonic()

    def add(self, metrics: Mapping[str, float]) -> None:
        """The metrics of one step.

        Names with 'num_' in front are amounts, which become rates; those with 'seconds_' are times,
        which become shares of all the time.
        """
        for name, value in metrics.items():
            self._seen.setdefault(name, []).append(value)

    def flush(
        self, step: int, extra: Mapping[str, float], left: str, steps: int | None = None
    ) -> None:
        """Write each name's mean over the steps that gave it, and a line for people.

        `left` tells how long the run goes on, and `steps` is their number, if that is known.
        """
        rates = self._rates()
        means = {n: sum(v) / len(v) for n, v in self._seen.items() if not n.startswith(AMOUNTS)}
        machine = figures.of_machine(self._device)
        speed = {**rates, **figures.of_speed(rates, self._device)}
        self.write(step, {**means, **speed, **machine, **extra})
        done = f"{step:,}/{steps:,}" if steps else f"{step:,}"
        shown = [
            f"{_rounded(rates[f'{name}_per_second'])} {words}"
            for name, words in LINE.items()
            if f"{name}_per_second" in rates
        ]
        loss = f"loss {means.get('loss', float('nan')):.3f}"
        memory = f"{machine['memory_peak_gb']:.1f} GB"
        self._say("  ".join([f"step {done}", loss, *shown, left, memory]))
        self._seen, self._since = {}, time.monotonic()

    def _rates(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self._since, 1e-9)
        return {
            name.removeprefix(start) + end: sum(values) / seconds
            for name, values in self._seen.items()
            for start, end in zip(AMOUNTS, ("_per_second", "_share"), strict=True)
            if name.startswith(start)
        }

    def open(self) -> None:
        """Make the folder and begin the curves."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._board = _board(self._folder, self._say)
        self._draws = importlib.util.find_spec("matplotlib") is not None
        if self._board is not None and not self._draws:
            self._say("matplotlib is not installed (extra 'train'); sounds are not drawn.")
        self._since = time.monotonic()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars of a step, to both places."""
        path = self._folder / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written: {error.strerror}. The last checkpoint is whole; free "
                "some space and resume."
            ) from error
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(figures.tag(name), value, step)

    def sound(self, step: int, name: str, samples: Tensor, rate: int) -> None:
        """Something to listen to, in TensorBoard only."""
        if self._board is not None:
            self._board.add_audio(name, samples[None], step, sample_rate=rate)

    def picture(self, step: int, name: str, samples: Tensor, rate: int) -> None:
        """Waveform and spectrogram of a sound, in TensorBoard only."""
        if self._board is not None and self._draws:
            from faster_higgs.audio.picture import pixels

            self._board.add_image(name, pixels(samples.numpy(), rate), step, dataformats="HWC")

    def line(self, text: str) -> None:
        """A line for people."""
        self._say(text)

    def close(self) -> None:
        """Write out what is held back."""
        if self._board is not None:
            self._board.close()


class Quiet:
    """The journal of those who do not lead: whatever it is told, it says nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _rounded(rate: float) -> str:
    """With a digit more where it is small."""
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.1f}"


def _board(folder: Path, say: Say) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed (extra 'train'); the curves are in metrics.jsonl only.")
        return None
    return SummaryWriter(str(folder / "curves"))
