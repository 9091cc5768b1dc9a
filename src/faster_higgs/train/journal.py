"""What a run tells: a line for people, metrics.jsonl, and TensorBoard curves where it is installed.

Knows nothing of models; it is given numbers by name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from faster_higgs.errors import OutputError

Say = Callable[[str], None]


class Journal:
    """Collects the metrics of steps and writes their means down."""

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder = folder
        self._board: Any = None
        self._say = say
        self._seen: dict[str, list[float]] = {}
        self._since = time.monotonic()

    def add(self, metrics: Mapping[str, float]) -> None:
        """The metrics of one step. Names with 'num_' in front are amounts; they become rates."""
        for name, value in metrics.items():
            self._seen.setdefault(name, []).append(value)

    def flush(self, step: int, extra: Mapping[str, float], left: str) -> None:
        """Write each name's mean over the steps that gave it, and a line for people."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        means = {n: sum(v) / len(v) for n, v in self._seen.items() if not n.startswith("num_")}
        rates = {
            f"{n[4:]}_per_second": sum(v) / seconds
            for n, v in self._seen.items()
            if n.startswith("num_")
        }
        self.write(step, {**means, **rates, **extra})
        amounts = ", ".join(
            f"{value:,.0f} {name.replace('_per_second', '/s')}" for name, value in rates.items()
        )
        self._say(f"step {step}  loss {means.get('loss', float('nan')):.4f}  {amounts}  {left}")
        self._seen, self._since = {}, time.monotonic()

    def open(self) -> None:
        """Make the folder and begin the curves."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._board = _board(self._folder, self._say)
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
                self._board.add_scalar(name, value, step)

    def sound(self, step: int, name: str, samples: Tensor, rate: int) -> None:
        """Something to listen to, in TensorBoard only."""
        if self._board is not None:
            self._board.add_audio(name, samples[None], step, sample_rate=rate)

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


def _board(folder: Path, say: Say) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed (extra 'train'); the curves are in metrics.jsonl only.")
        return None
    return SummaryWriter(str(folder / "curves"))
