"""Kernels for graphics cards by Triton, or None and the reason in words where there is none.

Every check of shapes and kinds is here; the kernels believe what they are told. Nothing is tuned
while it runs, and no shape depends on a number on the card, so that steps can be recorded. Knows
nothing of layers or requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from subprocess import CalledProcessError
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from faster_higgs.native.kernels import COMPILED, LANES, MOST_DIM, PAGE, Stored

FEW_ROWS = 16  # more are quicker with the matrix unpacked first and multiplied by tensor cores
TOGETHER = 4  # rows of activations for which a weight is read once
CHUNK = 256  # positions that one program looks at

_OLDEST = (3, 4)  # Triton that compiles them
_LEAST_CARD = (8, 0)  # that multiplies bf16
_LEAST_FP8 = (8, 9)  # that has fp8
_POWER = 0x4B000000  # 2**23 in bits
_WARPS = 8
_STAGES = {1: 4, 2: 4, 4: 3}  # reads under way, by rows: all must fit beside each other
_BITS_PER_NAT = math.log2(math.e)


class Found(NamedTuple):
    """The kernels, and one line that says which they are or why there are none."""

    kernels: CudaKernels | None
    reason: str


def load() -> CudaKernels | None:
    """The kernels, for tensors on a card."""
    return find().kernels


@cache
def find() -> Found:
    """The kernels, tried once: Triton compiles them here, and needs a C compiler for that."""
    try:
        import triton
        from triton.errors import TritonError
    except ImportError:
        return _none("Triton is missing, which torch brings where it supports it")
    if tuple(map(int, triton.__version__.split(".")[:2])) < _OLDEST:
        return _none(f"Triton must be {_OLDEST[0]}.{_OLDEST[1]} or newer")
    cards = map(torch.cuda.get_device_capability, range(torch.cuda.device_count()))
    if min(cards, default=(0, 0)) < _LEAST_CARD:
        return _none("they need compute capability 8.0")
    kernels = CudaKernels()
    try:
        kernels.try_out()
    except (AssertionError, OSError, RuntimeError, CalledProcessError, TritonError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return _none(f"Triton cannot compile them: {said}")
    return Found(kernels, f"kernels by Triton {triton.__version__}")


def _none(reason: str) -> Found:
    return Found(None, f"no kernels for graphics cards: {reason}")


def has_fp8(device: torch.device | str) -> bool:
    """Whether that is a card which has fp8."""
    device = torch.device(device)
    if device.type != "cuda" or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device) >= _LEAST_FP8


class CudaKernels:
    """Results are on the device of what is given."""

    def __init__(self) -> None:
        from faster_higgs.native import cuda_kernels

        self._triton: Any = cuda_kernels

    def try_out(self) -> None:
        """The smallest product there is, on the present card."""
        one = torch.ones(1, 8, device="cuda")
        self.linear(one, Stored.plain(one))

    def linear(self, x: Tensor, weight: Stored) -> Tensor:
        """x [R, I] times the weight: [R, O], of the same type; a row in company is as alone."""
        out = x.new_empty(len(x), weight.outputs)
        self._linear(x, None, weight, out, None)
        return out

    def add(self, x: Tensor, weight: Stored, to: Tensor, gain: Tensor) -> Ready:
        """x [R, I] times the weight, added to fp32 [R, O]; and that ready for a norm."""
        assert _fits(gain, x, (weight.outputs,)) and to.dtype == torch.float32
        squares = to.new_empty(len(x), _tiles(weight))
        ready = Ready(torch.empty_like(to), squares)
        self._linear(x, None, weight, to, (gain, *ready))
        return ready

    def score(self, x: Ready, eps: float, weight: Stored) -> Tensor:
        """Normed x [R, I] times the weight: fp32 [R, O]."""
        out = x.scaled.new_empty(len(x.scaled), weight.outputs)
        self._linear(x.scaled, (x.squares, eps), weight, out, None)
        return out

    def _linear(
        self,
        x: Tensor,
        norm: tuple[Tensor, float] | None,
        weight: Stored,
        out: Tensor,
        after: tuple[Tensor, Tensor, Tensor] | None,
    ) -> None:
        rows = _check([weight], x)
        assert _fits(out, x, (rows, weight.outputs))
        squares, eps = (x, 0.0) if norm is None else norm
        self._start(
            "linear",
            self._grid(rows, weight),
            (x, squares, eps, *_packed(weight), out, *(after or (out, out, out))),
            (rows, weight.inputs, weight.outputs, squares.shape[1], _POWER),
            **self._sizes(rows, weight),
            NORMED=norm is not None,
            ADDED=after is not None,
        )

    def beside(self, x: Ready, eps: float, weights: Sequence[Stored]) -> Tensor:
        """Normed x [R, I] times three weights of one kind, side by side: fp32 [R, O + O' + O'']."""
        rows = _check(weights, x.scaled)
        outputs = [weight.outputs for weight in weights]
        out = x.scaled.new_empty(rows, sum(outputs))
        self._start(
            "beside",
            self._grid(rows, *weights),
            (*x, eps, *(one for weight in weights for one in _packed(weight)), out),
            (rows, weights[0].inputs, *outputs, x.squares.shape[1], _POWER),
            **self._sizes(rows, weights[0]),
        )
        return out

    def gated(self, x: Ready, eps: float, gate: Stored, up: Stored) -> Tensor:
        """silu(gate) * up of normed x [R, I]: fp32 [R, O]."""
        rows = _check([gate, up], x.scaled)
        assert gate.outputs == up.outputs
        out = x.scaled.new_empty(rows, gate.outputs)
        self._start(
            "gated",
            self._grid(rows, gate),
            (*x, eps, *_packed(gate), *_packed(up), out),
            (rows, gate.inputs, gate.outputs, x.squares.shape[1], _POWER),
            **self._sizes(rows, gate),
        )
        return out

    def unpack(self, weight: Stored, dtype: torch.dtype) -> Tensor:
        """The numbers that the codes stand for, [I, O]; O must be whole tiles."""
        assert weight.bits <= 8 and weight.outputs % LANES == 0 and dtype in COMPILED
        weight.check()
        codes, scales = _packed(weight)
        out = torch.empty(weight.inputs, weight.outputs, dtype=dtype, device=codes.device)
        words = weight.inputs * weight.bits // 32
        self._start(
            "unpack",
            (-(-words // self._triton.WORDS.value), _tiles(weight)),
            (codes, scales, out),
            (weight.inputs, weight.outputs, _POWER),
            BITS=weight.bits,
            GROUP=weight.group,
        )
        return out

    def place(
        self,
        made: Tensor,
        rotary: tuple[Tensor, Tensor],
        pages: tuple[Tensor, Tensor],
        table: Tensor,
        lengths: Tensor,
    ) -> Tensor:
        """Rows [R, (H + 2 G) d] of queries, keys, values: the queries, turned, fp32 [R, H, d].

        The keys, turned, and the values become the last position of each request. `rotary` are
        cosines and sines of that position, [R, d / 2].
        """
        keys, values = pages
        groups, _, dim = keys.shape[1:]
        rows, width = made.shape
        heads = width // dim - 2 * groups
        assert width == (heads + 2 * groups) * dim and dim % 2 == 0 and heads > 0
        _check_pages(made, keys, values, table, lengths)
        for one in rotary:
            assert _fits(one, made, (rows, dim // 2))
        q = torch.empty(rows, heads, dim, device=made.device)
        self._start(
            "place",
            (rows, heads + 2 * groups),
            (made, *rotary, table, lengths, q, keys, values),
            (heads, groups, table.shape[1]),
            warps=1,
            DIM=dim,
            HALF=_power_of_two(dim // 2),
        )
        return q

    def paged_attention(
        self, q: Tensor, keys: Tensor, values: Tensor, table: Tensor, lengths: Tensor
    ) -> Tensor:
        """q [B, H, d] over keys and values [pages, G, PAGE, d] -> [B, H, d].

        Position p of request b lies in page `table[b, p // PAGE]`; `lengths` [B] counts positions.
        A request is computed the same in any company and whatever the width of the table.
        """
        requests, heads, dim = q.shape
        groups, entries = keys.shape[1], table.shape[1]
        assert q.dtype in COMPILED and q.is_contiguous() and fits(keys)
        assert heads % groups == 0
        _check_pages(q, keys, values, table, lengths)
        out = torch.empty_like(q)
        splits = -(-entries * PAGE // CHUNK)
        # Nothing is left in these that anyone reads where there is one part only.
        parts = q.new_empty((requests, heads, splits, dim), dtype=torch.float32)
        marks = q.new_empty((requests, heads, splits, 2), dtype=torch.float32)
        sizes = {"DIM": dim, "WIDTH": max(16, _power_of_two(dim)), "CHUNK": CHUNK}
        self._start(
            "attend",
            (requests, groups, splits),
            (q, keys, values, table, lengths, out, parts, marks),
            (groups, entries, splits, _BITS_PER_NAT / math.sqrt(dim)),
            SHARE=heads // groups,
            HEADS=max(16, _power_of_two(heads // groups)),
            BLOCK=64 if keys.dtype == torch.bfloat16 else 32,
            STAGES=3,
            ALONE=splits == 1,
            KIND=self._kind(keys),
            **sizes,
        )
        if splits > 1:
            numbers = (heads, entries, splits)
            given = (parts, marks, lengths, out)
            self._start("together", (requests, heads), given, numbers, warps=1, **sizes)
        return out

    def _grid(self, rows: int, *weights: Stored) -> tuple[int, int]:
        """Programs that read the same weights are neighbours."""
        return -(-rows // TOGETHER), sum(map(_tiles, weights))

    def _sizes(self, rows: int, weight: Stored) -> dict[str, Any]:
        together = min(_power_of_two(rows), TOGETHER)
        step = self._triton.WORDS.value * 32 // weight.bits
        if weight.bits > 8:
            step = self._triton.INPUTS.value
        return {
            "BITS": weight.bits,
            "GROUP": weight.group,
            "ROWS": together,
            "STAGES": _STAGES[together],
            "WHOLE": weight.inputs % step == 0,
        }

    def _kind(self, keys: Tensor) -> object:
        """What attention multiplies; Triton's interpreter, on the CPU, cannot multiply bf16."""
        language = self._triton.tl
        narrow = keys.dtype == torch.bfloat16 and not keys.is_cpu
        return language.bfloat16 if narrow else language.float32

    def _start(
        self,
        name: str,
        grid: tuple[int, ...],
        tensors: tuple[Tensor | float, ...],
        numbers: tuple[float, ...],
        warps: int = _WARPS,
        **constants: Any,
    ) -> None:
        with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
            kernel = getattr(self._triton, name)
            kernel[grid](*tensors, *numbers, **constants, num_warps=warps)


class Ready(NamedTuple):
    """Rows x that wait for their norm, in fp32.

    They are normed where they are used: their root mean square is a factor of every product.
    """

    scaled: Tensor  # x times the norm's gain [R, I]
    squares: Tensor  # sums of squares of x [R, T], of as many parts as made it

    @classmethod
    def of(cls, x: Tensor, gain: Tensor) -> Ready:
        """As `add` would make it."""
        squares = x.square().sum(1, keepdim=True)
        return cls(x * gain, functional.pad(squares, (0, -(-x.shape[1] // LANES) - 1)))


def fits(pages: Tensor) -> bool:
    """Whether there is attention over pages like these."""
    return pages.dtype in COMPILED and pages.shape[3] <= MOST_DIM


def alike(one: Stored, other: Stored) -> bool:
    """Whether one kernel can read both."""
    return (
        one[:2] == other[:2] and one.group == other.group and one.codes.dtype == other.codes.dtype
    )


def _check(weights: Sequence[Stored], x: Tensor) -> int:
    """How many rows there are."""
    rows, inputs = x.shape
    assert x.dtype in COMPILED and x.is_contiguous()
    for weight in weights:
        weight.check()
        assert weight.codes.device == x.device and weight.inputs == inputs
        assert alike(weight, weights[0])
    return rows


def _check_pages(
    like: Tensor, keys: Tensor, values: Tensor, table: Tensor, lengths: Tensor
) -> None:
    requests = len(like)
    assert keys.shape[2] == PAGE and keys.is_contiguous() and keys.dtype in COMPILED
    assert _fits(values, keys, tuple(keys.shape)) and values.dtype == keys.dtype
    assert _fits(table, like, (requests, table.shape[1])) and table.dtype == torch.int32
    assert _fits(lengths, like, (requests,)) and lengths.dtype == torch.int32
    assert keys.device == like.device


def _fits(one: Tensor, like: Tensor, shape: tuple[int, ...]) -> bool:
    return one.shape == shape and one.is_contiguous() and one.device == like.device


def _packed(weight: Stored) -> tuple[Tensor, Tensor]:
    """Codes as words of 32 bits, and scales; numbers as they are, and nothing."""
    if weight.scales is None:
        return weight.codes, weight.codes
    return weight.codes.view(torch.int32), weight.scales


def _tiles(weight: Stored) -> int:
    return -(-weight.outputs // LANES)


def _power_of_two(count: int) -> int:
    """The least that is not smaller."""
    return 1 << (count - 1).bit_length()
