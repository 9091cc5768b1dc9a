"""Parquet files and the Arrow files of a saved Hugging Face data set, a few rows at a time.

Knows nothing of how sounds are decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faster_higgs.data.cache import arrow
from faster_higgs.data.readers.files import Place, chosen
from faster_higgs.data.readers.rows import Columns, recording
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.errors import DataError

PARQUET, ARROW = ".parquet", ".arrow"
ROWS = 32  # held at once, with their sounds


def read_parquet(path: Path, settings: ReadSettings) -> Iterator[Recording | BadRow]:
    """One file, or those of a folder. Raises DataError, MissingExtra."""
    return _read(path, PARQUET, settings)


def read_saved(path: Path, settings: ReadSettings) -> Iterator[Recording | BadRow]:
    """What `save_to_disk` writes: a split, or a folder of them. Raises DataError, MissingExtra."""
    return _read(path, ARROW, settings)


def _read(path: Path, suffix: str, settings: ReadSettings) -> Iterator[Recording | BadRow]:
    pa = arrow()
    files = [path] if path.is_file() else chosen(path, suffix, settings.split)
    root = path.parent if path.is_file() else path
    batches = _parquet if suffix == PARQUET else _stream
    for file in files:
        name = file.relative_to(root).as_posix()
        place = Place(file.parent if path.is_file() else path, settings.audio_dir)
        try:
            yield from _rows(batches(pa, file, settings), name, place, settings)
        except (OSError, pa.ArrowException) as error:
            reason = f"It cannot be read further: {' '.join(str(error).split()).rstrip('.')}."
            if files == [path]:
                raise DataError(f"{path}: {reason}") from None
            yield BadRow(name, reason)


def _rows(
    batches: Iterator[Any], name: str, place: Place, settings: ReadSettings
) -> Iterator[Recording | BadRow]:
    number, columns, labels = 0, None, None
    for batch in batches:
        columns = columns or Columns.among(batch.schema.names, settings, name)
        labels = _labels(batch.schema) if labels is None else labels
        for row in batch.to_pylist():
            named = {**row, **_named(row, labels)}
            yield recording(named, columns, place, settings, f"{name}, row {number}")
            number += 1


def _labels(schema: Any) -> dict[str, list[str]]:
    """What the numbers of a column stand for, as Hugging Face notes it in the file."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted["info"]["features"]
        return {name: one["names"] for name, one in features.items() if "names" in one}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _named(row: Mapping[str, Any], labels: Mapping[str, list[str]]) -> dict[str, str]:
    """The cells that are numbers of labels, as labels; -1 stands for none."""
    return {
        name: names[row[name]]
        for name, names in labels.items()
        if isinstance(row.get(name), int) and 0 <= row[name] < len(names)
    }


def _parquet(pa: Any, file: Path, settings: ReadSettings) -> Iterator[Any]:
    """Of one row group at a time, and of that a few rows."""
    with pa.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
        wanted = _wanted(pa, table.schema_arrow, settings)
        yield from table.iter_batches(batch_size=ROWS, columns=wanted, use_threads=False)


def _stream(pa: Any, file: Path, settings: ReadSettings) -> Iterator[Any]:
    with pa.memory_map(str(file)) as source:
        try:
            batches = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            opened = pa.ipc.open_file(source)
            batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
        for batch in batches:
            kept = batch.select(_wanted(pa, batch.schema, settings))
            for start in range(0, kept.num_rows, ROWS):
                yield kept.slice(start, ROWS)


def _wanted(pa: Any, schema: Any, settings: ReadSettings) -> list[str]:
    """All but lists of numbers and the like, which no recording needs."""
    said = set(settings.columns.values())
    return [field.name for field in schema if field.name in said or _useful(pa, field.type)]


def _useful(pa: Any, kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return {"bytes", "path"} & {kind.field(i).name for i in range(kind.num_fields)} != set()
    return not pa.types.is_nested(kind)
