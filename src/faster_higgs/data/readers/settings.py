"""What an operator says about a corpus. Knows no format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faster_higgs.errors import SettingError

AUTO = "auto"
CODE = re.compile("[a-z]{2,3}")  # of a language
PARTS = ("audio", "text", "speaker", "language", "valid")  # of a recording, found in columns


@dataclass(frozen=True)
class ReadSettings:
    """How a corpus is to be read; what is not said is found out."""

    format: str = AUTO
    audio_dir: Path | None = None  # where relative paths of a table begin
    columns: Mapping[str, str] = field(default_factory=dict)  # part of a recording -> column
    speaker: str | None = None  # of every recording, whatever the corpus says
    unnamed: str | None = None  # the speaker of a table's rows that name none
    language: str | None = None  # of recordings for which the corpus says none
    split: str = "*"  # a glob for the names of files and folders, of data in several files

    def __post_init__(self) -> None:
        if self.language is not None and not CODE.fullmatch(self.language):
            raise SettingError(
                f"There is no language '{self.language}'; name it by its code: en, vi, zh ..."
            )
        for part in self.columns:
            if part not in PARTS:
                raise SettingError(
                    f"A column cannot be mapped to '{part}'; use {', '.join(PARTS)}, "
                    "as in --columns text=sentence,speaker=client_id."
                )


def columns_of(said: str) -> dict[str, str]:
    """`text=sentence,speaker=client_id` as a mapping. Raises SettingError."""
    pairs = [pair.partition("=") for pair in said.split(",") if pair.strip()]
    for part, equals, name in pairs:
        if not (part.strip() and equals and name.strip()):
            raise SettingError(
                f"--columns takes part=column, several with commas; found '{said}'. "
                "Example: --columns text=sentence,speaker=client_id."
            )
    return {part.strip(): name.strip() for part, _, name in pairs}
