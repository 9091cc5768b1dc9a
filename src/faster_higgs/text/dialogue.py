"""Scripts for several speakers: text with [SPEAKER0] tags to turns. Knows nothing of who the
speakers are.
"""

from __future__ import annotations

from dataclasses import dataclass

from faster_higgs.text.tags import SPEAKER


@dataclass(frozen=True)
class Turn:
    """One speaker's stretch; `speaker` is None for text before the first tag."""

    speaker: int | None
    text: str


def turns(text: str) -> list[Turn]:
    """The turns in order; a tag may stand anywhere in a line; turns without text are left out."""
    pieces = SPEAKER.split(text)
    numbered = zip((None, *map(int, pieces[2::3])), pieces[0::3], strict=True)
    return [Turn(speaker, said.strip()) for speaker, said in numbered if said.strip()]


def speakers(text: str) -> list[str]:
    """The tags that occur, each once, sorted as the original does: SPEAKER10 before SPEAKER2."""
    return sorted({found[1] for found in SPEAKER.finditer(text)})
