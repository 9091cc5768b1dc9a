"""Residual vector quantiser: latents to codes and back. Knows nothing of sound.

Inference is `encode` and `decode`; `train_step` is the training forward, with straight-through
gradients for the projections and moving averages for the codebooks.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_DECAY = 0.99
_EPSILON = 1e-5
_ALIVE = 2.0  # an entry won less often than this is replaced
_KMEANS_VECTORS = 10_000
_KMEANS_ROUNDS = 50


class QuantizerStep(NamedTuple):
    """What one training step gives: latents [B, Q, F], codes [B, K, F] and the commitment loss."""

    quantized: Tensor
    codes: Tensor
    commitment: Tensor


class CodebookLayer(nn.Module):
    """One codebook and the projections into and out of its space."""

    embed: Tensor
    cluster_size: Tensor
    embed_avg: Tensor
    inited: Tensor

    def __init__(self, width: int, entries: int, dim: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(width, dim)
        self.project_out = nn.Linear(dim, width)
        embed = nn.init.kaiming_uniform_(torch.empty(entries, dim))
        self.register_buffer("embed", embed)
        self.register_buffer("cluster_size", torch.zeros(entries))
        self.register_buffer("embed_avg", embed.clone())
        self.register_buffer("inited", torch.zeros(1))

    def nearest(self, vectors: Tensor) -> Tensor:
        """The closest entry to each vector, [.., dim] -> [..]."""
        flat = vectors.reshape(-1, vectors.shape[-1])
        return _nearest(flat, self.embed).view(vectors.shape[:-1])

    def decode(self, codes: Tensor) -> Tensor:
        """Latents of codes, [..] -> [.., Q]."""
        latents: Tensor = self.project_out(functional.embedding(codes, self.embed))
        return latents

    @torch.no_grad()
    def start(self, vectors: Tensor, generator: torch.Generator | None = None) -> None:
        """Set the entries to the k-means centres of `vectors`, once in a codebook's life."""
        if bool(self.inited.item()):
            return
        centres, counts = _kmeans(vectors, len(self.embed), generator)
        self.embed.copy_(centres)
        self.embed_avg.copy_(centres)
        self.cluster_size.copy_(counts)
        self.inited.fill_(1)

    @torch.no_grad()
    def follow(
        self, vectors: Tensor, codes: Tensor, generator: torch.Generator | None = None
    ) -> None:
        """Move the entries towards the vectors they won; replace those that win too little."""
        entries = len(self.embed)
        counts, sums = _assigned(vectors, codes, entries)
        self.cluster_size.mul_(_DECAY).add_(counts, alpha=1 - _DECAY)
        self.embed_avg.mul_(_DECAY).add_(sums, alpha=1 - _DECAY)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + _EPSILON) / (total + entries * _EPSILON) * total
        moved = self.embed_avg / smoothed[:, None]
        dead = self.cluster_size < _ALIVE
        self.embed.copy_(torch.where(dead[:, None], _draw(vectors, entries, generator), moved))


class Quantizer(nn.Module):
    """K codebooks in a row, each coding what the ones before left over."""

    def __init__(self, width: int, codebooks: int, entries: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CodebookLayer(width, entries, dim) for _ in range(codebooks))

    def first(self, count: int | None = None) -> list[CodebookLayer]:
        """The first layers, all of them without a count."""
        return cast("list[CodebookLayer]", list(self.layers)[:count])

    def encode(self, latents: Tensor) -> Tensor:
        """Codes of latents, [B, Q, F] -> [B, K, F]."""
        residual = latents.transpose(1, 2)  # [B, F, Q]
        codes = []
        for layer in self.first():
            codes.append(layer.nearest(layer.project_in(residual)))
            residual = residual - layer.decode(codes[-1])
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Latents of codes, [B, K, F] -> [B, Q, F]; with fewer codebooks, the first ones' sum."""
        first, *rest = self.first(codes.shape[1])
        latents = first.decode(codes[:, 0])
        for layer, row in zip(rest, codes.unbind(1)[1:], strict=True):
            latents = latents + layer.decode(row)
        return latents.transpose(1, 2)

    def train_step(
        self,
        latents: Tensor,
        n_layers: int | None = None,
        generator: torch.Generator | None = None,
        *,
        follow: bool = True,
    ) -> QuantizerStep:
        """Quantise [B, Q, F] with the first layers; their codebooks follow, or stay as they are."""
        residual = latents.transpose(1, 2)  # [B, F, Q]
        quantized = torch.zeros_like(residual)
        codes, losses = [], []
        for layer in self.first(n_layers):
            vectors = layer.project_in(residual)
            flat = vectors.detach().flatten(0, 1)
            if follow:
                layer.start(flat, generator)
            codes.append(layer.nearest(vectors.detach()))
            entries = functional.embedding(codes[-1], layer.embed)
            losses.append(functional.mse_loss(vectors, entries))
            out = layer.project_out(vectors + (entries - vectors).detach())
            residual, quantized = residual - out, quantized + out
            if follow:
                layer.follow(flat, codes[-1].flatten(), generator)
        return QuantizerStep(
            quantized.transpose(1, 2), torch.stack(codes, dim=1), torch.stack(losses).mean()
        )


def _nearest(vectors: Tensor, entries: Tensor) -> Tensor:
    """Argmin of the squared distance in expanded form, the form that decides ties and near ties."""
    distance = vectors.square().sum(1, keepdim=True) - 2 * (vectors @ entries.t())
    return (distance + entries.square().sum(1)).argmin(dim=1)


def _assigned(vectors: Tensor, codes: Tensor, entries: int) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(codes, minlength=entries).to(vectors.dtype)
    sums = vectors.new_zeros(entries, vectors.shape[1]).index_add_(0, codes, vectors)
    return counts, sums


def _draw(vectors: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Random vectors of the batch, each at most once if there are enough."""
    total = len(vectors)
    if total >= count:
        chosen = torch.randperm(total, generator=generator, device=vectors.device)[:count]
    else:
        chosen = torch.randint(total, (count,), generator=generator, device=vectors.device)
    return vectors[chosen]


def _kmeans(
    vectors: Tensor, count: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Centres and how many vectors each won; a centre that wins none stays where it was."""
    if len(vectors) > _KMEANS_VECTORS:
        vectors = _draw(vectors, _KMEANS_VECTORS, generator)
    centres = _draw(vectors, count, generator)
    counts = vectors.new_zeros(count)
    for _ in range(_KMEANS_ROUNDS):
        counts, sums = _assigned(vectors, _nearest(vectors, centres), count)
        means = sums / counts.clamp(min=1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, centres)
    return centres, counts
