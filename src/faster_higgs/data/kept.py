"""The cleaned sound that a prepared folder keeps, by the ids of its clips. Knows no codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from faster_higgs.audio.levels import Samples
from faster_higgs.data.clean import Cleaned
from faster_higgs.data.report import ROWS
from faster_higgs.data.spool import SOUND, Row, read_part, sounds
from faster_higgs.errors import DataError

Named = tuple[str, str, str]  # origin, speaker, text


class KeptSound:
    """What lies in sound/, which may be deleted; a damaged file is as good as none."""

    def __init__(self, folder: Path) -> None:
        rows = {_named(row.clip): row for row in _rows(folder / SOUND)}
        self._rows = {id: rows[named] for named, id in _ids(folder / ROWS) if named in rows}

    def samples(self, id: str) -> Samples | None:
        """Of a clip [S], at 24 kHz; None where they are not kept."""
        row = self._rows.get(id)
        try:
            return None if row is None else sounds(row.part, [row.place])[0]
        except DataError:
            return None


def _named(clip: Cleaned) -> Named:
    return clip.origin, clip.speaker, clip.text


def _rows(folder: Path) -> Iterator[Row]:
    for path in sorted(folder.glob("part-*.arrow")):
        try:
            yield from read_part(path)
        except DataError:
            continue


def _ids(told: Path) -> Iterator[tuple[Named, str]]:
    """Of the clips that were kept."""
    try:
        rows = map(json.loads, told.read_text(encoding="utf-8").splitlines())
        for row in rows:
            if row["id"]:
                yield (row["origin"], row["speaker"], row["text"]), row["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return
