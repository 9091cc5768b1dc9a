"""A picture of a sound: waveform above spectrogram. Knows nothing of where the sound comes from."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from faster_higgs.audio.levels import Samples
from faster_higgs.cli.output import growing
from faster_higgs.errors import MissingExtra, OutputPlaceError, SettingError

SUFFIXES = (".png", ".svg", ".pdf")
WINDOW = 1024  # samples of one column of the spectrogram


def check_plot(path: Path) -> None:
    """Whether a plot can be drawn there. Raises MissingExtra, SettingError, OutputError."""
    need_matplotlib()
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError(f"{path} cannot be a plot; give it one of {', '.join(SUFFIXES)}.")
    if path.is_dir():
        raise OutputPlaceError(f"{path} cannot be written: it is a folder.")
    with growing(path) as part:
        part.touch()


def need_matplotlib() -> None:
    """Raises MissingExtra where nothing can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra(
            "Drawing needs matplotlib; install it with `pip install 'faster-higgs[plot]'`."
        )


def plot(path: Path, samples: Samples, rate: int) -> None:
    """Draw the picture; the file appears when it is whole."""
    import numpy as np
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
    with growing(path) as part:
        figure.savefig(part, format=path.suffix[1:].lower(), dpi=120)
        os.replace(part, path)
