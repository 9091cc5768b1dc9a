"""`--captions`: a file that says when what is heard. Knows nothing of the sound itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from faster_higgs.captions import FORMATS, written
from faster_higgs.cli.output import growing
from faster_higgs.errors import OutputPlaceError, SettingError
from faster_higgs.spoken import Part


def check_captions(path: Path) -> None:
    """Whether captions can be written there. Raises SettingError, OutputError."""
    if _format(path) not in FORMATS:
        suffixes = ", ".join(f".{name}" for name in FORMATS)
        raise SettingError(f"{path} cannot be captions; give it one of {suffixes}.")
    if path.is_dir():
        raise OutputPlaceError(f"{path} cannot be written: it is a folder.")
    with growing(path) as part:
        part.touch()


def save_captions(path: Path, parts: Sequence[Part]) -> None:
    """Write them; the file appears when it is whole."""
    with growing(path) as part:
        part.write_text(written(parts, _format(path)), encoding="utf-8")
        os.replace(part, path)


def _format(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
