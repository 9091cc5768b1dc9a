"""Dates, years and times of day in English words. Knows nothing of calendars beyond 31 days and 12
months.
"""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.en import BEFORE_A_YEAR, MONTH_FORMS, MONTHS, WEEKDAYS
from faster_higgs.text.languages.en_numbers import cardinal, decade, ordinal, year
from faster_higgs.text.rules import A_DIGIT, any_of, ends_sentence, stage

START = r"(?<![\w$£€¥₹])(?<![0-9][.,:/])"
END = r"(?![\w])(?![.,:/][0-9])"
MONTH = rf"(?:{any_of(MONTH_FORMS)})\b"
SHORT_NAMES = {**WEEKDAYS, **MONTH_FORMS}
SPAN_OF_DAYS = (
    rf"\b(?P<first>{any_of(SHORT_NAMES)})\.?[ ]?[-–][ ]?(?P<last>{any_of(SHORT_NAMES)})\b\.?"
)
DAY = r"(?:0?[1-9]|[12][0-9]|3[01])(?:st|nd|rd|th)?"
YEAR = r"[12][0-9]{3}"
DASH = r"[ ]?[-–][ ]?"


def _number(text: str) -> int:
    return int(re.sub("[a-z]", "", text))


def _day(month: str, day: str) -> str:
    return f"{MONTH_FORMS[month]} {ordinal(_number(day))}"


def _of_year(words: str, written: str | None) -> str:
    return f"{words}, {year(_full_year(written))}" if written else words


def _full_year(written: str) -> int:
    """'25 -> 2025, '87 -> 1987."""
    n = int(written)
    return n if len(written) > 2 else n + (2000 if n < 50 else 1900)


def _month_first(found: Match[str]) -> str:
    words = _day(found["month"], found["day"])
    if found["last"]:
        words += f" to {ordinal(_number(found['last']))}"
    return _of_year(words, found["year"])


def _day_first(found: Match[str]) -> str:
    month, day = MONTH_FORMS[found["month"]], ordinal(_number(found["day"]))
    return _of_year(f"{found['the'] or 'the '}{day} of {month}", found["year"])


def _slashed(found: Match[str]) -> str:
    """3/4/2025 is March 4th, 25/12/2025 Christmas; what is no date stays."""
    first, second = int(found["a"]), int(found["b"])
    month, day = (first, second) if first <= 12 else (second, first)
    return _checked(found.group(), month, day, found["year"])


def _dotted(found: Match[str]) -> str:
    return _checked(found.group(), int(found["b"]), int(found["a"]), found["year"])


def _iso(found: Match[str]) -> str:
    return _checked(found.group(), int(found["month"]), int(found["day"]), found["year"]) + (
        " " if found["t"] else ""
    )


def _on_day(found: Match[str]) -> str:
    """On 12/24, on 1-1-00; but "on 3-5" is none."""
    if found["sign"] == "-" and not found["year"]:
        return found.group()
    return _slashed(found)


def _days(found: Match[str]) -> str:
    """Mon-Fri, Jan.-Mar.; the last dot stays where it also ends the sentence."""
    dot = "." if found.group().endswith(".") and ends_sentence(found) else ""
    return f"{SHORT_NAMES[found['first']]} to {SHORT_NAMES[found['last']]}{dot}"


def _checked(written: str, month: int, day: int, of_year: str | None) -> str:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return written
    return _of_year(f"{MONTHS[month - 1]} {ordinal(day)}", of_year)


def _season(found: Match[str]) -> str:
    """2024/25, where the second is the year after the first."""
    first, last = int(found["first"]), int(found["last"])
    follows = (first + 1) % 100 == last
    return f"{year(first)} {_short(last)}" if follows else found.group()


def _years(found: Match[str]) -> str:
    last = found["last"]
    until = year(int(last)) if len(last) == 4 else cardinal(int(last))
    return f"{year(int(found['first']))} to {until}"


def _time(found: Match[str]) -> str:
    """7:30, 7:05 pm, 14:00, 12:30:45."""
    hour, minute, half = int(found["hour"]), int(found["minute"]), _half(found)
    if hour > 24 or minute > 59:
        return found.group()
    if minute:
        words = f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    elif hour in (0, 24):
        words = "midnight"
    elif half:
        words = cardinal(hour)
    else:
        words = cardinal(hour) + (" o'clock" if hour <= 12 else " hundred hours")
    if int(found["second"] or 0):
        second = int(found["second"])
        words += f" and {cardinal(second)} second{'' if second == 1 else 's'}"
    return words + half


def _early(found: Match[str]) -> str:
    return f"oh {cardinal(int(found['hour']))} hundred"


def _hour(found: Match[str]) -> str:
    words = cardinal(int(found["hour"]))
    if found["last"]:
        words += f" to {cardinal(int(found['last']))}"
    return words + _half(found)


def _half(found: Match[str]) -> str:
    return f" {found['half'][0]} M" if found["half"] else ""


def _noon(found: Match[str]) -> str:
    """a.m., AM, p. m. after a digit; the last dot stays where it also ends the sentence."""
    dot = "." if found.group().endswith(".") and ends_sentence(found) else ""
    return f" {found['half'].upper()}M{dot}"


def _decade(found: Match[str]) -> str:
    return decade(int(found["decade"]))


def _short_year(found: Match[str]) -> str:
    return _short(int(found["year"]))


def _short(n: int) -> str:
    return f"oh {cardinal(n)}" if n < 10 else cardinal(n)


def _era(found: Match[str]) -> str:
    return f"{year(int(found['year']))} {' '.join(found['era'].replace('.', ''))}"


def _about(found: Match[str]) -> str:
    return f"circa {year(int(found['year']))}"


HALF = r"(?:[ ]?(?P<half>AM|PM)\b)?"
NOON = stage(
    "dates and times",
    (r"(?<=[0-9])[ ]?(?P<half>[AaPp])(?:\.[ ]?[Mm]\b\.?|[Mm]\b\.?)", _noon),
    needs=A_DIGIT,
)
DATES = stage(
    "dates and times",
    (r"(?:(?<=:[0-9]{2})|(?<=[ ][AP]M))[ ]?[-–][ ]?(?=[0-9]{1,2}(?::|[ ]?[AP]M))", " to "),
    (r"(?<=:[0-9]{2})[-–](?=[0-9]{1,2}(?![\w:-]))", " to "),
    (r"(?<![\w:.])([0-9]{1,3}):([0-9])[-–](?=[0-9]{1,3}(?![\w:]))", r"\1 \2 to "),
    (SPAN_OF_DAYS, _days),
    (
        rf"(?<=\b[Oo]n )(?P<a>[0-9]{{1,2}})(?P<sign>[/-])(?P<b>[0-9]{{1,2}})"
        rf"(?:(?P=sign)(?P<year>[0-9]{{2}}))?{END}(?![/-][0-9]|[ ](?:of|an?|inch|mile|acre|cup)\b)",
        _on_day,
    ),
    (
        rf"\b(?P<day>{any_of(WEEKDAYS)})\b\.?(?=,?[ ](?:{MONTH}|[0-9]))",
        lambda m: WEEKDAYS[m["day"]],
    ),
    (rf"\b(?P<month>{any_of(MONTH_FORMS)})\.(?=[ ][0-9])", lambda m: MONTH_FORMS[m["month"]]),
    (
        rf"{START}(?P<year>[0-9]{{4}})-(?P<month>[0-9]{{2}})-(?P<day>[0-9]{{2}})"
        rf"(?:(?P<t>T)(?=[0-9])|{END})",
        _iso,
    ),
    (
        rf"{START}(?P<a>[0-9]{{1,2}})/(?P<b>[0-9]{{1,2}})/(?P<year>{YEAR}|[0-9]{{2}}){END}",
        _slashed,
    ),
    (
        rf"{START}(?<![-–])(?P<a>[0-9]{{1,2}})-(?P<b>[0-9]{{1,2}})-(?P<year>{YEAR}){END}(?!-[0-9])",
        _slashed,
    ),
    (rf"{START}(?P<a>[0-9]{{1,2}})\.(?P<b>[0-9]{{1,2}})\.(?P<year>{YEAR}){END}", _dotted),
    (
        rf"\b(?P<month>{MONTH})[ ](?P<day>{DAY})\b(?!:|/|[.,][0-9])(?:{DASH}(?P<last>{DAY})\b)?"
        rf"(?:,?[ ](?P<year>{YEAR})\b(?![,:]?[0-9]))?",
        _month_first,
    ),
    (
        rf"{START}(?P<the>[Tt]he )?(?P<day>{DAY})[ ](?:of[ ])?(?P<month>{MONTH})"
        rf"(?:,?[ ](?P<year>{YEAR})\b)?",
        _day_first,
    ),
    (rf"\b(?P<month>{any_of(MONTH_FORMS)})(?=,?[ ]{YEAR}\b)", lambda m: MONTH_FORMS[m["month"]]),
    (rf"{START}(?P<hour>[0-9]{{1,2}})\.(?P<minute>[0-5][0-9])(?=[ ][AP]M\b)", r"\1:\2"),
    (rf"{START}(?P<hour>[01]?[0-9]|2[0-4])h(?P<minute>[0-5][0-9])(?!\w)", r"\1:\2"),
    (rf"{START}0(?P<hour>[1-9])00(?=[ ](?:hours|hrs)\b)", _early),
    (rf"{START}((?:1[3-9]|2[0-3]):00)[ ](?:hours|hrs)\b\.?", r"\1"),
    (
        rf"{START}(?P<hour>[0-9]{{1,2}}):(?P<minute>[0-9]{{2}})(?::(?P<second>[0-5][0-9]))?"
        rf"{HALF}Z?(?![\w:])",
        _time,
    ),
    (
        rf"{START}(?P<hour>1[0-2]|0?[1-9])(?:{DASH}(?P<last>1[0-2]|[1-9]))?[ ]?(?P<half>AM|PM)\b",
        _hour,
    ),
    (rf"{START}(?P<decade>(?:1[0-9]|20)[0-9]0)'?s\b", _decade),
    (r"(?<!\w)'?(?P<decade>[2-9]0)'?s\b", _decade),
    needs=A_DIGIT,
)
YEARS = stage(
    "dates and times",
    (rf"{START}(?P<first>1[89][0-9]{{2}}|20[0-9]{{2}})/(?P<last>[0-9]{{2}}){END}", _season),
    (r"(?<!\w)('[0-9]{2})[-–](?='?[0-9]{2}(?![\w'-]))", r"\1 to '"),
    (r"(?<!\w)'+(?P<year>[0-9]{2})(?![\w'])", _short_year),
    (
        rf"{START}(?P<first>1[0-9]{{3}}|20[0-9]{{2}})[-–]"
        rf"(?P<last>1[0-9]{{3}}|20[0-9]{{2}}|[0-9]{{1,2}}){END}(?![-–])",
        _years,
    ),
    (rf"{START}(?P<year>[0-9]{{1,4}})[ ]?(?P<era>(?:BCE|CE|BC|AD|B\.C\.E|B\.C|A\.D)\b)", _era),
    (r"(?<![\w.])c\.[ ]?(?P<year>[12]?[0-9]{3})(?![\w,])", _about),
    (r"\bAD[ ](?P<year>[0-9]{1,4})\b", lambda m: f"A D {year(int(m['year']))}"),
    (
        rf"\b(?P<before>(?:{any_of(BEFORE_A_YEAR)})[ ])(?P<year>1[0-7][0-9]{{2}}){END}",
        lambda m: m["before"] + year(int(m["year"])),
    ),
    (
        rf"{START}(?P<year>1[89][0-9]{{2}}|20[0-9]{{2}}){END}(?![-–][0-9])",
        lambda m: year(int(m["year"])),
    ),
    needs=A_DIGIT,
)
