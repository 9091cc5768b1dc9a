"""Abbreviations, Roman numerals, acronyms, symbols in English words. Knows nothing of amounts."""

from __future__ import annotations

import re
from functools import cache
from re import Match

from faster_higgs.text.languages.en import (
    DOTLESS_TITLES,
    DOTTED_UNITS,
    ENDING,
    INSIDE,
    NUMBERED,
    OF_A_KING,
    REIGNING,
    ROYAL,
    SILENT,
    SPECIAL_TOKENS,
    SPELLED_ACRONYMS,
    STARTERS,
    SYMBOLS,
    TITLES,
    WORDLIKE_ACRONYMS,
)
from faster_higgs.text.languages.en_numbers import cardinal, ordinal
from faster_higgs.text.lexicon import LONGEST_KNOWN, PACKAGED, Lexicon
from faster_higgs.text.rules import any_of, ends_sentence, neighbours, stage

ROMAN = r"(?=[IVXLC])(?:C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?!\w|'(?!s\b))"
LONE = ("I", "L", "C")  # these are words or initials, too
ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
TWO_CAPITALS = re.compile("[A-Z]{2}")
ACRONYMS_LISTED = WORDLIKE_ACRONYMS | SPELLED_ACRONYMS


# --- abbreviations -----------------------------------------------------------------------------


def _keep_dot(words: str, found: Match[str]) -> str:
    return words + ("." if found.group().endswith(".") and ends_sentence(found) else "")


def _ending(found: Match[str]) -> str:
    """Etc., Inc., min.; but 15 min. are minutes."""
    after_a_number = found.string[max(0, found.start() - 2) : found.start()].strip()[-1:].isdigit()
    if found.group() == "min." and after_a_number:
        return found.group()
    return _keep_dot(ENDING[found.group()], found)


def _doctor(found: Match[str]) -> str:
    """Dr. Smith, but Mulholland Dr."""
    return (
        "Doctor"
        if re.match(r"[ ][A-Z]", found.string[found.end() : found.end() + 2])
        else _keep_dot("Drive", found)
    )


def _saint(found: Match[str]) -> str:
    """St. Louis, but 5 Main St. and Main St., Springfield."""
    before = re.search(
        r"(\S+)[ ](\S+)[ ]$", found.string[max(0, found.start() - 40) : found.start()]
    )
    named = re.match(r"[ ][A-Z]", found.string[found.end() : found.end() + 2])
    address = (
        before
        and before[1].replace("-", "").isalnum()
        and (before[1][0].isdigit() or before[1] in _NUMBER_WORDS)
    )
    return (
        "Saint"
        if named and not (address and before and before[2][:1].isupper())
        else _keep_dot("Street", found)
    )


_NUMBER_WORDS = frozenset(cardinal(n).split()[-1] for n in range(1, 100))


def _dotted(found: Match[str]) -> str:
    """U.S., J.R.R.: the letters; the last dot stays where it also ends the sentence."""
    spoken = " ".join(found.group().replace(".", ""))
    following = re.match(r"[ ]([A-Z][a-z]*)", found.string[found.end() : found.end() + 24])
    return spoken if following and following[1] not in STARTERS else _keep_dot(spoken, found)


def _unit(found: Match[str]) -> str:
    """6 ft. 2 in.: without the dot, unless it also ends the sentence."""
    words = DOTTED_UNITS[found["unit"].strip()]
    return f" {words}" + ("." if ends_sentence(found) else "")


def _inside(found: Match[str]) -> str:
    text = found.group()
    return INSIDE[text.rstrip(",")] + ("," if text.endswith(",") else "")


def _initial(found: Match[str]) -> str:
    """J. Smith; but "Plan B. Then" and "So do I. But" end a sentence."""
    before = re.search(r"([A-Za-z]+)[ ]$", found.string[max(0, found.start() - 20) : found.start()])
    ends = found["initial"] == "I" or (
        before is not None and before[1].lower() in ENDS_WITH_A_LETTER
    )
    return found.group() if ends else found["initial"]


ENDS_WITH_A_LETTER = frozenset(
    [
        "plan",
        "vitamin",
        "type",
        "option",
        "class",
        "grade",
        "point",
        "letter",
        "section",
        "part",
        "group",
        "hepatitis",
        "side",
    ]
)


ABBREVIATIONS = stage(
    "abbreviations",
    (
        rf"(?<![\w&])(?:{any_of(SPECIAL_TOKENS)})(?![\w+#&])",
        lambda m: SPECIAL_TOKENS[m.group()],
    ),
    (rf"(?<=[0-9])(?P<unit>[ ]?(?:{any_of(DOTTED_UNITS)}))\.", _unit),
    (rf"(?<![\w.])(?:{any_of(INSIDE)})(?![\w])(?:(?<=\.),)?", _inside),
    (rf"(?<![\w.])(?:{any_of(ENDING)})(?!\w)", _ending),
    (r"(?<![\w.])Dr\.", _doctor),
    (r"(?<![\w.])St(?:\.|(?=[ ][A-Z][a-z]))", _saint),
    (r"(?<![\w.])Gen\.(?=[ ][0-9])", "Genesis"),
    (
        rf"(?<![\w.])(?P<title>{any_of(TITLES)})\.(?=[ ]?[A-Z0-9])",
        lambda m: TITLES[m["title"]],
    ),
    (
        rf"(?<![\w.])(?P<title>{any_of(DOTLESS_TITLES)})\.?(?=[ ][A-Z])",
        lambda m: TITLES.get(m["title"], "Doctor"),
    ),
    (r"(?<![\w.])(?P<title>Mrs|Mr|Ms)\.", lambda m: TITLES[m["title"]]),
    (r"(?<![\w.])(?:[A-Za-z]\.){2,8}(?!\w)", _dotted),
    (r"(?<![\w.])(?<![A-Z][ ])(?P<initial>[A-Z])\.(?=[ ][A-Z](?:[a-z]|\.))", _initial),
    (r"\betc\b(?!\.)", "et cetera"),
)


# --- roman numerals ----------------------------------------------------------------------------


def roman(text: str) -> int:
    """XIV -> 14."""
    values = [ROMAN_VALUES[c] for c in text]
    return sum(-v if any(w > v for w in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


def _titled(found: Match[str]) -> str:
    """King Abdullah II; Queen Elizabeth I was, but "the queen Elizabeth I know"."""
    following = re.match(r"[ ]([a-z]+)", found.string[found.end() : found.end() + 12])
    if found["roman"] in LONE and following and following[1] not in OF_A_KING:
        return found.group()
    return f"{found['name']} the {ordinal(roman(found['roman'])).capitalize()}"


def _king(found: Match[str]) -> str:
    """Henry VIII; a lone letter only where it is no initial, an I only where it is no pronoun."""
    following = found.string[found.end() : found.end() + 6]
    if found["roman"] in "LC" or (found["roman"] in "VX" and re.match(r"[ ][A-Z]", following)):
        return found.group()
    if found["roman"] == "I" and not re.match(r"[.,;:!?)]|$|[ ]of|[ ]and[ ][A-Z]|'s", following):
        return found.group()
    return f"{found['name']} the {ordinal(roman(found['roman'])).capitalize()}"


ROMANS = stage(
    "roman numerals",
    (rf"\b(?P<name>(?:{any_of(ROYAL)})[ ][A-Z][a-z]+)[ ](?P<roman>{ROMAN})", _titled),
    (rf"\b(?P<name>{any_of(REIGNING)})[ ](?P<roman>{ROMAN})", _king),
    (
        rf"\b(?P<name>{any_of(NUMBERED)})[ ](?P<roman>{ROMAN})",
        lambda m: f"{m['name']} {cardinal(roman(m['roman'])).capitalize()}",
    ),
)


# --- acronyms ----------------------------------------------------------------------------------


@cache
def _lexicon() -> Lexicon:
    return Lexicon.load(PACKAGED)


def _acronym(found: Match[str]) -> str:
    """FBI -> F B I, CEOs -> C E O's; NASA and words written in capitals stay."""
    word, ending = found["word"], found["ending"] or ""
    if not is_spelled(word, found):
        return found.group()
    return " ".join(word) + ("'s" if ending else "")


def is_spelled(word: str, found: Match[str]) -> bool:
    """Whether a word in capitals is said letter by letter."""
    if word in WORDLIKE_ACRONYMS:
        return False
    if word in SPELLED_ACRONYMS:
        return not _is_shouted(found)
    if not re.search("[AEIOUY]", word):
        return True
    return len(word) < LONGEST_KNOWN and not _lexicon().is_known(word.lower())


def _is_shouted(found: Match[str]) -> bool:
    """Whether a neighbour is an everyday word in capitals."""
    return any(
        word.isupper() and word not in ACRONYMS_LISTED and _lexicon().is_known(word.lower())
        for word in neighbours(found)
    )


ACRONYMS = stage(
    "acronyms",
    (r"(?<![\w'])(?P<word>[A-Z]{2,12})(?P<ending>'?s)?(?!\w)", _acronym),
    needs=TWO_CAPITALS,
)


# --- symbols -----------------------------------------------------------------------------------

BEFORE_A_NUMBER = "(?=[$£€]?-?[.]?[0-9])"
SIGNS = "[" + re.escape("".join(SYMBOLS)) + "]"
FIRST_SYMBOLS = stage(
    "symbols",
    (r"(?m)^[ ]*(?:(?:#{1,6}|[-–•*+])[ ]+)+", ""),
    (r"`([^`\n]{1,400})`", r"\1"),
    (r"(?<!\w)`(?=\w)", "'"),
    (r"(?<=[a-zA-Z])[ ]/[ ](?=[A-Za-z])", ", "),
    (r"(?<=[.,;:!?])[ ]/[ ](?=[A-Za-z])", " "),
    (r"(?<!\S)(?:[:;=][-']?[)(DPpO3|]|8-?[)(])(?!\S)", ""),
    (r"(?<!\S)<3(?!\S)", "love"),
    (rf"[~≈]{BEFORE_A_NUMBER}", "about "),
    (rf"(?<=\w)[ ]?<[ ]?{BEFORE_A_NUMBER}", " less than "),
    (rf"(?<=[0-9])[ ]?>[ ]?{BEFORE_A_NUMBER}", " greater than "),
    (rf"(?<=\w)[ ]>[ ]?{BEFORE_A_NUMBER}", " greater than "),
    (rf"(?<![^\s(])<{BEFORE_A_NUMBER}", "less than "),
    (rf"(?<![^\s(])>{BEFORE_A_NUMBER}", "more than "),
    (r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]{1,400})(?<=[^\s*])\1(?![\w*])", r"\2"),
)
LAST_SYMBOLS = stage(
    "symbols",
    (r"#(?=\w)", "hashtag "),
    (rf"[ ]?(?P<sign>{SIGNS})[ ]?", lambda m: f" {SYMBOLS[m['sign']]} "),
    ("[" + re.escape(SILENT) + "]+", " "),
    (r"[ ]?–[ ]?", " - "),
)
