"""The compiled CPU kernels, or None and the reason in words where there are none.

Every check of shapes and kinds is here; the library believes what it is told. The threads are
torch's own: no second pool competes with it. Knows nothing of layers or requests.
"""

from __future__ import annotations

import ctypes
import zlib
from ctypes import c_int, c_void_p
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

FEW_ROWS = 16  # rows of activations that a kernel takes at once
LANES = 16  # output rows that lie together
PAGE = 16  # positions of a page of keys or values
MOST_DIM = 256  # the widest head
MOST_GROUP = 128  # weights that share a scale

LIBRARY = Path(__file__).with_name("libkernels.so")
SOURCES = ("kernels.c", "lanes.h")

COMPILED = (torch.float32, torch.bfloat16)  # numbers that the kernels take and give


class Found(NamedTuple):
    """The kernels, and one line that says which they are or why there are none."""

    kernels: Kernels | None
    reason: str


def load() -> Kernels | None:
    """The best kernels this machine can run."""
    return find().kernels


@cache
def find() -> Found:
    """The kernels of the library beside this file, looked for once."""
    return open_library(LIBRARY)


def open_library(path: Path) -> Found:
    """The best kernels in the library at `path`; it must be compiled from the sources here."""
    if not path.exists():
        return Found(None, "no compiled kernels; they need a C compiler when this is installed")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return Found(None, f"the compiled kernels cannot be loaded: {error}")
    if ctypes.c_uint(library.fh_stamp()).value != _stamp():
        return Found(None, "the compiled kernels are of another version; install this again")
    alone = "" if _give_threads(library) else ", on one thread: torch has no OpenMP here"
    best = variants(library)[-1]
    return Found(best, f"compiled kernels, variant {best.name}{alone}")


def variants(library: ctypes.CDLL) -> list[Kernels]:
    """Every variant this machine can run, the best last."""
    library.fh_name.restype = ctypes.c_char_p
    found, index = [], 0
    while name := library.fh_name(index):
        if library.fh_runs(index):
            found.append(Kernels(library, index, name.decode()))
        index += 1
    return found


def _stamp() -> int:
    return zlib.crc32(b"".join(LIBRARY.with_name(name).read_bytes() for name in SOURCES))


def _give_threads(library: ctypes.CDLL) -> bool:
    """Let the library start the threads of torch's OpenMP; False where that cannot be found."""
    for torch_library in Path(torch.__file__).parent.glob("lib/libtorch_cpu.*"):
        try:
            start = ctypes.CDLL(str(torch_library)).GOMP_parallel  # searches what it links, too
        except (OSError, AttributeError):
            continue
        library.fh_threads(ctypes.cast(start, c_void_p))
        return True
    return False


class Kernels:
    """One variant of the kernels; results have the dtype of x. Up to FEW_ROWS rows at once."""

    def __init__(self, library: ctypes.CDLL, index: int, name: str) -> None:
        self.library = library
        self.name = name
        self._index = index
        self._int4 = _typed(library.fh_linear_int4, "iipiiippiip")
        self._int8 = _typed(library.fh_linear_int8, "iipiiippip")
        self._bf16 = _typed(library.fh_linear_bf16, "iipiiipip")
        self._unpack_int4 = _typed(library.fh_unpack_int4, "iippiiiip")
        self._unpack_int8 = _typed(library.fh_unpack_int8, "iippiiip")
        self._pack_int4 = _typed(library.fh_pack_int4, "iipiiiipp")
        self._attend = _typed(library.fh_paged_attention, "iipippippiiiiip")

    def linear_int4(self, x: Tensor, codes: Tensor, scales: Tensor, outputs: int) -> Tensor:
        """x [R, I] times codes [tiles, I / 8, 64] with scales [tiles, I / group, 16]: [R, O]."""
        rows, inputs, out = _prepare(x, outputs)
        groups = scales.shape[1]
        _expect(codes, torch.uint8, (-(-outputs // LANES), inputs // 8, 4 * LANES))
        _expect(scales, torch.float16, (-(-outputs // LANES), groups, LANES))
        failed = self._int4(
            self._index,
            torch.get_num_threads(),
            x.data_ptr(),
            x.dtype == torch.bfloat16,
            rows,
            inputs,
            codes.data_ptr(),
            scales.data_ptr(),
            inputs // groups,
            outputs,
            out.data_ptr(),
        )
        return _made(out, failed)

    def linear_int8(self, x: Tensor, codes: Tensor, scales: Tensor, outputs: int) -> Tensor:
        """x [R, I] times codes [tiles, I / 4, 64] with scales [tiles, 16]: [R, O]."""
        rows, inputs, out = _prepare(x, outputs)
        _expect(codes, torch.int8, (-(-outputs // LANES), inputs // 4, 4 * LANES))
        _expect(scales, torch.float32, (-(-outputs // LANES), LANES))
        failed = self._int8(
            self._index,
            torch.get_num_threads(),
            x.data_ptr(),
            x.dtype == torch.bfloat16,
            rows,
            inputs,
            codes.data_ptr(),
            scales.data_ptr(),
            outputs,
            out.data_ptr(),
        )
        return _made(out, failed)

    def linear_bf16(self, x: Tensor, weight: Tensor) -> Tensor:
        """x [R, I] times weight [O, I]: [R, O]."""
        outputs = weight.shape[0]
        rows, inputs, out = _prepare(x, outputs)
        _expect(weight, torch.bfloat16, (outputs, inputs))
        failed = self._bf16(
            self._index,
            torch.get_num_threads(),
            x.data_ptr(),
            x.dtype == torch.bfloat16,
            rows,
            inputs,
            weight.data_ptr(),
            outputs,
            out.data_ptr(),
        )
        return _made(out, failed)

    def unpack_int4(self, codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        """The weights of some tiles, [I, 16 tiles]."""
        (tiles, groups, _), inputs = scales.shape, codes.shape[1] * 8
        _expect(codes, torch.uint8, (tiles, inputs // 8, 4 * LANES))
        _expect(scales, torch.float16, (tiles, groups, LANES))
        out = _numbers(inputs, tiles, dtype)
        self._unpack_int4(
            self._index,
            torch.get_num_threads(),
            codes.data_ptr(),
            scales.data_ptr(),
            inputs,
            inputs // groups,
            tiles,
            dtype == torch.bfloat16,
            out.data_ptr(),
        )
        return out

    def unpack_int8(self, codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        """The weights of some tiles, [I, 16 tiles]."""
        tiles, inputs = len(codes), codes.shape[1] * 4
        _expect(codes, torch.int8, (tiles, inputs // 4, 4 * LANES))
        _expect(scales, torch.float32, (tiles, LANES))
        out = _numbers(inputs, tiles, dtype)
        self._unpack_int8(
            self._index,
            torch.get_num_threads(),
            codes.data_ptr(),
            scales.data_ptr(),
            inputs,
            tiles,
            dtype == torch.bfloat16,
            out.data_ptr(),
        )
        return out

    def pack_int4(self, weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
        """The codes and scales of weight [O, I], each group clipped where the error is smallest."""
        outputs, inputs = weight.shape
        tiles = -(-outputs // LANES)
        assert weight.dtype in COMPILED and inputs % group == 0 and group % 8 == 0
        assert group <= MOST_GROUP and weight.is_cpu and weight.is_contiguous()
        codes = torch.empty(tiles, inputs // 8, 4 * LANES, dtype=torch.uint8)
        scales = torch.empty(tiles, inputs // group, LANES, dtype=torch.float16)
        self._pack_int4(
            self._index,
            torch.get_num_threads(),
            weight.data_ptr(),
            weight.dtype == torch.bfloat16,
            inputs,
            group,
            outputs,
            codes.data_ptr(),
            scales.data_ptr(),
        )
        return codes, scales

    def paged_attention(
        self, q: Tensor, keys: Tensor, values: Tensor, table: Tensor, lengths: Tensor
    ) -> Tensor:
        """q [B, H, d] over keys and values [pages, G, PAGE, d] -> [B, H, d].

        Position p of request b lies in page `table[b, p // PAGE]`; `lengths` [B] counts positions.
        """
        requests, heads, dim = q.shape
        pages, groups = keys.shape[:2]
        _expect(q, q.dtype, (requests, heads, dim))
        assert q.dtype in COMPILED and keys.dtype in COMPILED
        assert heads % groups == 0 and dim <= MOST_DIM
        _expect(keys, keys.dtype, (pages, groups, PAGE, dim))
        _expect(values, keys.dtype, keys.shape)
        _expect(table, torch.int32, (requests, table.shape[1]))
        _expect(lengths, torch.int32, (requests,))
        out = torch.empty_like(q)
        self._attend(
            self._index,
            torch.get_num_threads(),
            q.data_ptr(),
            q.dtype == torch.bfloat16,
            keys.data_ptr(),
            values.data_ptr(),
            keys.dtype == torch.bfloat16,
            table.data_ptr(),
            lengths.data_ptr(),
            requests,
            table.shape[1],
            heads,
            groups,
            dim,
            out.data_ptr(),
        )
        return out


def _typed(function: ctypes._NamedFuncPointer, kinds: str) -> ctypes._NamedFuncPointer:
    function.argtypes = [c_int if kind == "i" else c_void_p for kind in kinds]
    return function


def _prepare(x: Tensor, outputs: int) -> tuple[int, int, Tensor]:
    rows, inputs = x.shape
    assert rows <= FEW_ROWS and x.dtype in COMPILED and x.is_cpu and x.is_contiguous()
    return rows, inputs, x.new_empty(rows, outputs)


def _numbers(inputs: int, tiles: int, dtype: torch.dtype) -> Tensor:
    assert dtype in COMPILED
    return torch.empty(inputs, tiles * LANES, dtype=dtype)


def _expect(tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    assert tensor.dtype == dtype and tensor.shape == shape, (tensor.dtype, tensor.shape, shape)
    assert tensor.is_cpu and tensor.is_contiguous()


def _made(out: Tensor, failed: int) -> Tensor:
    if failed:
        raise MemoryError("No memory for the activations of a linear layer.")
    return out
