"""How a sentence is meant and where it was recorded, told by whole words: rules from a data file.

Words match as words, in any way their letters are composed or capitalised; in scripts without
spaces they match anywhere. Words of `except` that hold a match speak against it. Knows nothing of
sound.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

from faster_higgs.data.cache import hashed
from faster_higgs.errors import DataError
from faster_higgs.prompt.conversation import QUIET_ROOM
from faster_higgs.text.chunk import UNSPACED
from faster_higgs.text.language import guess
from faster_higgs.text.rules import any_of

NEUTRAL = "neutral"
NO_SCENE = frozenset(("", "unknown", "quiet_room"))  # said as the usual scene
PACKAGED = "moods.json"
ENDED = re.compile(r"[.!…。！]['\"”’)\]]*$")
EDGE_OF_WORDS = rf"(?:(?<!\w)|(?<=[{UNSPACED}])|(?=[{UNSPACED}]))"
END_OF_WORDS = rf"(?:(?!\w)|(?=[{UNSPACED}])|(?<=[{UNSPACED}]))"
KNOWN = {
    "moods": frozenset(("name", "marks", "unless_ended", "words", "except")),
    "scenes": frozenset(("name", "line", "words", "except", "paths")),
}
Words = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Rule:
    """What speaks for a mood or a scene; the words by language.

    `marks` stand at the end of a text. `unless_ended`: words do not count in a text that ends in a
    full stop: "Tôi biết tại sao." asks nothing.
    """

    name: str
    words: Words
    exceptions: Words
    marks: tuple[str, ...] = ()
    unless_ended: bool = False
    line: str = ""
    paths: tuple[str, ...] = ()

    def is_said(self, text: str, language: str) -> bool:
        """Whether one of the words is in a folded text."""
        wanted = self.words.get(language, ())
        if not wanted or (self.unless_ended and ENDED.search(text)):
            return False
        spared = frozenset(self.exceptions.get(language, ()))
        found = _pattern((*wanted, *spared)).findall(text)
        return any(words not in spared for words in found)

    def ends(self, text: str) -> bool:
        """Whether the text ends in one of the marks."""
        return text.rstrip("'\"”’)] ").endswith(self.marks) if self.marks else False


@dataclass(frozen=True)
class Moods:
    """The rules of one file; the first that holds decides."""

    moods: tuple[Rule, ...]
    scenes: tuple[Rule, ...]

    @classmethod
    def load(cls, path: Path) -> Moods:
        """The rules of a file such as moods.json beside this module. Raises DataError."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"The rules {path} cannot be read: {error}.") from error
        return cls._read(text, str(path))

    @classmethod
    def _read(cls, text: str, source: str) -> Moods:
        try:
            found = json.loads(text)
            if not isinstance(found, dict) or found.keys() - KNOWN.keys():
                raise ValueError(f"it must hold {' and '.join(KNOWN)}, and nothing else")
            rules = {kind: _rules(found.get(kind, []), kind) for kind in KNOWN}
        except ValueError as error:
            raise DataError(
                f"The rules {source} cannot be used: {error}; see moods.json of this package."
            ) from error
        return cls(**rules)

    @property
    def fingerprint(self) -> str:
        """The same for equal rules."""
        return hashed(asdict(self))[:16]

    def mood(self, text: str, language: str | None = None) -> str:
        """The name of the first rule that holds, by its marks or by its words; else "neutral".

        Marks tell in every language: "Cẩn thận!" is alerting, as that rule comes before the one
        with the exclamation mark.
        """
        folded, code = _folded(text), _code(text, language)
        for rule in self.moods:
            if rule.ends(folded) or rule.is_said(folded, code):
                return rule.name
        return NEUTRAL

    def scene(self, text: str, path: str | PurePath = "", language: str | None = None) -> str:
        """A scene's name, told by the words of the path, else of the text; "" if nothing tells."""
        places = set(re.findall(r"[^\W_0-9]+", _folded(str(path))))
        for rule in self.scenes:
            if places & set(rule.paths):
                return rule.name
        folded, code = _folded(text), _code(text, language)
        return next((rule.name for rule in self.scenes if rule.is_said(folded, code)), "")

    def scene_line(self, name: str) -> str:
        """The sentence of a scene in the prompt; the usual one where none is known.

        A name the rules do not have is put into the usual words; a sentence stays as it is.
        """
        name = " ".join(name.split())
        key = name.casefold().replace(" ", "_").replace("-", "_")
        if key in NO_SCENE:
            return QUIET_ROOM
        if name.endswith("."):
            return name
        known = {rule.name: rule.line for rule in self.scenes}
        words = key.replace("_", " ")
        article = "an" if words[0] in "aeiou" else "a"
        return known.get(key) or f"Audio is recorded from {article} {words}."


def mood(text: str, language: str | None = None) -> str:
    """`Moods.mood` by the packaged rules."""
    return packaged().mood(text, language)


def scene(text: str, path: str | PurePath = "", language: str | None = None) -> str:
    """`Moods.scene` by the packaged rules."""
    return packaged().scene(text, path, language)


def scene_line(name: str) -> str:
    """`Moods.scene_line` by the packaged rules."""
    return packaged().scene_line(name)


@cache
def packaged() -> Moods:
    """The rules that come with this package."""
    text = files("faster_higgs.data").joinpath(PACKAGED).read_text(encoding="utf-8")
    return Moods._read(text, PACKAGED)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _code(text: str, language: str | None) -> str:
    """The language as the rules name it: vi-VN is vi; guessed where none is given."""
    return re.split("[-_]", language.lower())[0] if language else guess(text)


@cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"{EDGE_OF_WORDS}(?:{any_of(words)}){END_OF_WORDS}")


# --- reading the file --------------------------------------------------------------------------


def _rules(found: Any, kind: str) -> tuple[Rule, ...]:
    """Raises ValueError for what is no list of rules."""
    if not isinstance(found, list) or not all(isinstance(rule, dict) for rule in found):
        raise ValueError(f"'{kind}' is not a list of rules")
    rules = tuple(_rule(rule, f"{kind}[{at}]", KNOWN[kind]) for at, rule in enumerate(found))
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"'{kind}' has two rules named '{twice}'")
    return rules


def _rule(found: dict[str, Any], where: str, known: frozenset[str]) -> Rule:
    if unknown := sorted(found.keys() - known):
        raise ValueError(f"{where} has the unknown key '{unknown[0]}'")
    name, line, unless = (found.get(key, "") for key in ("name", "line", "unless_ended"))
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{where} needs a name of small letters, digits and _")
    if not isinstance(line, str) or unless not in ("", True, False):
        raise ValueError(f"{where} has a 'line' that is no text, or an 'unless_ended' no true")
    return Rule(
        name,
        _by_language(found.get("words", {}), where),
        _by_language(found.get("except", {}), where),
        _texts(found.get("marks", []), where),
        bool(unless),
        line,
        _texts(found.get("paths", []), where),
    )


def _by_language(found: Any, where: str) -> Words:
    if not isinstance(found, dict):
        raise ValueError(f"{where} needs its words by language: {{'vi': [...]}}")
    return {language: _texts(words, where) for language, words in found.items()}


def _texts(found: Any, where: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise ValueError(f"{where} has something else than a list of texts")
    return tuple(map(_folded, found))
