"""Cleaned clips on disk until they are coded: parts of some recordings each, sound included.

    sound/part-00000.arrow    a row for every recording that was tried

A part is named by its place and knows what it was made of. Knows nothing of how clips are cleaned.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from faster_higgs.audio.levels import Samples
from faster_higgs.data.cache import arrow, hashed, open_table, write_table
from faster_higgs.data.clean import Cleaned, CleanSettings, cleaned
from faster_higgs.data.measure import Measures
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.data.wording import VERSION as NORMALIZER
from faster_higgs.errors import DataError

SOUND = "sound"
VERSION = 1  # raised when the same recordings would be cleaned otherwise
_JSON = ("columns", "measures", "references")


@dataclass(frozen=True)
class Row:
    """A cleaned clip without its sound, and where that is."""

    clip: Cleaned
    part: Path
    place: int


@dataclass(frozen=True)
class PartTask:
    """Recordings to be cleaned into one file."""

    path: Path
    key: str
    recordings: tuple[Recording | BadRow, ...]
    settings: CleanSettings


def make_part(task: PartTask) -> int:
    """Clean and write; how many recordings it was. Raises OutputError."""
    clips = [clip for one in task.recordings for clip in cleaned(one, task.settings)]
    pa = arrow()
    rows = [_flat(clip) for clip in clips]
    names = [name for name in rows[0] if name not in ("samples", "is_reference", "audio")]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in names),
            *(("samples", pa.int64()), ("is_reference", pa.bool_()), ("audio", pa.binary())),
        ]
    )
    write_table(task.path, pa.Table.from_pylist(rows, schema), task.key)
    return len(task.recordings)


def read_part(path: Path) -> list[Row]:
    """Without their sound. Raises DataError."""
    table = open_table(path).drop_columns(["audio"])
    return [Row(_whole(values), path, place) for place, values in enumerate(table.to_pylist())]


def sounds(path: Path, places: Sequence[int]) -> list[Samples]:
    """The samples [S] of some clips of a part, at 24 kHz. Raises DataError."""
    column = open_table(path).column("audio")
    return [_decoded(column[place].as_py(), path) for place in places]


def flac(path: Path, place: int) -> bytes:
    """The sound of one clip of a part, as a file. Raises DataError."""
    return bytes(open_table(path).column("audio")[place].as_py())


def part_key(recordings: Sequence[Recording | BadRow], settings: CleanSettings) -> str:
    """The same only for recordings that would be cleaned into the same clips."""
    told = [VERSION, NORMALIZER, asdict(settings), [_identity(one) for one in recordings]]
    return hashed(told)


def _identity(recording: Recording | BadRow) -> list[Any]:
    if isinstance(recording, BadRow):
        return [recording.origin, recording.reason, recording.no_fault and recording.kind]
    beside = [[_content(one.audio), one.text, one.speaker] for one in recording.references]
    plain = [recording.text, recording.speaker, recording.origin, recording.language]
    return [_content(recording.audio), *plain, dict(recording.columns), beside]


def _content(audio: Path | bytes) -> Any:
    """Of a file its size and time of change: reading all of them would take as long as cleaning."""
    if isinstance(audio, bytes):
        return hashlib.sha256(audio).hexdigest()
    try:
        found = audio.stat()
    except OSError:
        return str(audio)
    return [str(audio), found.st_size, found.st_mtime_ns]


def _flat(clip: Cleaned) -> dict[str, Any]:
    values = {**vars(clip), "measures": clip.measures and asdict(clip.measures)}
    return {
        name: json.dumps(value, ensure_ascii=False) if name in _JSON else value
        for name, value in values.items()
    }


def _whole(values: dict[str, Any]) -> Cleaned:
    clip = Cleaned(**{n: json.loads(v) if n in _JSON else v for n, v in values.items()})
    measures = Measures(**clip.measures) if isinstance(clip.measures, dict) else None
    return replace(clip, measures=measures, references=tuple(clip.references))


def _decoded(audio: bytes, path: Path) -> Samples:
    try:
        samples, _ = soundfile.read(io.BytesIO(audio), dtype="float32")
    except soundfile.LibsndfileError:
        raise DataError(f"{path} is damaged; delete it and give the command again.") from None
    return np.asarray(samples, np.float32)
