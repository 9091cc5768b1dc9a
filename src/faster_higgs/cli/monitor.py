"""`higgs monitor`: what graphics cards do, row after row, until its parent or somebody stops it."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from faster_higgs.cli.command import Command, as_command, option, verbose
from faster_higgs.errors import SettingError, unwritten

HEADER = (
    *("timestamp", "gpu_name", "memory_used_mb", "memory_total_mb"),
    *("gpu_util_pct", "mem_util_pct", "temp_c"),
)
GLANCE = 0.5  # seconds between two looks at whether the parent is there


@dataclass(frozen=True)
class MonitorFlags:
    """What stands on the command line."""

    interval: float = option(
        "--interval", "SECONDS", "Time between two rows of a card. [default: 2]", default=2.0
    )
    output: Path | None = option(
        "--output -o", "FILE", "Append the rows to a file. [default: standard output]"
    )
    follow: bool = option("--follow", None, "Print them too.")
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(MonitorFlags, run, name, help)


def run(flags: MonitorFlags) -> None:
    """Write until stopped. It ends when the process that started it does."""
    from faster_higgs.cards import cards

    if not 0 < flags.interval < float("inf"):
        raise SettingError(f"--interval is {flags.interval}; use seconds, more than 0.")
    if flags.follow and flags.output is None:
        raise SettingError("--follow prints what is also written; name a file with --output.")
    parent = os.getppid()
    with cards() as read, _opened(flags) as writers:
        while True:
            now = datetime.now().isoformat(timespec="seconds")
            _write(writers, [(now, *astuple(one)) for one in read()])
            if not _waited(flags.interval, lambda: os.getppid() == parent):
                return


def _waited(seconds: float, still: Callable[[], bool]) -> bool:
    """Sleep while something holds; False when it no longer does."""
    end = time.monotonic() + seconds
    while still():
        rest = end - time.monotonic()
        if rest <= 0:
            return True
        time.sleep(min(rest, GLANCE))
    return False


@contextmanager
def _opened(flags: MonitorFlags) -> Iterator[list[TextIO]]:
    """Where rows go, each with its header. Raises OutputError."""
    out = [] if flags.output and not flags.follow else [sys.stdout]
    if flags.output is None:
        _write(out, [HEADER])
        yield out
        return
    try:
        file = flags.output.open("a", newline="", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "it is no file"
        raise unwritten(f"{flags.output} cannot be written: {reason}.", error) from None
    with file:
        _write([*out, *([] if file.tell() else [file])], [HEADER])
        yield [*out, file]


def _write(files: Sequence[TextIO], rows: Sequence[Sequence[object]]) -> None:
    for file in files:
        csv.writer(file, lineterminator="\n").writerows(rows)
        file.flush()
