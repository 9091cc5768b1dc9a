"""How far two clips of sound are apart: mel and linear spectra at several resolutions.

Knows nothing of networks or of codes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from faster_higgs.errors import SettingError


@dataclass(frozen=True)
class SpectralSettings:
    """The resolutions. A window of n samples moves by n / 4."""

    sizes: tuple[int, ...] = (2048, 1024, 512, 256)
    bands: tuple[int, ...] = (80, 64, 40, 20)
    rate: int = 24_000
    top: float = 12_000.0  # Hz; what lies above is not compared
    floor: float = 1e-4  # amplitudes below count as silence

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.bands):
            raise SettingError(f"{len(self.bands)} band counts for {len(self.sizes)} window sizes.")
        if not 0 < self.top <= self.rate / 2:
            raise SettingError(f"top is {self.top} Hz; it must lie within 0 and {self.rate / 2}.")


class Distances(NamedTuple):
    """Means over resolutions, differentiable."""

    mel: Tensor  # L1 of the log10 mel spectrum
    magnitude: Tensor  # L1 of the magnitude over the target's mean magnitude
    log_magnitude: Tensor  # L1 of the natural log magnitude


class SpectralDistance(nn.Module):
    """Compares batches of samples [B, S]. Each spectrum is worked out once for all distances."""

    def __init__(self, settings: SpectralSettings = SpectralSettings()) -> None:
        super().__init__()
        self.settings = settings
        for size, bands in zip(settings.sizes, settings.bands, strict=True):
            filters = mel_filters(bands, size, settings.rate, settings.top)
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)
            self.register_buffer(f"filters_{size}", filters, persistent=False)

    def forward(self, made: Tensor, target: Tensor) -> Distances:
        floor = self.settings.floor
        mel, linear, log = [], [], []
        for size, wanted in self._spectra(target.detach()):
            have = self._spectrum(made, size)
            filters = self.get_buffer(f"filters_{size}").T
            mel.append(_log_distance(have @ filters, wanted @ filters, floor) / math.log(10))
            linear.append((have - wanted).abs().mean() / wanted.mean().clamp(min=floor))
            log.append(_log_distance(have, wanted, floor))
        return Distances(*(torch.stack(one).mean() for one in (mel, linear, log)))

    @torch.no_grad()
    def mel_decibels(self, made: Tensor, target: Tensor) -> float:
        """Mean mel difference at the finest frequency resolution, in dB."""
        size = self.settings.sizes[0]
        filters = self.get_buffer(f"filters_{size}").T
        have, want = (self._spectrum(x, size) @ filters for x in (made, target))
        return 20 / math.log(10) * float(_log_distance(have, want, 4e-4))

    def _spectra(self, samples: Tensor) -> Iterator[tuple[int, Tensor]]:
        for size in self.settings.sizes:
            with torch.no_grad():
                spectrum = self._spectrum(samples, size)
            yield size, spectrum

    def _spectrum(self, samples: Tensor, size: int) -> Tensor:
        """Magnitudes [B, frames, bins up to `top`], scaled to the amplitude of a sine."""
        window = self.get_buffer(f"window_{size}")
        frames = framed(functional.pad(samples, (size // 2, size // 2)), size) * window
        bins = 1 + int(self.settings.top * size / self.settings.rate)
        spectrum = torch.view_as_real(torch.fft.rfft(frames)[..., :bins])
        power = spectrum.square().sum(-1)
        return power.clamp(min=1e-14).sqrt() * (2 / window.sum())


def framed(samples: Tensor, size: int) -> Tensor:
    """Overlapping windows [B, n, size], a quarter of `size` apart; zeros fill the last one."""
    hop = size // 4
    padded = functional.pad(samples, (0, -samples.shape[-1] % hop))
    blocks = padded.view(len(samples), -1, hop)
    count = blocks.shape[1] - 3
    return torch.cat([blocks[:, i : i + count] for i in range(4)], -1)


def mel_filters(bands: int, size: int, rate: int, top: float) -> Tensor:
    """Triangles [bands, bins up to `top`], evenly spaced on the mel scale, each summing to one.

    A band narrower than the spectrum can resolve takes the bin next to its centre.
    """
    edges = 700 * (10 ** (torch.linspace(0, _mel(top), bands + 2) / 2595) - 1)
    frequencies = torch.arange(1 + int(top * size / rate)) * (rate / size)
    low, centre, high = (edges[i : i + bands, None] for i in range(3))
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    nearest = (frequencies - centre).abs().argmin(1)
    filters[torch.arange(bands), nearest] += (filters.sum(1) == 0).float()
    return filters / filters.sum(1, keepdim=True)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _log_distance(one: Tensor, two: Tensor, floor: float) -> Tensor:
    return ((one + floor).log() - (two + floor).log()).abs().mean()
