"""Recordings for tests: pieces of pico's own voices, and what makes a prepared folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from faster_higgs.audio.encode import encode
from faster_higgs.audio.files import read
from faster_higgs.audio.levels import Samples
from faster_higgs.data.crews import Alone, Crew
from faster_higgs.data.pipeline import Desk, prepare
from faster_higgs.data.place import Place
from faster_higgs.data.plan import PrepareSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.data.report import Report
from tests.data.tiny import PICO

RATE = 24_000
PLACE = Place(PICO, PICO / "codec")
SPEAKERS = ("angus", "clara")
WORDS = "one two three four five six seven eight nine ten eleven twelve".split()


@cache
def voice(name: str) -> Samples:
    """The samples of a voice of pico's."""
    return read(PICO / "voices" / f"{name}.flac", rate=RATE)


def recordings(count: int = 6, seconds: float = 0.8, folder: Path | None = None) -> list[Recording]:
    """Pieces of two voices by turns; in memory, or as files of a folder."""
    made = []
    for i in range(count):
        speaker = SPEAKERS[i % 2]
        begin = round((0.3 * (i // 2) % 2) * RATE) + 37 * i
        length = round((seconds + 0.01 * (i % 3)) * RATE)
        sound = encode(voice(speaker)[begin : begin + length], "flac", RATE)
        name = f"{speaker}-{i}.flac"
        audio: Path | bytes = sound
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            audio = folder / name
            audio.write_bytes(sound)
        text = f"this is {WORDS[i % 12]} of {WORDS[i // 12]}"
        made.append(Recording(audio, text, speaker, name, "en"))
    return made


def noise(seconds: float, level: float = 0.1) -> bytes:
    """A sound that nobody says."""
    samples = level * np.random.default_rng(0).standard_normal(round(seconds * RATE))
    return encode(samples.astype(np.float32), "flac", RATE)


def prepared(
    out: Path,
    found: Sequence[Recording | BadRow],
    settings: PrepareSettings | None = None,
    crew: Crew | None = None,
    said: list[str] | None = None,
) -> Report:
    """What `higgs prepare` does with pico."""
    heard = [] if said is None else said
    desk = Desk(out, crew or Alone(), crew or Alone(), heard.append, lambda *_: None)
    return prepare(found, "a test", PLACE, settings or PrepareSettings(), desk)
