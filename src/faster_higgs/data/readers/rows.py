"""A row of a table to a recording: which column is what, and what an empty cell is.

Does not know what kind of file the row comes from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faster_higgs.data.readers.files import Place, listed
from faster_higgs.data.readers.settings import CODE, PARTS, ReadSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.errors import DataError
from faster_higgs.text.language import code_of

UNKNOWN = "unknown_speaker"
# The customary names, the best first; of a row's columns the first that is filled is taken.
NAMES: Mapping[str, Sequence[str]] = {
    "audio": (
        *("audio", "wav_filename", "audio_file", "audio_filepath", "file_name", "filename"),
        *("wav", "wav_path", "audio_path", "path", "file", "raw_path", "original_audio_path"),
    ),
    "text": (
        *("normalized_text", "normalised_text", "text_normalized", "text", "transcription"),
        *("transcript", "sentence", "normalized_transcription", "content"),
    ),
    "speaker": ("speaker", "speaker_id", "speaker_name", "client_id", "spk", "spk_id"),
    "language": ("language", "lang", "locale"),
    "valid": ("valid",),
}
_NEEDED = ("audio", "text")
_EMPTY = {"", "nan", "NaN", "<NA>"}  # as tables write a cell that holds nothing
_NO = {"false", "0", "0.0", "no", "n", "f"}


@dataclass(frozen=True)
class Columns:
    """For each part of a recording, the columns that may hold it."""

    of: Mapping[str, tuple[str, ...]]

    @classmethod
    def among(cls, found: Iterable[str], settings: ReadSettings, table: str) -> Columns:
        """Those of a table. Raises DataError where one that is needed is not there."""
        columns = list(found)
        held = {part: _candidates(part, columns, settings, table) for part in PARTS}
        for part in _NEEDED:
            if not held[part]:
                raise DataError(
                    f"{table} has no column for the {part}; its columns are {listed(columns)}. "
                    f"Name it with --columns {part}=COLUMN."
                )
        return cls(held)


def recording(
    row: Mapping[str, Any], columns: Columns, place: Place, settings: ReadSettings, origin: str
) -> Recording | BadRow:
    """What a row says; its origin is for people."""
    if any(plain(row.get(name)).lower() in _NO for name in columns.of["valid"]):
        return BadRow(origin, "The corpus marks it as not valid.", "marked")
    audio_column, audio = _sound(row, columns.of["audio"], place)
    if audio is None:
        return BadRow(origin, _missing(row, columns.of["audio"], place), "file")
    used = {part: _filled(row, columns.of[part]) for part in ("text", "speaker", "language")}
    if used["text"] is None:
        return BadRow(origin, "It has no text.", "text")
    taken = {audio_column, *used.values(), *columns.of["valid"]}
    return Recording(
        audio=audio,
        text=plain(row[used["text"]]),
        speaker=settings.speaker or _speaker(row, columns, used["speaker"], place, settings),
        origin=origin,
        language=language(row.get(used["language"] or "")) or settings.language,
        columns={
            name: text
            for name, value in row.items()
            if name not in taken and (text := plain(value))
        },
    )


def plain(value: Any) -> str:
    """A cell as text; empty for one that holds nothing, a NaN among them, or bytes."""
    if value is None or isinstance(value, bytes | bytearray):
        return ""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=plain) if value else ""
    text = str(value).strip()
    return "" if text in _EMPTY else text


def _candidates(
    part: str, columns: Sequence[str], settings: ReadSettings, table: str
) -> tuple[str, ...]:
    said = settings.columns.get(part)
    if said is not None and said not in columns:
        raise DataError(
            f"{table} has no column '{said}', which --columns names for the {part}; "
            f"its columns are {listed(columns)}."
        )
    if said is not None:
        return (said,)
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    mapped = set(settings.columns.values())
    return tuple(
        by_name[name] for name in NAMES[part] if name in by_name and by_name[name] not in mapped
    )


def _sound(
    row: Mapping[str, Any], columns: Sequence[str], place: Place
) -> tuple[str, Path | bytes | None]:
    """The first column that leads to a sound, and the sound."""
    for column in columns:
        value = row.get(column)
        if isinstance(value, Mapping):  # as Hugging Face keeps sounds
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes) and value:
            return column, value
        if (name := plain(value)) and (path := place.find(name)):
            return column, path
    return "", None


def _missing(row: Mapping[str, Any], columns: Sequence[str], place: Place) -> str:
    for column in columns:
        value = row.get(column)
        name = plain(value.get("path")) if isinstance(value, Mapping) else plain(value)
        if name:
            return f"There is no file {name} in {place}."
    return "It names no sound."


def _filled(row: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    return next((column for column in columns if plain(row.get(column))), None)


def _speaker(
    row: Mapping[str, Any],
    columns: Columns,
    used: str | None,
    place: Place,
    settings: ReadSettings,
) -> str:
    if used is not None:
        return plain(row[used])
    if settings.unnamed is not None:
        return settings.unnamed
    return UNKNOWN if columns.of["speaker"] else place.table.resolve().name


def language(cell: Any) -> str | None:
    """The code of what a cell names; None for what is no language, which is guessed then."""
    code = code_of(plain(cell))
    return code if CODE.fullmatch(code) else None
