"""`higgs data check`: is a corpus, or a prepared folder, fit to be trained on?

Knows nothing of how clips are judged.
"""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from faster_higgs.cli import rehearse
from faster_higgs.cli.command import Menu, argument, as_command, option, verbose
from faster_higgs.cli.output import growing
from faster_higgs.cli.reading import ReadFlags, read_settings
from faster_higgs.cli.rehearse import RehearseFlags
from faster_higgs.data.amounts import counted, lasting
from faster_higgs.errors import OutputPlaceError, SettingError

if TYPE_CHECKING:
    from faster_higgs.data.checked import CheckReport, Problem

ROWS = 10  # speakers and problems of one kind that are shown
_UNITS = {"level": "dBFS", "pace": "letters/s", "signal_to_noise": "dB"}


@dataclass(frozen=True, kw_only=True)
class CheckFlags(ReadFlags):
    """What stands on the command line."""

    path: Path = argument(
        "PATH", "A table, a folder of recordings, or what `higgs prepare` has made."
    )
    limit: int | None = option("--limit", "N", "Look at the first so many only.")
    workers: int | None = option(
        "--workers", "N", "How many clips are decoded at once. [default: one for each core]"
    )
    json: Path | None = option("--json", "FILE", "Write everything found, for machines.")
    plot: Path | None = option(
        "--plot", "FOLDER", "Draw durations, speakers and levels as PNG files."
    )
    verbose: bool = verbose()


def command(name: str, help: str) -> Menu:
    """The command as the menu takes it."""
    told = "Find what is wrong with recordings and training data, clip by clip."
    heard = "Write down what a model says itself, to be heard again beside something new."
    commands = [
        as_command(CheckFlags, run, "check", told, facts),
        as_command(RehearseFlags, rehearse.run, "rehearse", heard),
    ]
    return Menu(name=name, help=help, commands=commands)


def facts() -> Mapping[str, str]:
    """Choices for the help page, read from where they are written."""
    from faster_higgs.data.readers import FORMATS

    return {"format": f"auto, {', '.join(FORMATS)}"}


def run(flags: CheckFlags) -> None:
    """Check, tell, draw. Exit status 1 where something is invalid."""
    _refuse(flags)
    from faster_higgs.data.check import check

    with _bar() as progress:
        report = check(
            flags.path,
            read_settings(flags),
            flags.limit,
            flags.workers or os.cpu_count() or 1,
            progress,
        )
    print("\n".join(_told(report)))
    if flags.json:
        _write(flags.json, report)
    if flags.plot:
        from faster_higgs.cli.data_plot import draw

        for file in draw(report, flags.plot):
            print(f"Drawn: {file}", file=sys.stderr)
    if not report.passed:
        raise typer.Exit(1)


def _refuse(flags: CheckFlags) -> None:
    """What cannot be done is told before hours of decoding."""
    for name, value in (("--limit", flags.limit), ("--workers", flags.workers)):
        if value is not None and value < 1:
            raise SettingError(f"{name} is at least 1; found {value}.")
    if flags.json and not flags.json.absolute().parent.is_dir():
        raise OutputPlaceError(f"{flags.json} cannot be written: its folder does not exist.")
    if flags.plot:
        from faster_higgs.cli.plot import need_matplotlib

        need_matplotlib()
        if flags.plot.exists() and not flags.plot.is_dir():
            raise OutputPlaceError(f"{flags.plot} is no folder; --plot takes one.")


def _told(report: CheckReport) -> Iterator[str]:
    """The report for people."""
    speakers = report.speakers()
    yield (
        f"{report.path}: {report.format}, {counted(len(report.clips), 'clip')}, "
        f"{lasting(report.seconds)}, {counted(len(speakers), 'speaker')}"
    )
    yield from _figures(report)
    if report.unmeasured:
        yield f"\n{_silent(report.unmeasured, len(report.clips))}"
    yield from _speakers(speakers)
    if splits := report.splits():
        yield "\nSplits: " + ", ".join(f"{name} {count:,}" for name, count in splits.items())
    if report.marked:
        yield f"\nLeft out, as the corpus marks them as not valid: {report.marked:,}"
    yield from _problems("Errors", report.counts(errors=True))
    yield from _problems("Unusual", report.counts(errors=False))
    yield "\n" + _verdict(report)


def _silent(clips: int, of: int) -> str:
    """Why there are no levels, or not of all."""
    if clips == of:
        return "Levels were not measured: only codes are kept here, no sound."
    return f"Levels of {counted(clips, 'clip')} were not measured: their sound is not kept here."


def _verdict(report: CheckReport) -> str:
    wrong = sum(problem.is_error for problem in report.problems)
    odd = len(report.problems) - wrong
    if wrong:
        return f"Not fit: {counted(wrong, 'error')}, and {odd:,} unusual."
    return f"Fit to be trained on; {odd:,} unusual." if odd else "Fit to be trained on."


def _figures(report: CheckReport) -> Iterator[str]:
    figures = report.figures()
    if figures:
        yield f"\n{'':<24}{'least':>10}{'median':>10}{'most':>10}"
    for name, values in figures.items():
        unit = f", {_UNITS[name]}" if name in _UNITS else ""
        label = f"{name.replace('_', ' ')}{unit}"
        yield f"{label:<24}" + "".join(f"{value:>10.3f}" for value in values)


def _speakers(speakers: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    if speakers:
        yield f"\n{'speaker':<24}{'clips':>10}{'time':>12}"
    for name in list(speakers)[:ROWS]:
        found = speakers[name]
        yield f"{name[:23]:<24}{found['clips']:>10,}{lasting(found['seconds']):>12}"
    if len(speakers) > ROWS:
        yield f"... and {len(speakers) - ROWS:,} more"


def _problems(title: str, counts: Mapping[str, list[Problem]]) -> Iterator[str]:
    if counts:
        yield f"\n{title}"
    for name, found in counts.items():
        yield f"  {name}: {len(found):,}"
        for problem in found[:ROWS]:
            yield f"    {problem.origin}: {problem.message}"
        if len(found) > ROWS:
            yield f"    ... and {len(found) - ROWS:,} more; --json FILE lists them all"


def _write(path: Path, report: CheckReport) -> None:
    with growing(path) as part:
        told = json.dumps(report.to_json(), ensure_ascii=False, indent=1)
        part.write_text(f"{told}\n", encoding="utf-8")
        os.replace(part, path)


@contextmanager
def _bar() -> Iterator[Callable[[int], None] | None]:
    """A count on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")
        yield lambda done: progress.update(task, description=f"{done:,} looked at")
