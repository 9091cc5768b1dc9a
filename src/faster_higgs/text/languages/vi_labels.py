"""Numbers that name and do not count, in Vietnamese words: house numbers, scores, fractions,
chains. Knows nothing of amounts.
"""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.vi import CURRENCY_CODES, DONG, SCORED, SLASHED, UNITS
from faster_higgs.text.languages.vi_calendar import START
from faster_higgs.text.languages.vi_letters import said, spelled
from faster_higgs.text.languages.vi_numbers import cardinal, digits, number, ordinal, run
from faster_higgs.text.rules import A_DIGIT, any_of, stage

MOST_SPELLED = 3  # letters of a name such as MP3
LONG_GROUP = 5  # digits; with one of these, or a leading zero, a chain is a code
HOUSE = "[0-9]{1,4}[A-HĐ]?"  # 12/5A
DECIMAL = r"[0-9]{1,4}(?:,[0-9]{1,2})?"


def _slashed(found: Match[str]) -> str:
    """Số 12/5, hẻm 45/7/3, tỷ lệ 1/3, số 12/2024/NĐ-CP."""
    pieces = [number(piece) for piece in found["numbers"].split("/")]
    return found["before"] + " trên ".join(pieces) + (" trên " if found["more"] else "")


def _scores(found: Match[str]) -> str:
    """Thắng 2-1."""
    return f"{found['before']}{cardinal(int(found['a']))} {cardinal(int(found['b']))}"


def _unequal(found: Match[str]) -> str:
    """3-2 is a score, 2-3 is two to three."""
    first, last = int(found["a"]), int(found["b"])
    return found.group() if first < last else f"{cardinal(first)} {cardinal(last)}"


def _out_of(found: Match[str]) -> str:
    unit = f" {UNITS[found['unit']]}" if found["unit"] else ""
    return f"{number(found['top'])} trên {number(found['bottom'])}{unit}"


def _fraction(found: Match[str]) -> str:
    """1/2, 2 3/4, 1/100 km."""
    top, bottom = cardinal(int(found["top"])), cardinal(int(found["bottom"]))
    whole = f"{number(found['whole'])} và " if found["whole"] else ""
    unit = f" {UNITS[found['unit']]}" if found["unit"] else ""
    minus = "âm " if found["minus"] else ""
    return f"{minus}{whole}{top} phần {bottom}{unit}"


def _ordinal(found: Match[str]) -> str:
    return f"{found['before']}{ordinal(int(found['number']))}"


def _first(found: Match[str]) -> str:
    return f"{found['before']}nhất"


def _chain(found: Match[str]) -> str:
    """1-2-3 as said; a longer code digit by digit with pauses."""
    groups = re.split("[-–]", found.group())
    if any(len(group) >= LONG_GROUP or (len(group) > 1 and group[0] == "0") for group in groups):
        return ", ".join(map(digits, groups))
    return ", ".join(map(run, groups))


def _list(found: Match[str]) -> str:
    """Câu 1,2,3; but 1,234,567 is a number."""
    pieces = found.group().split(",")
    if all(len(piece) == 3 for piece in pieces[1:]):
        return found.group()
    return ", ".join(map(run, pieces))


def _parts(found: Match[str]) -> str:
    """Versions and addresses: 3.2.1, 192.168.0.1; but 1.234.567 is a number."""
    pieces = found.group().split(".")
    if all(len(piece) == 3 for piece in pieces[1:]) and len(pieces[0]) < 4 and pieces[0][0] != "0":
        return found.group()
    return " chấm ".join(map(run, pieces))


def _mixed(found: Match[str]) -> str:
    """Letters and digits in one word: A4, 12A, MP3, U23, iPhone15."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", found.group())
    return " ".join(run(piece) if piece.isdecimal() else _letters(piece) for piece in pieces)


def _version(found: Match[str]) -> str:
    """PM2.5, iOS17.5."""
    return f"{_letters(found['letters'])} {number(found['number'])}"


def _letters(piece: str) -> str:
    return spelled(piece) if len(piece) <= MOST_SPELLED and piece.isupper() else said(piece)


EARLY_LABELS = stage(
    "numbers",
    (
        rf"(?P<before>(?<!\w)(?i:{any_of(SLASHED)})[ ](?:là[ ])?)"
        rf"(?P<numbers>{DECIMAL}(?:/{DECIMAL}){{1,4}})(?:(?P<more>/(?=[A-ZĐ]))|(?!\w)(?![./:-][0-9]))",
        _slashed,
    ),
    (
        rf"(?P<before>(?<!\w)(?i:{any_of(['tỷ lệ', 'tỉ lệ', 'tỉ số', 'tỷ số'])})[ ](?:là[ ])?)"
        r"(?P<a>[0-9.]{1,9}):(?P<b>[0-9.]{1,12}[0-9]|[0-9])(?!\w)",
        lambda m: f"{m['before']}{number(m['a'])} trên {number(m['b'])}",
    ),
    (
        rf"(?P<before>(?<!\w)(?i:{any_of(SCORED)})[ ](?:là[ ]|với[ ])?)"
        r"(?P<a>[0-9]{1,2})[ ]?[-–][ ]?(?P<b>[0-9]{1,2})(?![\w-])(?![.,/][0-9])",
        _scores,
    ),
    (
        r"(?P<before>)(?<![\w.,/-])(?P<numbers>[0-9]{1,4}/[12][0-9]{3})(?P<more>/(?=[A-ZĐ]))",
        _slashed,
    ),
    (
        rf"(?<![\w.,/-])(?=[0-9]{{1,4}}(?:/[0-9]{{1,4}}){{0,4}}[A-HĐ]){HOUSE}(?:/{HOUSE}){{1,4}}(?!\w|[./-][0-9])",
        lambda m: m.group().replace("/", " trên "),
    ),
    (
        rf"(?<![\w.,-])(?<![0-9][ ])[1-9][0-9]{{0,2}}(?:[ ][0-9]{{3}}){{1,4}}"
        rf"(?=[ ]?(?:{any_of([*DONG, *CURRENCY_CODES])})(?!\w))",
        lambda m: m.group().replace(" ", "."),
    ),
    (r"(?<=[0-9])/(?=[A-ZĐ]{2})", " trên "),
    (r"(?<=[0-9])-(?=[A-ZĐ]{2})", " "),
    (r"(?P<before>\b[Tt]hứ[ ])(?P<number>[0-9]{1,4})(?!\w)(?![.,/-][0-9])", _ordinal),
    (r"(?P<before>\b(?:[Hh]ạng|[Gg]iải)[ ])1(?!\w)(?![.,/-][0-9])", _first),
    needs=A_DIGIT,
)
MINUS = r"(?P<minus>(?<![\w)])[-−](?=[0-9]))?"
LABELS = stage(
    "numbers",
    (
        r"(?<![\w.,/-])(?P<top>[0-9]{1,3}(?:,[0-9]{1,2})?)/(?P<bottom>(?P=top)|(?:(?<=[0-9],[0-9]/)"
        r"|(?<=[0-9],[0-9]{2}/))[0-9]{1,3}|[0-9]{1,3}(?=[ ](?:điểm|mmHg)\b))(?!\w|[./][0-9])"
        r"(?:[ ](?P<unit>mmHg)\b)?",
        _out_of,
    ),
    (
        rf"{MINUS}{START}(?:(?P<whole>[0-9]{{1,6}})[ ])?"
        r"(?P<top>[0-9]{1,4})/(?P<bottom>[0-9]{1,4})(?!\w|[.,]?[0-9]|/[0-9])"
        rf"(?:[ ](?P<unit>{any_of(UNITS)})(?![\w²³/°]))?",
        _fraction,
    ),
    (r"(?<![\w.,/-])[0-9]{1,7}(?:[-–][0-9]{1,7}){2,9}(?!\w|[-–.,/:][0-9])", _chain),
    (r"(?<![\w.,])[0-9]{1,3}(?:,[0-9]{1,3}){2,30}(?!\w|[.,][0-9])", _list),
    (r"(?<![\w.,])[0-9]{1,6}(?:\.[0-9]{1,6}){2,8}(?!\w|[.,][0-9])", _parts),
    (
        r"(?<![\w.,])(?P<letters>[^\W\d_]{1,12})(?P<number>[0-9]{1,3}[.,][0-9]{1,3})(?!\w|[.,][0-9])",
        _version,
    ),
    (
        r"(?<![\w.,])(?=[0-9]{0,19}[^\W\d_])(?=[^\W\d_]{0,19}[0-9])[^\W_]{2,40}(?!\w)",
        _mixed,
    ),
    (r"(?<=[^\W\d_])-(?=[0-9])", " "),
    (
        rf"{START}(?<![+=*][ ])(?P<a>[0-9]{{1,2}})(?:[-–]|[ ][-–][ ])(?P<b>[0-9]{{1,2}})(?![\w–-])"
        r"(?![.,/][0-9]|[ ]?[=+])",
        _unequal,
    ),
    needs=A_DIGIT,
)
