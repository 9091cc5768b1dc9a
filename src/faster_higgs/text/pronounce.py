"""English words to the phones that pico reads; tags pass through untouched. Knows nothing of models
or sound.

    Pronouncer.load()("Hello, world.")  ->  "həloʊ, wɝld."

Words are separated by one space. `. , ? ! ; :` stay, at most one after a word; quotes and brackets
go, a dash between words becomes a comma, three dots a full stop. The phones (table `PHONES` of
lexicon.py) are those of the synthesiser that taught pico, and so are the few rules by which words
change each other:

    a      ə, but eɪ before a pause, as a capital letter, or beside another single letter
    the    ði before a vowel, ðə elsewhere
    's     s after p t k f θ, əz after hissing sounds, z elsewhere; s' adds nothing
    use, live, record ...  sound different as verbs, told by the word before

A word in capitals that is no known word is spelled, as is a word without a vowel letter, and so are
digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from faster_higgs.errors import TextError
from faster_higgs.text.languages.en_sounds import DIGITS, ENDINGS, LETTERS, USES
from faster_higgs.text.lexicon import LONGEST_KNOWN, PACKAGED, Lexicon, code, letters
from faster_higgs.text.normalize import speakable
from faster_higgs.text.tags import TAG

PIECE = re.compile(
    rf"(?P<tag>{TAG.pattern})"
    r"|(?P<dotted>(?<![a-zA-Z.])(?:[a-zA-Z]\.){2,})"
    r"|(?P<word>[a-zA-Z]+(?:'[a-zA-Z]+)*'?)"
    r"|(?P<digit>\d)"
    r"|(?P<mark>[.,?!;:]|(?<=\s)-+(?=\s)|--+)"
)
FORMS = str.maketrans(
    dict(zip("’‘ʼ…。，！？øØłŁđĐðı", "'''..,!?oOlLdDdi", strict=True))
    | {"—": " -- ", "–": " -- ", "ß": "ss", "þ": "th"}
    | {"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
)
LETTER_NAMES = {letter: code(names) for letter, names in LETTERS.items()}
VOWELS = frozenset(code("aa ae ah ao aw ax axr ay eh er ey ih iy ow oy uh uw"))
VOICELESS, HISSING = frozenset(code("p t k f th")), frozenset(code("s z sh zh ch jh"))


class Pronouncer:
    """Text to phones. Never fails: what cannot be read is left out."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._say = lru_cache(maxsize=20_000)(self._word)

    @classmethod
    def load(cls, path: Path | str | None = None) -> Pronouncer:
        """With the packaged lexicon, or another of the same form."""
        return cls(Lexicon.load(PACKAGED if path is None else Path(path)))

    def __call__(self, text: str) -> str:
        out: list[str] = []
        for kind, piece in self._spoken(text):
            if kind != "mark":
                out.append(piece if kind == "tag" else letters(piece))
            elif out and out[-1][-1] not in ">].,?!;:":
                out[-1] += piece
        return " ".join(out)

    def codes(self, text: str) -> list[str]:
        """The sounds of each word, as codes, without tags and marks."""
        return [piece for kind, piece in self._spoken(text) if kind == "word"]

    def word(self, word: str) -> str:
        """The sounds of one word on its own, as codes."""
        return self._say(word)

    def _spoken(self, text: str) -> Iterator[tuple[str, str]]:
        pieces = self._pieces(text)
        for at, (kind, piece) in enumerate(pieces):
            if kind in ("tag", "mark"):
                yield kind, piece
            elif sounds := self._in_place(pieces, at):
                yield "word", sounds

    def _pieces(self, text: str) -> list[tuple[str, str]]:
        """Words, tags and marks in order; each mark the strongest of its run."""
        plain = unicodedata.normalize("NFKD", text.translate(FORMS)).replace("⁄", " ")
        plain = "".join(c for c in plain if not unicodedata.combining(c))
        pieces: list[tuple[str, str]] = []
        for found in PIECE.finditer(plain):
            kind, piece = str(found.lastgroup), found.group()
            if kind == "dotted":
                pieces += [("letter", c) for c in piece.replace(".", "")]
            elif kind == "digit":
                pieces.append(("word", DIGITS[int(piece)]))
            elif kind == "mark" and pieces and pieces[-1][0] == "mark":
                pieces[-1] = (
                    "mark",
                    max(pieces[-1][1], piece.replace("-", ",")[:1], key=",;:.!?".index),
                )
            else:
                pieces.append((kind, piece.replace("-", ",")[:1] if kind == "mark" else piece))
        return pieces

    def _in_place(self, pieces: list[tuple[str, str]], at: int) -> str:
        """The sounds of the word at that place, as its neighbours make them."""
        kind, word = pieces[at]
        before = pieces[at - 1][1] if at and pieces[at - 1][0] == "word" else ""
        after = pieces[at + 1] if at + 1 < len(pieces) else ("mark", "")
        lower = word.lower()
        if kind == "letter":
            return LETTER_NAMES[lower]
        if lower == "a":
            as_letter = (
                after[0] not in ("word", "letter") or _is_letter(after[1]) or _is_letter(before)
            )
            return LETTER_NAMES["a"] if as_letter or (word == "A" and before) else code("ax")
        if lower == "the":
            spoken = after[0] in ("word", "letter") and after[1].lower() != "the"
            following = self._in_place(pieces, at + 1) if spoken else ""
            return code("dh iy" if following and following[0] in VOWELS else "dh ax")
        return self._as_used(lower, before.lower()) or self._say(word)

    def _as_used(self, word: str, before: str) -> str | None:
        """A word of two sounds, if the word before asks for the second."""
        if word not in self._lexicon.homographs:
            return None
        forms = self._lexicon.homographs[word]
        uses = (
            use
            for use, words in USES.items()
            if before in words or (use == "noun" and before.endswith("'s"))
        )
        return next((forms[use] for use in uses if use in forms), None)

    def _word(self, word: str) -> str:
        lower = word.lower()
        if (
            len(word) > 1
            and word.isupper()
            and len(word) <= LONGEST_KNOWN
            and not self._lexicon.is_known(lower)
        ):
            return self._spell(lower)
        known = self._lexicon.exception(lower) or self._lexicon.exception(lower.rstrip("'"))
        if known is not None:
            return known
        stem, apostrophe, ending = lower.rpartition("'")
        if apostrophe:
            return self._with_ending(stem, ending)
        if len(lower) == 1 or not re.search("[aeiouy]", lower):
            return self._spell(lower)
        return self._lexicon.read(lower) or self._spell(lower)

    def _with_ending(self, stem: str, ending: str) -> str:
        """don't, John's, they'll, o'clock."""
        if not stem or not ending:
            return self._say(stem or ending) if stem or ending else ""
        sounds, last = self._say(stem), self._say(stem)[-1:]
        if ending == "s":
            return sounds + code("ax z" if last in HISSING else "s" if last in VOICELESS else "z")
        if ending == "d":
            return sounds + code("d" if last in VOWELS else "ax d")
        if ending == "t" and stem.endswith("n"):
            return self._say(stem[:-1]) + code("ax n t")
        return sounds + (code(ENDINGS[ending]) if ending in ENDINGS else self._say(ending))

    def _spell(self, word: str) -> str:
        return "".join(LETTER_NAMES.get(c, "") for c in word)


def spelling(text_input: str) -> Callable[[str], str]:
    """How speech is written for a checkpoint of that `text_input`: as it is, or in phonemes."""
    if text_input == "text":
        return str
    pronounce = Pronouncer.load()
    return lambda text: pronounce(speakable(text))


def unreadable(text: str) -> str:
    """The letters, each once, that a Pronouncer would leave out: those of other scripts."""
    plain = unicodedata.normalize("NFKD", text.translate(FORMS))
    return "".join(dict.fromkeys(c for c in plain if c.isalpha() and not c.isascii()))


def refuse_unreadable(text: str) -> None:
    """Raises TextError for letters that have no phonemes."""
    if strange := unreadable(text):
        raise TextError(
            f"This model reads English only and cannot pronounce '{strange[:20]}'; "
            "write it in Latin letters, or use the full model."
        )


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.lower() not in ("i", "a", "")
