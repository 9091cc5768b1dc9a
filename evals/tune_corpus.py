"""Recordings of a voice that pico has never heard, and sentences it may rehearse. No model.

The new voice is flite's `rms` with a vocal tract an eighth shorter: a younger American. All
sentences come from the templates of pico's own recipe, with another seed; none is one of those to
be judged.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from recipes.pico.sentences import from_templates, plain
from recipes.pico.voices import RATE, TEACHERS, Teacher, speak

NEW = "jude"
VOICES = {NEW: Teacher("rms", 1.13, "a younger American", ""), **TEACHERS}
CLIPS, REHEARSED = 400, 1200
LONGEST = 10.0  # seconds
SEED = 77


def texts(avoid: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the new voice says, and what is rehearsed; a few more than there will be clips."""
    held_out = {plain(text) for text in avoid}
    pool = from_templates((CLIPS + REHEARSED) * 5 // 4, random.Random(SEED))
    random.Random(SEED).shuffle(pool)
    usable = [text for text in pool if plain(text) not in held_out]
    return usable[REHEARSED:], usable[:REHEARSED]


def record(folder: Path, said: Sequence[str]) -> Iterator[int]:
    """Write sounds with their texts beside them; how many are there, as it goes.

    What is there already stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for number, text in enumerate(said):
        if done == CLIPS:
            return
        done += _record(folder / f"{number:04d}.wav", text)
        yield done


def _record(path: Path, text: str) -> bool:
    """A sentence, its text written last; whether there is a clip."""
    note = path.with_suffix(".txt")
    if note.is_file():
        return True
    try:
        samples = speak(text, VOICES[NEW]).samples
    except (ValueError, subprocess.CalledProcessError):
        return False
    if len(samples) > LONGEST * RATE:
        return False
    soundfile.write(path, samples, RATE)
    note.write_text(text + "\n", encoding="utf-8")
    return True
