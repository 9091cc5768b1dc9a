"""The order in which English is put into words. Knows the names of the rules, not what they do."""

from __future__ import annotations

from faster_higgs.text.languages.en_addresses import ADDRESSES, PHONES
from faster_higgs.text.languages.en_calendar import DATES, NOON, YEARS
from faster_higgs.text.languages.en_labels import COUNTS, LABELS
from faster_higgs.text.languages.en_quantities import MEASURES, MONEY, NUMBERS
from faster_higgs.text.languages.en_words import (
    ABBREVIATIONS,
    ACRONYMS,
    FIRST_SYMBOLS,
    LAST_SYMBOLS,
    ROMANS,
)

RULES = (
    *FIRST_SYMBOLS,
    *ADDRESSES,
    *PHONES,
    *NOON,
    *COUNTS,
    *ABBREVIATIONS,
    *ROMANS,
    *DATES,
    *LABELS,
    *MONEY,
    *MEASURES,
    *YEARS,
    *NUMBERS,
    *ACRONYMS,
    *LAST_SYMBOLS,
)
