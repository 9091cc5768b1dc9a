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


def test_clear_clusters_are_found_to_the_last_one() -> None:
    vectors = clusters(32, 6, 50)
    found = rvq.fit(vectors, 1, 32, seed=1)
    assert found.left_over[0] < 0.001
    assert found.bits[0] == pytest.approx(5.0, abs=0.01)


def test_every_stage_leaves_less_and_wastes_no_entry() -> None:
    vectors = torch.randn(6000, 8, generator=torch.Generator().manual_seed(0))
    found = rvq.fit(vectors, 4, 64, seed=1)
    assert found.left_over == sorted(found.left_over, reverse=True)
    assert found.left_over[-1] < 0.1
    codes = rvq.encode(vectors, found.codebooks)
    assert all(len(codes[:, k].unique()) == 64 for k in range(4))
    assert min(found.bits) > 5.5


def test_encode_is_what_the_fit_measured_and_seeds_repeat() -> None:
    vectors = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    found, again = rvq.fit(vectors, 3, 32, seed=5), rvq.fit(vectors, 3, 32, seed=5)
    assert torch.equal(found.codebooks, again.codebooks)
    codes = rvq.encode(vectors, found.codebooks)
    restored = sum(book[codes[:, k]] for k, book in enumerate(found.codebooks))
    share = (vectors - restored).square().sum() / (vectors - vectors.mean(0)).square().sum()
    assert float(share) == pytest.approx(found.left_over[-1], abs=1e-5)


def test_dead_entries_come_back_to_life() -> None:
    vectors = torch.cat([torch.zeros(500, 4), torch.eye(4) * 50, torch.eye(4) * -50])
    centres = rvq.kmeans(vectors, 9, torch.Generator().manual_seed(0), rounds=20)
    codes, errors = rvq.nearest(vectors, centres)
    assert len(codes.unique()) == 9
    assert float(errors.max()) < 1e-3


def test_the_codec_quantises_as_the_fit_does() -> None:
    wide = torch.randn(3000, 24, generator=torch.Generator().manual_seed(0))
    wide = wide * torch.linspace(3, 0.1, 24) + 5
    basis = rvq.principal(wide, 8)
    assert torch.allclose(basis.directions.T @ basis.directions, torch.eye(8), atol=1e-5)
    narrow = (wide - basis.mean) @ basis.directions
    found = rvq.fit(narrow, 4, 32, seed=0)
    quantizer = Quantizer(24, 4, 32, 10)
    rvq.install(quantizer, found.codebooks, basis)
    codes = quantizer.encode(wide.T[None])[0].T
    wanted = rvq.encode(narrow, found.codebooks)
    assert float((codes == wanted).float().mean()) > 0.999
    restored = quantizer.decode(wanted.T[None])[0].T
    near = (
        basis.mean
        + sum(book[wanted[:, k]] for k, book in enumerate(found.codebooks)) @ basis.directions.T
    )
    assert torch.allclose(restored, near, atol=1e-4)


def test_too_few_vectors_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(SettingError, match="10 vectors"):
        rvq.fit(torch.randn(10, 4), 1, 16)
    basis = rvq.Basis(torch.zeros(24), torch.eye(24)[:, :8])
    with pytest.raises(SettingError, match="do not fit"):
        rvq.install(tiny.codec().quantizer, torch.zeros(3, 16, 8), basis)
