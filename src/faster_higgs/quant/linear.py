"""Linear layers with weights of 8 or 4 bits, in the order that the CPU kernels read.

Sixteen output rows form a tile and are the sixteen lanes of a vector; each 32-bit lane holds
neighbouring inputs. Up to sixteen rows of activations on the CPU are rounded to 8 bits as well and
multiplied as integers: by the compiled kernels, or where there are none by torch with the same
numbers. Rows of prompts are not rounded: in bf16 they meet weights rounded to bf16, in the kernels
of a processor that multiplies tiles. On a graphics card up to sixteen rows are multiplied as they
are. Other rows, rows that need a gradient, and fp8 on the CPU, which has no kernel for it, are
multiplied by the dequantised weights, a block of tiles at a time; for the gradient they are
dequantised again, not kept. Knows nothing of files, nor which layers of a model are small.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from faster_higgs.errors import SettingError
from faster_higgs.native import cuda
from faster_higgs.native.kernels import COMPILED, FEW_ROWS, Stored, load, rounds_activations
from faster_higgs.quant.quantization import GROUPS
from faster_higgs.quant.rounding import OFFSET, round_fp8, round_int4, round_int8, round_rows

LANES = 16  # output rows in a tile
INT8_GROUP = 128  # activations that share a scale beside 8-bit weights
_BLOCK = 1 << 19  # weights that are rounded or dequantised together
_CARD_BLOCK = 1 << 25  # by the kernels of a card


class PackedLinear(nn.Module, ABC):
    """y = x W^T without a bias; W is `codes` and `scales`, and stays so when a model is cast."""

    codes: Tensor
    scales: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        if in_features % 8:
            raise SettingError(
                f"A linear layer with {in_features} inputs cannot be quantised: "
                "they must be a multiple of 8."
            )
        self.in_features = in_features
        self.out_features = out_features
        self.tiles = -(-out_features // LANES)
        self._kernels = load()

    @abstractmethod
    def pack_tiles(self, weight: Tensor, search: bool) -> tuple[Tensor, Tensor]:
        """Codes and scales of whole tiles of rows."""

    @abstractmethod
    def floats(self, tiles: slice, dtype: torch.dtype) -> Tensor:
        """The weights of some tiles, [rows, in], by torch."""

    @abstractmethod
    def rounded(self, x: Tensor) -> Tensor:
        """Activations as the kernel sees them."""

    @abstractmethod
    def stored(self, tiles: slice = slice(None)) -> Stored:
        """The weights of some tiles as the kernels read them."""

    @torch.no_grad()
    def pack(self, weight: Tensor, search: bool = True) -> dict[str, Tensor]:
        """The buffers that hold `weight` [out, in]; the layer itself may be on meta."""
        assert weight.shape == (self.out_features, self.in_features)
        device = weight.device
        packed = {n: torch.empty_like(b, device=device) for n, b in self.named_buffers()}
        for tiles in self._blocks():
            rows = weight[tiles.start * LANES : tiles.stop * LANES]
            missing = (tiles.stop - tiles.start) * LANES - len(rows)
            whole = functional.pad(rows, (0, 0, 0, missing)) if missing else rows
            packed["codes"][tiles], packed["scales"][tiles] = self.pack_tiles(whole, search)
        return packed

    def dequantized(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weights [out, in]."""
        return self._columns(slice(None), dtype).T[: self.out_features]

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2:
            out = self.forward(x.reshape(-1, self.in_features))
            return out.view(*x.shape[:-1], self.out_features)
        needs_grad = x.requires_grad and torch.is_grad_enabled()
        here = x.is_cpu and not needs_grad
        kernels = self._kernels if here and x.dtype in COMPILED else None
        if here and len(x) <= FEW_ROWS and rounds_activations():
            if kernels is None:
                return self._by_blocks(self.rounded(x)).to(x.dtype)
            return kernels.linear(x.contiguous(), self.stored())
        if kernels is not None and kernels.takes_many(x.dtype, self.stored()):
            return kernels.linear_many(x.contiguous(), self.stored())
        card = None if needs_grad or len(x) > cuda.FEW_ROWS else self._card(x.dtype)
        if card is not None:
            return card.linear(x.contiguous(), self.stored())
        if needs_grad:
            made: Tensor = _Multiply.apply(x, self)  # type: ignore[no-untyped-call]
            return made
        return self._by_blocks(x)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def _card(self, dtype: torch.dtype) -> cuda.CudaKernels | None:
        """The kernels of the graphics card that the weights are on."""
        return cuda.load() if self.codes.is_cuda and dtype in COMPILED else None

    def _blocks(self, block: int = _BLOCK) -> Iterator[slice]:
        step = max(1, block // (LANES * self.in_features))
        for start in range(0, self.tiles, step):
            yield slice(start, min(start + step, self.tiles))

    def _by_blocks(self, x: Tensor) -> Tensor:
        block = _BLOCK if self._card(x.dtype) is None else _CARD_BLOCK
        parts = [x @ self._columns(tiles, x.dtype) for tiles in self._blocks(block)]
        return torch.cat(parts, 1)[:, : self.out_features]

    def back(self, slope: Tensor) -> Tensor:
        """slope W: the gradient of what was multiplied, in fp32."""
        total = torch.zeros(len(slope), self.in_features, device=slope.device)
        block = _BLOCK if self._card(slope.dtype) is None else _CARD_BLOCK
        for tiles in self._blocks(block):
            rows = slope[:, tiles.start * LANES : tiles.stop * LANES]
            total += rows @ self._columns(tiles, slope.dtype).T[: rows.shape[1]]
        return total

    def _columns(self, tiles: slice, dtype: torch.dtype) -> Tensor:
        """The weights of some tiles, [in, rows]."""
        here = self.codes.is_cpu and dtype in COMPILED
        kernels = self._kernels if here else self._card(dtype)
        if kernels is None:
            return self.floats(tiles, dtype).T
        whole = self.stored(tiles)
        outputs = len(whole.codes) * LANES
        return kernels.unpack(whole._replace(outputs=outputs), dtype)

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        """Moves the buffers; a cast finds only integers and leaves them as they are."""
        same = torch.int32 if self.scales.dtype == torch.float32 else torch.int16
        scales = fn(self.scales.view(same)).view(self.scales.dtype)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.scales = scales
        return self


class _Multiply(torch.autograd.Function):
    """x W^T of a packed layer, of which nothing is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: PackedLinear) -> Tensor:
        ctx.layer, ctx.dtype = layer, x.dtype
        return layer._by_blocks(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.back(slopes[0]).to(ctx.dtype), None


class ByteLinear(PackedLinear):
    """8 bits a weight, one scale per output row; a lane holds 4 inputs."""

    held: ClassVar[torch.dtype]  # the type of `codes`
    number: ClassVar[torch.dtype]  # what their bits are

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        shape = (self.tiles, in_features // 4, 4 * LANES)
        self.register_buffer("codes", torch.empty(shape, dtype=self.held))
        self.register_buffer("scales", torch.empty((self.tiles, LANES), dtype=torch.float32))

    @abstractmethod
    def round(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers [O, I] and scales [O]."""

    def pack_tiles(self, weight: Tensor, search: bool) -> tuple[Tensor, Tensor]:
        numbers, scales = self.round(weight)
        codes = numbers.view(self.held).view(-1, LANES, self.in_features // 4, 4)
        return codes.transpose(1, 2).flatten(2), scales.view(-1, LANES)

    def floats(self, tiles: slice, dtype: torch.dtype) -> Tensor:
        lanes = self.codes[tiles].view(-1, self.in_features // 4, LANES, 4)
        rows = lanes.transpose(1, 2).reshape(-1, self.in_features).view(self.number).float()
        return rows.mul_(self.scales[tiles].view(-1, 1)).to(dtype)


class Int8Linear(ByteLinear):
    """The bytes are integers."""

    held = number = torch.int8

    def round(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return round_int8(weight)

    def rounded(self, x: Tensor) -> Tensor:
        return round_rows(x, INT8_GROUP)

    def stored(self, tiles: slice = slice(None)) -> Stored:
        return Stored.int8(self.codes[tiles], self.scales[tiles], self.out_features, INT8_GROUP)


class Fp8Linear(ByteLinear):
    """The bytes are float8_e4m3fn, held as integers so that no cast of a model finds them."""

    held, number = torch.uint8, torch.float8_e4m3fn

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self._kernels = None  # the CPU's multiply integers

    def round(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return round_fp8(weight)

    def rounded(self, x: Tensor) -> Tensor:
        return x.float()

    def stored(self, tiles: slice = slice(None)) -> Stored:
        return Stored.fp8(self.codes[tiles], self.scales[tiles], self.out_features)


class Int4Linear(PackedLinear):
    """4 bits a weight, one scale per group of a row; a lane holds 4 inputs low, 4 more high."""

    def __init__(self, in_features: int, out_features: int, group: int = GROUPS[0]) -> None:
        super().__init__(in_features, out_features)
        self.group = next(size for size in GROUPS if size <= group and in_features % size == 0)
        shape = (self.tiles, in_features // 8, 4 * LANES)
        scales = (self.tiles, in_features // self.group, LANES)
        self.register_buffer("codes", torch.empty(shape, dtype=torch.uint8))
        self.register_buffer("scales", torch.empty(scales, dtype=torch.float16))

    @torch.no_grad()
    def pack(self, weight: Tensor, search: bool = True) -> dict[str, Tensor]:
        """As above; the compiled search is much the quicker."""
        fits = weight.is_cpu and weight.is_contiguous() and weight.dtype in COMPILED
        if self._kernels is None or not (search and fits):
            return super().pack(weight, search)
        assert weight.shape == (self.out_features, self.in_features)
        codes, scales = self._kernels.pack_int4(weight, self.group)
        return {"codes": codes, "scales": scales}

    def pack_tiles(self, weight: Tensor, search: bool) -> tuple[Tensor, Tensor]:
        codes, scales = round_int4(weight, self.group, search)
        low, high = codes.view(-1, LANES, self.in_features // 8, 2, 4).unbind(3)
        lanes = (low | high << 4).transpose(1, 2)  # [t, I/8, 16, 4]
        return lanes.flatten(2), scales.view(-1, LANES, scales.shape[1]).transpose(1, 2)

    def floats(self, tiles: slice, dtype: torch.dtype) -> Tensor:
        lanes = self.codes[tiles].view(-1, self.in_features // 8, LANES, 4).transpose(1, 2)
        codes = torch.stack((lanes & 15, lanes >> 4), 3).float().sub_(OFFSET)  # [t, 16, I/8, 2, 4]
        groups = codes.view(len(codes), LANES, -1, self.group)
        scales = self.scales[tiles].transpose(1, 2)[..., None]  # [t, 16, G, 1]
        return groups.mul_(scales).view(-1, self.in_features).to(dtype)

    def rounded(self, x: Tensor) -> Tensor:
        return round_rows(x, self.group)

    def stored(self, tiles: slice = slice(None)) -> Stored:
        return Stored.int4(self.codes[tiles], self.scales[tiles], self.out_features)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, group={self.group}"
