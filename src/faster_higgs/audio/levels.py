"""Plain measures of a sound: level, silence, offset, noise, bandwidth.

Does not know which values are good: checks.py and reference.py hold the limits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

AUDIBLE = 0.001  # a sample above this counts as sound
FULL_SCALE = 0.999  # a sample at or above this counts as clipped
_FRAME_SECONDS = 0.02
_QUIETEST = 1e-7


def rms(samples: Samples) -> float:
    """Root of the mean square; 0 for no samples."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0


def peak(samples: Samples) -> float:
    """Largest distance from zero; 0 for no samples."""
    return float(np.abs(samples).max()) if samples.size else 0.0


def offset(samples: Samples) -> float:
    """Mean value; a clean recording has almost none."""
    return float(np.mean(samples, dtype=np.float64)) if samples.size else 0.0


def audible(samples: Samples) -> int:
    """How many samples are sound and not silence."""
    return int(np.count_nonzero(np.abs(samples) > AUDIBLE))


def clipped(samples: Samples) -> float:
    """Share of samples at the end of the scale or beyond it."""
    return float(np.mean(np.abs(samples) >= FULL_SCALE)) if samples.size else 0.0


def frame_levels(samples: Samples, rate: int) -> NDArray[np.float64]:
    """RMS of each full stretch of 20 ms; of the whole where it is shorter than one."""
    size = min(max(1, round(rate * _FRAME_SECONDS)), samples.size)
    if not size:
        return np.zeros(0)
    frames = samples[: samples.size // size * size].reshape(-1, size)
    levels: NDArray[np.float64] = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    return levels


def _heard(samples: Samples, rate: int) -> NDArray[np.intp]:
    """Which 20 ms stretches hold sound: neither below hearing nor 40 dB under the loudest."""
    levels = frame_levels(samples, rate)
    return np.flatnonzero(levels > max(AUDIBLE, 0.01 * levels.max(initial=0.0)))


def heard_share(samples: Samples, rate: int) -> float:
    """Share of the time that holds sound."""
    total = len(frame_levels(samples, rate))
    return len(_heard(samples, rate)) / total if total else 0.0


def trailing_silence(samples: Samples, rate: int) -> float:
    """Seconds after the last sound."""
    heard = _heard(samples, rate)
    if not heard.size:
        return samples.size / rate
    return max(0.0, samples.size / rate - (int(heard[-1]) + 1) * _FRAME_SECONDS)


def signal_to_noise(samples: Samples, rate: int) -> float:
    """Decibels from the quiet moments (10th percentile) to the loud ones (95th)."""
    levels = frame_levels(samples, rate)
    if not levels.size:
        return 0.0
    quiet, loud = np.percentile(levels, [10, 95])
    return float(20 * np.log10(max(loud, _QUIETEST) / max(quiet, _QUIETEST)))


def bandwidth(samples: Samples, rate: int) -> float:
    """Highest frequency in Hz that carries sound, 60 dB under the strongest or more."""
    size = 1024
    if samples.size < size:
        return rate / 2
    frames = samples[: samples.size // size * size].reshape(-1, size) * np.hanning(size)
    power = np.mean(np.abs(np.fft.rfft(frames, axis=1)) ** 2, axis=0)
    carried = np.flatnonzero(power >= 1e-6 * max(power.max(), _QUIETEST))
    return float(carried[-1] + 1) * rate / size if carried.size else 0.0
