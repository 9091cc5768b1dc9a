"""The semantic branch of the encoder: what is said, from a frozen HuBERT. Knows nothing of codes.

Samples are resampled to HuBERT's rate, its layers' outputs are averaged, every second frame is
kept, and a small convolution stack follows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from faster_higgs.config import HubertShape

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
SEMANTIC_HOP = math.prod(STRIDES)
SEMANTIC_PAD = SEMANTIC_HOP // 2

_ZERO_CROSSINGS = 6
_ROLLOFF = 0.99


def resample(samples: Tensor, rate: int, new_rate: int) -> Tensor:
    """Change the rate with a windowed sinc: [.., S] -> [.., ceil(S * new_rate / rate)]."""
    if rate == new_rate:
        return samples
    common = math.gcd(rate, new_rate)
    taps = sinc_taps(rate // common, new_rate // common).to(samples)
    step = rate // common
    before = (taps.shape[-1] - step) // 2
    flat = functional.pad(samples.reshape(-1, 1, samples.shape[-1]), (before, before + step))
    out = functional.conv1d(flat, taps, stride=step).transpose(1, 2)  # [N, steps, phases]
    kept = resampled_length(samples.shape[-1], rate, new_rate)
    return out.reshape(*samples.shape[:-1], -1)[..., :kept]


def resampled_length(samples: int, rate: int, new_rate: int) -> int:
    """Samples that `resample` makes of so many."""
    return -(-samples * new_rate // rate)


def sinc_taps(step: int, phases: int) -> Tensor:
    """The filter of each output phase, [phases, 1, taps]; rates are reduced to step : phases."""
    cutoff = min(step, phases) * _ROLLOFF
    width = math.ceil(_ZERO_CROSSINGS * step / cutoff)
    with torch.device("cpu"):
        taps = torch.arange(-width, width + step, dtype=torch.float64) / step
        phase = torch.arange(phases, dtype=torch.float64)[:, None] / phases
        time = (cutoff * (taps - phase)).clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
        window = torch.cos(time * (math.pi / 2 / _ZERO_CROSSINGS)).square()
        return (torch.sinc(time) * window * (cutoff / step)).float()[:, None]


def hubert_length(samples: int) -> int:
    """Positions HuBERT makes of so many samples; zero where it cannot."""
    length = samples
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        length = max(0, (length - kernel) // stride + 1)
    return length


def build_hubert(shape: HubertShape) -> nn.Module:
    """A HuBERT without dropout, masking and weight norm; gradients only when training asks."""
    from transformers import HubertConfig, HubertModel  # seconds to import, and decoding needs none

    depth = len(shape.conv_dim)
    config = HubertConfig(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        conv_dim=list(shape.conv_dim),
        conv_kernel=list(KERNELS[:depth]),
        conv_stride=list(STRIDES[:depth]),
        num_conv_pos_embeddings=shape.num_conv_pos_embeddings,
        num_conv_pos_embedding_groups=shape.num_conv_pos_embedding_groups,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        layerdrop=0.0,
        mask_time_prob=0.0,
    )
    hubert = HubertModel(config)
    parametrize.remove_parametrizations(hubert.encoder.pos_conv_embed.conv, "weight")
    model: nn.Module = hubert
    return model.eval().requires_grad_(False)


class SemanticUnit(nn.Module):
    """A residual pair of convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.narrow = nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(functional.elu(self.wide(functional.elu(x))))
        return out + x


def _units(channels: int) -> nn.Sequential:
    return nn.Sequential(SemanticUnit(channels), SemanticUnit(channels))


class SemanticEncoderBlock(nn.Module):
    """Residual units, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.units = _units(channels)
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.units(x))
        return out


class SemanticDecoderBlock(SemanticEncoderBlock):
    """A convolution, then residual units."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.units(self.conv(x))
        return out


class SemanticEncoder(nn.Module):
    """HuBERT features [B, H, F] to semantic latents [B, H, F]."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(SemanticEncoderBlock(channels) for _ in range(blocks)))

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.first(features))
        return out


class SemanticDecoder(nn.Module):
    """Quantised latents [B, H, F] back to HuBERT features; only training asks for it."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(SemanticDecoderBlock(channels) for _ in range(blocks)))
        self.last = nn.Conv1d(channels, channels, 3, padding=1, bias=False)

    def forward(self, latents: Tensor) -> Tensor:
        out: Tensor = self.last(self.blocks(self.first(latents)))
        return out
