"""Cross entropy of codes and text from hidden states. Knows nothing of optimisers or data.

Hidden states are gathered where something is supervised before a head is applied, and the logits
exist only a slice of rows at a time: the gradient of a slice is worked out beside its loss, so
nothing of it is kept for the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from faster_higgs.errors import SettingError
from faster_higgs.train.config import LossSettings
from faster_higgs.train.packing import Batch
from faster_higgs.train.sample import IGNORE

SLICE = 4_000_000  # logits that exist at once


class Heads(Protocol):
    """The part of the model the loss needs."""

    @property
    def audio_head(self) -> nn.Linear: ...
    @property
    def text_head(self) -> nn.Linear: ...


class Counts(NamedTuple):
    """How much is supervised; over several batches their sum is the denominator of each."""

    audio: Tensor  # [K]
    text: Tensor  # []

    def to(self, device: torch.device | str) -> Counts:
        """The same on another device."""
        return Counts(self.audio.to(device), self.text.to(device))


@dataclass(frozen=True)
class Loss:
    """The number to minimise and what it is made of (sums over supervised items)."""

    total: Tensor
    audio: Tensor  # [K] summed cross entropy
    hits: Tensor  # [K] codes that were the likeliest
    text: Tensor
    counts: Counts
    closer: Tensor | None = None  # [3, K] codes among the likeliest five; ends: loss, number

    def metrics(self) -> dict[str, float]:
        """Scalars for a log: the loss, and per codebook the mean cross entropy and the accuracy."""
        counts = self.counts.audio.clamp(min=1)
        values = {
            "loss": float(self.total.detach()),
            "loss_audio": float(self.audio.sum() / counts.sum()),
            "accuracy": float(self.hits.sum() / counts.sum()),
        }
        for k, mean in enumerate((self.audio / counts).tolist()):
            values[f"loss_codebook_{k}"] = mean
        for k, share in enumerate((self.hits / counts).tolist()):
            values[f"accuracy_codebook_{k}"] = share
        if self.closer is not None:
            near, ends, ended = self.closer
            values["accuracy_top5"] = float(near.sum() / counts.sum())
            values["loss_eos"] = float(ends.sum() / ended.sum().clamp(min=1))
            for k, share in enumerate((near / counts).tolist()):
                values[f"accuracy_top5_codebook_{k}"] = share
        if float(self.text):
            values["loss_text"] = float(self.text / self.counts.text)
        return values


def count(batch: Batch) -> Counts:
    """Supervised codes per codebook and supervised text tokens."""
    return Counts((batch.audio_labels != IGNORE).sum(0), (batch.text_labels != IGNORE).sum())


def language_loss(
    model: Heads,
    hidden: Tensor,
    batch: Batch,
    settings: LossSettings,
    counts: Counts | None = None,
    eos: int | None = None,
) -> Loss:
    """The loss of `hidden` [T, D], divided by `counts` where several batches make one step.

    `eos`, the end of stream, has the loss tell how well ends are learnt, and more that costs time.
    """
    own = count(batch)
    counts = counts or own
    texts = len(batch.ids) - len(batch.columns)
    audio = hidden.index_select(0, torch.argsort(batch.is_audio, stable=True)[texts:])
    here, labels = _targets(batch.audio_labels)
    scale = _scale(counts.audio, settings, labels.shape[1])
    total, sums, hits, closer = _head_loss(
        audio.index_select(0, here), model.audio_head.weight, labels, scale, eos
    )
    text = total.new_zeros(())
    if settings.text_weight:
        here, labels = _targets(batch.text_labels[:, None])
        scale = settings.text_weight / counts.text.clamp(min=1).float()[None]
        extra, text_sums, _, _ = _head_loss(
            hidden.index_select(0, here), model.text_head.weight, labels, scale
        )
        total, text = total + extra, text_sums[0]
    return Loss(total, sums, hits, text, own, None if eos is None else closer)


def _targets(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows whose successor is supervised, and its labels; the first of a clip never is."""
    here = (labels[1:] != IGNORE).any(1).nonzero()[:, 0]
    return here, labels.index_select(0, here + 1)


def _scale(counts: Tensor, settings: LossSettings, books: int) -> Tensor:
    weights = torch.tensor(settings.codebook_weights or (1.0,) * books, device=counts.device)
    if len(weights) != books:
        raise SettingError(
            f"{len(weights)} codebook weights were given; the model has {books} codebooks."
        )
    counts = counts.float()
    if settings.reduction == "ours":
        return weights / (weights * counts).sum().clamp(min=1e-9)
    per_book = weights / counts.clamp(min=1)
    return per_book if settings.reduction == "hf" else per_book / books


def _head_loss(
    hidden: Tensor, weight: Tensor, labels: Tensor, scale: Tensor, eos: int | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    keep = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    total, seen = _HeadLoss.apply(hidden, weight, labels, scale, keep, eos)  # type: ignore[no-untyped-call]
    sums, hits, *closer = seen.detach()
    return total, sums, hits, torch.stack(closer)


class _HeadLoss(torch.autograd.Function):
    """sum_k scale_k * CE(hidden @ weight_k, labels_k) with the gradient made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        scale: Tensor,
        keep: bool,
        eos: int | None,
    ) -> tuple[Tensor, Tensor]:
        device = hidden.device.type
        fast = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        )
        with torch.autocast(device, enabled=False):
            rows, books = labels.shape
            head = weight.detach().to(fast)
            step = max(1, SLICE // weight.shape[0])
            seen = torch.zeros(5, books, device=hidden.device)
            grad_hidden = torch.empty_like(hidden) if keep else None
            learns = keep and ctx.needs_input_grad[1]  # a frozen head needs no gradient of its own
            grad_weight = torch.zeros_like(weight, dtype=torch.float32) if learns else None
            for start in range(0, rows, step):
                part = slice(start, start + step)
                inputs = hidden.detach()[part].to(fast)
                logits = (inputs @ head.T).float()  # [n, K*V]
                seen += _slice_loss(
                    logits.view(len(inputs), books, -1), labels[part], scale, keep, eos
                )
                if grad_hidden is not None:
                    slope = logits.to(fast)
                    grad_hidden[part] = slope @ head
                    if grad_weight is not None:
                        grad_weight += slope.T @ inputs
        if grad_hidden is not None:
            made = None if grad_weight is None else grad_weight.to(weight.dtype)
            ctx.save_for_backward(grad_hidden, made)
        ctx.mark_non_differentiable(seen)
        return (seen[0] * scale).sum(), seen

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        slope = None if grad_weight is None else grad_weight * grads[0]
        return grad_hidden * grads[0], slope, None, None, None, None


def _slice_loss(
    logits: Tensor, labels: Tensor, scale: Tensor, keep: bool, eos: int | None
) -> Tensor:
    """[5, K] of logits [n, K, V], which become their own gradient when `keep`.

    The rows: losses, hits, and where `eos` is given: hits among five, losses and number of ends.
    """
    valid = labels != IGNORE
    index = labels.clamp(min=0)[..., None]
    picked = logits.gather(-1, index)
    top, best = logits.max(-1, keepdim=True)
    hits = (best == index)[..., 0]
    near = hits if eos is None else (logits > picked).sum(-1) < 5
    logits.sub_(top)
    if keep:
        logits.exp_()
        normaliser = logits.sum(-1, keepdim=True)
        share = (valid * scale)[..., None]
        logits.mul_(share / normaliser)
        logits.scatter_add_(-1, index, -share)
    else:
        normaliser = logits.exp_().sum(-1, keepdim=True)
    entropy = (normaliser.log() + top - picked)[..., 0]
    ends = torch.zeros_like(valid) if eos is None else labels == eos
    seen = (entropy * valid, hits & valid, near & valid, entropy * ends, ends)
    return torch.stack([one.sum(0).float() for one in seen])
