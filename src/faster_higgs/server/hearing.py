"""What threads tell the loop: what is urgent wakes it, the rest it hears together, soon after.

Knows nothing of what is told.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

SOON = 0.01  # seconds
_log = logging.getLogger(__name__)


class Hearing:
    """The ear of one loop, for all threads that tell it something."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._told: list[Callable[[], None]] = []
        self._lock = threading.Lock()  # of what stands above and below
        self._woken = False
        self._listening = False  # what is told now is heard soon, without being woken
        self._again = False  # whether it will listen by itself; on the loop only

    def tell(self, heard: Callable[[], None], *, urgent: bool) -> None:
        """Let `heard` be called on the loop, in order. Raises RuntimeError if it is closed."""
        with self._lock:
            self._told.append(heard)
            wake = not self._listening or (urgent and not self._woken)
            if wake:
                self._woken = self._listening = True
        if wake or self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        with self._lock:
            told, self._told = self._told, []
            self._woken, self._listening = False, bool(told)
        if told and not self._again:
            self._again = True
            self.loop.call_later(SOON, self._hear_again)
        for heard in told:
            try:
                heard()
            except Exception:  # noqa: BLE001  the others must be heard
                _log.exception("Something told to the loop could not be heard.")

    def _hear_again(self) -> None:
        self._again = False
        self._hear()
