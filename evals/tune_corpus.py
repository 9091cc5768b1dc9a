"""Recordings of a voice that pico has never heard, and a few of the voices it knows. No model.

The new voice is flite's `awb` with a vocal tract a seventh shorter: a younger Scot. Its sentences
come from the templates of pico's own recipe, with another seed; none is one of those to be judged.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from recipes.pico.sentences import from_templates, plain
from recipes.pico.voices import RATE, TEACHERS, Teacher, speak

NEW = "rory"
VOICES = {NEW: Teacher("awb", 1.15, "a younger Scot", ""), **TEACHERS}
CLIPS, OTHERS = 400, 25  # of the new voice, and of each of the others
LONGEST = 10.0  # seconds
SEED = 77


def make(folder: Path, avoid: Sequence[str]) -> Iterator[int]:
    """Write one folder a speaker, sound and text side by side; how many are there, as it goes.

    What is there already stays.
    """
    held_out = {plain(text) for text in avoid}
    wanted = {voice: CLIPS if voice == NEW else OTHERS for voice in VOICES}
    pool = from_templates(sum(wanted.values()) * 5 // 4, random.Random(SEED))
    random.Random(SEED).shuffle(pool)
    texts = (text for text in pool if plain(text) not in held_out)
    done = 0
    for voice, count in wanted.items():
        place = folder / voice
        place.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            done += record(place / f"{number:04d}.wav", next(texts), voice)
            yield done


def record(path: Path, text: str, voice: str) -> bool:
    """Speak a sentence into a file with its text beside it, last; whether there is a clip."""
    note = path.with_suffix(".txt")
    if note.is_file():
        return True
    try:
        samples = speak(text, VOICES[voice]).samples
    except (ValueError, subprocess.CalledProcessError):
        return False
    if len(samples) > LONGEST * RATE:
        return False
    soundfile.write(path, samples, RATE)
    note.write_text(text + "\n", encoding="utf-8")
    return True
