"""Several files of one folder written as one: all are replaced, or none.

Does not know what is in them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from faster_higgs.errors import OutputError


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
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch's, disk full
        reason = str(error).strip().split("\n")[0]
        raise OutputError(f"The {kind} could not be written to '{folder}': {reason}.") from error
    finally:
        partial.remove()
