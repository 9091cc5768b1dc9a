"""Vietnamese syllables: where the tone mark stands, and the names of letters. Knows no words.

Tone marks stand where most keyboards put them: hòa, khỏe, thúy, not hoà, khoẻ, thuý. After qu a
toned i, and the whole word "qui", are written with y: quý, quỹ, quy.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from re import Match

from faster_higgs.text.languages.vi import LETTER_NAMES, LOWER, UPPER
from faster_higgs.text.rules import stage

TONES = frozenset("\u0300\u0301\u0303\u0309\u0323")
SYLLABLE = re.compile(  # without its tone
    r"(?P<onset>ngh|ng|nh|kh|ph|th|tr|ch|gh|qu(?=[aăâeêioôơy])|gi(?=[aăâeêoôơuư])|[bcdđghklmnprstvx]|)"
    r"(?P<vowels>[aăâeêioôơuưy]{1,3})(?P<coda>ng|nh|ch|[cmnpt]|)"
)
MARKED = frozenset("ăâêôơư")
WORD = (
    rf"(?<![{LOWER}{UPPER}\u0300-\u036f])[{LOWER}{UPPER}]{{2,7}}(?![{LOWER}{UPPER}\u0300-\u036f])"
)


@lru_cache(maxsize=16384)
def placed(word: str) -> str:
    """A syllable with its tone mark where it belongs; what is no syllable stays."""
    apart = unicodedata.normalize("NFD", word)
    tones = [sign for sign in apart if sign in TONES]
    if len(tones) != 1:
        return word
    plain = unicodedata.normalize("NFC", apart.replace(tones[0], ""))
    found = SYLLABLE.fullmatch(plain.lower())
    if not found:
        return word
    at = found.start("vowels") + _bearer(found["vowels"], bool(found["coda"]))
    return unicodedata.normalize("NFC", plain[: at + 1] + tones[0] + plain[at + 1 :])


def _bearer(vowels: str, closed: bool) -> int:
    """Which of the vowels bears the tone: the last with a mark of its own, else the last before a
    consonant, else the first of two and the middle one of three.
    """
    marked = [at for at, vowel in enumerate(vowels) if vowel in MARKED]
    if marked:
        return marked[-1]
    return len(vowels) - 1 if closed else (len(vowels) - 1) // 2


def is_syllable(word: str) -> bool:
    """Whether a word in plain letters can be said as a Vietnamese syllable without a tone."""
    found = SYLLABLE.fullmatch(word.lower())
    return found is not None and found["coda"] not in ("c", "ch", "p", "t")


def is_said(word: str) -> bool:
    """Whether a word, with or without a tone, can be said as a Vietnamese syllable."""
    apart = unicodedata.normalize("NFD", word.lower())
    tones = [sign for sign in apart if sign in TONES]
    plain = unicodedata.normalize("NFC", "".join(sign for sign in apart if sign not in TONES))
    return len(tones) < 2 and SYLLABLE.fullmatch(plain) is not None


def spelled(word: str) -> str:
    """The names of its letters: HIV -> hát i vê."""
    return " ".join(LETTER_NAMES.get(letter, letter) for letter in word.lower())


def said(word: str) -> str:
    """A piece of a name or an address: a word, or its letters where it cannot be said."""
    can_be_said = len(word) > 1 and re.search("[aeiouy]", word.lower())
    return word if can_be_said or not word.isascii() else spelled(word)


def _with_y(found: Match[str]) -> str:
    vowel = unicodedata.normalize("NFD", found["vowel"])
    return found["qu"] + unicodedata.normalize("NFC", ("Y" if vowel[0] == "I" else "y") + vowel[1:])


EDGE = f"(?![{LOWER}{UPPER}])"
LETTERS = stage(
    "tone marks",
    ("ð", "đ"),
    ("Ð", "Đ"),
    (WORD, lambda m: placed(m.group())),
    (rf"\b(?P<qu>[Qq][Uu])(?P<vowel>[ìíỉĩịÌÍỈĨỊ])(?=(?:t|nh|T|NH)?{EDGE})", _with_y),
    (rf"\b(?P<qu>[Qq][Uu])(?P<vowel>[iI]){EDGE}", _with_y),
)
