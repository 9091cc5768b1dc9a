"""The compiled CPU kernels, or None and the reason in words where there are none.

Every check of shapes and kinds is here; the library believes what it is told. The threads are
torch's own: no second pool competes with it. Knows nothing of layers or requests.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

FEW_ROWS = 16  # rows of activations that a kernel takes at once
LANES = 16  # output rows that lie together
PAGE = 16  # positions of a page of keys or values
MOST_DIM = 256  # the widest head
MOST_REACH = 27  # positions that a residual unit looks to each side
MOST_GROUP = 128  # weights that share a scale

LIBRARY = Path(__file__).with_name("libkernels.so")
SOURCES = ("kernels.c", "lanes.h")

COMPILED = (torch.float32, torch.bfloat16)  # numbers that the kernels take and give

_exact: ContextVar[bool] = ContextVar("exact", default=False)


@contextmanager
def exact_activations() -> Iterator[None]:
    """Here activations are not rounded beside packed weights, however few rows there are.

    Prompts are read so: what they become must not depend on the portions they are read in.
    """
    token = _exact.set(True)
    try:
        yield
    finally:
        _exact.reset(token)


def rounds_activations() -> bool:
    """Whether a few rows may be rounded, as decoding does."""
    return not _exact.get()


_BITS = {torch.float32: 32, torch.bfloat16: 16}


class Stored(NamedTuple):
    """A matrix [outputs, inputs] as the kernels read it."""

    bits: int  # of a weight: 4 and 8 are tiles of codes with scales, 16 and 32 rows of numbers
    inputs: int
    outputs: int
    group: int  # activations that share a step beside integers; 0 beside floats
    codes: Tensor
    scales: Tensor | None = None

    @property
    def kind(self) -> tuple[int, int, int]:
        """Weights of one kind read activations that are laid out in one way."""
        return self.bits, self.inputs, self.group

    @classmethod
    def plain(cls, weight: Tensor) -> Stored:
        """Numbers [outputs, inputs] as torch keeps them."""
        outputs, inputs = weight.shape
        return cls(_BITS[weight.dtype], inputs, outputs, 0, weight)

    @classmethod
    def int8(cls, codes: Tensor, scales: Tensor, outputs: int, group: int) -> Stored:
        """Codes [tiles, inputs / 4, 64] and scales fp32 [tiles, 16]."""
        return cls(8, codes.shape[1] * 4, outputs, group, codes, scales)

    @classmethod
    def fp8(cls, codes: Tensor, scales: Tensor, outputs: int) -> Stored:
        """The same of float8_e4m3fn, held as uint8; only cards multiply it."""
        return cls(8, codes.shape[1] * 4, outputs, 0, codes, scales)

    @property
    def is_fp8(self) -> bool:
        """Whether codes are small floats and not integers."""
        return self.bits == 8 and self.group == 0

    @classmethod
    def int4(cls, codes: Tensor, scales: Tensor, outputs: int) -> Stored:
        """Codes [tiles, inputs / 8, 64] and scales fp16 [tiles, inputs / group, 16]."""
        inputs = codes.shape[1] * 8
        return cls(4, inputs, outputs, inputs // scales.shape[1], codes, scales)

    def check(self) -> None:
        """Nothing but this reaches a kernel."""
        tiles, inputs = -(-self.outputs // LANES), self.inputs
        if self.bits > 8:
            dtype = torch.float32 if self.bits == 32 else torch.bfloat16
            assert self.scales is None and inputs % 2 == 0
            return _shaped(self.codes, dtype, (self.outputs, inputs))
        assert self.scales is not None and self.group <= MOST_GROUP and inputs % 8 == 0
        assert self.scales.device == self.codes.device
        if self.bits == 8:
            assert self.is_fp8 or self.group > 0
            dtype = torch.uint8 if self.is_fp8 else torch.int8
            _shaped(self.codes, dtype, (tiles, inputs // 4, 4 * LANES))
            return _shaped(self.scales, torch.float32, (tiles, LANES))
        assert self.group > 0 and self.group % 8 == 0 and inputs % self.group == 0
        _shaped(self.codes, torch.uint8, (tiles, inputs // 8, 4 * LANES))
        return _shaped(self.scales, torch.float16, (tiles, inputs // self.group, LANES))

    def in_c(self) -> CWeight:
        """What the library wants; it must not outlive the tensors."""
        self.check()
        assert self.codes.is_cpu and not self.is_fp8
        scales = None if self.scales is None else self.scales.data_ptr()
        sizes = self.bits, self.inputs, self.outputs, self.group
        return CWeight(*sizes, self.codes.data_ptr(), scales)


class CWeight(ctypes.Structure):
    """`Weight` of kernels.c."""

    _fields_: ClassVar = [
        *((name, c_int) for name in ("bits", "inputs", "outputs", "group")),
        *((name, c_void_p) for name in ("codes", "scales")),
    ]


class CBlock(ctypes.Structure):
    """`Block` of kernels.c."""

    _fields_: ClassVar = [
        *((name, c_void_p) for name in ("input_norm", "post_norm")),
        *((name, CWeight) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        *((name, c_void_p) for name in ("keys", "values")),
    ]


class CUnit(ctypes.Structure):
    """`Unit` of kernels.c."""

    _fields_: ClassVar = [
        *((name, c_void_p) for name in ("x", "alphas_in", "wide", "wide_bias")),
        *((name, c_void_p) for name in ("alphas_out", "narrow", "narrow_bias", "out")),
        *((name, c_int) for name in ("batch", "channels", "dilation")),
        ("length", c_int64),
    ]


class CDecode(ctypes.Structure):
    """`Decode` of kernels.c."""

    _fields_: ClassVar = [
        *((name, c_int) for name in ("layers", "rows", "books", "entries", "width")),
        *((name, c_int) for name in ("heads", "groups", "dim", "pages", "bf16", "cache_bf16")),
        ("eps", c_float),
        *((name, c_void_p) for name in ("blocks", "embedding", "norm")),
        ("head", CWeight),
        *((name, c_void_p) for name in ("columns", "cosines", "sines", "table", "lengths")),
        *((name, c_void_p) for name in ("logits", "memory")),
    ]


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
    if not hasattr(library, "fh_stamp") or ctypes.c_uint(library.fh_stamp()).value != _stamp():
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
    """One variant of the kernels; results have the dtype of x."""

    def __init__(self, library: ctypes.CDLL, index: int, name: str) -> None:
        self.library = library
        self.name = name
        self._index = index
        self._linear = _typed(library.fh_linear, "iipiiwp")
        self._many = _typed(library.fh_many, "iipiwp")
        self._has_many = bool(library.fh_has_many(index))
        self._unpack = _typed(library.fh_unpack, "iiwip")
        self._pack_int4 = _typed(library.fh_pack_int4, "iipiw")
        self._attend = _typed(library.fh_paged_attention, "iipippippiiiiip")
        self._norm = _typed(library.fh_norm, "iipiiipfp")
        self._gate = _typed(library.fh_gate, "iippil")
        self._turn = _typed(library.fh_turn, "iipiiiipp")
        self._snake = _typed(library.fh_snake, "iippiilp")
        self._unit = _typed(library.fh_unit, "iiu")
        self._decode = _typed(library.fh_decode, "iid")
        self._decode_memory = _typed(library.fh_decode_memory, "d")
        self._decode_memory.restype = c_int64

    def linear(self, x: Tensor, weight: Stored) -> Tensor:
        """x [R, I] times the weight, [R, O], for up to FEW_ROWS rows."""
        rows, inputs = x.shape
        assert rows <= FEW_ROWS and x.dtype in COMPILED and inputs == weight.inputs
        _expect(x, x.dtype, x.shape)
        out = x.new_empty(rows, weight.outputs)
        bf16 = x.dtype == torch.bfloat16
        return self._made(out, self._linear, x.data_ptr(), bf16, rows, weight.in_c())

    def takes_many(self, dtype: torch.dtype, weight: Stored) -> bool:
        """Whether `linear_many` takes activations of this type beside this weight."""
        fits = weight.bits <= 8 or (weight.bits == 16 and weight.outputs % LANES == 0)
        return self._has_many and dtype == torch.bfloat16 and weight.inputs % 32 == 0 and fits

    def linear_many(self, x: Tensor, weight: Stored) -> Tensor:
        """The same for any number of rows, which are not rounded to 8 bits; see `takes_many`."""
        rows, inputs = x.shape
        assert self.takes_many(x.dtype, weight) and inputs == weight.inputs
        _expect(x, x.dtype, x.shape)
        out = x.new_empty(rows, weight.outputs)
        return self._made(out, self._many, x.data_ptr(), rows, weight.in_c())

    def _made(self, out: Tensor, product: Callable[..., int], *arguments: object) -> Tensor:
        if product(self._index, torch.get_num_threads(), *arguments, out.data_ptr()):
            raise MemoryError("No memory for the activations of a linear layer.")
        return out

    def unpack(self, weight: Stored, dtype: torch.dtype) -> Tensor:
        """The numbers that the codes stand for, [I, O]; O must be whole tiles."""
        assert weight.bits <= 8 and weight.outputs % LANES == 0 and dtype in COMPILED
        out = torch.empty(weight.inputs, weight.outputs, dtype=dtype)
        threads, bf16 = torch.get_num_threads(), dtype == torch.bfloat16
        self._unpack(self._index, threads, weight.in_c(), bf16, out.data_ptr())
        return out

    def pack_int4(self, weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
        """The codes and scales of weight [O, I], each group clipped where the error is smallest."""
        outputs, inputs = weight.shape
        tiles = -(-outputs // LANES)
        assert weight.dtype in COMPILED and inputs % group == 0
        _expect(weight, weight.dtype, weight.shape)
        codes = torch.empty(tiles, inputs // 8, 4 * LANES, dtype=torch.uint8)
        scales = torch.empty(tiles, inputs // group, LANES, dtype=torch.float16)
        packed, bf16 = Stored.int4(codes, scales, outputs), weight.dtype == torch.bfloat16
        threads = torch.get_num_threads()
        self._pack_int4(self._index, threads, weight.data_ptr(), bf16, packed.in_c())
        return codes, scales

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Rows of x [.., D] scaled to unit root mean square, times weight [D]."""
        width = x.shape[-1]
        _expect(x, x.dtype, x.shape)
        _expect(weight, x.dtype, (width,))
        out = torch.empty_like(x)
        threads, bf16 = torch.get_num_threads(), x.dtype == torch.bfloat16
        sizes = bf16, x.numel() // width, width
        given = x.data_ptr(), *sizes, weight.data_ptr(), eps
        self._norm(self._index, threads, *given, out.data_ptr())
        return out

    def gate(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up, in `gate`."""
        _expect(gate, gate.dtype, gate.shape)
        _expect(up, gate.dtype, gate.shape)
        kind = gate.dtype == torch.bfloat16, gate.numel()
        threads = torch.get_num_threads()
        self._gate(self._index, threads, gate.data_ptr(), up.data_ptr(), *kind)
        return gate

    def rotate(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Heads x [T, H, d] rotated by angles [T, 1, d / 2], in x."""
        rows, heads, dim = x.shape
        _expect(x, x.dtype, x.shape)
        for part in (cosines, sines):
            _expect(part, x.dtype, (rows, 1, dim // 2))
        sizes = x.dtype == torch.bfloat16, rows, heads, dim
        threads = torch.get_num_threads()
        angles = cosines.data_ptr(), sines.data_ptr()
        self._turn(self._index, threads, x.data_ptr(), *sizes, *angles)
        return x

    def snake(self, x: Tensor, alpha: Tensor, out: Tensor) -> Tensor:
        """x + sin(alpha x)^2 / alpha of [B, C, L], alpha [C], in `out`, which may be x; fp32."""
        batch, channels, length = x.shape
        for part in (x, out):
            _expect(part, torch.float32, (batch, channels, length))
        _expect(alpha, torch.float32, (channels,))
        sizes = batch * channels, channels, length
        threads = torch.get_num_threads()
        self._snake(self._index, threads, x.data_ptr(), alpha.data_ptr(), *sizes, out.data_ptr())
        return out

    def residual_unit(self, x: Tensor, weights: Sequence[Tensor], dilation: int) -> Tensor:
        """x + narrow(snake(wide(snake(x)))) of [B, C, L], fp32.

        `weights`: alpha [C], wide [C, C, 7] and its bias [C], alpha [C], narrow [C, C, 1], bias.
        """
        batch, channels, length = x.shape
        assert 3 * dilation <= MOST_REACH
        for part, shape in zip(
            weights, ((), (channels, 7), (), (), (channels, 1), ()), strict=True
        ):
            _expect(part, torch.float32, (channels, *shape))
        _expect(x, torch.float32, (batch, channels, length))
        out = torch.empty_like(x)
        pointers = (part.data_ptr() for part in (x, *weights, out))
        job = CUnit(*pointers, batch, channels, dilation, length)
        if self._unit(self._index, torch.get_num_threads(), job):
            raise MemoryError("No memory for a unit of the codec.")
        return out

    def decode_memory(self, job: CDecode) -> int:
        """Bytes that `decode` needs in `job.memory`."""
        return int(self._decode_memory(job))

    def decode(self, job: CDecode) -> None:
        """One step; whoever fills `job` answers for every pointer in it."""
        self._decode(self._index, torch.get_num_threads(), job)

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


_KINDS: dict[str, Any] = {
    "i": c_int,
    "f": c_float,
    "l": c_int64,
    "p": c_void_p,
    "w": POINTER(CWeight),
    "d": POINTER(CDecode),
    "u": POINTER(CUnit),
}


def _typed(function: ctypes._NamedFuncPointer, kinds: str) -> ctypes._NamedFuncPointer:
    function.argtypes = [_KINDS[kind] for kind in kinds]
    return function


def _expect(tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    _shaped(tensor, dtype, shape)
    assert tensor.is_cpu


def _shaped(tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    assert tensor.dtype == dtype and tensor.shape == shape, (tensor.dtype, tensor.shape, shape)
    assert tensor.is_contiguous()
