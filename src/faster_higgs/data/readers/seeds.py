"""The folders of sounds, texts and one metadata.json that older trainers read.

Knows nothing of how they are written: seed_layout.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faster_higgs.data.readers.files import in_split, read_text
from faster_higgs.data.readers.rows import UNKNOWN, language, plain
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.data.record import BadRow, Recording, Reference
from faster_higgs.errors import DataError

METADATA = "metadata.json"
_TAKEN = {
    *("audio_file", "transcript_file", "transcript", "duration", "sample_rate", "speaker_id"),
    *("language", "ref_audio_file", "ref_transcript", "ref_speakers", "num_ref_speakers"),
}


def read(path: Path, settings: ReadSettings) -> Iterator[Recording | BadRow]:
    """In the order of metadata.json. Raises DataError."""
    folder = path if path.is_dir() else path.parent
    for number, sample in enumerate(samples_in(folder / METADATA)):
        origin = f"{METADATA}, sample {number}"
        if not isinstance(sample, Mapping):
            yield BadRow(origin, "It is no object.")
        elif in_split(Path(plain(sample.get("audio_file"))), settings.split):
            yield _recording(sample, folder, settings, origin)


def samples_in(metadata: Path) -> list[Any]:
    """What its `samples` lists. Raises DataError."""
    try:
        found = json.loads(metadata.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{metadata} cannot be read: {error}.") from None
    samples = found.get("samples") if isinstance(found, dict) else None
    if not isinstance(samples, list):
        raise DataError(f"{metadata} has no list of samples.")
    return samples


def _recording(
    sample: Mapping[str, Any], folder: Path, settings: ReadSettings, origin: str
) -> Recording | BadRow:
    name = plain(sample.get("audio_file"))
    origin = name or origin
    audio_dir = settings.audio_dir or folder
    if not name or not (audio_dir / name).is_file():
        reason = f"There is no file {name} in {audio_dir}." if name else "It names no audio_file."
        return BadRow(origin, reason, "file")
    try:
        text = _transcript(sample, folder)
        references = tuple(_references(sample, folder, audio_dir, settings.speaker))
    except (OSError, UnicodeDecodeError) as error:
        return BadRow(origin, f"Its transcript cannot be read: {error}.", "text")
    if not text:
        return BadRow(origin, "It has no text.", "text")
    for reference in references:
        if isinstance(reference.audio, Path) and not reference.audio.is_file():
            return BadRow(origin, f"There is no file {reference.audio}, its reference.", "file")
    return Recording(
        audio=audio_dir / name,
        text=text,
        speaker=settings.speaker or _speaker(sample),
        origin=origin,
        language=language(sample.get("language")) or settings.language,
        columns={
            key: text
            for key, value in sample.items()
            if key not in _TAKEN and (text := plain(value))
        },
        references=references,
    )


def _transcript(sample: Mapping[str, Any], folder: Path) -> str:
    """What its file says, or the sample itself."""
    if name := plain(sample.get("transcript_file")):
        return read_text(folder / name)
    return plain(sample.get("transcript"))


def _references(
    sample: Mapping[str, Any], folder: Path, audio_dir: Path, speaker: str | None
) -> Iterator[Reference]:
    """Those of several speakers in their order, else the one of its own."""
    several = sample.get("ref_speakers")
    for one in several if isinstance(several, list) and several else [sample]:
        if isinstance(one, Mapping) and (name := plain(one.get("ref_audio_file"))):
            text = _said(plain(one.get("ref_transcript")), folder)
            yield Reference(audio_dir / name, text, speaker or _speaker(one))


def _said(transcript: str, folder: Path) -> str:
    """A transcript that stands there, or in the file it names."""
    if transcript.endswith(".txt") and "\n" not in transcript and (folder / transcript).is_file():
        return read_text(folder / transcript)
    return transcript


def _speaker(named: Mapping[str, Any]) -> str:
    return plain(named.get("speaker_id")) or plain(named.get("speaker_name")) or UNKNOWN
