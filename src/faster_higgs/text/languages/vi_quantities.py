"""Money, measures and plain numbers in Vietnamese words. Knows nothing of dates."""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.vi import (
    CURRENCIES,
    CURRENCY_CODES,
    DONG,
    LONE_UNITS,
    MAGNITUDES,
    PER,
    UNITS,
)
from faster_higgs.text.languages.vi_numbers import digits, number
from faster_higgs.text.rules import A_DIGIT, any_of, stage

NUMBER = (
    r"(?:(?!0)[0-9]{1,3}(?:\.[0-9]{3})+(?![0-9])(?:,[0-9]+)?"
    r"|(?!0)[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+|(?!0)[0-9]{1,3}(?:,[0-9]{3}){2,}(?![0-9])"
    r"|[0-9]+(?:[.,][0-9]+)?)"
)
START = r"(?<!\w)(?<![0-9][.,:/])"
MINUS = r"(?P<minus>(?<![\w)])[-−](?=[0-9$£€¥]))?"
SIGN = any_of(CURRENCIES)
DASH = r"[ ]?[-–][ ]?"
RANGE = rf"(?:{DASH}(?P<last>{NUMBER}))?"
AFTER = any_of([*CURRENCY_CODES, *DONG, *(sign for sign in CURRENCIES if len(sign) == 1)])
GROUPED_BY_A_COMMA = re.compile("[1-9][0-9]{0,2},[0-9]{3}")


def _minus(found: Match[str]) -> str:
    return "âm " if found["minus"] else ""


def _span(first: str, last: str | None) -> str:
    """One number, or from one to another."""
    return number(first) + (f" đến {number(last)}" if last else "")


def _amount(text: str | None) -> str:
    """Money has no three decimals: 1,500 USD is 1.500 USD."""
    return text.replace(",", ".") if text and GROUPED_BY_A_COMMA.fullmatch(text) else text or ""


def _money(found: Match[str]) -> str:
    """$5, -$5,50, US$3,5 triệu, 25.000 đ, 10-15 triệu đồng, 5k USD."""
    words = _span(_amount(found["first"]), _amount(found["last"]))
    magnitude = f" {MAGNITUDES[found['magnitude']]}" if found["magnitude"] else ""
    return f"{_minus(found)}{words}{magnitude} {_name(found['sign'])}"


def _name(sign: str) -> str:
    return CURRENCY_CODES.get(sign) or DONG.get(sign) or CURRENCIES[sign]


def _shortened(found: Match[str]) -> str:
    """25k, 2 tr, 3B; what follows at once is the next smaller: 1tr5 is said một triệu năm."""
    words = _span(found["first"], found["last"]) + f" {MAGNITUDES[found['magnitude']]}"
    return words + (f" {number(found['rest'])}" if found["rest"] else "")


def _measure(found: Match[str]) -> str:
    """5 km, -3,5 °C, 5-10%."""
    return f"{_minus(found)}{_span(found['first'], found['last'])} {UNITS[found['unit']]}"


def _and_more(found: Match[str]) -> str:
    """1m75, 1m8, 2kg5."""
    rest = found["rest"]
    more = digits(rest) if rest[0] == "0" else number(rest)
    return f"{number(found['first'])} {UNITS[found['unit']]} {more}"


def _degrees(found: Match[str]) -> str:
    return f"độ {'xê' if found['unit'] == 'C' else 'ép'}"


def _angle(found: Match[str]) -> str:
    """10°45'30"."""
    second = f" {number(found['second'])} giây" if found["second"] else ""
    return f"{number(found['degree'])} độ {number(found['minute'])} phút{second}"


def _inches(found: Match[str]) -> str:
    """27"; but a quote that was opened before is closed."""
    text, at = found.string, found.start()
    opened = text.count('"', max(0, at - 300), at) % 2
    return '"' if opened else " inch"


def _per(found: Match[str]) -> str:
    return f" một {PER[found['unit']]}"


def _plain_number(found: Match[str]) -> str:
    """A number, apart from a letter that touches it."""
    text, begin, end = found.string, found.start(), found.end()
    before = " " if begin and _joins(text[begin - 1]) else ""
    after = " " if _joins(text[end : end + 1]) else ""
    return f"{before}{_minus(found)}{number(found['number'])}{after}"


def _joins(character: str) -> bool:
    return character.isalnum() or character == "_"


MAGNITUDE = rf"(?:[ ]?(?P<magnitude>{any_of(MAGNITUDES)}))?"
CODE = any_of(CURRENCY_CODES)
MONEY = stage(
    "money",
    (  # 20k-30k, 5 triệu - 10 triệu, $2-$3
        rf"(?<=[0-9])(?P<unit>[ ]?(?:{any_of([*MAGNITUDES, *DONG])})){DASH}(?=[0-9$])",
        r"\g<unit> đến ",
    ),
    (rf"(?<=[0-9]){DASH}(?=(?:{SIGN})[0-9])", " đến "),
    (rf"(?<!\w)(?P<sign>{SIGN})[ ]?[-−](?=[0-9])", r"-\g<sign>"),
    (
        rf"{MINUS}(?<!\w)(?P<sign>{SIGN})[ ]?(?P<first>{NUMBER})(?:[-–](?P<last>{NUMBER}))?"
        rf"(?:{MAGNITUDE}(?![\w]))?",
        _money,
    ),
    (
        rf"{MINUS}{START}(?P<first>{NUMBER}){RANGE}{MAGNITUDE}[ ]?(?P<sign>{AFTER})(?!\w)",
        _money,
    ),
    (
        rf"(?P<minus>)(?<!\w)(?P<sign>{CODE})[ ]?(?P<first>{NUMBER})(?P<last>)"
        rf"(?:{MAGNITUDE}(?!\w))?",
        _money,
    ),
    (
        rf"{START}(?P<first>{NUMBER}){RANGE}[ ]?(?P<magnitude>k|K|tr|Tr|TR)(?P<rest>[0-9]{{1,3}})?"
        r"(?!\w)",
        _shortened,
    ),
    needs=A_DIGIT,
)
CURRENCY_NAMES = stage(
    "money",
    (rf"(?<=[^\W\d_])/(?={CODE}(?!\w))", " trên "),
    (rf"(?<![\w.-])(?P<code>{CODE})(?![\w-])", lambda m: CURRENCY_CODES[m["code"]]),
)
UNIT = any_of(UNITS)
AMOUNT = rf"{MINUS}{START}(?P<first>{NUMBER}){RANGE}[ ]?(?P<unit>{UNIT})"
MEASURES = (
    *stage(
        "measures",
        (
            rf"{START}(?P<degree>[0-9]{{1,3}})°[ ]?(?P<minute>[0-9]{{1,2}})['′]"
            r"(?:[ ]?(?P<second>[0-9]{1,2}(?:[.,][0-9]{1,3})?)[\"″])?",
            _angle,
        ),
        (r"(?<=[0-9])(?P<unit>[ ]?[kdcm]?m)?[ ]?[x×][ ]?(?=[0-9])", r"\g<unit> nhân "),
        (r"(?<=[0-9])[ ]?oC(?!\w)", "°C"),
        (r"(?<=[0-9])[\"″]", _inches),
        (
            rf"(?<=[0-9])(?P<unit>[ ]?(?:{UNIT})){DASH}"
            rf"(?={NUMBER}[ ]?(?:{UNIT})(?![\w²³/°]|[ ]?=))",
            r"\g<unit> đến ",
        ),
        (r"(?<=[0-9])[-–](?=[-−][0-9])", " đến "),
        (rf"{AMOUNT}(?![\w²³°]|/(?!(?:{any_of(PER)})(?!\w)))", _measure),
        (
            rf"{START}(?P<first>[0-9]{{1,3}})(?P<unit>m|kg|l)(?P<rest>[0-9]{{1,2}})(?!\w)",
            _and_more,
        ),
        needs=A_DIGIT,
    ),
    *stage(
        "measures",
        (
            rf"(?<![\w./°-])(?P<unit>{any_of(LONE_UNITS)})(?![\w²³°]|[./-]\w)",
            lambda m: UNITS[m["unit"]],
        ),
        (r"\bđộ[ ]?(?P<unit>[CF])(?!\w)", _degrees),
        (r"°(?P<unit>[CF])(?!\w)", lambda m: f" {_degrees(m)}"),
        (rf"(?<=[^\W\d_])[ ]?/[ ]?(?P<unit>{any_of(PER)})(?![\w/])", _per),
    ),
)
NUMBERS = stage(
    "numbers",
    (r"(?<!\w)[#№][ ]?(?=[0-9])", "số "),
    (r"(?<=[0-9])[ ]?[-–][ ]?(?=[0-9]{1,9}[ ]?[=+])", " trừ "),
    (r"(?<=[+=*][ ])([0-9]{1,9})[ ][-–][ ](?=[0-9])", r"\1 trừ "),
    (
        rf"{START}(?P<first>{NUMBER})[-–](?P<last>{NUMBER})(?![-–][0-9])(?!\w)",
        lambda m: _span(m["first"], m["last"]),
    ),
    (
        r"(?<![\w:])(?P<a>[0-9]{1,6}):(?P<b>[0-9]{1,6})(?![\w:])(?P<equals>[ ]?=)?",
        lambda m: (
            f"{number(m['a'])} {'chia' if m['equals'] else 'trên'} {number(m['b'])}"
            + (m["equals"] or "")
        ),
    ),
    (r"(?<=[0-9])[ ][-–][ ](?=[0-9])", " đến "),
    (r"(?<=[0-9])[ ]?[*×·][ ]?(?=[0-9])", " nhân "),
    (r"(?<=[0-9])/(?=[0-9])", " trên "),
    (rf"{MINUS}(?P<number>{NUMBER})", _plain_number),
    needs=A_DIGIT,
)
