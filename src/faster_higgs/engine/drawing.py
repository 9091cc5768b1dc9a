"""How a column of codes is drawn: warpers, repetition-aware sampling, randomness.

Randomness is counter-based: a number depends on (seed, step, codebook) and on nothing else, so a
request draws the same numbers alone, in a batch, streamed or resumed. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from faster_higgs.sampling import Sampling


@dataclass(frozen=True)
class SamplingRows:
    """The settings of B requests as tensors [B, 1, 1], so that no draw asks the host."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    ras_window: Tensor
    ras_repeats: Tensor
    counts_all: Tensor  # RAS counts stream tokens too; a rule of the original

    @classmethod
    def of(cls, settings: Sequence[Sampling], device: torch.device | str = "cpu") -> SamplingRows:
        """One row for each."""

        def column(values: Iterable[float], dtype: torch.dtype) -> Tensor:
            return torch.tensor([*values], dtype=dtype, device=device)[:, None, None]

        whole, real = torch.int64, torch.float32
        return cls(
            column((s.temperature for s in settings), real),
            column((s.top_k for s in settings), whole),
            column((s.top_p for s in settings), real),
            column((s.min_p for s in settings), real),
            column((s.ras_window for s in settings), whole),
            column((s.ras_repeats for s in settings), whole),
            column((s.rules == "original" for s in settings), torch.bool),
        )

    def __getitem__(self, rows: Tensor) -> SamplingRows:
        return SamplingRows(*(value[rows] for value in vars(self).values()))


def warp(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities [.., V] of one request; see `warp_rows`."""
    rows = SamplingRows.of([sampling], logits.device)
    return warp_rows(logits.reshape(1, -1, logits.shape[-1]), rows).view_as(logits)


def warp_rows(logits: Tensor, rows: SamplingRows) -> Tensor:
    """Probabilities [B, K, V]: logits after temperature, top-k, top-p and min-p, in this order."""
    greedy, entries = rows.temperature == 0, logits.shape[-1]
    scores = logits / torch.where(greedy, 1.0, rows.temperature)
    ascending, order = scores.sort(dim=-1, stable=True)
    limited = (rows.top_k > 0) & (rows.top_k < entries)
    first = torch.where(limited, entries - rows.top_k, 0).expand(*scores.shape[:-1], 1)
    ascending = ascending.masked_fill(ascending < ascending.gather(-1, first), -torch.inf)
    drop = (ascending.softmax(-1).cumsum(-1) <= 1 - rows.top_p) & (rows.top_p < 1)
    drop |= ascending == -torch.inf
    drop[..., -1] = False
    scores = scores.masked_fill(torch.empty_like(drop).scatter_(-1, order, drop), -torch.inf)
    probabilities = scores.softmax(-1)
    floor = rows.min_p * probabilities.amax(-1, keepdim=True)
    probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    likeliest = logits.argmax(-1, keepdim=True)
    return torch.where(
        greedy, torch.zeros_like(probabilities).scatter_(-1, likeliest, 1.0), probabilities
    )


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Invert the distribution function: [.., V] and one number in [0, 1) for each row -> [..]."""
    cumulative = probabilities.cumsum(-1)
    target = uniforms.unsqueeze(-1) * cumulative[..., -1:]
    # The first entry whose cumulative weight exceeds the target: never one of weight zero.
    return (cumulative <= target).sum(-1).clamp_(max=probabilities.shape[-1] - 1)


def uniforms(seed: Tensor, step: Tensor, rows: int, stream: int) -> Tensor:
    """Numbers in [0, 1) for (seed, step, row): [B], [B] -> [B, rows].

    `stream` separates independent uses.
    """
    row = torch.arange(rows, device=seed.device) + (stream << 16)
    mixed = _mix(seed[:, None] + _mix(step[:, None] * 0x632BE5AB + row))
    return ((mixed >> 40) & 0xFFFFFF).to(torch.float32) / float(1 << 24)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele et al., 2014) in wrapping int64 arithmetic."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x


def repeats(
    history: Tensor, column: Tensor, window: int | Tensor, uncounted: Tensor | None = None
) -> Tensor:
    """Times a code stands in its row's last `window` columns: [.., K, n], [.., K] -> [.., K].

    `window` may differ from request to request, [B, 1, 1]; `uncounted` [.., K] repeat as they like.
    """
    known = history.shape[-1]
    recent = torch.arange(known, device=history.device) >= known - window
    same = (history == column.unsqueeze(-1)) & recent
    return (same if uncounted is None else same & ~uncounted.unsqueeze(-1)).sum(-1)


def sample(
    logits: Tensor,
    history: Tensor,
    rows: SamplingRows,
    numbers: tuple[Tensor, Tensor],
    stream_tokens: tuple[int, ...],
) -> Tensor:
    """A column for each request: logits [B, K, V] float32, history [B, K, n] -> codes [B, K].

    `numbers` are the uniforms [B, K] of the first draw and of the redraw. A code that repeats too
    often is drawn anew from the unwarped distribution, once, at every temperature (RAS; VALL-E 2,
    arXiv:2406.05370, adapted as in lm.md, f). Places of `history` without a column hold -1.
    """
    column = draw(warp_rows(logits, rows), numbers[0])
    wanted = (rows.ras_window > 0) & (rows.ras_repeats > 0)
    uncounted = torch.zeros_like(column, dtype=torch.bool)
    for token in stream_tokens:
        uncounted |= (column == token) & ~rows.counts_all[..., 0]
    often = repeats(history, column, rows.ras_window, uncounted) >= rows.ras_repeats[..., 0]
    redrawn = draw(logits.softmax(-1), numbers[1])
    return torch.where(often & wanted[..., 0], redrawn, column)
