"""What can be measured of a recording, and which figures are unusual for speech.

Does not know where recordings come from, or what becomes of unusual ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faster_higgs.audio import levels
from faster_higgs.audio.checks import Finding, letters_in
from faster_higgs.audio.levels import Samples

FLOOR = -120.0  # decibels told of silence
CEILING = 100.0  # decibels from noise to speech that are told at most


@dataclass(frozen=True)
class Measures:
    """Figures of one recording; all are finite, whatever the samples hold."""

    seconds: float
    peak: float  # 1: full scale
    level: float  # RMS in dBFS
    clipped: float  # share of samples at the end of the scale
    silence: float  # share of the time in which nothing is heard
    pace: float  # letters per second, from the first sound to the last; 0: nothing is heard
    signal_to_noise: float  # decibels


@dataclass(frozen=True)
class Limits:
    """What a recording for training should measure."""

    least_seconds: float = 0.5
    most_seconds: float = 30.0
    least_level: float = -45.0  # dBFS
    most_clipped: float = 0.001
    most_silence: float = 0.6
    least_pace: float = 4.0
    most_pace: float = 35.0
    least_signal_to_noise: float = 12.0


def measure(samples: Samples, rate: int, text: str) -> Measures:
    """Figures of mono samples [S] and of what is said in them."""
    sound = np.nan_to_num(samples, posinf=0.0, neginf=0.0)
    spoken = _spoken(sound, rate)
    return Measures(
        seconds=sound.size / rate,
        peak=levels.peak(sound),
        level=_decibels(levels.rms(sound)),
        clipped=levels.clipped(sound),
        silence=1.0 - levels.heard_share(sound, rate),
        pace=letters_in(text) / spoken if spoken > 0 else 0.0,
        signal_to_noise=min(levels.signal_to_noise(sound, rate), CEILING),
    )


def unusual(measures: Measures, limits: Limits = Limits()) -> list[Finding]:
    """What lies outside the limits, a sentence each; the names: seconds, level, clipped ..."""
    return list(_unusual(measures, limits))


def sound_hash(samples: Samples) -> str:
    """The same for the same sound, rounded to 16 bits."""
    rounded = np.rint(np.nan_to_num(samples) * np.float32(32_768)).astype("<i4")
    return hashlib.sha256(rounded.tobytes()).hexdigest()[:32]


def _unusual(found: Measures, limits: Limits) -> Iterator[Finding]:
    if not limits.least_seconds <= found.seconds <= limits.most_seconds:
        wanted = f"{limits.least_seconds:g} to {limits.most_seconds:g} s"
        yield Finding("seconds", f"It is {found.seconds:.2f} s long; {wanted} are usual.")
    if found.level < limits.least_level:
        yield Finding("level", f"It is very quiet: {found.level:.0f} dBFS.")
    if found.clipped > limits.most_clipped:
        yield Finding("clipped", f"It is clipped in {found.clipped:.2%} of its samples.")
    if found.silence > limits.most_silence:
        yield Finding("silence", f"{found.silence:.0%} of it is silence.")
    if found.pace and not limits.least_pace <= found.pace <= limits.most_pace:
        fault = "slow" if found.pace < limits.least_pace else "fast"
        message = f"For its text it is implausibly {fault}: {found.pace:.1f} letters per second."
        yield Finding("pace", message)
    if found.signal_to_noise < limits.least_signal_to_noise:
        message = f"It is noisy: {found.signal_to_noise:.0f} dB from the noise to the speech."
        yield Finding("signal_to_noise", message)


def _spoken(sound: Samples, rate: int) -> float:
    """Seconds from the first sound to the last."""
    silent = levels.trailing_silence(sound, rate) + levels.trailing_silence(sound[::-1], rate)
    return max(0.0, sound.size / rate - silent)


def _decibels(amplitude: float) -> float:
    return max(FLOOR, 20 * math.log10(amplitude)) if amplitude > 0 else FLOOR
