"""Many texts from a folder or a file, each with its name. Knows nothing of speech.

What is wrong with one text is kept beside it; only what concerns all of them is raised.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faster_higgs.cli.words import text_of
from faster_higgs.errors import SettingError, TextError

FIELDS = ("id", "text", "voice", "seed")
_TABLES = {".csv": ",", ".tsv": "\t"}
_NAME = re.compile(r"[^./\\\0][^/\\\0]{0,199}")


@dataclass(frozen=True)
class Item:
    """One text; `fault` says why it cannot be spoken."""

    id: str
    text: str = ""
    voice: str | None = None
    seed: int | None = None
    fault: str | None = None


def items(source: Path) -> list[Item]:
    """The texts in a folder of .txt files, in a table (.csv, .tsv, .jsonl), or one a line.

    Raises SettingError, TextError.
    """
    if source.is_dir():
        found = list(_in_folder(source))
    elif not source.is_file():
        raise TextError(f"There is no folder or file {source}; check the path.")
    elif source.suffix.lower() == ".jsonl":
        found = [_of_line(number, line) for number, line in _lines(source)]
    elif (separator := _TABLES.get(source.suffix.lower())) is not None:
        found = list(_in_table(source, separator))
    else:
        found = [Item(_numbered(number), line.strip()) for number, line in _lines(source)]
    if not found:
        raise TextError(f"{source} holds no text; give .txt files, lines, or rows.")
    return list(_checked(found))


def _in_folder(folder: Path) -> Iterator[Item]:
    for path in sorted(folder.glob("*.txt")):
        try:
            yield Item(path.stem, text_of(path))
        except TextError as error:
            yield Item(path.stem, fault=str(error))


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that hold something, with their numbers."""
    return [(n, line) for n, line in enumerate(_read(path).splitlines(), 1) if line.strip()]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}.") from None


def _of_line(number: int, line: str) -> Item:
    name = _numbered(number)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Item(name, fault=f"Line {number} is not JSON ({error}).")
    if not isinstance(row, dict):
        return Item(name, fault=f"Line {number} is no object with a text.")
    return _of_row(name, row)


def _in_table(path: Path, separator: str) -> Iterator[Item]:
    rows = csv.DictReader(_read(path).splitlines(keepends=True), delimiter=separator)
    if "text" not in (rows.fieldnames or ()):
        raise SettingError(
            f"{path} has no column 'text' in its first line; known are {', '.join(FIELDS)}."
        )
    for number, row in enumerate(rows, 2):
        full = {key: value for key, value in row.items() if key is not None and value}
        yield _of_row(_numbered(number), full)


def _of_row(name: str, row: Mapping[str, Any]) -> Item:
    """Other fields than ours are whoever's they are."""
    seed, voice = row.get("seed"), row.get("voice")
    item = Item(str(row.get("id", name)), str(row.get("text") or "").strip())
    try:
        seed = None if seed is None else int(str(seed))
    except ValueError:
        return replace(item, fault=f"Its seed is '{seed}'; use a whole number.")
    if not isinstance(voice, (str, type(None))):
        return replace(item, fault=f"Its voice is {voice!r}; use a name.")
    return replace(item, voice=voice or None, seed=seed)


def _checked(found: Iterable[Item]) -> Iterator[Item]:
    """The same, with faults that only the names and the texts have."""
    seen: set[str] = set()
    for item in found:
        fault = item.fault
        if fault is None and not item.text:
            fault = "It holds no text."
        if not _NAME.fullmatch(item.id):
            fault = "Its id cannot be the name of a file; use one without slashes or leading dot."
        elif item.id in seen:
            fault = "Another item before it has the same id; give it one of its own."
        seen.add(item.id)
        yield replace(item, fault=fault)


def _numbered(number: int) -> str:
    return f"{number:05d}"
