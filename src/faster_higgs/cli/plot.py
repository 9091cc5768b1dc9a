"""A picture of a sound as a file. Knows nothing of where the sound comes from."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from faster_higgs.audio.levels import Samples
from faster_higgs.audio.picture import draw
from faster_higgs.cli.output import growing
from faster_higgs.errors import MissingExtra, OutputPlaceError, SettingError

SUFFIXES = (".png", ".svg", ".pdf")


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
    figure = draw(samples, rate)
    with growing(path) as part:
        figure.savefig(part, format=path.suffix[1:].lower(), dpi=120)
        os.replace(part, path)
