"""A prepared data set on disk: clips in Arrow shards, and what they were made with.

folder/
    dataset.json            version, codec, text settings, shards with their hashes
    clips/part-00000.arrow  one row a clip: codes and token ids in one array each, with offsets

Knows nothing of how clips are made.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from faster_higgs.data.record import SPLITS, Clip, Split
from faster_higgs.digest import sha256
from faster_higgs.errors import DataError, MissingExtra, unwritten

VERSION = 1
ABOUT, SHARDS = "dataset.json", "clips"
PARTIAL = ".partial"  # the end of a file's name until it is whole


def write_shard(path: Path, clips: Sequence[Clip], key: str = "") -> str:
    """Write clips to one file, which appears when it is whole; returns its sha256.

    The `key` says what the shard was made of; `key_of` reads it back.
    """
    pa = arrow()
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("id", "split", "speaker", "text", "language")),
            *(("scene", pa.string()), ("weight", pa.float32()), ("columns", pa.string())),
            *(("frames", pa.int32()), ("codes", pa.list_(pa.uint16()))),
            ("tokens", pa.list_(pa.int32())),
        ]
    )
    rows = [
        {
            **{name: getattr(clip, name) for name in schema.names[:7]},
            "columns": json.dumps(dict(clip.columns), ensure_ascii=False, sort_keys=True),
            "frames": clip.frames,
            "codes": clip.codes.flatten().numpy().astype(np.uint16),
            "tokens": clip.tokens,
        }
        for clip in clips
    ]
    return write_table(path, pa.Table.from_pylist(rows, schema), key)


def write_table(path: Path, table: Any, key: str = "") -> str:
    """Write an Arrow table to one file, which appears when it is whole; returns its sha256."""
    pa = arrow()
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    schema = table.schema.with_metadata({"key": key})
    try:
        with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_table(table)
        _settle(partial)
        digest = sha256(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritten(
            f"The shard {path} cannot be written: {error.strerror or error}. What was finished "
            "before is whole; free some space and give the same command again.",
            error,
        ) from error
    return digest


def key_of(path: Path) -> str | None:
    """What a shard was made of; None where there is no whole one."""
    try:
        return str((open_table(path).schema.metadata or {}).get(b"key", b"").decode())
    except DataError:
        return None


def read_shard(path: Path, books: int) -> list[Clip]:
    """The clips of one file. Raises DataError."""
    table = open_table(path)
    return [_clip(table, row, books) for row in range(table.num_rows)]


class Cache:
    """A prepared folder; clips are read from mapped files when they are asked for.

    Raises DataError for a folder that is none, of another version, or with a damaged shard
    (`verify` compares every shard with its hash).
    """

    def __init__(self, folder: Path, verify: bool = True) -> None:
        self.folder = Path(folder)
        self.about = read_about(self.folder)
        self.books = int(self.about["codec"]["num_codebooks"])
        self._tables = [self._table(shard, verify) for shard in self.about["shards"]]
        self._ends = np.cumsum([table.num_rows for table in self._tables])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def clip(self, index: int) -> Clip:
        """One of all splits, in the order of the shards."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        row = index - (int(self._ends[shard - 1]) if shard else 0)
        return _clip(self._tables[shard], row, self.books)

    def indices(self, split: Split) -> list[int]:
        """Of the clips of a split. Raises DataError for an unknown one."""
        if split not in SPLITS:
            raise DataError(f"There is no split '{split}'; use one of {', '.join(SPLITS)}.")
        return [i for i, name in enumerate(self.column("split")) if name == split]

    def column(self, name: str) -> list[Any]:
        """One value of every clip: id, speaker, text, frames, weight ..."""
        return [value for table in self._tables for value in table.column(name).to_pylist()]

    def counts(self, name: str) -> list[int]:
        """How many codes or tokens every clip has; they are not read."""
        return [
            count
            for table in self._tables
            for chunk in table.column(name).chunks
            for count in chunk.value_lengths().to_pylist()
        ]

    def digests(self) -> list[bytes]:
        """Of the codes of every clip; equal sound has equal ones."""
        return [
            hashlib.blake2b(codes, digest_size=16).digest()
            for table in self._tables
            for chunk in table.column("codes").chunks
            for codes in _pieces(chunk)
        ]

    @cached_property
    def fingerprint(self) -> str:
        """The same for equal data."""
        made = json.dumps([shard["sha256"] for shard in self.about["shards"]])
        return hashlib.sha256(made.encode()).hexdigest()[:16]

    def _table(self, shard: Mapping[str, Any], verify: bool) -> Any:
        path = self.folder / SHARDS / str(shard["name"])
        if verify and path.is_file() and sha256(path) != shard["sha256"]:
            raise DataError(
                f"The shard {path} is damaged: it is not what {ABOUT} says. Give the `higgs "
                "prepare` command again; it makes only what is missing or damaged."
            )
        return open_table(path)


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Say what a folder holds; the last thing that is written. Raises OutputError."""
    told = json.dumps({"version": VERSION, **about}, indent=1, ensure_ascii=False)
    write_file(folder / ABOUT, told.encode())


def write_file(path: Path, content: bytes) -> None:
    """A file that appears when it is whole. Raises OutputError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        partial.write_bytes(content)
        _settle(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritten(f"{path} cannot be written: {error.strerror}.", error) from error


def _settle(path: Path) -> None:
    """A file is on disk, and would be there after a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def hashed(told: Any) -> str:
    """The sha256 of anything JSON can say; the same for equal things."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_about(folder: Path) -> dict[str, Any]:
    """What a folder holds. Raises DataError for one that is no prepared data set."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"'{folder}' is no prepared data set: it has no {ABOUT}. Make one of your recordings "
            f"with `higgs prepare RECORDINGS --out {folder}`."
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / ABOUT} cannot be read ({error}); prepare it again.") from None
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise DataError(f"{folder / ABOUT} is of another version; prepare the data again.")
    return about


def open_table(path: Path) -> Any:
    """The table of a file, mapped. Raises DataError."""
    pa = arrow()
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        raise DataError(
            f"The shard {path} cannot be read ({said}). Give the `higgs prepare` command again; it "
            "makes only what is missing or damaged."
        ) from None


def _clip(table: Any, row: int, books: int) -> Clip:
    import torch

    values = {name: table.column(name)[row] for name in table.column_names}
    codes = np.asarray(values["codes"].values.to_numpy(), dtype=np.int64)
    texts = {
        name: values[name].as_py()
        for name in ("id", "split", "speaker", "text", "language", "scene", "weight")
    }
    return Clip(
        **texts,
        codes=torch.from_numpy(codes.reshape(books, -1)),
        tokens=tuple(values["tokens"].as_py()),
        columns=json.loads(values["columns"].as_py()),
    )


def _pieces(lists: Any) -> list[bytes]:
    """The bytes of each list of an Arrow array."""
    values, ends = lists.values.to_numpy(), lists.offsets.to_numpy()
    return [values[a:b].tobytes() for a, b in pairwise(ends)]


def arrow() -> Any:
    """The library. Raises MissingExtra."""
    try:
        import pyarrow as pa
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(
            "Training data needs pyarrow; install the extra with "
            "`pip install 'faster-higgs[train]'`."
        ) from None
    return pa
