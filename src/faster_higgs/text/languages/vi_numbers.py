"""Numbers in Vietnamese words. Knows nothing of what is counted."""

from __future__ import annotations

import re

from faster_higgs.text.languages.vi import ONES, SCALES

LONGEST = 15  # digits; a longer number without dots is a code and read digit by digit
MOST = 10**18
AFTER_TENS = {1: "mốt", 4: "tư", 5: "lăm"}
ORDINALS = {1: "nhất", 4: "tư"}
GROUPED = re.compile(r"(?!0)[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]+)?")
GROUPED_AS_ENGLISH = re.compile(
    r"(?!0)[0-9]{1,3}(?:(?:,[0-9]{3}){2,}(?:\.[0-9]+)?|(?:,[0-9]{3})+\.[0-9]+)"
)


def cardinal(n: int) -> str:
    """1005 -> một nghìn không trăm linh năm; from 10^18 on digit by digit."""
    if n >= MOST:
        return digits(str(n))
    for size, name in SCALES:
        if n >= size:
            head, rest = divmod(n, size)
            return f"{cardinal(head)} {name}" + (f" {_rest(rest)}" if rest else "")
    return _hundreds(n)


def _rest(n: int) -> str:
    """What follows a larger scale: its first hundreds are said even if there are none."""
    for size, name in SCALES:
        if n >= size:
            head, rest = divmod(n, size)
            return f"{_hundreds(head, full=True)} {name}" + (f" {_rest(rest)}" if rest else "")
    return _hundreds(n, full=True)


def _hundreds(n: int, full: bool = False) -> str:
    """A number below 1000; full: 5 -> không trăm linh năm."""
    head, rest = divmod(n, 100)
    if not head and not full:
        return _tens(rest)
    words = f"{ONES[head]} trăm"
    if not rest:
        return words
    return f"{words} linh {ONES[rest]}" if rest < 10 else f"{words} {_tens(rest)}"


def _tens(n: int) -> str:
    ten, one = divmod(n, 10)
    if ten == 0:
        return ONES[one]
    if ten == 1:
        return "mười" + (f" {'lăm' if one == 5 else ONES[one]}" if one else "")
    return f"{ONES[ten]} mươi" + (f" {AFTER_TENS.get(one, ONES[one])}" if one else "")


def ordinal(n: int) -> str:
    """What follows "thứ": 1 -> nhất, 4 -> tư."""
    return ORDINALS.get(n) or cardinal(n)


def month(n: int) -> str:
    """What follows "tháng"."""
    return "tư" if n == 4 else cardinal(n)


def digits(text: str) -> str:
    """One by one."""
    return " ".join(ONES[int(digit)] for digit in text)


def number(text: str) -> str:
    """A number as written: 2.000,5 -> hai nghìn phẩy năm, 4.0 -> bốn chấm không.

    Dots that group three digits are not said; so are commas if there are two, or a dot after them.
    """
    if GROUPED.fullmatch(text):
        whole, _, part = text.replace(".", "").partition(",")
        return _joined(whole, "phẩy", part, 18)
    if GROUPED_AS_ENGLISH.fullmatch(text):
        whole, _, part = text.replace(",", "").partition(".")
        return _joined(whole, "phẩy", part, 18)
    sign = "chấm" if "." in text else "phẩy"
    whole, _, part = text.replace(".", ",").partition(",")
    return _joined(whole, sign, part, LONGEST)


def _joined(whole: str, sign: str, part: str, longest: int) -> str:
    one_by_one = (len(whole) > 1 and whole[0] == "0") or len(whole) > longest
    words = digits(whole) if one_by_one else cardinal(int(whole))
    return f"{words} {sign} {decimals(part)}" if part else words


def decimals(part: str) -> str:
    """What follows the comma: two digits as a number, others one by one."""
    return cardinal(int(part)) if len(part) == 2 and part[0] != "0" else digits(part)


def run(text: str) -> str:
    """The digits of a name: 52 năm mươi hai, 007 one by one."""
    return (
        digits(text) if len(text) > 4 or (text[0] == "0" and len(text) > 1) else cardinal(int(text))
    )
