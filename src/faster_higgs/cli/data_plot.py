"""Pictures of a checked corpus: durations, speakers, levels. Knows nothing of clips."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from faster_higgs.cli.output import growing
from faster_higgs.errors import unwritten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from faster_higgs.data.checked import CheckReport

BINS, MOST_SPEAKERS = 50, 40


def draw(report: CheckReport, folder: Path) -> list[Path]:
    """Write the pictures, each whole; there is no picture of what was not found."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten(f"{folder} cannot be made: {error.strerror}.", error) from None
    files = []
    for name, figure in _figures(report):
        path = folder / f"{name}.png"
        with growing(path) as part:
            figure.savefig(part, format="png", dpi=100)
            os.replace(part, path)
        files.append(path)
    return files


def _figures(report: CheckReport) -> Iterator[tuple[str, Figure]]:
    if not report.clips:
        return
    yield "durations", _histogram([clip.seconds for clip in report.clips], "seconds")
    yield "speakers", _bars({name: one["clips"] for name, one in report.speakers().items()})
    levels = [clip.measures.level for clip in report.clips if clip.measures]
    if levels:
        yield "levels", _histogram(levels, "level, dBFS")


def _histogram(values: list[float], label: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.hist(values, bins=BINS)
    axes.set(xlabel=label, ylabel="clips")
    return figure


def _bars(counts: dict[str, float]) -> Figure:
    """The speakers with most clips, and the others as one."""
    from matplotlib.figure import Figure

    shown = dict(list(counts.items())[:MOST_SPEAKERS])
    others = sum(counts.values()) - sum(shown.values())
    if others:
        shown[f"{len(counts) - len(shown)} others"] = others
    figure = Figure(figsize=(8, 1.5 + 0.25 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(shown)), list(shown.values()))
    names = [name[:30].replace("$", r"\$") for name in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    axes.set(xlabel="clips")
    return figure
