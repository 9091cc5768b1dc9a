"""Abbreviations, Roman numerals, acronyms, symbols in Vietnamese words. Knows no amounts."""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.vi import (
    ABBREVIATIONS,
    AND_SO_ON,
    COUNTED,
    DISTRICTS,
    LOWER,
    NUMBERED,
    PERSONS,
    ROADS,
    SILENT,
    SPOKEN_ACRONYMS,
    SYMBOLS,
    TITLES,
    UPPER,
    WORDLIKE_ACRONYMS,
)
from faster_higgs.text.languages.vi_letters import is_syllable, spelled
from faster_higgs.text.languages.vi_numbers import cardinal, ordinal
from faster_higgs.text.rules import NEAR, any_of, neighbours, stage

ROMAN = r"(?=[IVXLCM])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?!\w)"
LONE = "LCDM"  # these are letters
ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
NAME = rf"[{UPPER}]"
SENTENCE_BREAK = re.compile(rf"[\"')\]]*(?:$|\n|[ ]+[\"'(]?[{UPPER}\ue000])")
BEGINNING = re.compile(rf"(?:^|\n|[^\W{UPPER}][.!?]+[ ])[\"(]?$")
TWO_CAPITALS = re.compile("[A-ZĐƯƠ]{2}")


# --- abbreviations -----------------------------------------------------------------------------


def _capital(words: str, found: Match[str]) -> str:
    """At the beginning of a line or after a full stop the first word is written large."""
    before = found.string[max(0, found.start() - 6) : found.start()]
    return words[0].upper() + words[1:] if BEGINNING.search(before) else words


def _title(found: Match[str]) -> str:
    return _capital(TITLES[found["title"]], found) + " "


def _district(found: Match[str]) -> str:
    """Q. Bình Thạnh; but "anh H. Theo Công an" ends a sentence or names a person."""
    before = re.search(
        r"([^\W\d_]+)[ ]$", found.string[max(0, found.start() - NEAR) : found.start()]
    )
    if before and (before[1] in PERSONS or before[1][0].isupper()):
        return found.group()
    return _capital(DISTRICTS[found["title"]], found) + " "


def _numbered_district(found: Match[str]) -> str:
    """Q.1, P.5; but P.302 is a room."""
    if found["title"] == "P" and re.match("[0-9]{3}", found.string[found.end() : found.end() + 3]):
        return _capital("phòng", found) + " "
    return _capital(DISTRICTS[found["title"]], found) + " "


def _abbreviation(found: Match[str]) -> str:
    return _capital(ABBREVIATIONS[found.group()], found)


def _and_so_on(found: Match[str]) -> str:
    """V.v.; the last dot stays where it also ends the sentence."""
    ends = "." in found["dots"] and SENTENCE_BREAK.match(found.string, found.end())
    return "vân vân" + ("." if ends else "")


def _dotted(found: Match[str]) -> str:
    """U.S.: as without the dots; the last one stays where it also ends the sentence."""
    letters = found.group().replace(".", "")
    ends = SENTENCE_BREAK.match(found.string, found.end())
    return SPOKEN_ACRONYMS.get(letters, spelled(letters)) + ("." if ends else "")


ABBREVIATIONS_RULES = stage(
    "abbreviations",
    (rf"(?<![\w.])(?i:{any_of(AND_SO_ON)})(?P<dots>\.{{0,3}})(?!\w)", _and_so_on),
    (
        rf"(?<![\w&])(?:{any_of(ABBREVIATIONS)})(?![\w+#&]|-[{UPPER}][^\W{UPPER}]|@)",
        _abbreviation,
    ),
    (
        rf"(?<!\w)(?P<title>{any_of(TITLES)})(?:\.[ ]?(?={NAME})|[ ](?={NAME}[^\W{UPPER}]))",
        _title,
    ),
    (
        rf"(?<![\w.])(?P<title>{any_of(DISTRICTS)})(?:\.[ ]?(?=[0-9])|\.(?={NAME}[^\W{UPPER}.]))",
        _numbered_district,
    ),
    (
        rf"(?<![\w.])(?P<title>{any_of(DISTRICTS)})\.[ ]"
        rf"(?={NAME}[^\W{UPPER}.]{{0,7}}[ ]{NAME}[^\W{UPPER}.])",
        _district,
    ),
    (
        rf"(?<![\w.])(?P<word>{any_of(COUNTED)})\.[ ]?(?=[0-9])",
        lambda m: f"{COUNTED[m['word']]} ",
    ),
    (r"(?<![\w.])(?:[A-ZĐ]\.){2,8}(?!\w)", _dotted),
    (
        rf"(?<!\w)(?P<road>{any_of(ROADS)})[ .-]?(?=[0-9])",
        lambda m: f"{ROADS[m['road']]} ",
    ),
)


# --- roman numerals ----------------------------------------------------------------------------


def roman(text: str) -> int:
    """XIV -> 14."""
    values = [ROMAN_VALUES[c] for c in text]
    return sum(-v if any(w > v for w in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


def _numbered(found: Match[str]) -> str:
    """Thế kỷ XXI, chương IV, lần thứ I, thế kỷ XV-XVI."""
    if found["first"] in LONE:
        return found.group()
    told = ordinal if found["name"].lower() == "thứ" else cardinal
    words = f"{found['name']} {told(roman(found['first']))}"
    return words + (f" đến {cardinal(roman(found['last']))}" if found["last"] else "")


def _king(found: Match[str]) -> str:
    return f"{found['name']} {cardinal(roman(found['roman']))}"


def _heading(found: Match[str]) -> str:
    words = cardinal(roman(found["roman"]))
    return words[0].upper() + words[1:] + found["mark"]


ROMANS = stage(
    "roman numerals",
    (
        rf"(?<!\w)(?P<name>(?i:{any_of(NUMBERED)}))[ ](?P<first>{ROMAN})"
        rf"(?:[ ]?[-–][ ]?(?P<last>{ROMAN}))?",
        _numbered,
    ),
    (rf"(?<!\w)(?P<name>{NAME}[{LOWER}]{{2,20}})[ ](?P<roman>(?=[IVX]{{2}}){ROMAN})", _king),
    (rf"(?m)^(?P<roman>(?=[IVX]){ROMAN})(?P<mark>[./)])(?=[ ])", _heading),
)


# --- acronyms ----------------------------------------------------------------------------------


def _acronym(found: Match[str]) -> str:
    """VTV -> vê tê vê; NATO and what may be a word in capitals stay."""
    word = found.group()
    if word in WORDLIKE_ACRONYMS:
        return word
    if word in SPOKEN_ACRONYMS:
        return word if is_syllable(word) and _is_shouted(found) else SPOKEN_ACRONYMS[word]
    return spelled(word) if _is_spelled(word) else word


def _is_spelled(word: str) -> bool:
    """Whether a word in capitals is none that can be said."""
    vowels = len(re.findall("[AEIOUYƯƠ]", word))
    return not vowels or (not is_syllable(word) and (len(word) < 4 or vowels < 2))


def _is_shouted(found: Match[str]) -> bool:
    """Whether a neighbour is a word in capitals that is no acronym."""
    return any(
        word.isupper() and word not in SPOKEN_ACRONYMS and (is_syllable(word) or not word.isascii())
        for word in neighbours(found)
    )


ACRONYMS = stage(
    "acronyms",
    (r"(?<![\w'])[A-ZĐƯƠ]{2,12}(?!\w)", _acronym),
    needs=TWO_CAPITALS,
)


# --- symbols -----------------------------------------------------------------------------------

BEFORE_A_NUMBER = "(?=[$£€]?-?[0-9])"
SIGNS = "[" + re.escape("".join(SYMBOLS)) + "]"
FIRST_SYMBOLS = stage(
    "symbols",
    (r"(?m)^[ ]*(?:(?:#{1,6}|[-–•*+])[ ]+)+", ""),
    (r"`([^`\n]{1,400})`", r"\1"),
    (r"(?<!\S)(?:[:;=][-']?(?:[)(]{1,9}|[DPpO3|])|8-?[)(])(?!\S)", ""),
    (rf"[~≈]{BEFORE_A_NUMBER}", "khoảng "),
    (rf"(?<=\w)[ ]?<=[ ]?{BEFORE_A_NUMBER}", " nhỏ hơn hoặc bằng "),
    (rf"(?<=\w)[ ]?>=[ ]?{BEFORE_A_NUMBER}", " lớn hơn hoặc bằng "),
    (rf"(?<=\w)[ ]?<[ ]?{BEFORE_A_NUMBER}", " nhỏ hơn "),
    (rf"(?<=\w)[ ]?>[ ]?{BEFORE_A_NUMBER}", " lớn hơn "),
    (rf"(?<![^\s(])<{BEFORE_A_NUMBER}", "dưới "),
    (rf"(?<![^\s(])>{BEFORE_A_NUMBER}", "trên "),
    (r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]{1,400})(?<=[^\s*])\1(?![\w*])", r"\2"),
)
LAST_SYMBOLS = stage(
    "symbols",
    (r"(?i)\bvà[ ]?/[ ]?hoặc\b", "và hoặc"),
    (r"(?<=\w)[ ]?/[ ]?(?=\w)", " hoặc "),
    (r"/", " "),
    (r"#(?=\w)", "thăng "),
    (rf"[ ]?(?P<sign>{SIGNS})[ ]?", lambda m: f" {SYMBOLS[m['sign']]} "),
    ("[" + re.escape(SILENT) + "]+", " "),
    (r"[ ]?–[ ]?", " - "),
)
