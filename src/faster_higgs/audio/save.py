"""A sound into a file on disk, whole or not at all.

Does not know formats (encode.py) or what the sound is.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from faster_higgs.audio.encode import checked_format, format_of, open_writer, to_int16
from faster_higgs.errors import unwritten

Samples = NDArray[np.float32]

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "it would be larger than files may be here",
    errno.EACCES: "the folder or the file is read-only for you; choose another folder",
    errno.EPERM: "the folder or the file is read-only for you; choose another folder",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.ENOENT: "its folder does not exist; make it first",
    errno.ENOTDIR: "its folder does not exist; make it first",
    errno.EISDIR: "it is a folder; give a file name inside it",
    errno.ENAMETOOLONG: "its name is too long",
}


def save(
    path: str | os.PathLike[str],
    samples: Samples | Iterable[Samples],
    *,
    format: str | None = None,
    rate: int = 24_000,
    note: str = "",
) -> int:
    """Write a sound, or its pieces as they come, and return how many samples it has.

    The `note` is kept as the file's comment, where it has a place for one.
    The file appears when it is complete. If anything stops it, even Ctrl-C, all stays as it was.
    """
    format = format or format_of(path)
    checked_format(format, rate)
    pieces = iter([samples] if isinstance(samples, np.ndarray) else samples)
    with _replaced(Path(path)) as file:
        with _told(path):
            writer = open_writer(file, format, rate, note)
        total = 0
        for piece in pieces:
            pcm = to_int16(piece)
            with _told(path):
                writer.add(pcm)
            total += pcm.size
        with _told(path):
            writer.close()
            file.flush()
    return total


@contextmanager
def _told(path: str | os.PathLike[str]) -> Iterator[None]:
    """Tell our own writing's errors in a sentence; those of who makes the pieces pass through."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise unwritten(f"{os.fspath(path)} cannot be written: {reason}.", error) from None


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end; a device or pipe is written directly."""
    with _told(path):
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "is read-only")
        special = target.exists() and not target.is_file()
        part = target if special else target.with_name(f".{secrets.token_hex(8)}.part")
        file = open(part, "wb" if special else "x+b")  # noqa: SIM115
        if target.is_file():
            part.chmod(target.stat().st_mode & 0o777)  # a private file stays private
    try:
        with _closed(file, path):
            yield file
        if not special:
            with _told(path):
                os.replace(part, target)
    finally:
        if not special:
            part.unlink(missing_ok=True)


@contextmanager
def _closed(file: BinaryIO, path: Path) -> Iterator[None]:
    """Close on the way out; closing flushes, so it too can find the disk full."""
    try:
        yield
    except BaseException:
        _abandon(file)
        raise
    with _told(path):
        file.close()


def _abandon(file: BinaryIO) -> None:
    try:
        file.close()
    except OSError:
        return  # the error that brought us here is the one to tell
