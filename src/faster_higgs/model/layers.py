"""The small parts of the transformer: norm, rotary positions, feed-forward, column embedding.

Knows nothing of attention masks, caches or which row is text and which is audio.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from faster_higgs.config import ModelConfig, RopeScaling
from faster_higgs.native.kernels import COMPILED, FEW_ROWS, Kernels, Stored, load


def kernels_for(*parts: Tensor) -> Kernels | None:
    """The compiled kernels, where they can take all of these and no gradient is wanted."""
    dtype = parts[0].dtype
    fits = all(part.is_cpu and part.dtype == dtype and part.is_contiguous() for part in parts)
    return load() if fits and dtype in COMPILED and not torch.is_grad_enabled() else None


class RMSNorm(nn.Module):
    """Scale to unit root mean square. The statistics are fp32 whatever the activations are."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if (kernels := kernels_for(x, self.weight)) is not None:
            return kernels.norm(x, self.weight, self.eps)
        # Under autocast the weight is wider than x; the product should not be.
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class Linear(nn.Linear):
    """y = x W^T. The rows of a prompt in bf16 are multiplied by the kernels, where those can."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernels = load() if x.is_cpu and not torch.is_grad_enabled() else None
        if kernels is None or x.ndim != 2 or len(x) <= FEW_ROWS or self.weight.dtype != x.dtype:
            return super().forward(x)
        weight = stored(self)
        if weight is None or not kernels.takes_many(x.dtype, weight):
            return super().forward(x)
        return kernels.linear_many(x.contiguous(), weight)


def stored(linear: nn.Module) -> Stored | None:
    """A layer as the kernels read it; None for one that computes anything else."""
    if (packed := getattr(linear, "stored", None)) is not None:
        found: Stored = packed()
        return found
    if type(linear) is not Linear:
        return None
    weight = linear.weight.detach()
    fits = weight.dtype in COMPILED and weight.is_contiguous() and weight.shape[1] % 2 == 0
    return Stored.plain(weight) if fits else None


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = Linear(width, inner)
        self.up = Linear(width, inner)
        self.down = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate(x), self.up(x)
        if (kernels := kernels_for(gate, up)) is not None:
            opened = kernels.gate(gate, up)
        else:
            opened = functional.silu(gate) * up
        out: Tensor = self.down(opened)
        return out


def table(rows: int, width: int) -> Tensor:
    """A fresh embedding table. Normal numbers, drawn on the meta device, import half of torch."""
    return torch.empty(rows, width).uniform_(-0.05, 0.05)


class ColumnEmbedding(nn.Embedding):
    """A column of K codes to the sum of its K embeddings; codebook k owns rows k*V to (k+1)*V."""

    def __init__(self, num_codebooks: int, codebook_size: int, width: int) -> None:
        rows = num_codebooks * codebook_size
        super().__init__(rows, width, _weight=table(rows, width))
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size

    def forward(self, columns: Tensor) -> Tensor:
        first = torch.arange(self.num_codebooks, device=columns.device) * self.codebook_size
        return super().forward(columns + first).sum(-2)  # [A, D]


class Rotary:
    """Turns positions into the cosines and sines of the rotary embedding.

    Not a module: its frequencies follow from the config, stay fp32 when the model is cast, and are
    made where they are first needed, so a model built on the meta device needs no repair.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._dim = config.head_dim
        self._theta = config.rope_theta
        self._scaling = config.rope_scaling
        self._cached: Tensor | None = None

    def frequencies(self, device: torch.device) -> Tensor:
        """Radians per position, fp32 [head_dim / 2]."""
        if self._cached is None or self._cached.device != device:
            exponent = torch.arange(0, self._dim, 2, device=device).float() / self._dim
            plain = 1.0 / self._theta**exponent
            self._cached = plain if self._scaling is None else _stretched(plain, self._scaling)
        return self._cached

    def table(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, 1, head_dim / 2] of `positions` [T]; the angles are fp32."""
        angles = (positions.float()[:, None] * self.frequencies(positions.device))[:, None]
        return angles.cos().to(dtype), angles.sin().to(dtype)


def _stretched(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama-3 scaling: long waves slowed by `factor`, short ones kept, those between blended."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return kept * frequencies + (1 - kept) * (frequencies / scaling.factor)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate heads [T, H, head_dim] by their positions; the two halves of a head form the pairs.

    Where no gradient is wanted x itself may be rotated.
    """
    cos, sin = table
    if (kernels := kernels_for(x, cos, sin)) is not None:
        return kernels.rotate(x, cos, sin)
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
