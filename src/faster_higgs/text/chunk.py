"""Long text to pieces short enough for one generation. Knows nothing of the model that will say
them.

A piece is a slice of the text without the white space at its ends. The law: the words of all pieces
in order are the words of the text, where `words` defines what a word is. Words are told apart by
white space; in scripts that are written without spaces (Chinese, Japanese) each character counts as
a word, so that no dictionary is needed. A tag is one word and is never cut.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal, NamedTuple

from faster_higgs.errors import SettingError
from faster_higgs.text.languages import en, vi
from faster_higgs.text.tags import SPEAKER, TAG

Method = Literal["word", "speaker", "sentence"] | None
METHODS = (None, "word", "speaker", "sentence")

UNSPACED = (  # Chinese characters and Japanese syllables
    r"\u2e80-\u2eff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
OPENING, CLOSING = r"「『（《【〈“‘(\[\"'", r"」』）》】〉”’)\]\"'"
ATOM = re.compile(
    rf"{TAG.pattern}|[「『（《【〈]*[{UNSPACED}][。！？，、；：…,.!?;:{CLOSING}]*|(?:[^\s<\[{UNSPACED}]|(?!{TAG.pattern})[<\[])+"
)
SENTENCE_END = re.compile(rf"[.!?…。！？｡]+[{CLOSING}]*$")
CLAUSE_END = re.compile(rf"[,;:，；：、—–-][{CLOSING}]*$")
TURN = re.compile(rf"{SPEAKER.pattern}|<\|speaker_id_start\|>")

# How strong a place to cut is.
NONE, CLAUSE, SENTENCE = 0, 1, 2


class Abbreviations(NamedTuple):
    """Words with a dot that does not end a sentence; before a number; unless a capital follows."""

    never: frozenset[str]
    before_a_number: frozenset[str]
    may_end: frozenset[str]


ENGLISH = Abbreviations(
    never=frozenset(f"{word}." for word in en.TITLES) | frozenset(en.INSIDE) | {"Dr.", "St."},
    before_a_number=frozenset(
        f"{word}." for word in [*en.COUNTED, *map(str.capitalize, en.COUNTED), *en.MONTH_FORMS]
    ),
    may_end=frozenset(en.ENDING),
)
VIETNAMESE = Abbreviations(
    never=frozenset(f"{word}." for word in [*vi.TITLES, *vi.DISTRICTS, "GS.TS", "PGS.TS"]),
    before_a_number=frozenset(f"{word}." for word in vi.COUNTED),
    may_end=frozenset(["v.v."]),
)
LANGUAGES = {"en": ENGLISH, "vi": VIETNAMESE}


def chunks(
    text: str, method: Method, max_words: int = 200, max_turns: int = 1, language: str | None = None
) -> list[str]:
    """The pieces in order; none are empty, so blank text gives none.

    None: the whole text. "speaker": `max_turns` turns each, however long; a turn begins at each
    tag, wherever it stands. "sentence": whole sentences, as many as fit in `max_words`; only a
    longer sentence is cut. "word": as many words as fit, cut at the last sentence end of the
    window's second half, else at its last comma, else at any sentence end, else after the last
    word. `language` chooses the abbreviations that do not end a sentence (None: English).
    """
    if method not in METHODS:
        raise SettingError(
            f"The chunk method '{method}' is unknown; use word, speaker, sentence or none."
        )
    if max_words < 1 or max_turns < 1:
        raise SettingError(
            f"Chunks of {max_words} words and {max_turns} turns are impossible; use 1 or more."
        )
    if method is None:
        pieces = [text]
    elif method == "speaker":
        pieces = _by_speaker(text, max_turns)
    else:
        pieces = _by_words(text, method, max_words, LANGUAGES.get(language or "en"))
    return [piece.strip() for piece in pieces if piece.strip()]


def words(text: str) -> list[str]:
    """What counts as a word: a tag, a character of an unspaced script with its marks, or a run
    without white space.
    """
    return ATOM.findall(text)


def sentences(text: str, language: str | None = None) -> list[str]:
    """The sentences of a text in order."""
    atoms = list(ATOM.finditer(text))
    levels = _levels(text, atoms, LANGUAGES.get(language or "en"))
    cuts = [0, *(at for at, level in enumerate(levels) if level == SENTENCE), len(atoms)]
    return [piece.strip() for piece in _slices(text, atoms, cuts)]


def places(text: str, level: int, language: str | None = None) -> list[tuple[int, int]]:
    """The words before which a text may be cut, as where each begins and ends.

    `level` is CLAUSE or SENTENCE.
    """
    atoms = list(ATOM.finditer(text))
    levels = _levels(text, atoms, LANGUAGES.get(language or "en"))
    # There is no level for an empty text, and none above NONE for its first word.
    return [atom.span() for atom, here in zip(atoms, levels, strict=False) if here >= level]


def _by_speaker(text: str, max_turns: int) -> list[str]:
    cuts = sorted({0, *(found.start() for found in TURN.finditer(text))})
    if len(cuts) > 1 and not text[: cuts[1]].strip():
        cuts.remove(0)  # the text begins with a tag
    cuts = cuts[::max_turns]
    return [text[begin:end] for begin, end in zip(cuts, [*cuts[1:], None], strict=True)]


def _by_words(text: str, method: str, most: int, abbreviations: Abbreviations | None) -> list[str]:
    atoms = list(ATOM.finditer(text))
    levels = _levels(text, atoms, abbreviations)
    cut = _sentence_cut if method == "sentence" else _word_cut
    cuts = [0]
    while len(atoms) - cuts[-1] > most:
        cuts.append(cut(levels, cuts[-1], cuts[-1] + most))
    return _slices(text, atoms, [*cuts, len(atoms)])


def _sentence_cut(levels: list[int], begin: int, end: int) -> int:
    """The last sentence end in the window, else as for words."""
    return _last(levels, begin, end, SENTENCE) or _word_cut(levels, begin, end)


def _word_cut(levels: list[int], begin: int, end: int) -> int:
    half = (begin + end) // 2
    return (
        _last(levels, half, end, SENTENCE)
        or _last(levels, half, end, CLAUSE)
        or _last(levels, begin, end, SENTENCE)
        or end
    )


def _last(levels: list[int], begin: int, end: int, level: int) -> int:
    """The last place after `begin` and up to `end` of that strength; 0 if there is none."""
    return next((at for at in range(end, begin, -1) if levels[at] >= level), 0)


def _slices(text: str, atoms: list[re.Match[str]], cuts: list[int]) -> list[str]:
    return [
        text[atoms[begin].start() : atoms[end - 1].end()]
        for begin, end in pairwise(cuts)
        if begin < end
    ]


def _levels(
    text: str, atoms: list[re.Match[str]], abbreviations: Abbreviations | None
) -> list[int]:
    """For each word, how good it is to cut before it."""
    levels = [NONE]
    for before, after in pairwise(atoms):
        word, following = before.group(), after.group()
        gap = text[before.end() : after.start()]
        if SPEAKER.fullmatch(word):
            levels.append(NONE)  # a speaker stays with what he says
        elif SPEAKER.fullmatch(following) or "\n" in gap or _ends(word, following, abbreviations):
            levels.append(SENTENCE)
        else:
            levels.append(CLAUSE if CLAUSE_END.search(word) else NONE)
    return levels


def _ends(word: str, following: str, abbreviations: Abbreviations | None) -> bool:
    """Whether the sentence ends between two words."""
    found = SENTENCE_END.search(word)
    if not found:
        return False
    if re.search("[。！？｡]", found.group()):
        return True
    start = following.lstrip("「『（《【〈“‘([\"'«¿¡")[:1]
    if start.islower():
        return False
    if found.group()[0] != "." or len(found.group().strip(CLOSING)) > 1:
        return True
    return abbreviations is None or not _is_abbreviation(
        word[: found.start() + 1], following, abbreviations
    )


def _is_abbreviation(word: str, following: str, known: Abbreviations) -> bool:
    """Whether the dot of a word belongs to it and a sentence goes on after it."""
    word = word.lstrip("「『（《【〈“‘([\"'")
    if word in known.never:
        return True
    if word in known.before_a_number:
        return following[:1].isdigit()
    if word in known.may_end:
        return not following[:1].isupper() and not following.startswith(("[", "<", '"'))
    if re.fullmatch(r"[A-Za-z]\.", word):  # an initial, but "So do I."
        return word != "I." and following[:1].isupper()
    dotted = re.fullmatch(r"(?:[A-Za-z]\.){2,8}", word)
    return dotted is not None and following.strip(CLOSING + ",.;:!?") not in en.STARTERS
