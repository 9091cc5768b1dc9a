"""The convolutional halves of the codec: samples to latents and back. Knows nothing of codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_TINY = 1e-9  # keeps an alpha of exactly zero finite
_DILATIONS = (1, 3, 9)


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


def _snake(x: Tensor, alpha: Tensor) -> Tensor:
    wave = (x * alpha).sin_().square_()
    return torch.addcmul(x, wave, (alpha + _TINY).reciprocal(), out=wave)


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, one alpha a channel; alpha may be negative or tiny."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and (x.requires_grad or self.alpha.requires_grad):
            fused: Tensor = _FusedSnake.apply(x, self.alpha)  # type: ignore[no-untyped-call]
            return fused
        return _snake(x.detach(), self.alpha.detach())


class AcousticUnit(nn.Module):
    """A residual pair of convolutions; the first one looks 3 * dilation samples to each side."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.snake_in = Snake(channels)
        self.wide = nn.Conv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation)
        self.snake_out = Snake(channels)
        self.narrow = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(self.snake_out(self.wide(self.snake_in(x))))
        return out.add_(x)


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
        out: Tensor = self.down(self.snake(self.units(x)))
        return out


class DecoderBlock(nn.Module):
    """A transposed convolution that makes `ratio` positions of one, then three residual units."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.snake = Snake(channels)
        self.up = nn.ConvTranspose1d(
            channels,
            channels // 2,
            2 * ratio,
            stride=ratio,
            padding=_half(ratio),
            output_padding=ratio % 2,  # without it odd ratios lose samples
        )
        self.units = _units(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.units(self.up(self.snake(x)))
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
        out: Tensor = self.last(self.snake(x))
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
        out: Tensor = self.last(self.snake(x))
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
