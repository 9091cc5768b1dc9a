"""Steps that met a number that is not finite: left out and counted, or the end of the run.

Knows nothing of what a step computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from faster_higgs.errors import HiggsError
from faster_higgs.train.config import RunSettings
from faster_higgs.train.journal import Say


@dataclass
class Skips:
    """How many there were, and how many in a row."""

    settings: RunSettings
    say: Say
    count: int = 0
    in_row: int = 0

    def take_out(self, step: int, metrics: dict[str, float], seen: Sequence[str]) -> None:
        """Of a step that read the clips `seen`: the mark of a skip, and what is not finite.

        Raises HiggsError where there are too many.
        """
        if not metrics.pop("skipped", 0.0):
            self.in_row = 0
            return
        self.count += 1
        self.in_row += 1
        read = _told(seen)
        bad = ", ".join(f"{k} = {v}" for k, v in metrics.items() if not math.isfinite(v))
        for name in [name for name, value in metrics.items() if not math.isfinite(value)]:
            del metrics[name]
        if self.settings.non_finite == "raise" or self.in_row > self.settings.max_skips:
            raise HiggsError(
                f"Step {step} gave numbers that are not finite ({bad}), "
                f"{self.in_row} in a row.{read} The last checkpoint is sound: go on "
                "from it with run.non_finite=skip, or begin again with a lower learning rate or "
                "without autocast."
            )
        self.say(f"Step {step} was left out: {bad}.{read} {self.count} so far.")


def _told(names: Sequence[str], most: int = 20) -> str:
    """The clips of a step, in a sentence."""
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f" It read {', '.join(names[:most])}{more}."
