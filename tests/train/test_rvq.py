"""The fitted residual quantiser: it follows the data, uses its entries, fits the codec's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import tiny_training as tiny
from faster_higgs.codec.quantizer import Quantizer
from faster_higgs.errors import SettingError
from faster_higgs.train import rvq


def clusters(count: int, dim: int, per: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, dim, generator=generator) * 4
    noise = 0.05 * torch.randn(count, per, dim, generator=generator)
    return (centres[:, None] + noise).flatten(0, 1)


def fit(vectors: Tensor, weights: Tensor, entries: int, seed: int = 0) -> list[rvq.Stage]:
    return list(rvq.stages(vectors, weights, entries, torch.Generator().manual_seed(seed)))


def books(stages: list[rvq.Stage]) -> Tensor:
    return torch.stack([stage.codebook for stage in stages])


def noise(count: int, dim: int) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def test_clear_clusters_are_found_to_the_last_one() -> None:
    vectors = clusters(32, 6, 50)
    (found,) = fit(vectors, torch.ones(1, 6), 32, seed=1)
    assert float(found.rest.square().sum() / vectors.var(0).sum() / len(vectors)) < 0.001
    assert found.bits == pytest.approx(5.0, abs=0.01)


def test_every_stage_leaves_less_and_wastes_no_entry() -> None:
    vectors = noise(6000, 8)
    found = fit(vectors, torch.ones(4, 8), 64, seed=1)
    left = [float(stage.rest.square().mean()) for stage in found]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.1
    codes = rvq.encode(vectors, books(found), torch.ones(4, 8))
    assert all(len(row.unique()) == 64 for row in codes)
    assert min(stage.bits for stage in found) > 5.5


def test_a_stage_codes_first_what_weighs_most_in_it() -> None:
    vectors, weights = noise(3000, 8), torch.ones(2, 8)
    weights[0, 4:] = 0.1
    first, second = fit(vectors, weights, 32)
    heavy, light = first.rest.square().mean(0).split(4)
    assert float(heavy.mean()) < 0.4 * float(light.mean())
    assert float(second.rest.square().mean()) < float(first.rest.square().mean())


def test_encode_is_what_the_fit_measured_and_seeds_repeat() -> None:
    vectors, weights = noise(2000, 8), torch.rand(3, 8) + 0.5
    found, again = fit(vectors, weights, 32, seed=5), fit(vectors, weights, 32, seed=5)
    assert torch.equal(books(found), books(again))
    codes = rvq.encode(vectors, books(found), weights)
    restored = sum(book[row] for book, row in zip(books(found), codes, strict=True))
    assert torch.allclose(vectors - restored, found[-1].rest, atol=1e-5)


def test_dead_entries_come_back_to_life() -> None:
    vectors = torch.cat([torch.zeros(500, 4), torch.eye(4) * 50, torch.eye(4) * -50])
    centres = rvq.kmeans(vectors, 9, torch.Generator().manual_seed(0), rounds=20)
    codes, errors = rvq.nearest(vectors, centres)
    assert len(codes.unique()) == 9
    assert float(errors.max()) < 1e-3


def test_principal_directions_are_orthonormal_and_say_what_they_hold() -> None:
    wide = noise(3000, 24).double() * torch.linspace(3, 0.1, 24) + 5
    basis = rvq.principal(wide, 8)
    assert torch.allclose(basis.directions.T @ basis.directions, torch.eye(8).double())
    narrow = (wide - basis.mean) @ basis.directions
    share = narrow.square().sum() / (wide - basis.mean).square().sum()
    assert basis.held == pytest.approx(float(share))


def test_the_codec_quantises_as_the_fit_does() -> None:
    vectors, weights = noise(3000, 10), torch.rand(4, 10) + 0.5
    found = books(fit(vectors, weights, 32))
    quantizer = Quantizer(24, 4, 32, 10)
    rvq.install(quantizer, found, weights)
    wide = torch.cat([vectors, noise(3000, 14)], 1)  # what lies outside is not coded
    wanted = rvq.encode(vectors, found, weights)
    assert float((quantizer.encode(wide.T[None])[0] == wanted).float().mean()) > 0.999
    restored = quantizer.decode(wanted[None])[0].T
    near = sum(book[row] for book, row in zip(found, wanted, strict=True))
    assert torch.allclose(restored[:, :10], near, atol=1e-5)
    assert not restored[:, 10:].any()


def test_too_few_vectors_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(SettingError, match="10 vectors"):
        fit(torch.randn(10, 4), torch.ones(1, 4), 16)
    with pytest.raises(SettingError, match="do not fit"):
        rvq.install(tiny.codec().quantizer, torch.zeros(3, 16, 8), torch.ones(3, 8))
