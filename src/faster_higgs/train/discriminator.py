"""A small discriminator over spectra of several resolutions, and its losses (least squares).

Used in codec training only. Knows nothing of who made the sound.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from faster_higgs.train.codec_losses import framed

Judgement = list[list[Tensor]]
"""Per resolution the feature maps, the last of which is the verdict."""


class Discriminator(nn.Module):
    """Real or made? One column of convolutions per resolution, `width` channels each."""

    def __init__(self, sizes: tuple[int, ...] = (1024, 512, 256), width: int = 16) -> None:
        super().__init__()
        self.columns = nn.ModuleList(SpectrumColumn(size, width) for size in sizes)

    def forward(self, samples: Tensor) -> Judgement:
        return [column(samples) for column in self.columns]


class SpectrumColumn(nn.Module):
    """Complex spectrum [B, 2, frames, bins] to a map of verdicts."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        layers = [nn.Conv2d(2, width, (3, 9), (1, 2), padding=(1, 4))]
        for reach in (1, 2, 4):
            layers.append(
                nn.Conv2d(width, width, (3, 9), (1, 2), padding=(reach, 4), dilation=(reach, 1))
            )
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)]
        self.layers = nn.ModuleList(layers)
        for layer in self.layers:
            nn.utils.parametrizations.weight_norm(layer)

    def forward(self, samples: Tensor) -> list[Tensor]:
        x = self._spectrum(samples)
        maps = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number + 1 < len(self.layers):
                x = functional.leaky_relu(x, 0.2)
            maps.append(x)
        return maps

    def _spectrum(self, samples: Tensor) -> Tensor:
        window = self.get_buffer("window")
        frames = framed(samples, self.size) * window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, norm="ortho"))
        return spectrum.permute(0, 3, 1, 2)


class Verdict(NamedTuple):
    """What the maker of a sound is told."""

    adversarial: Tensor
    features: Tensor


def discriminator_loss(real: Judgement, made: Judgement) -> Tensor:
    """Real should be 1, made should be 0."""
    losses = [
        (r[-1] - 1).square().mean() + m[-1].square().mean() for r, m in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def maker_loss(real: Judgement, made: Judgement) -> Verdict:
    """Made should pass for real, and look like it inside; feature distances are relative."""
    passes = [(m[-1] - 1).square().mean() for m in made]
    features = [
        (m - r.detach()).abs().mean() / r.detach().abs().mean().clamp(min=1e-6)
        for real_maps, made_maps in zip(real, made, strict=True)
        for r, m in zip(real_maps[:-1], made_maps[:-1], strict=True)
    ]
    return Verdict(torch.stack(passes).mean(), torch.stack(features).mean())
