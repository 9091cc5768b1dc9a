"""Which language a text is in, told by its script, its letters and its everyday words. Knows no
grammar; the tables are in languages/signs.py.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from faster_higgs.text.languages import signs
from faster_higgs.text.languages.en import UNITS
from faster_higgs.text.languages.vi_letters import is_said
from faster_higgs.text.rules import any_of
from faster_higgs.text.tags import TAG

OTHER = "other"
LEAD = 0.75  # what the first language of a script has before a word is read
# What an everyday word, foreign letters, either in a name, and a word that says nothing are worth.
WORD, MARKS, NAME, PLAIN = 1.0, 0.8, 0.25, 0.05
SOME_WORDS = 5  # from here on a text in English letters without one English word is doubted
FEW = 1 / 12  # signs per word; with fewer, Latin words in another script are names and brands
SHORTEST_SHOUT = 3  # letters; so many capitals are an acronym
KANA_SHARE = 1 / 8  # from here on Chinese characters are Japanese

NOT_WORDS = re.compile(  # tags, addresses, file names, w/o, la la la, 5 km
    rf"{TAG.pattern}|\[[^\]\n]{{1,20}}\]|https?://\S+|www\.\S+|(?<![\w.+-])[\w.+-]{{1,64}}@\S+"
    r"|(?<![A-Za-z0-9.-])[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]+)+|(?<!\w)[a-z]/[a-z]?(?!\w)"
    rf"|\b([a-z]{{2,3}})(?:\W+\1\b)+|(?<=[0-9])[ ]?(?:{any_of(UNITS)})(?![\w'’])"
)
JOINED = "['’]"
RUNS = re.compile(
    "|".join(
        f"(?P<{script}>[{letters}]+(?:{JOINED}[{letters}]+)*)"
        for script, letters in signs.SCRIPTS.items()
    )
)
SHARED = {script: frozenset(f"{letters}'") for script, letters in signs.SHARED_LETTERS.items()}
LETTERS = {
    script: {language: frozenset(letters) for language, letters in table.items()}
    for script, table in signs.LETTERS.items()
}
WORDS = {
    script: {language: frozenset(words.split()) for language, words in table.items()}
    for script, table in signs.WORDS.items()
}
SPEAKERS = {  # of each word, in the order of the table
    script: {
        word: [language for language, known in table.items() if word in known]
        for word in frozenset().union(*table.values())
    }
    for script, table in WORDS.items()
}
INNER_CAPITAL = re.compile("'[A-ZÀ-ÖØ-Þ]")
ENGLISH_END = re.compile(r"[a-z]'(?:s|t|ll|ve|re|d|m)$")
FRENCH_START = re.compile(r"(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu)'[^\W\d_]")


NAMES = {
    "english": "en", "chinese": "zh", "german": "de", "french": "fr", "spanish": "es",
    "italian": "it", "portuguese": "pt", "russian": "ru", "japanese": "ja", "korean": "ko",
    "vietnamese": "vi", "arabic": "ar", "hindi": "hi", "dutch": "nl", "polish": "pl",
}  # fmt: skip


def code_of(said: str) -> str:
    """The code of a language by its English name or a tag: Vietnamese, vi-VN and vi_VN are vi."""
    name = said.strip().lower()
    return NAMES.get(name, re.split("[-_]", name)[0])


def guess(text: str) -> str:
    """The language's code ("en", "zh", "de" ...) or "other"; without a sign of another one "en".

    Of a text in two languages, the one that more of it is in; foreign names do not count much.
    """
    runs = _runs(text)
    sizes = {script: _size(script, words) for script, words in runs.items()}
    sizes["chinese"] = sizes.get("chinese", 0) + sizes.pop("kana", 0)
    latin = sizes.pop("latin", 0)
    script = max(sizes, key=lambda script: sizes[script])
    if latin > sum(sizes.values()) or not sizes[script]:
        return _by_words("latin", runs.get("latin", []))
    if script == "chinese":
        return _chinese_or_japanese(runs)
    if script in LETTERS:
        return _by_words(script, runs[script])
    return signs.SCRIPT_LANGUAGES[script]


def _runs(text: str) -> dict[str, list[str]]:
    """The words by script; a single Greek letter is a sign of mathematics, not a word."""
    runs: dict[str, list[str]] = {}
    text = unicodedata.normalize("NFKC", NOT_WORDS.sub(" ", text))
    for found in RUNS.finditer(text):
        script, word = str(found.lastgroup), found.group().replace("’", "'")
        if script != "greek" or len(word) > 1:
            runs.setdefault(script, []).append(word)
    return runs


def _size(script: str, words: list[str]) -> float:
    """How much of a text these are, in words."""
    if script in signs.UNSPACED:
        return signs.UNSPACED[script] * sum(map(len, words))
    if script != "latin":
        return len(words)
    size = sum(0.5 if word[0].isupper() else 1 for word in words)
    points = _points("latin", [word for word in words if word.islower()])
    return size if max(points.values()) > FEW * len(words) else size / 4


def _chinese_or_japanese(runs: dict[str, list[str]]) -> str:
    chinese, kana = "".join(runs.get("chinese", [])), "".join(runs.get("kana", []))
    japanese = len(kana) >= KANA_SHARE * len(chinese + kana)
    return "ja" if japanese or signs.JAPANESE_FORMS & set(chinese) else "zh"


def _by_words(script: str, words: list[str]) -> str:
    """The language of a script with most points; "other" where nothing speaks for any."""
    default = signs.SCRIPT_LANGUAGES[script]
    points = _points(script, words)
    if points[default] or not _looks_foreign(script, set(words)):
        plain = sum(word.islower() and not _languages(script, word) for word in words)
        points[default] += LEAD + PLAIN * plain
    if script == "latin" and _sounds_vietnamese(words):
        points["vi"] += 2 * LEAD
    best = max(points, key=lambda language: points[language])
    return best if points[best] else OTHER


def _sounds_vietnamese(words: list[str]) -> bool:
    """Whether all words but acronyms are Vietnamese syllables, and some are no plain letters.

    A single word must be an everyday one.
    """
    said = [word for word in words if not (word.isascii() and word.isupper() and len(word) > 1)]
    known = len(said) > 1 or any(word.lower() in WORDS["latin"]["vi"] for word in said)
    return known and not all(map(str.isascii, said)) and all(map(is_said, said))


def _points(script: str, words: list[str]) -> dict[str, float]:
    """What each language has in its favour; the default one first, so that it wins when even."""
    points = dict.fromkeys([*LETTERS[script], OTHER], 0.0)
    name_follows = False
    for word in reversed(words):
        in_name = name_follows and word.lower() in signs.NAME_PARTS
        known = WORD if word.isascii() or word.lower() in SPEAKERS[script] else MARKS
        worth = NAME if in_name or _is_namelike(script, word) else known
        for language in _languages(script, word.lower()):
            points[language] += worth
        name_follows = in_name or word[0].isupper()
    return points


def _is_namelike(script: str, word: str) -> bool:
    """Says less than other words of the language around it: Zürich, d'Ivoire, BA, 5 m."""
    if len(word) == 1 or (len(word) <= SHORTEST_SHOUT and word.isupper()):
        return True
    if word.lower() in SPEAKERS[script]:
        return False
    return INNER_CAPITAL.search(word) is not None or (word.istitle() and not word.isascii())


@lru_cache(maxsize=4096)
def _languages(script: str, word: str) -> list[str]:
    """Those that a word speaks for: it is an everyday word of theirs, or has their letters."""
    if word in SPEAKERS[script]:
        return SPEAKERS[script][word]
    if FRENCH_START.match(word):
        return ["fr"]
    if ENGLISH_END.search(word):
        return ["en"]
    marks = set(word) - SHARED[script]
    if not marks or word in signs.ENGLISH_LOANS:
        return []
    return [language for language, own in LETTERS[script].items() if marks <= own] or [OTHER]


def _looks_foreign(script: str, words: set[str]) -> bool:
    """English words seldom end in a vowel that is heard."""
    open_ends = sum(word[-1] in "aiou" for word in words)
    return script == "latin" and len(words) >= SOME_WORDS and open_ends > len(words) / 2
