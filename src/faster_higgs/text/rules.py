"""What a rule of the normaliser is. Knows no language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Replace = str | Callable[[re.Match[str]], str]
Pair = tuple[str, Replace]
A_DIGIT = re.compile("[0-9]")
SENTENCE_BREAK = re.compile(r"[\"')\]]*(?:$|\n|[ ]+[\"'(]?[A-Z\ue000])")

NEAR = 24  # characters in which a neighbouring word is looked for
WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Rule:
    """Replace every match of a pattern; `stage` is the name under which the change is shown."""

    stage: str
    pattern: re.Pattern[str]
    replace: Replace
    needs: re.Pattern[str] | None = (
        None  # without a match of this the pattern cannot match: a quick look saves a slow one
    )

    def __call__(self, text: str) -> str:
        if self.needs and not self.needs.search(text):
            return text
        return self.pattern.sub(self.replace, text)


def stage(name: str, *pairs: Pair, needs: re.Pattern[str] | None = None) -> tuple[Rule, ...]:
    """The rules of one stage, in order, from patterns and replacements."""
    return tuple(Rule(name, re.compile(pattern), replace, needs) for pattern, replace in pairs)


def any_of(words: Iterable[str]) -> str:
    """A pattern that matches any of the words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))


def ends_sentence(found: re.Match[str]) -> bool:
    """Whether a sentence may end after the match: nothing follows, or a capital does."""
    return SENTENCE_BREAK.match(found.string, found.end()) is not None


def neighbours(found: re.Match[str]) -> list[str]:
    """The words of two letters or more before and after a match, where they are near."""
    before = found.string[max(0, found.start() - NEAR) : found.start()]
    after = found.string[found.end() : found.end() + NEAR]
    return WORD.findall(before)[-1:] + WORD.findall(after)[:1]
