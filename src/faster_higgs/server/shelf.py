"""Jobs on disk: what was asked, how far it is, and the sound so far.

A folder for each job. `job.json` is its state and `ask.json` what was asked, both replaced whole;
`sound.pcm`, `codes.bin` and `rows.jsonl` only grow, in this order, and a row that is there is true
of the other two: what lies behind the last row is cut off before more is written. Knows nothing of
HTTP, nor of who makes the sound.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np

from faster_higgs.audio.encode import to_int16
from faster_higgs.audio.levels import Samples
from faster_higgs.errors import HiggsError, OutputError, unwritten
from faster_higgs.locks import hold

Status = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
ID = re.compile(r"job_[0-9a-f]{24}")
NEW, GONE, DAMAGED = ".new-", ".gone-", ".damaged"
UNSAVED = "The job's sound cannot be saved"
BLOCK = 1 << 16  # samples that are read at once
_WIDTH = 2  # bytes of a sample, and of a code


class Damaged(HiggsError):
    """What lies on disk of a job cannot be read."""


@dataclass(frozen=True)
class Record:
    """The state of a job. Times are in seconds since 1970; `rate` and `speed` are of its sound."""

    id: str
    status: Status
    created_at: int
    updated_at: int
    title: str
    seed: int
    format: str
    rate: int
    speed: float
    model: str  # what its codes mean something to
    utterances: int
    error: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Row:
    """An utterance that is finished. Places are in samples of the whole sound.

    It is heard from `begin` to `end`; to `until` there may be silence.
    """

    text: str
    begin: int
    end: int
    until: int
    finish: str
    codes: tuple[int, int] | None = None  # [K, F] of what is remembered
    speaker: str | None = None


class Reel:
    """The rows of a job and their sound, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._sound, self._codes = folder / "sound.pcm", folder / "codes.bin"
        self._rows = folder / "rows.jsonl"
        self.rows = tuple(self._true())

    @property
    def samples(self) -> int:
        """How long the sound is."""
        return self.rows[-1].until if self.rows else 0

    @contextmanager
    def growing(self) -> Iterator[Tape]:
        """Where the next utterances are added. Raises OutputError."""
        lines = "".join(map(_line, self.rows)).encode()
        ends = {
            self._sound: _WIDTH * self.samples,
            self._codes: sum(map(_size, self.rows)),
            self._rows: len(lines),
        }
        with ExitStack() as files:
            with told(UNSAVED):
                open_ones = [files.enter_context(_cut(path, end)) for path, end in ends.items()]
            yield Tape(*open_ones)

    def remembered(self) -> list[tuple[bytes, int] | None]:
        """Of each row the bytes of its codes and how many codebooks they have, if it has any."""
        data = self._codes.read_bytes() if self._codes.exists() else b""
        found: list[tuple[bytes, int] | None] = []
        at = 0
        for row in self.rows:
            size = _size(row)
            found.append((data[at : at + size], row.codes[0]) if row.codes else None)
            at += size
        return found

    def sound(self) -> Iterator[Samples]:
        """The sound in blocks. Raises Damaged."""
        left = self.samples
        if not left:
            return
        try:
            with open(self._sound, "rb") as file:
                while left:
                    data = file.read(_WIDTH * min(left, BLOCK))
                    if not data:
                        raise OSError("it ends too early")
                    left -= len(data) // _WIDTH
                    yield np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768)
        except OSError as error:
            raise Damaged(f"The job's sound cannot be read: {_reason(error)}.") from None

    def _true(self) -> Iterator[Row]:
        """The rows up to the first that is torn, or whose sound or codes are not all there."""
        if not self._rows.exists():
            return
        sound, codes = (_length(path) for path in (self._sound, self._codes))
        at = begin = 0
        for line in self._rows.read_bytes().splitlines(keepends=True):
            row = _row(line)
            if row is None:
                return
            at += _size(row)
            in_order = begin <= row.begin <= row.end <= row.until
            if not in_order or _WIDTH * row.until > sound or at > codes:
                return
            begin = row.until
            yield row


class Tape:
    """The open files of a reel."""

    def __init__(self, *files: IO[bytes]) -> None:
        self._files = files

    def add(self, row: Row, samples: Samples, codes: bytes) -> None:
        """One more utterance; it is on disk when this returns. Raises OutputError."""
        pcm = to_int16(samples).astype("<i2").tobytes()
        with told(UNSAVED):
            for file, data in zip(self._files, (pcm, codes, _line(row).encode()), strict=True):
                file.write(data)
                _settle(file)


class Shelf:
    """All jobs of a folder, which one server at a time may have. Raises OutputError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with told("Jobs cannot be kept"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(folder / "lock", "ab")  # noqa: SIM115  held until `close`
            try:
                hold(self._lock)
            except OSError:
                self._lock.close()
                raise OutputError("Another server keeps its jobs there.") from None

    def close(self) -> None:
        """Let another server have it."""
        self._lock.close()

    def load(self) -> list[Record]:
        """The jobs there are, oldest first. One that cannot be read is told and set aside."""
        found = []
        for folder in sorted(self._folder.iterdir()):
            if folder.name.startswith((f"{NEW}job_", f"{GONE}job_")):
                shutil.rmtree(folder, ignore_errors=True)
            elif ID.fullmatch(folder.name):
                try:
                    found.append(self._record(folder))
                except Damaged as error:
                    logging.getLogger(__name__).error(
                        "The job %s is set aside: %s", folder.name, error
                    )
                    self._set_aside(folder)
        return found

    def add(self, record: Record, ask: Mapping[str, Any]) -> None:
        """A new job, all of it or nothing."""
        part = self._folder / f"{NEW}{record.id}"
        try:
            with told("The job cannot be saved"):
                part.mkdir(mode=0o700)
                _write(part / "ask.json", ask)
                _write(part / "job.json", asdict(record))
                part.replace(self.place(record.id))
                _settle_folder(self._folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def keep(self, record: Record) -> None:
        """The new state of a job."""
        with told("The job's state cannot be saved"):
            _write(self.place(record.id) / "job.json", asdict(record))

    def ask(self, id: str) -> Any:
        """What was asked. Raises Damaged."""
        return _read(self.place(id) / "ask.json")

    def reel(self, id: str) -> Reel:
        """Its sound so far. Raises Damaged."""
        try:
            return Reel(self.place(id))
        except OSError as error:
            raise Damaged(f"The job's sound cannot be read: {_reason(error)}.") from None

    def remove(self, id: str) -> None:
        """Delete a job."""
        gone = self._folder / f"{GONE}{id}"
        with told("The job cannot be deleted"):
            self.place(id).replace(gone)
            _settle_folder(self._folder)
        shutil.rmtree(gone, ignore_errors=True)

    def place(self, id: str) -> Path:
        """The folder of a job; `id` is one of ours."""
        return self._folder / id

    def _record(self, folder: Path) -> Record:
        kept = _read(folder / "job.json")
        names = {one.name for one in fields(Record)}
        if not isinstance(kept, dict) or kept.keys() != names:
            raise Damaged("job.json does not say what a job is.")
        record = Record(**kept)
        if record.id != folder.name or record.status not in get_args(Status):
            raise Damaged("job.json is of another job, or of another version.")
        if not all(isinstance(kept[name], kind) for name, kind in _KINDS.items()):
            raise Damaged("job.json does not say what a job is.")
        if not isinstance(self.ask(record.id), dict):
            raise Damaged("ask.json does not say what was asked.")
        missing = record.utterances - len(self.reel(record.id).rows)
        if record.status == "done" and missing:
            raise Damaged("it is done, but a part of its sound is missing.")
        return record

    def _set_aside(self, folder: Path) -> None:
        with suppress(OSError):  # it is set aside again at the next start
            folder.replace(folder.with_name(f"{folder.name}{DAMAGED}"))


_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("title", "format", "model"), str),
    **dict.fromkeys(("created_at", "updated_at", "seed", "rate", "utterances"), int),
    "speed": float,
}


@contextmanager
def told(what: str) -> Iterator[None]:
    """What stops the writing inside becomes an OutputError that says what it hit."""
    try:
        yield
    except OSError as error:
        raise unwritten(f"{what}: {_reason(error)}.", error) from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _write(path: Path, told: Any) -> None:
    """A file that is replaced whole, and on disk when this returns."""
    part = path.with_suffix(".part")
    try:
        with open(part, "wb") as file:
            file.write(json.dumps(told, ensure_ascii=False).encode())
            _settle(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _settle_folder(path.parent)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read: {_reason(error)}.") from None
    except ValueError:
        raise Damaged(f"{path.name} is not JSON.") from None


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _settle_folder(folder: Path) -> None:
    """Names in a folder are on disk, too, where the system can promise it."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def _cut(path: Path, length: int) -> Iterator[IO[bytes]]:
    """The file, open at its new end. What could not be written is not tried again at the end."""
    file = open(path, "ab")  # noqa: SIM115
    try:
        file.truncate(length)
        yield file
    finally:
        with suppress(OSError):
            file.close()


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _size(row: Row) -> int:
    """Bytes of its codes."""
    return _WIDTH * row.codes[0] * row.codes[1] if row.codes else 0


def _line(row: Row) -> str:
    return json.dumps(asdict(row), ensure_ascii=False) + "\n"


def _row(line: bytes) -> Row | None:
    """None for a line that is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        kept = json.loads(line)
        codes = kept.pop("codes")
        return Row(**kept, codes=tuple(codes) if codes else None)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
