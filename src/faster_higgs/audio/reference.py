"""Is this clip fit to be a voice? Findings for `higgs voices add`, each one sentence with its cure.

Does not know voices, transcripts or models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faster_higgs.audio import levels
from faster_higgs.audio.checks import Finding
from faster_higgs.audio.files import read
from faster_higgs.audio.levels import Samples
from faster_higgs.errors import AudioError

LONGEST_CLIP = 120  # seconds that are read; far longer than a voice needs, still quick to judge
_SHORTEST, _LONG, _LONGEST = 1.0, 30.0, 60.0
_SILENT_RMS, _QUIET_RMS = 0.001, 0.01
_LEAST_HEARD = 0.30
_CLIPPED_SHARE = 0.001
_OFFSET = 0.02
_NARROW_HZ = 5_500
_NOISY_DB = 20.0


def lint_reference(samples: Samples, rate: int) -> list[Finding]:
    """What speaks against this clip as a voice. An error means: do not use it at all."""
    if not np.isfinite(samples).all():
        return [Finding("not_finite", "The clip holds values that are not numbers.", "error")]
    found = list(_length(samples.size / rate))
    level = levels.rms(samples)
    if level < _SILENT_RMS:
        message = f"The clip is silent (RMS {level:.4f}); record it again, closer and louder."
        return [*found, Finding("silent", message, "error")]
    return [*found, *_level(samples, rate), *_quality(samples, rate)]


def read_clip(path: Path, rate: int) -> Samples:
    """A sound file as samples at `rate`. Raises AudioError for one that is not fit to be a voice.

    Every voice is encoded from these.
    """
    return fit_for_a_voice(read(path, rate=rate, max_seconds=LONGEST_CLIP), rate)


def fit_for_a_voice(samples: Samples, rate: int) -> Samples:
    """The same samples. Raises AudioError with the first reason not to use them as a voice."""
    passable(samples, rate)
    return samples


def passable(samples: Samples, rate: int) -> list[Finding]:
    """What is amiss with a clip but may pass. Raises AudioError with the first reason not to."""
    findings = lint_reference(samples, rate)
    for finding in findings:
        if finding.severity == "error":
            raise AudioError(finding.message)
    return findings


def _length(seconds: float) -> Iterator[Finding]:
    if seconds < _SHORTEST:
        message = f"The clip is too short: {seconds:.2f} s, and at least {_SHORTEST:g} s is needed."
        yield Finding("too_short", message, "error")
    if seconds > _LONG:
        message = f"The clip is too long: {seconds:.1f} s. Cut it to 5 to {_LONG:g} s of speech."
        yield Finding("too_long", message, "error" if seconds > _LONGEST else "warning")


def _level(samples: Samples, rate: int) -> Iterator[Finding]:
    if (level := levels.rms(samples)) < _QUIET_RMS:
        message = f"The clip is very quiet (RMS {level:.4f}); raise its level."
        yield Finding("very_quiet", message)
    if (share := levels.heard_share(samples, rate)) < _LEAST_HEARD:
        message = f"The clip is mostly silence ({share:.0%} is sound); cut the pauses out."
        yield Finding("mostly_silence", message)
    if (share := levels.clipped(samples)) > _CLIPPED_SHARE:
        message = f"The clip is clipped in {share:.1%} of its samples; record it at a lower level."
        yield Finding("clipping", message)
    if abs(mean := levels.offset(samples)) > _OFFSET:
        message = f"The clip is off centre by {mean:+.3f} (DC offset); filter below 40 Hz."
        yield Finding("dc_offset", message)


def _quality(samples: Samples, rate: int) -> Iterator[Finding]:
    if (width := levels.bandwidth(samples, rate)) < _NARROW_HZ:
        message = f"The clip has nothing above {width:.0f} Hz, like a telephone; so will the voice."
        yield Finding("narrow_band", message)
    if (ratio := levels.signal_to_noise(samples, rate)) < _NOISY_DB:
        message = f"The clip has strong background noise ({ratio:.0f} dB under the speech)."
        yield Finding("noise", message)
