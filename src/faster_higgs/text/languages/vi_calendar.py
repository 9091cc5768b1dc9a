"""Dates and times of day in Vietnamese words. Knows nothing of calendars beyond 31 days and 12
months.
"""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.vi import BEFORE_A_DAY, HOLIDAYS, SPOKEN_PAIRS
from faster_higgs.text.languages.vi_numbers import cardinal, digits, month
from faster_higgs.text.rules import A_DIGIT, any_of, stage

START = r"(?<!\w)(?<![0-9][.,:/–-])"
END = r"(?!\w)(?![.,:/][0-9])"
DAY, MONTH, YEAR = r"(?:0?[1-9]|[12][0-9]|3[01])", r"(?:0?[1-9]|1[0-2])", r"[12][0-9]{3}"
DASH = r"[ ]?[-–][ ]?"
BEFORE = rf"(?P<before>(?<!\w)(?i:{any_of(BEFORE_A_DAY)})[ ](?:ngày[ ])?)"
LOOKED_BACK = 12  # characters in which "ngày" is looked for
LOOKED_BACK_FOR_A_QUOTE = 60


def _after_the_word(found: Match[str], *words: str) -> bool:
    before = found.string[max(0, found.start() - LOOKED_BACK) : found.start()].lower()
    return before.rstrip(" ").endswith(words) and before.endswith(" ")


def _day_and_month(day: str, of_month: str) -> str:
    return f"{cardinal(int(day))} tháng {month(int(of_month))}"


def _date(found: Match[str]) -> str:
    """2/9/1945, 02-09-1945, 2.9.1945, 2/9/45."""
    named = _after_the_word(found, "ngày", "mùng", "mồng", "rằm")
    words = _day_and_month(found["day"], found["month"])
    following = found.string[found.end() : found.end() + 2]
    comma = "," if re.match(r" ?[0-9]", following) else ""  # a time follows
    return f"{'' if named else 'ngày '}{words} năm {_year(found['year'])}{comma}"


def _year(written: str) -> str:
    return digits(written) if written[0] == "0" else cardinal(int(written))


def _iso(found: Match[str]) -> str:
    return _date(found) + (" " if found["t"] else "")


def _of_month(found: Match[str]) -> str:
    return found["before"] + _day_and_month(found["day"], found["month"])


def _span(found: Match[str]) -> str:
    """Từ 30/4 đến 1/5, 28/8 - 2/9/2024; two fractions stay."""
    days = [(int(found["day"]), int(found["month"])), (int(found["day2"]), int(found["month2"]))]
    told = found["before"] or found["named"] or found["year"]
    if not told and not any(day > of_month for day, of_month in days):
        return found.group()
    year = f" năm {_year(found['year'])}" if found["year"] else ""
    first = f"{found['before'] or 'ngày '}{_day_and_month(found['day'], found['month'])}"
    last = f"ngày {_day_and_month(found['day2'], found['month2'])}{year}"
    return first + (" đến " if found["sep"].strip() in "-–" else found["sep"]) + last


def _days(found: Match[str]) -> str:
    """10-15/8, 10 - 15/8/2024."""
    if int(found["first"]) >= int(found["day"]):
        return found.group()
    year = f" năm {_year(found['year'])}" if found["year"] else ""
    until = _day_and_month(found["day"], found["month"])
    return f"{cardinal(int(found['first']))} đến {until}{year}"


def _plain_day(found: Match[str]) -> str:
    """30/4 is no fraction; 3/4 is one."""
    written = found.group()
    if written in SPOKEN_PAIRS or not (
        int(found["day"]) > int(found["month"]) or written in HOLIDAYS
    ):
        return written
    return _day_and_month(found["day"], found["month"])


def _month_of_year(found: Match[str]) -> str:
    named = found["named"] or "tháng "
    first = f"{month(int(found['first']))} đến tháng " if found["first"] else ""
    return f"{named}{first}{month(int(found['month']))} năm {_year(found['year'])}"


def _month(found: Match[str]) -> str:
    words = f"{found['named']}{month(int(found['month']))}"
    return words + (f" đến tháng {month(int(found['last']))}" if found["last"] else "")


def _quarter(found: Match[str]) -> str:
    return f"{found['named']} năm {_year(found['year'])}"


# --- times of day ------------------------------------------------------------------------------


def _time(found: Match[str]) -> str:
    """7h30, 07:30, 7 giờ 30, 12:30:45, 7:30 PM."""
    hour, minute = int(found["hour"]), int(found["minute"])
    if hour > 24:
        return found.group()
    words = f"{cardinal(hour)} giờ" + (f" {cardinal(minute)} phút" if minute else "")
    second = int(found["second"] or 0)
    return words + (f" {cardinal(second)} giây" if second else "") + _half(found)


def _hours(found: Match[str]) -> str:
    first = f"{cardinal(int(found['first']))} đến " if found["first"] else ""
    return f"{first}{cardinal(int(found['hour']))} giờ" + _half(found)


def _half(found: Match[str]) -> str:
    """Which part of the day AM and PM are; nothing where they are not written."""
    if not found["half"]:
        return ""
    hour = int(found["hour"]) % 12
    if found["half"][0] in "aA":
        return " đêm" if hour == 0 else " sáng"
    return next(f" {name}" for last, name in PARTS_OF_A_DAY if hour <= last)


PARTS_OF_A_DAY = ((0, "trưa"), (5, "chiều"), (9, "tối"), (11, "đêm"))


def _minutes(found: Match[str]) -> str:
    """90'; but a quote that was opened before is closed."""
    before = found.string[max(0, found.start() - LOOKED_BACK_FOR_A_QUOTE) : found.start()]
    if before.count("'") % 2:
        return found.group()
    words = cardinal(int(found["minute"]))
    if found["second"]:
        return f"{words} phút {cardinal(int(found['second']))} giây"
    return words if _after_the_word(found, "phút") else f"{words} phút"


def _weekdays(found: Match[str]) -> str:
    return f"{_weekday(found['first'])} đến {_weekday(found['last'])}"


def _weekday(written: str) -> str:
    return WEEKDAYS[written[-1]]


WEEKDAYS = {
    "2": "thứ hai", "3": "thứ ba", "4": "thứ tư", "5": "thứ năm", "6": "thứ sáu", "7": "thứ bảy",
    "N": "chủ nhật",
}  # fmt: skip
FULL_DATE = rf"(?P<day>{DAY})(?P<sign>[/.-])(?P<month>{MONTH})(?P=sign)(?P<year>{YEAR})"
SECOND_DAY = rf"(?P<day2>{DAY})/(?P<month2>{MONTH})(?:/(?P<year>{YEAR}))?"
HALF = r"(?:[ ]?(?P<half>AM|PM|am|pm|a\.m|p\.m)\b\.?)?"
DAYS_OF_A_WEEK = stage(
    "dates and times",
    (rf"(?<!\w)(?P<first>T[2-6]){DASH}(?P<last>T[3-7]|CN)(?!\w)", _weekdays),
    (
        rf"(?<=\b[Tt]hứ )(?P<first>[2-6]){DASH}(?:thứ )?(?P<last>[3-7])(?![\w/-])",
        lambda m: _weekdays(m).removeprefix("thứ "),
    ),
    needs=A_DIGIT,
)
DATES = stage(
    "dates and times",
    (
        rf"{START}(?P<year>{YEAR})-(?P<month>{MONTH})-(?P<day>{DAY})(?:(?P<t>T)(?=[0-9])|{END})",
        _iso,
    ),
    (rf"(?<=[/.-][0-9]{{4}}){DASH}(?={DAY}[/.-]{MONTH}[/.-])", " đến "),
    (
        rf"{START}{BEFORE}?(?P<day>{DAY})/(?P<month>{MONTH})"
        rf"(?P<sep>{DASH}|[ ](?:đến|tới|và|hoặc)[ ])(?P<named>ngày[ ])?{SECOND_DAY}{END}",
        _span,
    ),
    (
        rf"{START}(?P<first>{DAY}){DASH}(?P<day>{DAY})/(?P<month>{MONTH})"
        rf"(?:/(?P<year>{YEAR}))?{END}",
        _days,
    ),
    (rf"{START}{FULL_DATE}{END}(?!-[0-9])", _date),
    (
        rf"{START}(?P<day>{DAY})/(?P<month>{MONTH})/(?P<year>[0-9]{{2}}){END}",
        _date,
    ),
    (rf"{BEFORE}(?P<day>{DAY})(?P<sign>[/-])(?P<month>{MONTH})(?!\w)(?![.,:/-][0-9])", _of_month),
    (
        rf"(?<!\w)(?:(?P<named>[Tt]háng[ ])|T(?=[0-9]))(?:(?P<first>{MONTH}){DASH})?"
        rf"(?P<month>{MONTH})[/-](?P<year>{YEAR}){END}(?!-[0-9])",
        _month_of_year,
    ),
    (
        rf"(?P<named>\b[Qq]uý (?:[1-4]|một|hai|ba|bốn|tư))[/-](?P<year>{YEAR}){END}",
        _quarter,
    ),
    (
        rf"{START}(?P<named>)(?P<first>)(?P<month>{MONTH})/(?P<year>{YEAR}){END}",
        _month_of_year,
    ),
    (
        rf"(?P<named>\b[Tt]háng[ ])(?P<month>{MONTH})(?:{DASH}(?P<last>{MONTH}))?"
        r"(?!\w)(?![./:-][0-9])",
        _month,
    ),
    (
        rf"{START}(?:{any_of(SPOKEN_PAIRS)})(?!\w)(?![.,:/][0-9])",
        lambda m: SPOKEN_PAIRS[m.group()],
    ),
    needs=A_DIGIT,
)
PLAIN_DAYS = stage(
    "dates and times",
    (rf"{START}(?P<day>{DAY})/(?P<month>{MONTH})(?!\w)(?![.,:/-][0-9])(?![ ]?[%=])", _plain_day),
    needs=A_DIGIT,
)
HOUR_ENDS = r"(?:(?<=[0-9]h)|(?<=[0-9]g)|(?<=[hg:][0-9]{2}))"
TIMES = stage(
    "dates and times",
    (rf"(?<=[APap][Mm]){DASH}(?=[0-9])", " đến "),
    (rf"{HOUR_ENDS}{DASH}(?=[0-9]{{1,2}}(?:[hg](?![a-z])|:[0-9]{{2}}))", " đến "),
    (
        rf"{START}(?P<hour>[0-9]{{1,2}})(?:[hg]|:|[ ]?giờ[ ]?)(?P<minute>[0-5][0-9])"
        rf"(?:(?:[:h]|[ ]?(?:'|ph|p|m|phút)[ ]?)(?P<second>[0-5][0-9])(?:s|\"|[ ]giây)?"
        rf"|'|p|ph|m|[ ]phút)?{HALF}Z?(?![\w:])(?![.,][0-9])",
        _time,
    ),
    (
        rf"{START}(?:(?P<first>[0-9]{{1,2}}){DASH})?(?P<hour>[0-9]{{1,3}})h(?!\w){HALF}",
        _hours,
    ),
    (r"(?<=\blúc )(?P<first>)(?P<half>)(?P<hour>[0-9]{1,2})g(?!\w)", _hours),
    (rf"{START}(?P<first>)(?P<hour>1[0-2]|[1-9])[ ]?(?P<half>AM|PM|am|pm)\b", _hours),
    (rf"{START}([0-9]{{1,2}})p(?!\w)", r"\1 phút"),
    (
        rf"{START}(?P<minute>[0-9]{{1,3}})['′]"
        r"(?:[ ]?(?P<second>[0-9]{1,2})(?:\"|″|''))?(?![\w'])",
        _minutes,
    ),
    needs=A_DIGIT,
)
