"""Where the sound goes: a file, whole or not at all, or standard output while it is made.

Knows nothing of models.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from faster_higgs.audio.encode import checked_format, encoder_for, format_of
from faster_higgs.audio.levels import Samples
from faster_higgs.audio.save import save
from faster_higgs.errors import OutputError, SettingError, unwritten

STANDARD_OUTPUT = "-"
Write = Callable[[Iterable[Samples], int], None]


class _EnoughError(Exception):
    """Ends a trial before anything is written."""


def writer(output: str, format: str | None) -> Write:
    """What writes pieces of sound at a rate.

    Raises OutputError or SettingError at once if that cannot be.
    """
    if output == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise SettingError("Sound would go to the terminal; redirect it, or give -o a file.")
        kind = format or "wav"
        checked_format(kind, 24_000)
        return partial(_to_standard_output, kind)
    kind = format or format_of(output)
    _try(output, kind)

    def write(pieces: Iterable[Samples], rate: int) -> None:
        save(output, pieces, format=kind, rate=rate)

    return write


@contextmanager
def growing(path: Path) -> Iterator[Path]:
    """The name a file has until it is whole; nothing of that name stays behind."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
    except OSError as error:
        raise unwritten(f"{path} cannot be written: {error.strerror}.", error) from None
    finally:
        part.unlink(missing_ok=True)


def _try(output: str, kind: str) -> None:
    """Do what saving does first, and stop: no long run may end where nothing can be written."""
    path = Path(output)
    if path.exists() and not path.is_file() and not path.is_dir():
        return  # a pipe or device has its reader wait; opening it once more would disturb

    def nothing() -> Iterator[Samples]:
        raise _EnoughError
        yield

    try:
        save(output, nothing(), format=kind)
    except _EnoughError:
        return


def _to_standard_output(kind: str, pieces: Iterable[Samples], rate: int) -> None:
    encoder = encoder_for(kind, rate)
    for samples in pieces:
        _send(encoder.encode(samples))
    _send(encoder.finish())


def _send(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise OutputError(f"Standard output cannot be written: {reason}.") from None
