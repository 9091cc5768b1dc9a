"""Corpora of every known format to recordings. Checks nothing of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from faster_higgs.data.readers import beside, columnar, delimited, kaldi, lines, seeds
from faster_higgs.data.readers.detect import PREPARED, detect
from faster_higgs.data.readers.settings import AUTO, ReadSettings
from faster_higgs.data.record import BadRow, Recording, writable
from faster_higgs.errors import DataError, SettingError

__all__ = ["FORMATS", "ReadSettings", "detect", "format_of", "recordings"]

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


# Which settings a format has no use for; whoever gives them is told so.
UNUSED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("csv", "ljspeech", "jsonl"), ("split",)),
    "folder": ("audio_dir", "columns", "unnamed"),
    "seeds": ("columns", "unnamed"),
    "kaldi": ("columns", "unnamed", "split"),
}
FLAGS = {"unnamed": "--dataset-name", "audio_dir": "--audio-dir"}


def format_of(path: Path, settings: ReadSettings) -> str:
    """The format as it is said, else as it is found. Raises DataError, SettingError."""
    found = detect(path) if settings.format == AUTO or not path.exists() else settings.format
    if found not in (PREPARED, *FORMATS):
        raise SettingError(f"There is no format '{found}'; use one of {', '.join(FORMATS)}.")
    one_file = ("split",) if path.is_file() else ()
    for name in {*UNUSED.get(found, ()), *one_file}:
        if getattr(settings, name) != getattr(ReadSettings(), name):
            raise SettingError(
                f"{FLAGS.get(name, f'--{name}')} changes nothing in {path}, which is read as "
                f"{found}; leave it out."
            )
    return found


def recordings(path: Path, settings: ReadSettings = ReadSettings()) -> Iterator[Recording | BadRow]:
    """What a corpus holds, in an order that is always the same; rows without a recording as such.

    Raises DataError or SettingError, at the first step of the iterator at the latest, for what is
    wholly wrong: no such file, no column for the text, nothing inside.
    """
    path = Path(path).expanduser()
    found = format_of(path, settings)
    if found == PREPARED:
        raise DataError(f"{path} is prepared already; give the corpus that it was made of.")
    return _some(FORMATS[found](path, settings), path, found)


def _some(
    items: Iterator[Recording | BadRow], path: Path, name: str
) -> Iterator[Recording | BadRow]:
    empty = True
    for item in items:
        empty = False
        yield _writable(item)
    if empty:
        raise DataError(f"{path} holds no recordings; it was read as {name}.")


def _writable(item: Recording | BadRow) -> Recording | BadRow:
    """Names of files and the like may hold what is no character; a text may not."""
    origin = writable(item.origin)
    if isinstance(item, BadRow):
        return replace(item, origin=origin, reason=writable(item.reason))
    if item.text != writable(item.text):
        return BadRow(origin, "Its text holds halves of characters; save it as UTF-8.", "text")
    return replace(
        item,
        origin=origin,
        speaker=writable(item.speaker),
        columns={writable(name): writable(value) for name, value in item.columns.items()},
        references=tuple(
            replace(one, text=writable(one.text), speaker=writable(one.speaker))
            for one in item.references
        ),
    )
