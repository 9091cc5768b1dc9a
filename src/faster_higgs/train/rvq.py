"""Residual vector quantisation fitted once, by k-means, before anything else is trained.

Each stage codes what the stages before it left over. Knows nothing of sound or of networks, but for
`install`, which writes a fit into the codec's quantiser.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from faster_higgs.codec.quantizer import Quantizer
from faster_higgs.errors import SettingError

CHUNK = 1024  # vectors that are compared with a codebook at once


class Fit(NamedTuple):
    """Codebooks, and how good they are on the vectors they were made from."""

    codebooks: Tensor  # [K, V, D]
    left_over: list[float]  # share of the variance after each stage
    bits: list[float]  # entropy of each stage's codes


class Basis(NamedTuple):
    """Where vectors of a wide space lie in a narrow one: narrow = (wide - mean) @ directions."""

    mean: Tensor  # [Q]
    directions: Tensor  # [Q, D], orthonormal columns


def principal(vectors: Tensor, dim: int) -> Basis:
    """The `dim` directions in which `vectors` [N, Q] vary most."""
    mean = vectors.mean(0)
    centred = (vectors - mean).double()
    _, directions = torch.linalg.eigh(centred.T @ centred)
    return Basis(mean, directions.flip(1)[:, :dim].to(vectors.dtype).contiguous())


def fit(
    vectors: Tensor,
    stages: int,
    entries: int,
    seed: int = 0,
    *,
    sample: int = 131_072,
    rounds: int = 20,
) -> Fit:
    """Codebooks for `vectors` [N, D], made from at most `sample` of them."""
    if len(vectors) < entries:
        raise SettingError(
            f"A codebook of {entries} entries cannot be fitted to {len(vectors)} vectors; "
            "give more audio or fewer entries."
        )
    generator = torch.Generator().manual_seed(seed)
    rest = vectors[torch.randperm(len(vectors), generator=generator)[:sample]].float().clone()
    variance = (rest - rest.mean(0)).square().sum()
    books, left_over, bits = [], [], []
    for _ in range(stages):
        book = kmeans(rest, entries, generator, rounds)
        codes, _ = nearest(rest, book)
        rest -= book[codes]
        share = torch.bincount(codes, minlength=entries) / len(codes)
        books.append(book)
        left_over.append(float(rest.square().sum() / variance))
        bits.append(float(torch.special.entr(share).sum() / torch.log(torch.tensor(2.0))))
    return Fit(torch.stack(books), left_over, bits)


def encode(vectors: Tensor, codebooks: Tensor) -> Tensor:
    """Codes [N, K] of vectors [N, D], stage after stage."""
    rest = vectors.float().clone()
    codes = []
    for book in codebooks:
        codes.append(nearest(rest, book)[0])
        rest -= book[codes[-1]]
    return torch.stack(codes, 1)


def install(quantizer: Quantizer, codebooks: Tensor, basis: Basis) -> None:
    """Make `quantizer` code wide vectors [.., Q] as `codebooks` code their place in `basis`."""
    layers = quantizer.first()
    entries, dim = layers[0].embed.shape
    wide, narrow = basis.directions.shape
    if (
        codebooks.shape[:2] != (len(layers), entries)
        or narrow > dim
        or codebooks.shape[2] != narrow
    ):
        raise SettingError(
            f"Codebooks {list(codebooks.shape)} in {narrow} of {wide} dimensions do not fit a "
            f"quantiser of {len(layers)} codebooks with {entries} entries in {dim} dimensions."
        )
    with torch.no_grad():
        for number, (layer, book) in enumerate(zip(layers, codebooks, strict=True)):
            mean = basis.mean * (number == 0)
            _copy(layer.project_in.weight, basis.directions.T)
            _copy(layer.project_in.bias, -(mean @ basis.directions))
            _copy(layer.project_out.weight, basis.directions)
            _copy(layer.project_out.bias, mean)
            _copy(layer.embed, book)
            _copy(layer.embed_avg, book)
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


def _copy(target: Tensor, source: Tensor) -> None:
    """Fill the first entries along every axis; the rest becomes zero."""
    target.zero_()
    target[tuple(slice(size) for size in source.shape)] = source
