"""How a checkpoint reads what is said: the spelling, the token ids, and the name of both together.

Training data are made with one wording and used with the same. Knows nothing of sound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faster_higgs.config import ModelConfig
from faster_higgs.prompt.tokens import SOUND_TAGS, TextTokenizer, Tokenizer, encode
from faster_higgs.text.pronounce import spelling

VERSION = 1  # of the rules by which texts are put into words
BEGIN, END = "\ue001", "\ue002"  # around a text whose ids are known; such never come from outside


@dataclass(frozen=True)
class Wording:
    """A checkpoint's tokenizer, its spelling, and the fingerprint of both."""

    tokenizer: Tokenizer
    spell: Callable[[str], str]
    fingerprint: str

    @classmethod
    def load(cls, folder: Path, config: ModelConfig) -> Wording:
        """Of the checkpoint in `folder`. Raises CheckpointNotFound, CheckpointError."""
        tokenizer = TextTokenizer.load(folder)
        tokenizer.refuse_other_ids(config)
        made = hashlib.sha256((folder / "tokenizer.json").read_bytes())
        made.update(f"{VERSION} {config.text_input}".encode())
        return cls(tokenizer, spelling(config.text_input), made.hexdigest()[:16])

    def tokens(self, text: str) -> tuple[int, ...]:
        """Ids of what a user's turn says; sound tags have their meaning."""
        return tuple(encode(self.tokenizer, self.spell(text), SOUND_TAGS))


@dataclass(frozen=True)
class KnownTexts:
    """A wording that need not spell the texts in `ids`, and reads all as the wording does."""

    wording: Wording
    ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def spell(self, text: str) -> str:
        """For a conversation; a known text comes back marked, for `text` below."""
        return f"{BEGIN}{text}{END}" if self._is_known(text) else self.wording.spell(text)

    def text(self, text: str) -> list[int]:
        """Ids of a piece of a conversation."""
        before, begin, rest = text.partition(BEGIN)
        said, _, after = rest.partition(END)
        if not begin:
            return self.wording.tokenizer.text(text)
        if not before and not after:
            return list(self.ids[said])
        return self.text(before + self.wording.spell(said) + after)  # a tag stands before it

    def special(self, name: str) -> int:
        """Id of a special token."""
        return self.wording.tokenizer.special(name)

    def _is_known(self, text: str) -> bool:
        return text in self.ids and not any(tag in text for tag in SOUND_TAGS)
