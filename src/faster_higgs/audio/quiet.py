"""Holds back silence until speech follows it: no speech ends in a long silent tail.

Knows nothing of models.
"""

from __future__ import annotations

import numpy as np

from faster_higgs.audio.levels import Samples

AUDIBLE = 0.004  # samples above this count as sound
KEPT = 0.4  # seconds of silence that may follow the last sound
PATIENCE = 3.0  # seconds of silence after which an utterance is taken for finished


class Quiet:
    """Feed it the pieces of one utterance; it gives back what may be played now.

    What follows a silence that is too long is not heard, however the pieces were cut.
    """

    def __init__(self, rate: int) -> None:
        self._kept = round(KEPT * rate)
        self._patience = round(PATIENCE * rate)
        self._held = np.empty(0, np.float32)
        self._spoken = False

    def feed(self, samples: Samples) -> Samples:
        """Everything up to the last sound; silence after it is held until more sound comes."""
        pending = np.concatenate([self._held, samples])
        loud = np.flatnonzero(np.abs(pending) > AUDIBLE)
        sounds = np.concatenate([[-1] * self._spoken, loud]).astype(int)
        late = np.flatnonzero(np.diff(sounds) > self._patience + 1)
        timely = sounds[: late[0] + 1] if late.size else sounds
        end = int(timely[-1]) + 1 if timely.size else 0
        self._spoken = self._spoken or loud.size > 0
        self._held = pending[end:]
        return pending[:end]

    @property
    def too_long(self) -> bool:
        """Whether so much silence followed the speech that nothing more is to be expected."""
        return self._spoken and len(self._held) > self._patience

    @property
    def dropped(self) -> int:
        """Samples of silence that `finish` will leave out."""
        return max(0, len(self._held) - self._kept)

    def finish(self) -> Samples:
        """What remains at the end: a short silence."""
        tail, self._held = self._held[: self._kept], np.empty(0, np.float32)
        return tail


class Untouched(Quiet):
    """Gives everything back at once: the references drop no silence."""

    def feed(self, samples: Samples) -> Samples:
        return samples
