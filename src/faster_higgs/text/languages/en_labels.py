"""Numbers that name and do not count, in English words: no. 5, Room 4B, 1-2-3, 8/10. Knows nothing
of amounts.
"""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.en import (
    ANSWERING,
    BEFORE_A_NAMED_NUMBER,
    COUNTED,
    COUNTED_WORDS,
    NO_PLURALS,
    PLACES,
    PLURALS,
    SPOKEN_LABELS,
    SPOKEN_PAIRS,
)
from faster_higgs.text.languages.en_numbers import cardinal, digits, number, year
from faster_higgs.text.rules import A_DIGIT, any_of, stage

COUNTED_FORMS = [*COUNTED, *map(str.capitalize, COUNTED)]
LONG_GROUP = 5  # digits; with one of these, or a leading zero, a chain is a code
ZIP = "[Zz][Ii][Pp](?: code)?|(?<=, )[A-Z]{2}"  # what stands before the five digits
NEAR = 40  # characters in which a neighbouring word is looked for


def run(text: str) -> str:
    """The digits of a code or a name: 4 four, 1204 twelve oh four, 0042 one by one."""
    if len(text) > 4 or text[0] == "0":
        return digits(text)
    return year(int(text)) if len(text) == 4 else cardinal(int(text))


def _counted(found: Match[str]) -> str:
    """No. 5, p. 10; but "I said no. 5 people came." is left alone."""
    word = found["word"]
    if word.lower() in COUNTED_WORDS and not _is_named(found):
        return found.group()
    words = COUNTED[word.lower()]
    return (words.capitalize() if word[0].isupper() else words) + " "


def _is_named(found: Match[str]) -> bool:
    """Whether the number after "no." is a name; not where it counts what follows."""
    text = found.string
    before = re.search(r"(?:^|\W)([\w']+)[ ]$", text[max(0, found.start() - NEAR) : found.start()])
    after = re.match(r"([0-9][0-9,]*)[ ]([a-z]+)", text[found.end() : found.end() + NEAR])
    if after is None or after[1] == "1":
        return True
    if before and (found["word"][0].isupper() or before[1].lower() in BEFORE_A_NAMED_NUMBER):
        return True
    counts = after[2] in PLURALS or (after[2][-1] == "s" and after[2] not in NO_PLURALS)
    return not counts and not (before and before[1].lower() in ANSWERING)


def _place(found: Match[str]) -> str:
    """Room 4B, Gate 12L, seat 7c."""
    return f"{found['place']} {run(found['number'])} {found['letter'].upper()}"


def _chain(found: Match[str]) -> str:
    """1-2-3 as said; a longer code digit by digit with pauses."""
    groups = re.split("[-–]", found.group())
    if any(len(group) >= LONG_GROUP or (len(group) > 1 and group[0] == "0") for group in groups):
        return ", ".join(map(digits, groups))
    return " ".join(map(run, groups))


def _out_of(found: Match[str]) -> str:
    if f"{found['top']}/{found['bottom']}" in SPOKEN_PAIRS:
        return found.group()
    return f"{number(found['top'])} out of {number(found['bottom'])}"


def _zip(found: Match[str]) -> str:
    return f"{found['before']}{digits(found['number'])}"


COUNTS = stage(
    "abbreviations",
    (rf"(?<![\w.])(?P<word>{any_of(COUNTED_FORMS)})\.[ ]?(?=[0-9])", _counted),
    needs=A_DIGIT,
)
PLACES_FORMS = [*PLACES, *map(str.lower, PLACES)]
LABELS = stage(
    "numbers",
    (rf"(?<!\w)(?:{any_of(SPOKEN_LABELS)})(?!\w)", lambda m: SPOKEN_LABELS[m.group()]),
    (
        rf"\b(?P<place>{any_of(PLACES_FORMS)})[ ](?P<number>[0-9]{{1,4}})-?"
        r"(?P<letter>[A-Z]|[a-f])(?![\w'.])",
        _place,
    ),
    (
        r"(?<![\w.,/$£€-])(?P<top>[0-9]{1,3})/(?P<bottom>(?P=top)(?![0-9/])|[0-9]{1,3}"
        r"(?=[ ](?:points|marks|stars|people|students)\b))(?!\w|[./][0-9])",
        _out_of,
    ),
    (
        r"(?<![\w.,/$£€-])(?P<top>[0-9]{1,2}\.[0-9]|(?:(?<=scored )|(?<=rated )|(?<=gave it ))"
        r"[0-9]{1,3})/(?P<bottom>5|10|20|100)(?!\w|[./][0-9])",
        _out_of,
    ),
    (rf"(?P<before>\b(?:{ZIP})[ ])(?P<number>[0-9]{{5}})(?![\w,.]*[0-9])", _zip),
    (r"(?<![\w.,/-])[0-9]{1,7}(?:[-–][0-9]{1,7}){2,9}(?!\w|[-–.,/:][0-9])", _chain),
    needs=A_DIGIT,
)
