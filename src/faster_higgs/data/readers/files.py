"""Where the files of a corpus are: sounds that a table names, and data in several files.

Knows nothing of what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from faster_higgs.errors import DataError

SOUNDS = (
    *(".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"),
    *(".wma", ".aiff", ".aif", ".webm", ".mp4"),
)
CLIPS = ("wavs", "clips", "audio", "wav")  # folders of sounds beside a table, by custom
FEW = 8  # names that a sentence lists


@dataclass(frozen=True)
class Place:
    """Where the relative paths of a table begin."""

    table: Path  # the folder it lies in
    audio_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.audio_dir is not None and not self.audio_dir.is_dir():
            raise DataError(f"There is no folder {self.audio_dir}; correct --audio-dir.")

    def find(self, name: str) -> Path | None:
        """The sound of that name, whose suffix may be missing; None if there is none."""
        starts = [self.audio_dir] if self.audio_dir else [self.table]
        starts += [] if self.audio_dir else [self.table / folder for folder in CLIPS]
        for start in starts:
            for path in (start / name, *(start / f"{name}{suffix}" for suffix in SOUNDS)):
                if _is_file(path):
                    return path
        return None

    def __str__(self) -> str:
        return str(self.audio_dir or self.table)


def chosen(folder: Path, suffix: str, split: str) -> list[Path]:
    """The files of a folder with that suffix that belong to a split, in order.

    Raises DataError where there is none.
    """
    every = (path for path in files_in(folder) if path.suffix == suffix)
    found = sorted(path for path in every if _visible(path, folder))
    files = [path for path in found if in_split(path.relative_to(folder), split)]
    if found and not files:
        raise DataError(
            f"No {suffix} file of {folder} matches --split '{split}'; there are "
            f"{listed(path.relative_to(folder).as_posix() for path in found)}."
        )
    if not files:
        raise DataError(f"There is no {suffix} file in {folder}.")
    return files


def files_in(folder: Path) -> Iterator[Path]:
    """All below a folder, those behind links too; each folder once."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner.sort()
        yield from (Path(place, name) for name in names)


def in_split(path: Path, split: str) -> bool:
    """Whether a glob matches a path, one of its parts, or what stands before its numbers."""
    names = [path.as_posix(), *path.parts, path.stem, path.stem.split("-")[0]]
    return any(fnmatchcase(name, split) for name in names)


def listed(names: Iterable[str]) -> str:
    """Names for a sentence, the first few of them."""
    every = list(names)
    more = f" and {len(every) - FEW} more" if len(every) > FEW else ""
    return ", ".join(every[:FEW]) + more


def read_text(path: Path) -> str:
    """What stands in a file of one text. Raises OSError, UnicodeDecodeError."""
    return path.read_text(encoding="utf-8-sig").strip()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a byte that no name has
        return False


def _visible(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return not any(part.startswith((".", "cache-")) for part in parts)
