"""Who speaks for the server: a model in this process, or whatever passes for one.

Knows nothing of how it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from faster_higgs.audio.levels import Samples
from faster_higgs.delivery import Delivery
from faster_higgs.engine.engine import Stats
from faster_higgs.prompt.voices import VoiceStore
from faster_higgs.sampling import Sampling
from faster_higgs.server.order import Order
from faster_higgs.speech import Voices
from faster_higgs.spoken import Manners, Piece

OnStop = Callable[[Callable[[], None]], None]
Admit = Callable[[Order], Order]


class Engine(Protocol):
    """What the endpoints ask for. `Higgs` is one; codes are what its own `encode` makes."""

    @property
    def rate(self) -> int:
        """Samples a second."""

    @property
    def voices(self) -> VoiceStore:
        """Voices by name."""

    @property
    def manners(self) -> Manners:
        """Whose voice it is if none is named."""

    def pieces(
        self,
        text: str,
        voice: Voices = None,
        sampling: Sampling = Sampling(),
        delivery: Delivery = Delivery(),
        *,
        on_stop: OnStop | None = None,
    ) -> Iterator[Piece]:
        """Speech while it is made; as `Higgs.pieces`."""

    def encode(self, clip: Path | Samples) -> Any:
        """Codes of a clip. Raises AudioError."""

    def decode(self, codes: Any) -> Samples:
        """Samples [S] of codes."""

    def stats(self) -> Stats:
        """How it is, and what it has done."""


def as_asked(order: Order) -> Order:
    """For an engine that can do all that an order may ask for."""
    return order
