"""The learning rate as a function of the step. Knows nothing of optimisers or clocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from faster_higgs.train.config import RunSettings


@dataclass
class Schedule:
    """A factor between 0 and 1 for every step.

    A trapezoid warms up, stays, and comes down at the end. Where the end is known only as a time,
    the run calls `come_down` when it draws near; from then on the factor follows from the step.
    """

    settings: RunSettings
    decay_start: int | None = None
    decay_steps: int = 0

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by at `step`, counted from 0."""
        settings = self.settings
        warm = min(1.0, (step + 1) / (settings.warmup + 1))
        if settings.schedule == "constant":
            return warm
        if settings.schedule == "cosine":
            assert settings.steps is not None
            fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, step / settings.steps))
        else:
            fall = math.sqrt(self._way_down(step))
        return warm * (1 - (1 - settings.floor) * fall)

    def _way_down(self, step: int) -> float:
        start, steps = self._descent()
        return (
            0.0 if start is None or step < start else min(1.0, (step + 1 - start) / max(1, steps))
        )

    def _descent(self) -> tuple[int | None, int]:
        if self.decay_start is None and self.settings.steps is not None:
            steps = round(self.settings.steps * self.settings.decay)
            return self.settings.steps - steps, steps
        return self.decay_start, self.decay_steps

    def come_down(self, step: int, steps: int) -> None:
        """Begin the descent at `step`, to end `steps` later."""
        self.decay_start, self.decay_steps = step, max(1, steps)

    @property
    def end(self) -> int | None:
        """The step at which a descent that was begun by the clock is over."""
        return None if self.decay_start is None else self.decay_start + self.decay_steps

    def to_json(self) -> dict[str, Any]:
        """What cannot be worked out from the settings."""
        return {"decay_start": self.decay_start, "decay_steps": self.decay_steps}

    def restore(self, data: dict[str, Any], step: int) -> None:
        """Take up what `to_json` wrote; a descent that is over is forgotten, training goes on."""
        self.decay_start, self.decay_steps = data["decay_start"], data["decay_steps"]
        if self.end is not None and step >= self.end:
            self.decay_start, self.decay_steps = None, 0
