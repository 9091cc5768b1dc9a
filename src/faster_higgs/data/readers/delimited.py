"""Tables of lines: CSV and TSV in any dialect, with a header or as LJSpeech writes them without.

Knows nothing of sounds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from faster_higgs.data.readers.files import Place, listed
from faster_higgs.data.readers.rows import Columns, recording
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.errors import DataError

SUFFIXES = (".csv", ".tsv", ".psv", ".txt")
METADATA = "metadata"
_DELIMITERS = ("\t", "|", ";", ",")
_QUOTED = (";", ",")  # between the others, quotes are part of the text


@dataclass(frozen=True)
class Layout:
    """How a table is written."""

    delimiter: str
    header: tuple[str, ...] | None  # None: it has none

    @property
    def quoting(self) -> Literal[0, 3]:
        return csv.QUOTE_MINIMAL if self.delimiter in _QUOTED else csv.QUOTE_NONE


def read(path: Path, settings: ReadSettings) -> Iterator[Recording | BadRow]:
    """Line by line. Raises DataError for a table whose columns are not known."""
    table = table_of(path)
    place = Place(table.parent, settings.audio_dir)
    with open_text(table) as file:
        first = _first(file, table)
        layout = layout_of(first, place, settings)
        if layout.header is None:
            _refuse_unclear(_split(first, layout.delimiter), settings, table)
        columns, names = _columns(layout, settings, table)
        for number, cells in _rows(file, layout):
            origin = f"{table.name}, line {number}"
            if fault := _fault(cells, layout):
                yield BadRow(origin, fault)
            elif any(cells):
                width = len(names) if layout.header else len(cells)
                row = dict(zip(names[:width], cells, strict=False))
                yield recording(row, columns, place, settings, origin)


def table_of(path: Path) -> Path:
    """The table itself, or the one of a folder. Raises DataError."""
    if path.is_file():
        return path
    tables = sorted(
        file for file in path.iterdir() if file.suffix.lower() in SUFFIXES[:3] and file.is_file()
    )
    named = [file for file in tables if file.stem.lower() == METADATA]
    if len(named or tables) == 1:
        return (named or tables)[0]
    raise DataError(
        f"{path} holds several tables; give the one to read: {listed(t.name for t in tables)}."
        if tables
        else f"There is no table in {path}: no .csv and no .tsv file."
    )


def open_text(path: Path) -> TextIO:
    """A file of text in UTF-8 or, if it says so, UTF-16. Raises DataError.

    Bytes that are neither come through as lone surrogates.
    """
    try:
        with path.open("rb") as file:
            wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
        return path.open(
            encoding="utf-16" if wide else "utf-8-sig", errors="surrogateescape", newline=""
        )
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def is_text(line: str) -> bool:
    """Whether a line of `open_text` was well written."""
    return not any("\ud800" <= character <= "\udfff" for character in line)


def layout_of(first: str, place: Place, settings: ReadSettings) -> Layout:
    """How a table is written, by its first line; one with unknown names has a header too."""
    for delimiter in _DELIMITERS:
        names = _split(first, delimiter)
        if _known(names, settings):
            return Layout(delimiter, tuple(names))
    delimiter = max(_DELIMITERS, key=lambda one: len(_split(first, one)))
    cells = _split(first, delimiter)
    numbered = any(name.isdecimal() for name in settings.columns.values())
    if len(cells) > 1 and (delimiter == "|" or numbered or place.find(cells[0])):
        return Layout(delimiter, None)
    return Layout(delimiter, tuple(cells))


def _first(file: TextIO, table: Path) -> str:
    """The first line that holds something; the file is back at its beginning."""
    start = file.tell()
    for line in iter(file.readline, ""):
        if line.strip():
            file.seek(start)
            return line.rstrip("\r\n")
    raise DataError(f"{table} is empty.")


def _known(names: Sequence[str], settings: ReadSettings) -> bool:
    try:
        Columns.among(names, settings, "")
    except DataError:
        return False
    return True


def _columns(layout: Layout, settings: ReadSettings, table: Path) -> tuple[Columns, list[str]]:
    """Which columns hold what, and their names."""
    if layout.header is not None:
        return Columns.among(layout.header, settings, str(table)), list(layout.header)
    names = [str(number) for number in range(1, 100)]
    of: Mapping[str, tuple[str, ...]] = {"audio": ("1",), "text": ("3", "2")}
    said = {part: (name,) for part, name in settings.columns.items()}
    empty: Mapping[str, tuple[str, ...]] = {"speaker": (), "language": (), "valid": ()}
    return Columns({**of, **empty, **said}), names


def _refuse_unclear(cells: Sequence[str], settings: ReadSettings, table: Path) -> None:
    """Without a header three cells may be LJSpeech's two texts, or a text and who speaks.

    Raises DataError where one of the first line's looks like a text and the other does not.
    """
    several = [len(cell.split()) > 1 for cell in cells[1:] if cell]
    if "text" not in settings.columns and any(several) and not all(several):
        raise DataError(
            f"{table} has no header, and its lines hold more than a sound and its text: "
            f"{' | '.join(cells)}. Say which column is what, as in --columns audio=1,speaker=2,"
            "text=3."
        )


def _rows(file: TextIO, layout: Layout) -> Iterator[tuple[int, list[str] | str]]:
    """The number of the line a row begins in, and its cells, or why it has none."""
    reader = csv.reader(file, delimiter=layout.delimiter, quoting=layout.quoting, strict=True)
    headed = layout.header is not None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            until = f" and all up to line {reader.line_num}" if reader.line_num > number else ""
            yield (
                number,
                f"It{until} cannot be read as a row ({error}); a quotation mark in it is not "
                "closed, or not doubled.",
            )
            continue
        if headed and any(cells):
            headed = False
        elif cells:
            yield number, cells if layout.quoting == csv.QUOTE_MINIMAL else _unquoted(cells)


def _fault(cells: list[str] | str, layout: Layout) -> str:
    """What is wrong with a row; empty if nothing is."""
    if isinstance(cells, str):
        return cells
    if not is_text("".join(cells)):
        return "It is not in UTF-8; save the table as UTF-8."
    wanted = len(layout.header) if layout.header else 0
    if wanted and len(cells) != wanted and any(cells):
        return f"It has {len(cells)} cells, and the header {wanted}."
    return "It has one cell only." if len(cells) < 2 and any(cells) else ""


def _split(line: str, delimiter: str) -> list[str]:
    quoting = Layout(delimiter, None).quoting
    cells = next(csv.reader([line], delimiter=delimiter, quoting=quoting), [])
    return [cell.strip() for cell in _unquoted(cells)]


def _unquoted(cells: list[str]) -> list[str]:
    """Without the quotes around whole cells, as some programs write them between tabs."""
    return [
        cell[1:-1].replace('""', '"')
        if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")
        else cell
        for cell in cells
    ]
