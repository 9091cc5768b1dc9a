"""One clip of a corpus: as it was found, and as it is trained on. Knows no file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Recording:
    """What a reader gives: nothing of it is checked yet."""

    audio: Path | bytes  # a file, or what is in one
    text: str
    speaker: str
    origin: str  # where it was found, for people: "wavs/a.wav", "train-0.parquet, row 17"
    language: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)  # scene, emotion, gender, topic ...
    references: tuple[Reference, ...] = ()  # where the corpus names them


@dataclass(frozen=True)
class Reference:
    """Another clip that a corpus gives a recording for its voice."""

    audio: Path | bytes
    text: str
    speaker: str


BadKind = Literal["row", "file", "text", "marked", "lone_sound", "lone_text"]
"""Damaged; without a file; without a text; said to be left out; a file whose other half is none."""


@dataclass(frozen=True)
class BadRow:
    """What a reader gives in the place of a recording that is none; the others follow."""

    origin: str
    reason: str  # one sentence
    kind: BadKind = "row"

    @property
    def no_fault(self) -> bool:
        """Whether it is only counted: the corpus says not to use it, or it has no other half."""
        return self.kind in ("marked", "lone_sound", "lone_text")


def writable(text: str) -> str:
    """With question marks for halves of characters, which no file of text can hold."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Clip:
    """What training reads of a clip; its sound is not opened again."""

    id: str
    split: Split
    speaker: str
    text: str  # as it is spoken: normalised, not yet spelled for the model
    codes: Tensor  # [K, F] int64, aligned
    tokens: tuple[int, ...]  # of the text as the model reads it
    language: str = "en"
    scene: str = ""  # a whole sentence as inference writes it; "": the usual one
    weight: float = 1.0  # how often it is drawn, beside others
    columns: Mapping[str, str] = field(default_factory=dict)  # emotion, gender and the like

    @property
    def frames(self) -> int:
        """Of 40 ms."""
        return int(self.codes.shape[1])
