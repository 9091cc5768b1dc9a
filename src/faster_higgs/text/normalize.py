"""Text to speakable text, in named stages that `show` lists. Knows no language: its rules come from
languages/.

`original` is the original project's treatment, sign for sign. `speakable` is the same with a
language's own rules in the middle: numbers, dates, money and the like become words. Both leave
sound tags (<SE>[Laughter]</SE>) and speaker tags ([SPEAKER0]) as they are, and doing either twice
changes nothing more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from faster_higgs.text.languages import en_rules, vi_rules
from faster_higgs.text.rules import Rule
from faster_higgs.text.tags import TAG

PUNCTUATION = str.maketrans(
    {
        "，": ", ", "。": ".", "：": ":", "；": ";", "？": "?", "！": "!", "（": "(", "）": ")",
        "【": "[", "】": "]", "《": "<", "》": ">", "“": '"', "”": '"', "‘": "'", "’": "'",
        "、": ",", "—": "-", "…": "...", "·": ".", "「": '"', "」": '"', "『": '"', "』": '"',
    }
)  # fmt: skip
BRACKETS = (("(", " "), (")", " "), ("°F", " degrees Fahrenheit"), ("°C", " degrees Celsius"))
SOUNDS = (
    ("[laugh]", "<SE>[Laughter]</SE>"), ("[humming start]", "<SE_s>[Humming]</SE_s>"),
    ("[humming end]", "<SE_e>[Humming]</SE_e>"), ("[music start]", "<SE_s>[Music]</SE_s>"),
    ("[music end]", "<SE_e>[Music]</SE_e>"), ("[music]", "<SE>[Music]</SE>"),
    ("[sing start]", "<SE_s>[Singing]</SE_s>"), ("[sing end]", "<SE_e>[Singing]</SE_e>"),
    ("[applause]", "<SE>[Applause]</SE>"), ("[cheering]", "<SE>[Cheering]</SE>"),
    ("[cough]", "<SE>[Cough]</SE>"),
)  # fmt: skip
ENDS = (".", "!", "?", ",", ";", '"', "'", "</SE_e>", "</SE>")
LANGUAGES: dict[str, tuple[Rule, ...]] = {"en": en_rules.RULES, "vi": vi_rules.RULES}
HELD = "\ue000"  # stands for a tag while the rules run; such a character never comes from outside
MOST_ROUNDS = 6  # rules are repeated until they find no more; two rounds are the rule


def original(text: str) -> str:
    """What the original project makes of a text before it speaks."""
    for stage in (_punctuation, _brackets, _sounds, _lines, _last_mark):
        text = stage(text)
    return text


def speakable(text: str, language: str = "en") -> str:
    """Every written form as words; empty if nothing can be spoken. Languages without rules get the
    original's.
    """
    return show(text, language)[-1][1]


def show(text: str, language: str = "en") -> list[tuple[str, str]]:
    """The text as given, then after each stage that changed it; the last entry is what will be
    spoken.
    """
    shown = [("text", text)]
    for _ in range(MOST_ROUNDS):
        before = shown[-1][1]
        for name, after in _round(before, language):
            if after != shown[-1][1]:
                if shown[-1][0] == name:
                    shown.pop()
                shown.append((name, after))
        if shown[-1][1] == before:
            break
    return shown


def _round(text: str, language: str) -> Iterator[tuple[str, str]]:
    """All stages once: the original's, with the language's rules before brackets go."""
    for name, stage in (
        ("characters", _characters),
        ("punctuation", _punctuation),
        ("sound tags", _sounds),
    ):
        text = stage(text)
        yield name, text
    for name, changed in _in_words(text, language):
        text = changed
        yield name, text
    for name, stage in (
        ("brackets", _brackets),
        ("spaces", _tidy),
        ("lines", _lines),
        ("last mark", _close),
    ):
        text = stage(text)
        yield name, text


def _in_words(text: str, language: str) -> Iterator[tuple[str, str]]:
    """The text after each of the language's rules that changed it; tags are out of their reach."""
    tags = TAG.findall(text)
    held = TAG.sub(HELD, text)
    for rule in LANGUAGES.get(language, ()):
        changed = rule(held)
        if changed != held:
            held = changed
            pieces = held.split(HELD)
            yield (
                rule.stage,
                "".join(piece + tag for piece, tag in zip(pieces, [*tags, ""], strict=True)),
            )


# --- the original's stages ---------------------------------------------------------------------


def _punctuation(text: str) -> str:
    return text.translate(PUNCTUATION)


def _brackets(text: str) -> str:
    for written, spoken in BRACKETS:
        text = text.replace(written, spoken)
    return text


def _sounds(text: str) -> str:
    for written, tag in SOUNDS:
        text = text.replace(written, tag)
    return text


def _lines(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.split("\n") if line.strip()).strip()


def _last_mark(text: str) -> str:
    return text if text.endswith(ENDS) else text + "."


# --- ours --------------------------------------------------------------------------------------

KEPT = frozenset("°²³µ©№Ω")
REPLACED = {
    "\u2028": "\n", "\u2029": "\n", "\x85": "\n", "\t": " ", "\u20e3": "", "μ": "µ",
    "‐": "-", "‑": "-", "‒": "–", "―": "—", "«": '"', "»": '"', "„": '"', "‟": '"',
    "‚": "'", "‹": "'", "›": "'", "‛": "'", "´": "'", "ʼ": "'",
}  # fmt: skip
NOTHING, A_SPACE = (
    frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Me")),
    frozenset(("So", "Sk", "Zs", "Zl", "Zp")),
)


def _characters(text: str) -> str:
    """Composed letters, plain spaces and digits; no control characters, emoji or ornaments."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = re.sub(r"[^\n -~]", lambda found: _plain(found.group()), text)
    return re.sub(r" {2,}", " ", text)


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    if character in REPLACED:
        return REPLACED[character]
    if character in KEPT or ord(character) in PUNCTUATION:
        return character
    compatible = unicodedata.normalize("NFKC", character).replace("⁄", "/")
    if compatible != character and all(" " < c <= "~" or c == "°" for c in compatible):
        return f" {compatible}" if "/" in compatible else compatible
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category in NOTHING or "\ufe00" <= character <= "\ufe0f":
        return ""
    return " " if category in A_SPACE else character


def _tidy(text: str) -> str:
    """No space before a mark, no line that ends in a colon or a dash, no dashes or commas alone."""
    text = re.sub(r" {2,}", " ", text)
    text = re.sub(r" (?=[,.;:!?](?![.\w]))", "", text)
    return re.sub(r"(?m)(?<=\w)[ ]?[:-]$", "", text)


def _close(text: str) -> str:
    """The last mark, if there is anything to be said before it."""
    return _last_mark(text) if TAG.search(text) or any(c.isalnum() for c in text) else ""
