"""Residual vector quantisation fitted once, by k-means, before anything else is trained.

Each stage codes what the stages before it left over. Knows nothing of sound or of networks, but for
`install`, which writes a fit into the codec's quantiser.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from faster_higgs.codec.quantizer import Quantizer
from faster_higgs.errors import SettingError

CHUNK = 1024  # vectors that are compared with a codebook at once


class Stage(NamedTuple):
    """A codebook, and how good it is on the vectors it was made from."""

    codebook: Tensor  # [V, D]
    rest: Tensor  # [N, D], what is left for the next stage
    bits: float  # entropy of the codes


class Basis(NamedTuple):
    """Where vectors of a wide space lie in a narrow one: narrow = (wide - mean) @ directions."""

    mean: Tensor  # [Q]
    directions: Tensor  # [Q, D], orthonormal columns
    held: float  # share of the variance that stays


def principal(vectors: Tensor, dim: int) -> Basis:
    """The `dim` directions in which `vectors` [N, Q] vary most; double vectors tell them best."""
    mean = vectors.mean(0)
    centred = vectors - mean
    values, directions = torch.linalg.eigh(centred.T @ centred / len(vectors))
    return Basis(mean, directions.flip(1)[:, :dim], float(values[-dim:].sum() / values.sum()))


def stages(
    vectors: Tensor, weights: Tensor, entries: int, generator: torch.Generator, rounds: int = 20
) -> Iterator[Stage]:
    """A stage for each row of `weights` [K, D]: how much the dimensions of [N, D] count in it."""
    if len(vectors) < entries:
        raise SettingError(
            f"A codebook of {entries} entries cannot be fitted to {len(vectors)} vectors; "
            "give more audio or fewer entries."
        )
    rest = vectors
    for weight in weights:
        book = kmeans(rest * weight, entries, generator, rounds) / weight
        codes, _ = nearest(rest * weight, book * weight)
        rest = rest - book[codes]
        share = torch.bincount(codes, minlength=entries) / len(codes)
        yield Stage(book, rest, float(torch.special.entr(share).sum() / torch.tensor(2.0).log()))


def encode(vectors: Tensor, codebooks: Tensor, weights: Tensor) -> Tensor:
    """Codes [K, N] of vectors [N, D], stage after stage."""
    rest, codes = vectors, []
    for book, weight in zip(codebooks, weights, strict=True):
        codes.append(nearest(rest * weight, book * weight)[0])
        rest = rest - book[codes[-1]]
    return torch.stack(codes)


def install(quantizer: Quantizer, codebooks: Tensor, weights: Tensor) -> None:
    """Make `quantizer` code the first D dimensions of its latents as `encode` does."""
    layers = quantizer.first()
    entries, dim = layers[0].embed.shape
    wide = layers[0].project_in.in_features
    if codebooks.shape != (len(layers), entries, dim) or dim > wide:
        raise SettingError(
            f"Codebooks {list(codebooks.shape)} do not fit a quantiser of {len(layers)} codebooks "
            f"with {entries} entries in {dim} of {wide} dimensions."
        )
    with torch.no_grad():
        for layer, book, weight in zip(layers, codebooks, weights, strict=True):
            _diagonal(layer.project_in, weight)
            _diagonal(layer.project_out, 1 / weight)
            layer.embed.copy_(book * weight)
            layer.embed_avg.copy_(layer.embed)
            layer.cluster_size.fill_(1)
            layer.inited.fill_(1)


def kmeans(vectors: Tensor, count: int, generator: torch.Generator, rounds: int) -> Tensor:
    """`count` centres [count, D]; a centre that wins nothing moves to where the error is large."""
    centres = _seeds(vectors, count, generator)
    before = torch.inf
    for _ in range(rounds):
        codes, errors = nearest(vectors, centres)
        wins = torch.bincount(codes, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, codes, vectors)
        centres = sums / wins.clamp(min=1)[:, None]
        dead = (wins == 0).nonzero()[:, 0]
        if len(dead):
            far = torch.multinomial(errors + 1e-12, len(dead), generator=generator)
            centres[dead] = vectors[far]
        error = float(errors.mean())
        if not len(dead) and before - error <= 5e-4 * error:
            break
        before = error
    return centres


def nearest(vectors: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The closest centre of each vector and its squared distance."""
    half = 0.5 * centres.square().sum(1)
    codes, scores = [], []
    for part in torch.split(vectors, CHUNK):
        best = torch.addmm(-half, part, centres.T).max(1)
        codes.append(best.indices)
        scores.append(part.square().sum(1) - 2 * best.values)
    return torch.cat(codes), torch.cat(scores).clamp_(min=0)


def _seeds(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres far from each other (k-means++), chosen among some of the vectors."""
    few = vectors[torch.randperm(len(vectors), generator=generator)[: 16 * count]]
    norms = few.square().sum(1)
    chosen = torch.empty(count, dtype=torch.int64)
    distance = torch.full((len(few),), torch.inf)
    pick = 0
    for number in range(count):
        chosen[number] = pick
        new = norms - 2 * (few @ few[pick]) + norms[pick]
        distance = torch.minimum(distance, new).clamp_(min=0)
        pick = int(torch.multinomial(distance + 1e-12, 1, generator=generator))
    return few[chosen].clone()


def _diagonal(layer: torch.nn.Linear, values: Tensor) -> None:
    """Scale the first dimensions by `values`; the rest becomes zero."""
    layer.bias.zero_()
    layer.weight.zero_()
    layer.weight[: len(values), : len(values)] = torch.diag(values)
