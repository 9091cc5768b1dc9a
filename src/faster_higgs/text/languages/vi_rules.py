"""The order in which Vietnamese is put into words. Knows the rules' names, not what they do."""

from __future__ import annotations

from faster_higgs.text.languages.vi_addresses import ADDRESSES, CODES, PHONES
from faster_higgs.text.languages.vi_calendar import DATES, DAYS_OF_A_WEEK, PLAIN_DAYS, TIMES
from faster_higgs.text.languages.vi_labels import EARLY_LABELS, LABELS
from faster_higgs.text.languages.vi_letters import LETTERS
from faster_higgs.text.languages.vi_quantities import CURRENCY_NAMES, MEASURES, MONEY, NUMBERS
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
    *DAYS_OF_A_WEEK,
    *EARLY_LABELS,
    *ABBREVIATIONS_RULES,
    *ROMANS,
    *DATES,
    *PHONES,
    *TIMES,
    *PLAIN_DAYS,
    *MONEY,
    *CURRENCY_NAMES,
    *MEASURES,
    *LABELS,
    *NUMBERS,
    *ACRONYMS,
    *LAST_SYMBOLS,
)
