"""Web and mail addresses and telephones in English words. Knows not whether they exist."""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.addresses import addresses
from faster_higgs.text.languages.en import DOUBTFUL_DOMAINS, IN_ADDRESSES, TOP_DOMAINS
from faster_higgs.text.languages.en_numbers import digits
from faster_higgs.text.rules import A_DIGIT, stage


def _address_words(text: str) -> list[str]:
    pieces = re.findall(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]", text)
    words = []
    for at, piece in enumerate(pieces):
        after_dot = at > 0 and pieces[at - 1] == "."
        if piece.isascii() and piece.isdigit():
            words.append(digits(piece))
        elif piece.isalpha() and piece.isascii():
            words.append(
                TOP_DOMAINS[piece.lower()]
                if after_dot and piece.lower() in TOP_DOMAINS
                else _plain(piece)
            )
        elif piece in IN_ADDRESSES:
            words.append(IN_ADDRESSES[piece])
        elif piece.isalnum():
            words.append(piece)
    return words


def _plain(word: str) -> str:
    """A word, or its letters where it cannot be said."""
    return word if re.search("[aeiouyAEIOUY]", word) and len(word) > 1 else " ".join(word.upper())


def _phone(found: Match[str]) -> str:
    """Groups of digits with a pause between them."""
    groups = re.findall(r"[0-9]+", found.group())
    plus = "plus " if found.group().startswith("+") else ""
    return plus + ", ".join(
        "eight hundred" if g == "800" and i < 2 else digits(g) for i, g in enumerate(groups)
    )


def _free(found: Match[str]) -> str:
    """1-800-FLOWERS."""
    return f"one, {'eight hundred' if found['area'] == '800' else digits(found['area'])}, "


def _emergency(found: Match[str]) -> str:
    return f"{found['verb']} {digits(found['number'])}"


ADDRESSES = addresses(_address_words, TOP_DOMAINS, DOUBTFUL_DOMAINS)
AREA = r"(?:\([0-9]{3}\)[ .-]?|[0-9]{3}[.-])"
PHONES = stage(
    "telephones",
    (r"\b(?P<verb>[Cc]all|[Dd]ial)[ ](?P<number>911|999|112|411)(?![\w,.-])", _emergency),
    (
        r"\b(?P<verb>[Dd]ial|[Tt]ext)[ ](?P<number>[0-9]{4,6})"
        r"(?![0-9]|[\w,.-][0-9]|[ ](?:people|[a-z]+s)\b)",
        _emergency,
    ),
    (r"(?<![\w+-])1-(?P<area>8[0-9]{2})-(?=[A-Z])", _free),
    (rf"(?<![\w+])(?:\+?1[ .-]?)?{AREA}[0-9]{{3}}[ .-][0-9]{{4}}(?![\w-])", _phone),
    (r"(?<!\w)\+[0-9]{1,3}(?:[ .-]?\(?[0-9]{1,4}\)?){2,5}(?!\w)", _phone),
    (
        r"(?<![\w$£€.,+-])(?:\(?0[0-9]{1,4}\)?(?:[ -][0-9]{2,4}){2,5}|0[0-9]{4}[ -][0-9]{6})"
        r"(?!\w|[-.,:/][0-9])",
        _phone,
    ),
    (r"(?<![\w$£€.,-])[0-9]{3}-[0-9]{4}(?![\w-])", _phone),
    (r"(?<![\w$£€.,-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-])", _phone),
    needs=A_DIGIT,
)
