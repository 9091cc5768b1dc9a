"""What an interrupted evaluation has done so far, a line for a sentence. Does not know figures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals.summary import Row
from faster_higgs.errors import OutputError, SettingError


class Journal:
    """Rows on disk, under a line that says of which run; those of another run are refused."""

    def __init__(self, path: Path, run: dict[str, Any]) -> None:
        self._path = path
        self.rows: list[Row] = []
        found = self._read()
        if not found:
            self._write([run])
            return
        if found[0] != run:
            raise SettingError(
                f"{path} is of a run with other sentences, settings or another model; "
                "delete it to begin anew."
            )
        self.rows = [Row.from_json(row) for row in found[1:]]

    def add(self, rows: Iterable[Row]) -> None:
        """Keep these too."""
        new = list(rows)
        self._write([asdict(row) for row in new])
        self.rows += new

    def close(self) -> None:
        """The result is written: nothing is left to resume."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> list[dict[str, Any]]:
        """The whole lines; what an interruption left of another is cut off."""
        if not self._path.is_file():
            return []
        text = self._path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            os.truncate(self._path, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def _write(self, lines: Iterable[dict[str, Any]]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}.") from None
