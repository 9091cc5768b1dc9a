"""Kaldi's data folders: wav.scp, text, utt2spk. Knows nothing of other tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faster_higgs.data.readers.delimited import is_text, open_text
from faster_higgs.data.readers.files import Place
from faster_higgs.data.readers.rows import UNKNOWN
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.errors import DataError

SOUNDS, TEXTS, SPEAKERS, SEGMENTS = "wav.scp", "text", "utt2spk", "segments"


def read(path: Path, settings: ReadSettings) -> Iterator[Recording | BadRow]:
    """In the order of wav.scp. Raises DataError."""
    if (path / SEGMENTS).is_file():
        raise DataError(
            f"{path} has a {SEGMENTS} file: its sounds are stretches of longer ones, which are not "
            "read. Cut them first, as with `extract-segments`."
        )
    texts = dict(_lines(path / TEXTS))
    speakers = dict(_lines(path / SPEAKERS)) if (path / SPEAKERS).is_file() else None
    place = Place(path, settings.audio_dir)
    for id, sound in _lines(path / SOUNDS):
        text = texts.get(id, "")
        found = None if sound.endswith("|") else place.find(sound)
        if found is None:
            yield BadRow(id, _missing(sound, place), "file")
        elif not text or not is_text(text):
            yield BadRow(id, "Its text is not in UTF-8." if text else "It has no text.", "text")
        else:
            named = path.resolve().name if speakers is None else speakers.get(id) or UNKNOWN
            speaker = settings.speaker or named
            yield Recording(found, text, speaker, id, settings.language, {"id": id})


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """The first word of each line, and the rest."""
    with open_text(file) as lines:
        for line in lines:
            if words := line.split(None, 1):
                yield words[0], words[1].strip() if len(words) > 1 else ""


def _missing(sound: str, place: Place) -> str:
    if sound.endswith("|"):
        return "Its sound is the output of a command, and commands are not run."
    return f"There is no file {sound} in {place}."
