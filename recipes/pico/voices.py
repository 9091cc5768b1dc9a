"""The voices of pico's corpus: which free synthesiser speaks, and how it is changed.

Knows nothing of models.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

RATE = 24_000
LEVEL = 0.08  # RMS of every utterance
LEAD, TAIL = 0.08, 0.16  # seconds of silence kept before the first and after the last phone


@dataclass(frozen=True)
class Teacher:
    """A flite voice, its vocal tract shortened by `shift`: pitch and formants rise, tempo stays."""

    voice: str
    shift: float
    description: str
    reference: str  # what is said in the clip that is shipped as the voice


TEACHERS = {
    "clara": Teacher(
        "slt", 1.0, "a clear American woman", "She asked whether the teacher had seen the keys."
    ),
    "miles": Teacher(
        "rms", 1.0, "a calm American man", "The train leaves at six o'clock in the morning."
    ),
    "angus": Teacher("awb", 1.0, "a Scottish man", "The simple horse sleeps in the old castle."),
    "iris": Teacher(
        "rms", 1.22, "a light, younger voice", "Please check the guitar before you leave."
    ),
}


@dataclass(frozen=True)
class Spoken:
    """Samples [S] at 24 kHz, float32, S a multiple of 960; phones with their end in seconds."""

    samples: np.ndarray
    phones: list[tuple[str, float]]


def speak(text: str, teacher: Teacher) -> Spoken:
    """One utterance by flite, levelled, its outer silence trimmed.

    Raises CalledProcessError when flite fails, ValueError when it spoke nothing.
    """
    with tempfile.NamedTemporaryFile(
        suffix=".wav", dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as file:
        command = [
            "flite",
            "-voice",
            teacher.voice,
            "--setf",
            f"duration_stretch={teacher.shift}",
            "-psdur",
        ]
        printed = subprocess.run(
            [*command, "-t", text, "-o", file.name], check=True, capture_output=True, text=True
        ).stdout
        samples, rate = sf.read(file.name, dtype="float32")
    samples = soxr.resample(samples, rate * teacher.shift, RATE)
    phones = [
        (name, float(end) / teacher.shift)
        for name, end in (item.rsplit(":", 1) for item in printed.split())
    ]
    return trim(samples, phones)


def trim(samples: np.ndarray, phones: list[tuple[str, float]]) -> Spoken:
    """Keep `LEAD` and `TAIL` around the speech, in whole frames of 960 samples, at one level."""
    spoken = [i for i, (name, _) in enumerate(phones) if name != "pau"]
    if not spoken:
        raise ValueError("flite spoke no phone")
    first = phones[spoken[0] - 1][1] if spoken[0] else 0.0
    begin = max(0.0, first - LEAD)
    end = min(len(samples) / RATE, phones[spoken[-1]][1] + TAIL)
    frames = max(1, round((end - begin) * RATE / 960))
    cut = samples[round(begin * RATE) :][: frames * 960]
    cut = np.pad(cut, (0, frames * 960 - len(cut)))
    cut = cut * (LEVEL / max(1e-6, float(np.sqrt(np.mean(cut**2)))))
    kept = [(name, min(e - begin, frames * 0.04)) for name, e in phones if e > begin]
    return Spoken((cut * min(1.0, 0.95 / float(np.abs(cut).max()))).astype(np.float32), kept)
