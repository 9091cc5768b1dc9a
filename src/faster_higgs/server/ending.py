"""How the server ends: it says no to what is new while it finishes what it began.

Whoever sends it work learns of it from /health/ready and from 503, not from a closed door.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from faster_higgs.server.service import Service


class Ending(uvicorn.Server):
    """Runs until a signal, and then until nothing is left to do; a second one ends it at once."""

    def __init__(
        self, config: uvicorn.Config, service: Service, tell: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._service, self._tell = service, tell
        self._until: float | None = None  # time of `time.monotonic`, once there was a signal

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by a signal."""
        if self._until is not None:
            self._close(0.0)
        elif not self._service.desk.idle:
            self._tell("Finishing what was begun; Ctrl-C again does not wait.")
        self._service.draining = True
        self._service.jobs.leave()  # who only listens for news is let go, and holds nobody up
        self._until = time.monotonic() + self._service.settings.drain_timeout_s

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; true ends it."""
        if self._until is not None:
            left = self._until - time.monotonic()
            if left <= 0 or self._service.desk.idle:
                self._close(left)  # what is said already may still be on its way
        return await super().on_tick(counter)

    def _close(self, seconds: float) -> None:
        """Listen no longer; open connections have so long."""
        self.config.timeout_graceful_shutdown = max(1, math.ceil(seconds))
        self.should_exit = True
