"""Scripts for several speakers: text with [SPEAKER0] tags to turns. Knows nothing of who the
speakers are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from faster_higgs.text.tags import SPEAKER


@dataclass(frozen=True)
class Turn:
    """One speaker's stretch; `tag` is as written, None for text before the first tag."""

    tag: str | None
    text: str


def turns(text: str) -> list[Turn]:
    """The turns in order; a tag may stand anywhere in a line; turns without text are left out."""
    pieces = SPEAKER.split(text)
    tagged = zip((None, *pieces[1::3]), pieces[0::3], strict=True)
    return [Turn(tag, said.strip()) for tag, said in tagged if said.strip()]


def speakers(text: str) -> list[str]:
    """The tags that occur, each once, sorted as the original does: SPEAKER10 before SPEAKER2."""
    return sorted({found[1] for found in SPEAKER.finditer(text)})


def by_number(tags: Iterable[str]) -> list[str]:
    """Tags in the order in which voices are given to them: SPEAKER2 before SPEAKER10."""
    return sorted(tags, key=lambda tag: (int(tag.removeprefix("SPEAKER")), tag))
