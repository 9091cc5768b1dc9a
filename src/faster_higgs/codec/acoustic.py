"""The convolutional halves of the codec: samples to latents and back. Knows nothing of codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from faster_higgs.native.kernels import load

_TINY = 1e-9  # keeps an alpha of exactly zero finite
_DILATIONS = (1, 3, 9)
_MANY = 128  # channels, from where on interleaving costs less than it saves


class _FusedSnake(torch.autograd.Function):
    """Snake keeping only its input and output, which the convolutions around it keep anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> Tensor:
        y = _snake(x, alpha)
        ctx.save_for_backward(x, alpha, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        x, alpha, y = ctx.saved_tensors
        inverse = (alpha + _TINY).reciprocal()
        wave = (x * (2 * alpha)).sin_()
        grad_alpha = None
        if ctx.needs_input_grad[1]:
            slope = (wave * x).sub_(y).add_(x).mul_(grad)
            grad_alpha = slope.sum(dim=(0, 2), keepdim=True).mul_(inverse)
        return wave.mul_(alpha * inverse).add_(1).mul_(grad), grad_alpha


def _snake(x: Tensor, alpha: Tensor, spare: bool = False) -> Tensor:
    kernels = load()
    if kernels is not None and x.is_cpu and x.dtype == alpha.dtype == torch.float32:
        x = x.contiguous()
        return kernels.snake(x, alpha.flatten(), x if spare else torch.empty_like(x))
    wave = (x * alpha).sin_().square_()
    return torch.addcmul(x, wave, (alpha + _TINY).reciprocal(), out=wave)


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, one alpha a channel; alpha may be negative or tiny."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor, spare: bool = False) -> Tensor:
        """`spare`: x is not needed any more, and may be written over."""
        if torch.is_grad_enabled() and (x.requires_grad or self.alpha.requires_grad):
            fused: Tensor = _FusedSnake.apply(x, self.alpha)  # type: ignore[no-untyped-call]
            return fused
        return _snake(x.detach(), self.alpha.detach(), spare)


class Upsampling(nn.ConvTranspose1d):
    """A transposed convolution that makes `ratio` positions of one.

    Without gradients on the CPU it is a convolution over two neighbours that makes all `ratio`
    positions at once, as channels: half the time, where channels are many.
    """

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__(
            channels,
            channels // 2,
            2 * ratio,
            stride=ratio,
            padding=_half(ratio),
            output_padding=ratio % 2,  # without it odd ratios lose samples
        )
        self.ratio = ratio
        self._arranged: tuple[object, Tensor, Tensor] | None = None

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if torch.is_grad_enabled() or not x.is_cpu or self.in_channels < _MANY:
            return super().forward(x, output_size)
        weight, bias = self._neighbours()
        ratio, before = self.ratio, int(self.padding[0])
        both = functional.conv1d(x, weight, bias, padding=1)  # [B, C / 2 * ratio, L + 1]
        shape = len(x), self.out_channels, ratio, -1
        phases = both.view(shape).transpose(2, 3)  # [B, C / 2, L + 1, ratio]
        out = x.new_empty(len(x), self.out_channels, x.shape[-1], ratio)
        out[..., : ratio - before] = phases[:, :, :-1, before:]
        out[..., ratio - before :] = phases[:, :, 1:, :before]
        return out.flatten(2)

    def _neighbours(self) -> tuple[Tensor, Tensor]:
        """The weight for two neighbours and its bias; made anew when either has changed."""
        weight, bias = self.weight, self.bias
        assert bias is not None
        key = _state(weight), _state(bias)
        if self._arranged is None or self._arranged[0] != key:
            earlier, later = weight[..., self.ratio :], weight[..., : self.ratio]
            pair = torch.stack([earlier, later], -1).permute(1, 2, 0, 3).flatten(0, 1)
            self._arranged = key, pair.contiguous(), bias.repeat_interleave(self.ratio)
        return self._arranged[1:]


def _state(values: Tensor) -> tuple[int, int | None]:
    """What is another when values have changed."""
    return values.data_ptr(), None if values.is_inference() else values._version


class AcousticUnit(nn.Module):
    """A residual pair of convolutions; the first one looks 3 * dilation samples to each side."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.snake_in = Snake(channels)
        self.wide = nn.Conv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation)
        self.snake_out = Snake(channels)
        self.narrow = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kernels = load()
        if kernels is not None and not torch.is_grad_enabled() and self._fits(x):
            return kernels.residual_unit(x.contiguous(), self._weights(), self.dilation)
        out: Tensor = self.narrow(self.snake_out(self.wide(self.snake_in(x)), spare=True))
        return out.add_(x)

    def _fits(self, x: Tensor) -> bool:
        return x.is_cpu and x.dtype == self.wide.weight.dtype == torch.float32

    def _weights(self) -> list[Tensor]:
        wide, narrow = self.wide, self.narrow
        assert wide.bias is not None and narrow.bias is not None
        first, second = self.snake_in.alpha.flatten(), self.snake_out.alpha.flatten()
        return [first, wide.weight, wide.bias, second, narrow.weight, narrow.bias]


def _units(channels: int) -> nn.Sequential:
    return nn.Sequential(*(AcousticUnit(channels, dilation) for dilation in _DILATIONS))


class EncoderBlock(nn.Module):
    """Three residual units, then a convolution that keeps one position of `ratio`."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.units = _units(channels)
        self.snake = Snake(channels)
        self.down = nn.Conv1d(channels, 2 * channels, 2 * ratio, stride=ratio, padding=_half(ratio))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.snake(self.units(x), spare=True))
        return out


class DecoderBlock(nn.Module):
    """A transposed convolution that makes `ratio` positions of one, then three residual units."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.snake = Snake(channels)
        self.up = Upsampling(channels, ratio)
        self.units = _units(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.units(self.up(self.snake(x, spare=True)))
        return out


class AcousticEncoder(nn.Module):
    """Samples [B, 1, S] to latents [B, D, about S / hop]."""

    def __init__(self, channels: int, latent: int, ratios: Sequence[int]) -> None:
        super().__init__()
        widths = [channels << depth for depth in range(len(ratios) + 1)]
        self.first = nn.Conv1d(1, widths[0], 7, padding=3)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, ratio) for width, ratio in zip(widths, ratios, strict=False)
        )
        self.snake = Snake(widths[-1])
        self.last = nn.Conv1d(widths[-1], latent, 3, padding=1)

    def forward(self, samples: Tensor) -> Tensor:
        x = self.first(samples)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.last(self.snake(x, spare=True))
        return out


class AcousticDecoder(nn.Module):
    """Latents [B, D, F] to samples [B, 1, hop * F]; neither squashed nor clipped."""

    def __init__(self, channels: int, latent: int, ratios: Sequence[int]) -> None:
        super().__init__()
        widths = [channels >> depth for depth in range(len(ratios) + 1)]
        self.first = nn.Conv1d(latent, widths[0], 7, padding=3)
        self.blocks = nn.ModuleList(
            DecoderBlock(width, ratio) for width, ratio in zip(widths, ratios, strict=False)
        )
        self.snake = Snake(widths[-1])
        self.last = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.first(latents)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.last(self.snake(x, spare=True))
        return out


def encoded_length(samples: int, ratios: Sequence[int]) -> int:
    """Positions the acoustic encoder makes of so many samples; zero where it cannot."""
    length = samples
    for ratio in ratios:
        length = max(0, (length + 2 * _half(ratio) - 2 * ratio) // ratio + 1)
    return length


def decoder_context(ratios: Sequence[int]) -> tuple[int, int]:
    """Frames before and after a frame that its own samples can depend on."""
    reach = 3 * (1 + sum(_DILATIONS))  # the units of one block and the convolution before or after
    hop = 1
    for ratio in ratios:
        hop *= ratio
    low, high = -3, hop - 1 + 3  # the last convolution
    for ratio in reversed(ratios):
        low, high = low - reach + 3, high + reach - 3
        low = -((2 * ratio - 1 - low - _half(ratio)) // ratio)
        high = (high + _half(ratio)) // ratio
    return -(low - 3), high + 3


def _half(ratio: int) -> int:
    return (ratio + 1) // 2
