"""Weights become codes: near, within range, nearer with the search than without."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.quant.rounding import OFFSET, round_fp8, round_int4, round_int8, round_rows


def weights(rows=64, inputs=512, seed=0):
    return torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed)) * 0.02


def rounded_int4(weight, group, search):
    codes, scales = round_int4(weight, group, search)
    return (codes.float() - OFFSET) * scales.float().repeat_interleave(group, 1)


@pytest.mark.parametrize("group", [8, 32, 128])
@pytest.mark.parametrize("heavy", [False, True])
def test_the_search_is_nearer_than_plain_rounding(group, heavy):
    weight = weights()
    if heavy:
        weight = weight * weight.abs() * 50
    plain, searched = (
        (rounded_int4(weight, group, search) - weight).square().sum() for search in (False, True)
    )
    assert searched < 0.8 * plain


@given(st.sampled_from([0.0, 1e-9, 1e-4, 1.0, 1e4]), st.booleans(), st.integers(0, 99))
def test_no_weight_is_further_off_than_its_group_is_large(size, search, seed):
    weight = weights(4, 64, seed) * size
    found = rounded_int4(weight, 32, search)
    assert found.isfinite().all()
    assert (found - weight).abs().max() <= weight.abs().max() / 3 + 1e-9


def test_a_group_with_one_weight_keeps_it():
    weight = torch.zeros(2, 64)
    weight[0, 3], weight[1, 40] = 0.5, -0.25
    assert torch.allclose(rounded_int4(weight, 32, search=True), weight, rtol=1e-3)


def test_int8_is_off_by_half_a_step_at_most():
    weight = weights()
    codes, scales = round_int8(weight)
    assert codes.dtype == torch.int8 and codes.abs().amax(1).eq(127).all()
    off = (codes * scales[:, None] - weight).abs()
    assert (off <= scales[:, None] * 0.5001).all()


def test_fp8_is_off_by_a_sixteenth_at_most_or_half_its_least_step():
    weight = weights()
    codes, scales = round_fp8(weight)
    assert codes.dtype == torch.float8_e4m3fn and codes.float().abs().amax(1).eq(448).all()
    off = (codes.float() * scales[:, None] - weight).abs()
    assert (off <= weight.abs() / 16 + scales[:, None] * 2.0**-10).all()


@pytest.mark.parametrize("rounded", [round_int8, round_fp8])
def test_rows_of_zeros_stay_zeros(rounded):
    codes, scales = rounded(torch.zeros(3, 16))
    assert codes.float().eq(0).all() and scales.isfinite().all()
    assert round_rows(torch.zeros(3, 16), 8).eq(0).all()


@given(st.integers(1, 5), st.sampled_from([8, 24, 128, 200]), st.sampled_from([8, 128]))
def test_activations_are_off_by_half_a_step_of_their_group(rows, inputs, group):
    x = weights(rows, inputs) * 100
    found = round_rows(x, group)
    for start in range(0, inputs, group):
        part = slice(start, start + group)
        step = x[:, part].abs().amax(1, keepdim=True) / 127
        assert ((found - x)[:, part].abs() <= step * 0.5001).all()
