"""manifest.jsonl beside many sound files: what each of them is, and which are finished.

Knows nothing of how they are made.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from faster_higgs.checkpoint.replacing import replacing
from faster_higgs.errors import unwritten

NAME = "manifest.jsonl"
Row = dict[str, Any]


class Manifest:
    """Rows by id. Each is on disk before its file is; the last row of an id counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self.rows: dict[str, Row] = dict(_rows(folder / NAME))

    def add(self, row: Row) -> None:
        """Write one more row down. Raises OutputError."""
        with self._lock:
            self.rows[row["id"]] = row
            try:
                with (self.folder / NAME).open("a", encoding="utf-8") as file:
                    file.write(_line(row))
            except OSError as error:
                raise unwritten(
                    f"{self.folder / NAME} cannot be written: {error.strerror}.", error
                ) from None

    def finish(self, order: Iterable[str]) -> None:
        """One row for each id: first those of `order`, then what else was there."""
        names = dict.fromkeys([*order, *self.rows])
        with replacing(self.folder, "manifest") as partial:
            text = "".join(_line(self.rows[name]) for name in names if name in self.rows)
            partial(NAME).write_text(text, encoding="utf-8")


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _rows(path: Path) -> Iterable[tuple[str, Row]]:
    """What can be read of it: a run that was killed may have left half a line."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("id"), str) and {"status", "key"} <= {*row}:
            yield row["id"], row
