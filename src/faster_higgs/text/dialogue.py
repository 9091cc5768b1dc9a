"""Scripts for several speakers: text with [SPEAKER0] tags to turns. Knows nothing of who the
speakers are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from faster_higgs.text.tags import SPEAKER

# The other spelling that is met in scripts.
_MARKED = re.compile(
    r"<\|speaker_id_start\|>\s*\[?(SPEAKER[0-9]{1,9})\]?(?:\s*<\|speaker_id_end\|>)?"
)


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


def tagged(text: str) -> str:
    """The same script with its speakers as [SPEAKER0], however they were marked."""
    return _MARKED.sub(r"[\1]", text)


def carried(pieces: Iterable[str]) -> list[str]:
    """The pieces of a script, each beginning with the tag of who speaks there."""
    found, tag = list[str](), ""
    for piece in pieces:
        begins = not tag or SPEAKER.match(piece.lstrip())
        found.append(piece if begins else f"[{tag}] {piece.lstrip()}")
        tags = [match[1] for match in SPEAKER.finditer(piece)]
        tag = tags[-1] if tags else tag
    return found


def by_number(tags: Iterable[str]) -> list[str]:
    """Tags in the order in which voices are given to them: SPEAKER2 before SPEAKER10."""
    return sorted(tags, key=lambda tag: (int(tag.removeprefix("SPEAKER")), tag))
