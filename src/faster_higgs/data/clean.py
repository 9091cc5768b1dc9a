"""One recording to one clean clip: mono at 24 kHz, measured, its text as it is spoken.

Knows no other clip, and not which clips are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from faster_higgs.audio import levels
from faster_higgs.audio.encode import encode
from faster_higgs.audio.files import read
from faster_higgs.audio.levels import Samples
from faster_higgs.data.measure import Measures, measure, sound_hash
from faster_higgs.data.record import BadRow, Recording, Reference, writable
from faster_higgs.errors import AudioError, SettingError
from faster_higgs.text.language import guess
from faster_higgs.text.normalize import speakable

RATE = 24_000
QUIETEST, LOUDEST = -50.0, -10.0  # dBFS that may be asked for
_HEADROOM = 0.98  # of full scale, which no loudness may pass
_MARGIN = 0.1  # seconds of silence that trimming leaves on each side


@dataclass(frozen=True)
class CleanSettings:
    """What is done to the sound of every recording."""

    loudness: float | None = None  # RMS from the first sound to the last, in dBFS
    trim: bool = False  # outer silence

    def __post_init__(self) -> None:
        if self.loudness is not None and not QUIETEST <= self.loudness <= LOUDEST:
            raise SettingError(
                f"--loudness is an RMS in dBFS, and was {self.loudness:g}; use "
                f"{QUIETEST:g} to {LOUDEST:g}, such as -23."
            )


@dataclass(frozen=True)
class Cleaned:
    """A recording that was tried; with a `fault` there is no sound."""

    origin: str
    speaker: str
    text: str  # as it is spoken; empty where nothing can be
    language: str
    columns: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""  # which kind of fault, if it cannot be used; `why` says it in a sentence
    why: str = ""
    samples: int = 0
    sound: str = ""  # a hash of the sound before its level and ends were changed
    measures: Measures | None = None
    references: tuple[str, ...] = ()  # hashes of the sounds that the corpus names beside it
    is_reference: bool = False  # it was only named beside another
    audio: bytes = b""  # FLAC of 16 bits

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.samples / RATE


def cleaned(recording: Recording | BadRow, settings: CleanSettings) -> Iterator[Cleaned]:
    """The references that a recording names, then the recording; no bad clip raises anything."""
    if isinstance(recording, BadRow):
        kind = recording.kind if recording.no_fault else "bad_row"
        yield Cleaned(recording.origin, "", "", "", fault=kind, why=recording.reason)
        return
    beside = [_clean(_as_recording(one, recording), settings) for one in recording.references]
    yield from (replace(one, is_reference=True) for one in beside)
    sounds = tuple(one.sound for one in beside if one.sound)
    yield replace(_clean(recording, settings), references=sounds)


def trimmed(samples: Samples) -> Samples:
    """Without the silence at both ends, but for a tenth of a second."""
    first, last = _heard(samples)
    margin = round(_MARGIN * RATE)
    return samples[max(0, first - margin) : last + margin] if first < last else samples


def levelled(samples: Samples, loudness: float) -> Samples:
    """With that RMS between the first sound and the last, or as near as goes without clipping."""
    first, last = _heard(samples)
    level = levels.rms(samples[first:last])
    if not level:
        return samples
    gain = min(10 ** (loudness / 20) / level, _HEADROOM / levels.peak(samples))
    return np.asarray(samples * np.float32(gain), np.float32)


def _as_recording(reference: Reference, owner: Recording) -> Recording:
    origin = f"{owner.origin} (reference)"
    return Recording(
        reference.audio, reference.text, reference.speaker, origin, language=owner.language
    )


def _clean(recording: Recording, settings: CleanSettings) -> Cleaned:
    language = recording.language or guess(recording.text)
    made = Cleaned(
        recording.origin,
        recording.speaker,
        " ".join(speakable(recording.text, language).split()),
        language,
        dict(recording.columns),
    )
    try:
        samples = read(recording.audio, rate=RATE)
        sound = sound_hash(samples)
        samples = trimmed(samples) if settings.trim else samples
        measures = measure(samples, RATE, made.text)  # as recorded: a lower level hides clipping
        if settings.loudness is not None:
            samples = levelled(samples, settings.loudness)
        return replace(
            made,
            samples=samples.size,
            sound=sound,
            measures=measures,
            audio=encode(samples, "flac", RATE),
        )
    except (AudioError, ValueError, OSError, RuntimeError) as error:
        said = writable(" ".join(str(error).split())) or type(error).__name__
        return replace(made, fault="unreadable", why=said)


def _heard(samples: Samples) -> tuple[int, int]:
    """From where to where there is sound, in samples; equal where there is none."""
    before = round(levels.trailing_silence(samples[::-1], RATE) * RATE)
    after = round(levels.trailing_silence(samples, RATE) * RATE)
    return min(before, samples.size - after), samples.size - after
