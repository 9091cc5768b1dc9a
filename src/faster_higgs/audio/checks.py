"""Is this real speech? Measures a generated sound and reports it in the words users know.

Does not know how the sound was made; the caller passes text, path and finish reason.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from faster_higgs.audio import levels
from faster_higgs.audio.levels import Samples

_QUIET_RMS = 0.001
_SILENT_SHARE = 0.10
_CLIPPED_SHARE = 0.0005
_OFFSET = 0.02
_TRAILING_SECONDS = 1.0
_LETTERS_PER_SECOND = (4.0, 35.0)
_LETTERS_TO_JUDGE = 20  # shorter texts have no meaningful rate


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a sound; `check` is a stable name, `message` one sentence."""

    check: str
    message: str
    severity: Literal["error", "warning"] = "warning"


# By finish reason: ends that leave some of the text unsaid, or may do so.
_UNFINISHED = {
    "length": Finding("cut", "The audio was cut by the length limit before the text was over."),
    "loop": Finding("loop", "The speech went in circles and was broken off; try another seed."),
    "aborted": Finding("aborted", "The speech was stopped before the text was over."),
    "deadline": Finding("deadline", "The speech was not ready in time and was broken off."),
}


@dataclass(frozen=True)
class Report:
    """What was measured, and what looks wrong. Without findings the sound has passed."""

    rate: int
    samples: int
    rms: float
    peak: float
    non_silent: int
    findings: tuple[Finding, ...]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate

    @property
    def non_silent_share(self) -> float:
        """Samples that are sound, as a share of all; 0 for an empty sound."""
        return self.non_silent / self.samples if self.samples else 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def lines(self, path: str) -> list[str]:
        """The printed report: four lines of facts and the verdict."""
        return [
            f"Audio successfully generated and saved to: {path}",
            f"Sample rate: {self.rate} Hz",
            f"Duration: {self.duration:.2f} seconds",
            f"Audio validation: RMS={self.rms:.3f}, Non-silent samples: "
            f"{self.non_silent}/{self.samples} ({self.non_silent_share:.1%})",
            self._verdict(),
        ]

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "sample_rate": self.rate,
            "samples": self.samples,
            "duration": round(self.duration, 4),
            "rms": round(self.rms, 6),
            "peak": round(self.peak, 6),
            "non_silent": self.non_silent,
            "non_silent_share": round(self.non_silent_share, 6),
            "passed": self.passed,
            "findings": [vars(finding) for finding in self.findings],
        }

    def _verdict(self) -> str:
        if self.passed:
            return "Audio validation passed - real speech content detected"
        return "Audio validation warning: " + " ".join(f.message for f in self.findings)


def examine(
    samples: Samples, rate: int, finish_reason: str | None = None, text: str | None = None
) -> Report:
    """Measure a sound and judge it; never raises, whatever the samples hold."""
    finite = np.isfinite(samples)
    sound = samples if finite.all() else np.where(finite, samples, np.float32(0))
    found = [*_broken(samples, finite), *_weak(sound), *_ending(sound, rate, finish_reason)]
    if text is not None:
        found += _pace(sound, rate, text)
    return Report(
        rate=rate,
        samples=samples.size,
        rms=levels.rms(sound),
        peak=levels.peak(sound),
        non_silent=levels.audible(sound),
        findings=tuple(found),
    )


def _broken(samples: Samples, finite: np.ndarray[Any, np.dtype[np.bool_]]) -> Iterator[Finding]:
    if not samples.size:
        yield Finding("empty", "The audio is empty.", "error")
    bad = samples.size - int(np.count_nonzero(finite))
    if bad:
        yield Finding("not_finite", f"{bad} samples are not numbers (NaN or infinite).", "error")


def _weak(sound: Samples) -> Iterator[Finding]:
    if not sound.size:
        return
    level, share = levels.rms(sound), levels.audible(sound) / sound.size
    if level < _QUIET_RMS:
        yield Finding("very_quiet", f"The audio is very quiet (RMS {level:.4f}), maybe only noise.")
    if share < _SILENT_SHARE:
        yield Finding("mostly_silence", f"The audio is mostly silence ({share:.1%} is sound).")
    if (clipped := levels.clipped(sound)) > _CLIPPED_SHARE:
        yield Finding("clipping", f"The audio is clipped in {clipped:.2%} of its samples.")
    if abs(mean := levels.offset(sound)) > _OFFSET:
        yield Finding("dc_offset", f"The audio is off centre by {mean:+.3f} (DC offset).")


def _ending(sound: Samples, rate: int, finish_reason: str | None) -> Iterator[Finding]:
    if finish_reason in _UNFINISHED:
        yield _UNFINISHED[finish_reason]
    if (tail := levels.trailing_silence(sound, rate)) > _TRAILING_SECONDS:
        yield Finding("trailing_silence", f"The audio ends in {tail:.1f} s of silence.")


def _pace(sound: Samples, rate: int, text: str) -> Iterator[Finding]:
    letters = letters_in(text)
    seconds = sound.size / rate - levels.trailing_silence(sound, rate)
    if letters < _LETTERS_TO_JUDGE or seconds <= 0:
        return
    pace, (slowest, fastest) = letters / seconds, _LETTERS_PER_SECOND
    if not slowest <= pace <= fastest:
        fault = "slow" if pace < slowest else "fast"
        yield Finding(
            "speech_rate", f"The speech is implausibly {fault}: {pace:.1f} letters per second."
        )


def letters_in(text: str) -> int:
    """How many letters' time a text takes to say: a digit counts four, a Chinese sign three."""
    return sum(map(_weight, text))


def _weight(character: str) -> int:
    """How many letters' time a character takes to say."""
    kind = unicodedata.category(character)
    if kind.startswith("N"):
        return 4
    if not kind.startswith("L"):
        return 0
    return 3 if kind == "Lo" and "\u2e80" <= character <= "\ud7ff" else 1
