"""Pauses in a text: [pause:500ms] and [pause:1.5s] cut it, and nothing is heard there for so long.

Knows nothing of samples.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from faster_higgs.errors import TextError

LONGEST = 10.0  # seconds
LONGEST_TOGETHER = 600.0
PAUSE = re.compile(
    r"[\[【]\s*pause\s*[:：]\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(ms|s)\s*[\]】]", re.IGNORECASE
)
_LIKE_ONE = re.compile(r"[\[【]\s*pause\s*(?:[:：][^\]】\n]{0,40}[\]】]?|[\]】])", re.IGNORECASE)


class Stretch(NamedTuple):
    """A piece of text, and the silence before it in seconds."""

    text: str
    before: float = 0.0


def stretches(text: str) -> list[Stretch]:
    """The text between its pauses, which may be blank. Raises TextError for what is no pause."""
    first, *rest = PAUSE.split(text)
    found = [Stretch(first)]
    for number, unit, said in zip(rest[0::3], rest[1::3], rest[2::3], strict=True):
        found.append(Stretch(said, _seconds(number, unit)))
    for said, _ in found:
        if wrong := _LIKE_ONE.search(said):
            raise TextError(
                f"'{wrong.group()}' is not a pause; write [pause:500ms] or [pause:1.5s]."
            )
    if sum(one.before for one in found) > LONGEST_TOGETHER:
        raise TextError(
            f"The pauses of this text are longer than {LONGEST_TOGETHER:g} s together; split it."
        )
    return found


def written(seconds: float) -> str:
    """A pause as it stands in a text."""
    return f"[pause:{seconds:.3f}s]"


def _seconds(number: str, unit: str) -> float:
    seconds = float(number) / (1000 if unit.lower() == "ms" else 1)
    if seconds > LONGEST:
        raise TextError(f"A pause of {seconds:g} s is too long; one may last {LONGEST:g} s.")
    return seconds
