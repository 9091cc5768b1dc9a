"""A picture of a sound: waveform above spectrogram. Knows nothing of files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faster_higgs.audio.levels import Samples

WINDOW = 1024  # samples of one column of the spectrogram


def draw(samples: Samples, rate: int) -> Any:
    """The picture as a figure of matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    wave, spectrum = figure.subplots(2, 1, sharex=True)
    wave.plot(np.arange(len(samples)) / rate, samples, linewidth=0.4)
    wave.set(ylabel="amplitude", ylim=(-1, 1))
    spectrum.set(xlabel="seconds", ylabel="Hz")
    if len(samples) > WINDOW:
        # A floor far below hearing, because the logarithm of silence is no number.
        floor = 1e-7 * np.random.default_rng(0).standard_normal(len(samples))
        spectrum.specgram(samples + floor, NFFT=WINDOW, Fs=rate, noverlap=WINDOW * 3 // 4)
    return figure


def pixels(samples: Samples, rate: int) -> NDArray[np.uint8]:
    """The picture as [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(draw(samples, rate))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
