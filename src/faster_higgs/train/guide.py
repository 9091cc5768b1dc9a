"""Guided attention: one head is taught to look at the text that is being spoken.

Used in training only. Knows nothing of how text and sound were aligned; it is given the centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from faster_higgs.model.packed import AttentionWatch
from faster_higgs.train.packing import Batch


@dataclass(frozen=True)
class Guide:
    """A Gaussian prior over the text around each column's centre, fading out over `steps`."""

    layer: int
    head: int = 0
    sigma: float = 1.5  # positions
    weight: float = 0.5
    steps: int | None = None  # None means: it never fades

    def strength(self, step: int) -> float:
        """The weight at `step`; 0 means the attention need not be watched."""
        return self.weight if self.steps is None else self.weight * max(0.0, 1 - step / self.steps)

    def watch(self) -> AttentionWatch:
        """What to ask train_forward for."""
        return AttentionWatch(self.layer, self.head)

    def loss(self, maps: list[Tensor], batch: Batch) -> Tensor:
        """Mean cross entropy of prior and attention, over the columns with a centre."""
        assert batch.centres is not None
        centres = torch.full(batch.ids.shape, torch.nan, device=batch.ids.device)
        centres[batch.is_audio] = batch.centres
        lengths = [len(one) for one in maps]
        total = maps[0].new_zeros(())
        columns = 0
        sides = zip(
            torch.split(centres, lengths), torch.split(batch.is_audio, lengths), strict=True
        )
        for seen, (centre, is_audio) in zip(maps, sides, strict=True):
            rows = centre.isfinite().nonzero()[:, 0]
            prior = self._prior(centre[rows], is_audio)
            total = total - (prior * seen[rows].clamp_min(1e-9).log()).sum()
            columns += len(rows)
        return total / max(1, columns)

    def _prior(self, centres: Tensor, is_audio: Tensor) -> Tensor:
        """[rows, n], zero at audio positions, rows sum to one."""
        keys = torch.arange(len(is_audio), device=centres.device)
        bell = (-0.5 * ((keys - centres[:, None]) / self.sigma) ** 2).masked_fill(
            is_audio, -torch.inf
        )
        return bell.softmax(-1)
