"""JSON Lines: one object a line, plain or as ms-swift writes conversations.

Knows nothing of tables with a header.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faster_higgs.data.readers.delimited import is_text, open_text
from faster_higgs.data.readers.files import Place, listed
from faster_higgs.data.readers.rows import Columns, recording
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json")
_AUDIO_MARK = "<audio>"


def read(path: Path, settings: ReadSettings) -> Iterator[Recording | BadRow]:
    """Object by object. Raises DataError where the first lacks what is needed."""
    file = _file_of(path)
    place = Place(file.parent, settings.audio_dir)
    known: dict[tuple[str, ...], Columns] = {}
    for number, found in _objects(file):
        origin = f"{file.name}, line {number}"
        if isinstance(found, str):
            yield BadRow(origin, found)
            continue
        row = _spoken(found)
        names = tuple(row)
        try:
            columns = known.get(names) or Columns.among(names, settings, str(file))
        except DataError as error:
            if not known:
                raise
            yield BadRow(origin, str(error))
            continue
        known[names] = columns
        yield recording(row, columns, place, settings, origin)


def _file_of(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES[:2])
    if len(found) == 1:
        return found[0]
    names = listed(file.name for file in found) or "none"
    raise DataError(f"Give the one .jsonl file of {path} that is to be read; there are: {names}.")


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The number and the object of each line, or why there is none."""
    with open_text(file) as lines:
        if file.suffix.lower() == ".json":
            yield from enumerate(_list(lines.read(), file), 1)
            return
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _object(line)


def _list(text: str, file: Path) -> list[dict[str, Any] | str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON: {error}.") from None
    if not isinstance(found, list):
        raise DataError(f"{file} holds no list of objects.")
    return [one if isinstance(one, dict) else "It is no object." for one in found]


def _object(line: str) -> dict[str, Any] | str:
    if not is_text(line):
        return "It is not in UTF-8."
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"It is not JSON: {error}."
    return found if isinstance(found, dict) else "It is no object."


def _spoken(row: Mapping[str, Any]) -> dict[str, Any]:
    """A conversation as a plain row: what is said last, and the first sound; others as they are."""
    messages, audios = row.get("messages"), row.get("audios")
    if not isinstance(messages, list):
        return dict(row)
    rest = {name: value for name, value in row.items() if name not in ("messages", "audios")}
    said = [_said(messages, "assistant"), _said(messages, "user")]
    audio = audios[0] if isinstance(audios, list) and audios else audios
    return {"audio": audio, "text": next(filter(None, said), ""), **rest}


def _said(messages: list[Any], role: str) -> str:
    """The text of the last message of a role, without the mark of its sound."""
    mine = [one for one in messages if isinstance(one, Mapping) and one.get("role") == role]
    content = mine[-1].get("content") if mine else ""
    if isinstance(content, list):
        parts = [part.get("text") or "" for part in content if isinstance(part, Mapping)]
        content = " ".join(map(str, parts))
    return str(content or "").replace(_AUDIO_MARK, "").strip()
