"""The flags that say how a corpus is read, for every command that reads one."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from faster_higgs.cli.command import flag

if TYPE_CHECKING:
    from faster_higgs.data.readers.settings import ReadSettings

reading = partial(flag, "Reading")


@dataclass(frozen=True, kw_only=True)
class ReadFlags:
    """A command's flags inherit from these."""

    format: str = reading(
        "--format --mode",
        "FORMAT",
        "What the corpus is, where it is mistaken for something else.",
        "auto",
    )
    audio_dir: Path | None = reading(
        "--audio-dir", "FOLDER", "Where the paths in a table begin. [default: beside the table]"
    )
    columns: str = reading(
        "--columns",
        "PART=COLUMN,...",
        "Which column is what: audio, text, speaker, language, valid; "
        "without a header columns are numbers from 1.",
        "",
    )
    speaker: str | None = reading("--speaker", "NAME", "Who speaks in all of it.")
    dataset_name: str | None = reading(
        "--dataset-name", "NAME", "The speaker of tables that name none is NAME_speaker."
    )
    language: str | None = reading(
        "--language", "CODE", "What is spoken where the corpus does not say: en, vi ..."
    )
    split: str = reading(
        "--split", "GLOB", "Which files of a corpus in several, by name: 'train*'.", "*"
    )


def read_settings(flags: ReadFlags) -> ReadSettings:
    """The same, checked. Raises SettingError."""
    from faster_higgs.data.readers.settings import ReadSettings, columns_of
    from faster_higgs.text.language import code_of

    return ReadSettings(
        format=flags.format,
        audio_dir=flags.audio_dir,
        columns=columns_of(flags.columns),
        speaker=flags.speaker,
        unnamed=f"{flags.dataset_name}_speaker" if flags.dataset_name else None,
        language=code_of(flags.language) if flags.language else None,
        split=flags.split,
    )
