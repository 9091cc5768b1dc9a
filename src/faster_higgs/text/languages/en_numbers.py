"""Numbers in English words. Knows nothing of what is counted."""

from __future__ import annotations

from faster_higgs.text.languages.en import ONES, ORDINALS, SCALES, TENS

LONGEST = 15  # digits; a longer number without commas is a code and read digit by digit


def cardinal(n: int) -> str:
    """1234 -> one thousand two hundred thirty-four; beyond the last scale digit by digit."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10 - 1] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{ONES[n // 100]} hundred" + (f" {cardinal(n % 100)}" if n % 100 else "")
    if n >= 1000 ** (len(SCALES) + 1):
        return digits(str(n))
    size = (len(str(n)) - 1) // 3
    head, rest = divmod(n, 1000**size)
    return f"{cardinal(head)} {SCALES[size - 1]}" + (f" {cardinal(rest)}" if rest else "")


def ordinal(n: int) -> str:
    """21 -> twenty-first."""
    words = cardinal(n)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[cut:]
    return words[:cut] + (
        ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    )


def year(n: int) -> str:
    """1999 -> nineteen ninety-nine, 1905 -> nineteen oh five, 2005 -> two thousand five."""
    century, rest = divmod(n, 100)
    if n < 1000 or n > 2999 or (century % 10 == 0 and rest < 10):
        return cardinal(n)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def decade(n: int) -> str:
    """1990 -> nineteen nineties, 80 -> eighties, 2000 -> two thousands."""
    words = year(n) if n >= 100 else cardinal(n)
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"


def digits(text: str) -> str:
    """One by one."""
    return " ".join(ONES[int(digit)] for digit in text)


def number(text: str) -> str:
    """A number as written, with commas and a decimal point: 1,234.50 -> one thousand ... point five
    zero.
    """
    whole, _, part = text.replace(",", "").partition(".")
    leading_zeros = len(whole) > 1 and whole[0] == "0"
    too_long = len(whole) > (LONGEST if "," not in text else 3 * len(SCALES) + 3)
    words = digits(whole) if leading_zeros or too_long else cardinal(int(whole)) if whole else ""
    return f"{words} point {digits(part)}".strip() if part else words


def is_one(text: str) -> bool:
    """Whether what is counted stands in the singular."""
    return text == "1"
