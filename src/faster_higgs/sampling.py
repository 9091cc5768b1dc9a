"""How a column of codes is drawn: settings, warpers, repetition-aware sampling, randomness.

Randomness is counter-based: a number depends on (seed, step, codebook) and on nothing else, so a
request draws the same numbers alone, in a batch, streamed or resumed. Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import torch
from torch import Tensor

from faster_higgs.errors import SettingError

Rules = Literal["guarded", "original", "transformers"]


@dataclass(frozen=True)
class Sampling:
    """Per-request settings. The only place that says what the defaults are.

    `rules` chooses the state machine: "guarded" masks stream tokens where they make no sense; the
    other two are the references', exactly. `ras_window` or `ras_repeats` of 0 turn
    repetition-aware sampling off.
    """

    temperature: float = 0.3  # 0 means: always the likeliest
    top_k: int = 50  # 0 means: all
    top_p: float = 0.95
    min_p: float = 0.0
    ras_window: int = 7
    ras_repeats: int = 2
    seed: int | None = None  # None means: a fresh one, reported with the result
    max_new_tokens: int = 2048  # steps: text tokens, and columns, of which 25 make a second
    rules: Rules = "guarded"

    def __post_init__(self) -> None:
        for name in ("top_k", "max_new_tokens", "ras_window", "ras_repeats", "seed"):
            _whole(name, getattr(self, name))
        _within("temperature", self.temperature, 0.0, 10.0)
        _within("top_p", self.top_p, 0.0, 1.0)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("top_k", self.top_k, 0, 1_000_000)
        _within("max_new_tokens", self.max_new_tokens, 1, 1_000_000)
        _within("ras_window", self.ras_window, 0, 1000)
        _within("ras_repeats", self.ras_repeats, 0, 1000)
        if self.top_p == 0.0:
            raise SettingError(
                "top_p is 0, which leaves nothing to choose from; "
                "use temperature 0 for the likeliest code."
            )
        if self.rules not in ("guarded", "original", "transformers"):
            raise SettingError(
                f"rules is '{self.rules}'; use 'guarded', 'original' or 'transformers'."
            )
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise SettingError(f"seed is {self.seed}; use a whole number of at most 64 bits.")


def _whole(name: str, value: object) -> None:
    if not isinstance(value, Integral) and not (name == "seed" and value is None):
        raise SettingError(f"{name} is {value!r}; use a whole number.")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise SettingError(f"{name} is {value}; use a value from {low:g} to {high:g}.")


def warp(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities [.., V]: logits after temperature, top-k, top-p and min-p, in this order."""
    if sampling.temperature == 0.0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    scores = logits / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        kth = scores.topk(sampling.top_k, dim=-1).values[..., -1:]
        scores = scores.masked_fill(scores < kth, -torch.inf)
    if sampling.top_p < 1.0:
        scores = _nucleus(scores, sampling.top_p)
    probabilities = scores.softmax(-1)
    if sampling.min_p > 0.0:
        floor = sampling.min_p * probabilities.amax(-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities


def _nucleus(scores: Tensor, top_p: float) -> Tensor:
    ascending, order = scores.sort(dim=-1)
    drop = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    drop[..., -1] = False
    return scores.masked_fill(drop.gather(-1, order.argsort(-1)), -torch.inf)


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


def repeats(history: Tensor, column: Tensor, window: int, ignore: tuple[int, ...] = ()) -> Tensor:
    """Times a code stands in its row's last `window` columns: [.., K, n], [.., K] -> [.., K]."""
    same = history[..., -window:] == column.unsqueeze(-1)
    for token in ignore:
        same = same & (column != token).unsqueeze(-1)
    return same.sum(-1)


def sample(
    logits: Tensor,
    history: Tensor,
    sampling: Sampling,
    numbers: tuple[Tensor, Tensor],
    ignore: tuple[int, ...],
) -> Tensor:
    """One column for one request: logits [K, V] float32, history [K, n] -> codes [K].

    `numbers` are the uniforms [K] of the first draw and of the redraw. A code that repeats too
    often is drawn anew from the unwarped distribution, once, at every temperature (RAS; VALL-E 2,
    arXiv:2406.05370, adapted as in lm.md, f).
    """
    column = draw(warp(logits, sampling), numbers[0])
    if sampling.ras_window and sampling.ras_repeats:
        often = repeats(history, column, sampling.ras_window, ignore) >= sampling.ras_repeats
        column = torch.where(often, draw(logits.softmax(-1), numbers[1]), column)
    return column
