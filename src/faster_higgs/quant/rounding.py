"""Weights and activations to small integers with scales.

Knows nothing of the order in which the integers are stored, nor of layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

OFFSET = 8  # of a 4-bit code: 0..15 stand for -8..7

# What the whole range of a group is multiplied by, in the search for the smallest squared error.
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
_LEAST = 2.0**-20  # a 4-bit scale in fp16 is at least this, so that it can be divided by


def round_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[O, I] -> codes int8 [O, I] and one fp32 scale per row [O]; the largest becomes 127."""
    wide = weight.float()
    scales = wide.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (wide / scales[:, None]).round_().to(torch.int8), scales


def round_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[O, I] -> codes float8_e4m3fn [O, I] and one fp32 scale per row [O]; the largest is 448."""
    wide = weight.float()
    scales = (wide.abs().amax(1) / 448).clamp_min(torch.finfo(torch.float32).tiny)
    return (wide / scales[:, None]).to(torch.float8_e4m3fn), scales


def round_int4(weight: Tensor, group: int, search: bool = True) -> tuple[Tensor, Tensor]:
    """[O, I] -> codes uint8 0..15 [O, I] and fp16 scales [O, I / group].

    `search` clips each group where the squared error is smallest, and lets its extreme value,
    of whichever sign, take the code -8; without it the largest becomes 7 and nothing is clipped.
    """
    groups = weight.float().view(len(weight), -1, group)  # [O, G, group]
    scales = _searched(groups) if search else _scales(groups.abs().amax(2) / 7)
    codes = _codes(groups, scales).add_(OFFSET).to(torch.uint8)
    return codes.flatten(1), scales.to(torch.float16)


def round_rows(x: Tensor, group: int) -> Tensor:
    """Activations [R, I] as the kernels see them, fp32: 8 bits, one scale per `group` of a row."""
    starts = range(0, x.shape[1], group)
    return torch.cat([_round_group(x[:, i : i + group].float()) for i in starts], 1)


def _round_group(x: Tensor) -> Tensor:
    largest = x.abs().amax(1, keepdim=True)
    step = largest / 127
    per_step = torch.where(largest > 0, 127 / largest, 0.0)
    return (x * per_step).round_() * step


def _scales(wide: Tensor) -> Tensor:
    """What is left of scales in fp16, as fp32; never zero."""
    size = wide.abs().clamp_min(_LEAST)
    return torch.where(wide < 0, -size, size).to(torch.float16).float()


def _codes(groups: Tensor, scales: Tensor) -> Tensor:
    """The nearest codes -8..7, still as floats."""
    return groups.mul(scales.reciprocal()[:, :, None]).round_().clamp_(-8, 7)


def _searched(groups: Tensor) -> Tensor:
    """The scale of the best of `_SHRINKS` per group, refined to the best one for its codes."""
    high, low = groups.amax(2), groups.amin(2)
    extreme = torch.where(high > -low, high, low)  # signed
    best = torch.zeros_like(extreme)
    gain = torch.full_like(extreme, -1.0)
    for shrink in _SHRINKS:
        step = extreme * (-shrink / OFFSET)
        codes = _codes(groups, torch.where(step == 0, 1.0, step))
        fit = torch.linalg.vecdot(groups, codes)
        size = torch.linalg.vecdot(codes, codes).clamp_min_(1)
        # With the best scale for these codes, fit / size, the squared error falls by fit^2 / size.
        better = fit * fit / size > gain
        gain = torch.where(better, fit * fit / size, gain)
        best = torch.where(better, fit / size, best)
    return _scales(best)
