"""The weights: they are there while somebody speaks, and may go when nobody did for a while.

Knows nothing of requests.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from faster_higgs.errors import EngineError, HiggsError
from faster_higgs.server.engine import Engine
from faster_higgs.server.errors import Refusal
from faster_higgs.speech import Higgs

Load = Callable[[], Higgs]


class Keeper:
    """Lets a model go and loads it again; whoever holds the `Higgs` need not know."""

    def __init__(self, higgs: Engine, load: Load | None = None) -> None:
        self._higgs, self._load = higgs, load
        self._lock = threading.RLock()  # held while weights come and go
        self._users = 0
        self._last = time.monotonic()
        self.loaded = True
        self.sent_away = False  # by its operator; then nobody may call it back in passing

    @contextmanager
    def use(self) -> Iterator[None]:
        """The weights stay until the block ends; they are loaded before if need be.

        Raises Refusal, and whatever loading raises.
        """
        with self._lock:
            if self.sent_away:
                raise Refusal(
                    503, "The model was unloaded by the operator.", "model_unloaded", None, 30.0
                )
            self.load()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._last = time.monotonic()

    def load(self) -> None:
        """Load the weights unless they are there."""
        with self._lock:
            if not self.loaded:
                self._model.revive(self._made())
                logging.getLogger(__name__).info("The model was loaded again.")
            self.loaded, self.sent_away = True, False
            self._last = time.monotonic()

    def unload(self, *, by_operator: bool = False) -> None:
        """Give the memory back. Raises Refusal while somebody speaks."""
        with self._lock:
            if self._users:
                raise Refusal(
                    409, f"{self._users} speeches are being made; drain first.", "model_in_use"
                )
            self._loader()
            if self.loaded:
                self._model.unload()
                self.loaded = False
                logging.getLogger(__name__).info("The model was unloaded.")
            self.sent_away = self.sent_away or by_operator

    def unload_if_idle(self, seconds: float) -> None:
        """Give the memory back if nobody has spoken for so long."""
        with self._lock:
            free = self.loaded and self._load is not None and not self._users
            if free and time.monotonic() - self._last >= seconds:
                self.unload()

    @property
    def _model(self) -> Higgs:
        assert isinstance(self._higgs, Higgs), "only a model here can be loaded"
        return self._higgs

    def _made(self) -> Higgs:
        try:
            return self._loader()()
        except HiggsError as error:  # of this machine, not of who asks
            raise EngineError(f"The model cannot be loaded again: {error}") from error

    def _loader(self) -> Load:
        if self._load is None:
            raise Refusal(
                409, "This server was handed its model and cannot load it.", "not_loadable"
            )
        return self._load
