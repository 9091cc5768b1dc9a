"""Signals that ask a run to stop. Knows nothing of runs."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from faster_higgs.train.journal import Say


@dataclass
class Stopper:
    """Turns the first SIGINT or SIGTERM into a wish to stop; the second works as usual."""

    say: Say
    wanted: bool = False
    _old: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            self._old = {
                number: signal.signal(number, self._note)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        signal.signal(number, self._old[number])
        with suppress(RuntimeError):  # in the middle of another line
            self.say("Stopping after this step, then saving; once more to stop at once.")

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
