"""Files of one folder written as one, and whole folders: all are replaced, or none.

Does not know what is in them.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from faster_higgs.errors import OutputError

_STOPS = (OSError, RuntimeError, SafetensorError)  # RuntimeError: torch's, where a disk is full


class Partial:
    """Where to write each file of `folder`; it gets its own name when all are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    def __call__(self, name: str) -> Path:
        """Where to write what will be `folder / name`."""
        target = self.folder / name
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "A folder has that name", str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.names.append(name)
        return self._path(name)

    def finish(self) -> None:
        """Give all files their names, readable for everyone, as some writers make them private."""
        for name in self.names:
            self._path(name).chmod(0o644)
        for name in self.names:
            self._path(name).replace(self.folder / name)

    def remove(self) -> None:
        """Leave nothing half."""
        for name in self.names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        target = self.folder / name
        return target.with_name(f".{target.name}.partial")


@contextmanager
def replacing(folder: Path, kind: str) -> Iterator[Partial]:
    """The files written inside replace those of `folder` at the end; until then all stays as it is.

    What stops the writing becomes an OutputError that names `kind` and the folder.
    """
    partial = Partial(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.finish()
    except _STOPS as error:
        raise _failed(kind, folder, error) from error
    finally:
        partial.remove()


@contextmanager
def replacing_whole(folder: Path, kind: str) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` at the end. Errors as above."""
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        put_in_place(partial, folder)
    except _STOPS as error:
        raise _failed(kind, folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put_in_place(source: Path, target: Path) -> None:
    """Rename, over a folder too; the old one stays where `standing` looks until that is done."""
    aside = _aside(target)
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(target, aside)
    try:
        os.replace(source, target)
    except OSError:
        if aside.exists():
            os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def standing(folder: Path) -> Path | None:
    """The folder under its own name, or under that which a replacement that was cut off gave it."""
    return next((path for path in (folder, _aside(folder)) if path.is_dir()), None)


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _failed(kind: str, folder: Path, error: Exception) -> OutputError:
    reason = str(error).strip().split("\n")[0]
    return OutputError(f"The {kind} could not be written to '{folder}': {reason}.")
