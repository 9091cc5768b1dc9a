"""Random crops of clips for codec training, the same ones for the same (seed, step).

Knows nothing of what is trained on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from faster_higgs.errors import SettingError


@dataclass(frozen=True)
class CodecClip:
    """A clip, and what is known of each of its frames. int16 samples are scaled when cropped."""

    samples: Tensor  # [hop * F] float or int16
    codes: Tensor | None = None  # [K, F]
    latents: Tensor | None = None  # [Q, F]
    features: Tensor | None = None  # [H, F], HuBERT's


@dataclass(frozen=True)
class CropBatch:
    """Crops of equal length side by side."""

    samples: Tensor  # [B, hop * F]
    codes: Tensor | None = None  # [B, K, F]
    latents: Tensor | None = None  # [B, Q, F]
    features: Tensor | None = None  # [B, H, F]


class Crops:
    """Draws crops of `frames` frames, every place in every clip being equally likely."""

    def __init__(self, clips: Sequence[CodecClip], frames: int, hop: int, seed: int = 0) -> None:
        self.clips, self.frames, self.hop, self.seed = clips, frames, hop, seed
        places = torch.tensor([max(0, len(c.samples) // hop - frames + 1) for c in clips])
        self._ends = places.cumsum(0)
        if not len(clips) or int(self._ends[-1]) == 0:
            raise SettingError(
                f"None of the {len(clips)} clips is as long as a crop of {frames} frames "
                f"({frames * hop} samples)."
            )

    def draw(self, step: int, count: int) -> CropBatch:
        """`count` crops, a function of the seed and the step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        total = int(self._ends[-1])
        return self._batch(torch.randint(total, (count,), generator=generator))

    def spread(self, count: int) -> CropBatch:
        """`count` crops at even distances through all clips, for evaluation."""
        return self._batch(torch.linspace(0, int(self._ends[-1]) - 1, count).long())

    def _batch(self, places: Tensor) -> CropBatch:
        numbers = torch.searchsorted(self._ends, places, right=True)
        parts = []
        for place, number in zip(places.tolist(), numbers.tolist(), strict=True):
            start = place - (int(self._ends[number - 1]) if number else 0)
            parts.append(self._crop(self.clips[number], start))
        samples = [part.samples for part in parts]
        return CropBatch(
            torch.stack(samples),
            _stack([part.codes for part in parts]),
            _stack([part.latents for part in parts]),
            _stack([part.features for part in parts]),
        )

    def _crop(self, clip: CodecClip, start: int) -> CodecClip:
        end = start + self.frames
        samples = clip.samples[start * self.hop : end * self.hop]
        scaled = samples.float() / 32768 if samples.dtype == torch.int16 else samples.float()
        return CodecClip(
            scaled,
            None if clip.codes is None else clip.codes[:, start:end].long(),
            None if clip.latents is None else clip.latents[:, start:end].float(),
            None if clip.features is None else clip.features[:, start:end].float(),
        )


def _stack(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.stack(known) if len(known) == len(parts) else None
