"""The order in which Vietnamese is put into words. Knows the names of the rules, not what they do."""

from __future__ import annotations

from faster_higgs.text.languages.vi_addresses import ADDRESSES, CODES, PHONES
from faster_higgs.text.languages.vi_calendar import DATES, PLAIN_DAYS, TIMES
from faster_higgs.text.languages.vi_labels import EARLY_LABELS, LABELS
from faster_higgs.text.languages.vi_letters import LETTERS
from faster_higgs.text.languages.vi_quantities import MEASURES, MONEY, NUMBERS
from faster_higgs.text.languages.vi_words import (
    ABBREVIATIONS_RULES,
    ACRONYMS,
    FIRST_SYMBOLS,
    LAST_SYMBOLS,
    ROMANS,
)

RULES = (
    *LETTERS,
    *FIRST_SYMBOLS,
    *ADDRESSES,
    *CODES,
    *ABBREVIATIONS_RULES,
    *ROMANS,
    *EARLY_LABELS,
    *DATES,
    *PHONES,
    *TIMES,
    *PLAIN_DAYS,
    *MONEY,
    *MEASURES,
    *LABELS,
    *NUMBERS,
    *ACRONYMS,
    *LAST_SYMBOLS,
)
