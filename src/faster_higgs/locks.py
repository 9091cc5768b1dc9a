"""One process at a time. Knows nothing of what is guarded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from faster_higgs.errors import SettingError, unwritten

LOCK = ".lock"


def hold(file: IO[bytes]) -> None:
    """Raises OSError when another process has it; the system lets go when a process ends."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Nobody else who asks works in this folder, which is made if it is not there.

    It goes again if nothing came into it. Raises SettingError when somebody does, OutputError.
    """
    was_there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("wb")
    except OSError as error:
        raise unwritten(f"'{folder}' cannot be used: {error.strerror}.", error) from None
    with file:
        try:
            hold(file)
        except OSError:
            raise SettingError(
                f"Another process is at work in '{folder}'; wait for it, or name another folder."
            ) from None
        try:
            yield
        finally:
            if not was_there and os.listdir(folder) == [LOCK]:
                shutil.rmtree(folder, ignore_errors=True)
