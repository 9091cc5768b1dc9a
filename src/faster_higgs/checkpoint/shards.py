"""Tensors as they come into safetensors files of bounded size, made to be mapped and checked.

Those whose bytes fill whole lines of the processor's cache lie first, from such a line on: there
the kernels read them where they are. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from faster_higgs.checkpoint.save import index, shard_names
from faster_higgs.checkpoint.tensors import INDEX

_LINE = 64  # bytes
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
}


class Shards:
    """Files in `folder` of at most `limit` bytes, unless a tensor alone has more."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._waiting: dict[str, Tensor] = {}
        self._written: list[tuple[list[str], str]] = []  # the tensors of each file, and its sha256
        self._bytes = 0

    def add(self, name: str, value: Tensor) -> None:
        """One more tensor; it is kept until its file is full."""
        if self._waiting and _size(self._waiting) + value.nbytes > self._limit:
            self._write()
        self._waiting[name] = value

    def finish(self) -> dict[str, str]:
        """Write what is left and name the files; the sha256 of each by its name."""
        self._write()
        names = shard_names(len(self._written))
        for number, name in enumerate(names):
            self._path(number).rename(self._folder / name)
        if len(names) > 1:
            held = {name: tensors for name, (tensors, _) in zip(names, self._written, strict=True)}
            (self._folder / INDEX).write_text(index(held, self._bytes))
        return {name: sha256 for name, (_, sha256) in zip(names, self._written, strict=True)}

    def _write(self) -> None:
        sha256 = write(self._path(len(self._written)), self._waiting)
        self._written.append((list(self._waiting), sha256))
        self._bytes += _size(self._waiting)
        self._waiting = {}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.partial"


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """One safetensors file; its sha256."""
    found = hashlib.sha256()
    with path.open("wb") as file:
        for piece in _pieces(tensors):
            file.write(piece)
            found.update(piece)
    return found.hexdigest()


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The length of the header, the header, and each tensor."""
    ordered = sorted(tensors.items(), key=lambda item: item[1].nbytes % _LINE > 0)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, value in ordered:
        header[name] = {
            "dtype": _TYPES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [at, at + value.nbytes],
        }
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % _LINE)
    yield struct.pack("<Q", len(text))
    yield text
    for _, value in ordered:
        yield value.cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in tensors.values())
