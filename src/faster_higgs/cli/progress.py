"""A bar on standard error while speech is made: seconds of audio, and how fast they come.

Knows nothing of models.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

LETTERS_PER_SECOND = 14  # of ordinary speech; only the bar's length depends on it


class Bar:
    """Told of seconds as they come. Shows nothing where nobody looks: no terminal, or `hidden`."""

    def __init__(self, utterances: Sequence[str], *, hidden: bool) -> None:
        self._expected = [max(1.0, len(text) / LETTERS_PER_SECOND) for text in utterances]
        self._begin = time.monotonic()
        self._seconds = self._before = self._done = 0.0
        self._spoken = 0
        self._bar = None if hidden or not sys.stderr.isatty() else _rich(sum(self._expected))

    def __enter__(self) -> Bar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio; 0 while there is none."""
        return self.elapsed / self._seconds if self._seconds else 0.0

    def add(self, seconds: float, *, ends_utterance: bool) -> None:
        """So much more audio is there."""
        self._seconds += seconds
        if ends_utterance:
            self._done += self._expected[self._spoken]
            self._before, self._spoken = self._seconds, self._spoken + 1
        if self._bar:
            self._bar.update(
                self._bar.task_ids[0], completed=self._estimate(), description=self._told()
            )

    def _estimate(self) -> float:
        if self._spoken == len(self._expected):
            return self._done
        return self._done + min(self._seconds - self._before, self._expected[self._spoken])

    def _told(self) -> str:
        return f"{self._seconds:6.1f} s of audio, real-time factor {self.real_time_factor:.2f}"


def _rich(total: float) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.add_task("  0.0 s of audio", total=total)
    return progress
