"""Sounds to test with."""

from __future__ import annotations

import io

import numpy as np
import soundfile

RATE = 24_000


def tone(seconds: float = 1.0, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def speechlike(seconds: float = 4.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Bursts of wide noise with pauses: what the linter takes for a good clip."""
    count = round(seconds * rate)
    noise = np.random.default_rng(seed).standard_normal(count)
    time = np.arange(count) / rate
    envelope = np.clip(np.sin(2 * np.pi * 1.5 * time), 0, None) ** 0.5
    return (0.1 * noise * envelope + 1e-4 * noise).astype("f4")


def file_bytes(samples: np.ndarray, rate: int = RATE, format: str = "WAV", **more: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, **more)
    return buffer.getvalue()
