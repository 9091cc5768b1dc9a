"""Corpora of every known format to recordings. Checks nothing of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from faster_higgs.data.readers import beside, columnar, delimited, kaldi, lines, seeds
from faster_higgs.data.readers.detect import PREPARED, detect
from faster_higgs.data.readers.settings import AUTO, ReadSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.errors import DataError, SettingError

__all__ = ["FORMATS", "ReadSettings", "detect", "recordings"]

Reader = Callable[[Path, ReadSettings], Iterator[Recording | BadRow]]

FORMATS: Mapping[str, Reader] = {
    "csv": delimited.read,
    "ljspeech": delimited.read,
    "jsonl": lines.read,
    "parquet": columnar.read_parquet,
    "huggingface": columnar.read_saved,
    "folder": beside.read,
    "seeds": seeds.read,
    "kaldi": kaldi.read,
}


def recordings(path: Path, settings: ReadSettings = ReadSettings()) -> Iterator[Recording | BadRow]:
    """What a corpus holds, in an order that is always the same; rows without a recording as such.

    Raises DataError or SettingError, at the first step of the iterator at the latest, for what is
    wholly wrong: no such file, no column for the text, nothing inside.
    """
    path = Path(path).expanduser()
    found = detect(path) if settings.format == AUTO or not path.exists() else settings.format
    if found == PREPARED:
        raise DataError(f"{path} is prepared already; give the corpus that it was made of.")
    if found not in FORMATS:
        raise SettingError(f"There is no format '{found}'; use one of {', '.join(FORMATS)}.")
    return _some(FORMATS[found](path, settings), path, found)


def _some(
    items: Iterator[Recording | BadRow], path: Path, name: str
) -> Iterator[Recording | BadRow]:
    empty = True
    for item in items:
        empty = False
        yield item
    if empty:
        raise DataError(f"{path} holds no recordings; it was read as {name}.")
