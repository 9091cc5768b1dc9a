"""Text that arrives in pieces to parts that can be spoken, each as soon as it is known to be whole.

The law: the parts are those of the whole text, however it was cut on its way. A part has something
to say: what has no letter or digit goes with what follows. Knows nothing of who sends the text.
"""

from __future__ import annotations

from typing import Literal

from faster_higgs.text.chunk import CLAUSE, SENTENCE, places
from faster_higgs.text.tags import TAG

Granularity = Literal["none", "sentence", "clause"]
LEVELS = {"sentence": SENTENCE, "clause": CLAUSE}
LONGEST_TAG = 100  # characters; what is not closed by then is no tag


class Arriving:
    """A text in the making. The granularity "none" keeps it together."""

    def __init__(self, granularity: Granularity, language: str | None = None) -> None:
        self._level = LEVELS.get(granularity)
        self._language = language
        self._count = 0
        self.waiting = ""  # what is not known to be whole

    def feed(self, text: str) -> list[str]:
        """The parts that are whole now: the word after each is there, and it tells."""
        self.waiting += text
        return self._cut(min(len(self.waiting) - 1, self._tag()))

    def finish(self) -> list[str]:
        """What is left; nothing if it was blank, or only marks after the last part."""
        found, rest = self._cut(len(self.waiting)), self.waiting.strip()
        if rest and (_says_something(rest) or not self._count):
            found.append(rest)
        self.waiting, self._count = "", 0
        return found

    def _cut(self, end: int) -> list[str]:
        """The parts that end before a word that ends at `end` or before."""
        if self._level is None:
            return []
        found, begin = list[str](), 0
        for start, stop in places(self.waiting, self._level, self._language):
            part = self.waiting[begin:start]
            if stop <= end and _says_something(part):
                found.append(part.strip())
                begin = start
        self.waiting = self.waiting[begin:]
        self._count += len(found)
        return found

    def _tag(self) -> int:
        """Where a tag begins that is not closed yet, else the end."""
        begin = self.waiting.rfind("<SE")
        whole = begin < 0 or TAG.match(self.waiting, begin) is not None
        if whole or len(self.waiting) - begin > LONGEST_TAG:
            return len(self.waiting)
        return begin


def _says_something(text: str) -> bool:
    return any(map(str.isalnum, text))
