"""Web and mail addresses and telephones in Vietnamese words. Knows not whether they exist."""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.addresses import addresses
from faster_higgs.text.languages.vi import (
    CALLING,
    CODE_WORDS,
    CURRENCY_CODES,
    DONG,
    DOUBTFUL_DOMAINS,
    IN_ADDRESSES,
    MAGNITUDES,
    TOP_DOMAINS,
)
from faster_higgs.text.languages.vi_letters import said, spelled
from faster_higgs.text.languages.vi_numbers import digits
from faster_higgs.text.rules import A_DIGIT, any_of, stage


def _address_words(text: str) -> list[str]:
    pieces = re.findall(r"[^\W\d_]+|[0-9]+|[\W_]", text)
    return [word for piece in pieces if (word := _piece(piece))]


def _piece(piece: str) -> str:
    if piece.isascii() and piece.isdigit():
        return digits(piece)
    if piece.isalpha():
        return said(piece)
    return IN_ADDRESSES.get(piece, piece if piece.isalnum() else "")


def _phone(found: Match[str]) -> str:
    """Groups of digits with a pause between them."""
    plus = "cộng " if found.group().startswith("+") else ""
    return plus + _groups(found.group())


def _groups(text: str) -> str:
    return ", ".join(map(digits, re.findall("[0-9]+", text)))


def _code(found: Match[str]) -> str:
    return found["before"] + _groups(found["number"])


def _plate(found: Match[str]) -> str:
    """51F-123.45, 29A1-12345."""
    head = " ".join(digits(sign) if sign.isdigit() else spelled(sign) for sign in found["head"])
    return f"{head}, {digits(found['tail'].replace('.', ''))}"


ADDRESSES = addresses(_address_words, TOP_DOMAINS, DOUBTFUL_DOMAINS)
NO_MORE = r"(?!\w|[-.,:/][0-9])"
NO_AMOUNT = rf"(?![ ]?(?:%|{any_of([*DONG, *CURRENCY_CODES, *MAGNITUDES])})(?!\w))"
CODES = stage(
    "telephones",
    (
        rf"(?P<before>(?<!\w)(?i:{any_of(CODE_WORDS)})[ ]?:?[ ]?(?:(?:là|số)[ ])?)"
        rf"(?P<number>\+?[0-9](?:[ .-]?[0-9]){{2,23}}){NO_MORE}{NO_AMOUNT}",
        _code,
    ),
    (
        rf"(?P<before>(?<!\w)(?i:{any_of(CALLING)})[ ])(?P<number>[0-9]{{3,6}}"
        rf"(?:[ .-]?[0-9]{{2,4}}){{0,3}}){NO_MORE}{NO_AMOUNT}"
        r"(?![ ](?:người|lần|cuộc))",
        _code,
    ),
    needs=A_DIGIT,
)
PHONES = stage(
    "telephones",
    (r"(?<!\w)\+[0-9]{1,3}(?:[ .-]?\(?[0-9]{1,4}\)?){2,5}(?!\w)", _phone),
    (
        r"(?<![\w$€,.+-])(?:\(0[0-9]{1,4}\)|0[0-9]{1,4})"
        rf"(?:[ .-]?[0-9]{{2,4}}){{2,5}}{NO_MORE}",
        _phone,
    ),
    (rf"(?<![\w,.+-])1[89]00(?:[ .-]?[0-9]{{2,4}}){{1,2}}{NO_MORE}", _phone),
    (
        r"(?<![\w.,-])(?P<head>[0-9]{2}[A-Z][A-Z0-9]?)[ ]?-[ ]?(?P<tail>[0-9]{3}\.[0-9]{2}"
        r"|[0-9]{4,5})(?!\w)",
        _plate,
    ),
    needs=A_DIGIT,
)
