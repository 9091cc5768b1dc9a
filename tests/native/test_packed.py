"""The compiled products of 8- and 4-bit weights against the torch path of the same layers."""

from __future__ import annotations

import pytest
import torch

from faster_higgs.native.kernels import FEW_ROWS, exact_activations
from faster_higgs.quant.linear import Int4Linear
from tests.quant.layers import KINDS, SHAPES, activations, distance, filled


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, FEW_ROWS])
def test_a_kernel_computes_what_torch_does(kernels, kind, inputs, outputs, rows):
    layer, _ = filled(kind, inputs, outputs)
    x = activations(rows, inputs)
    plain, plain_bf16 = layer(x), layer(x.bfloat16())
    layer._kernels = kernels
    assert distance(layer(x), plain) < 1e-6
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert distance(layer(x.bfloat16()), plain_bf16) < 2**-8


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_computes_a_row_in_company_as_alone(kernels, kind):
    layer, _ = filled(kind, 72, 50)
    layer._kernels = kernels
    x = activations(FEW_ROWS, 72)
    assert layer(x).equal(torch.cat([layer(row[None]) for row in x]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_lets_no_fault_pass(kernels, kind):
    layer, _ = filled(kind, 64, 16)
    layer._kernels = kernels
    x = activations(2, 64)
    x[0, 5] = torch.nan
    assert layer(x)[0].isnan().all() and layer(x)[1].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_takes_rows_of_zeros(kernels, kind):
    layer, _ = filled(kind, 64, 16)
    layer._kernels = kernels
    assert layer(torch.zeros(3, 64)).eq(0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_a_kernel_dequantizes_as_torch_does(kernels, kind, inputs, outputs, dtype):
    layer, _ = filled(kind, inputs, outputs)
    plain = layer.dequantized(dtype)
    layer._kernels = kernels
    assert layer.dequantized(dtype).equal(plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("size", [1.0, 1e-5])
def test_the_compiled_search_finds_what_torch_does(kernels, inputs, outputs, dtype, size):
    layer, weight = filled(Int4Linear, inputs, outputs)
    weight = (weight * size).to(dtype)
    weight[0] = 0
    errors = []
    for way in (None, kernels):
        layer._kernels = way
        for name, value in layer.pack(weight).items():
            setattr(layer, name, value)
        layer._kernels = None
        errors.append(distance(layer.dequantized(), weight))
        assert layer.dequantized()[0].eq(0).all()
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 17), (96, 50), (640, 256)])
@pytest.mark.parametrize("rows", [17, 32, 100])
def test_many_rows_meet_the_weights_rounded_to_bf16(kernels, kind, inputs, outputs, rows):
    layer, _ = filled(kind, inputs, outputs)
    x = activations(rows, inputs).bfloat16()
    if not kernels.takes_many(x.dtype, layer.stored()):
        pytest.skip(f"{kernels.name} takes few rows only")
    exact = x.float() @ layer.dequantized(torch.bfloat16).float().T
    found = kernels.linear_many(x, layer.stored())
    assert distance(found, exact) < 2**-8
    assert found[:1].equal(kernels.linear_many(x[:1].contiguous(), layer.stored()))


def test_torch_multiplies_as_before_beside_many_rows(kernels):
    """oneDNN sets up the processor's tiles too."""
    layer, _ = filled(Int4Linear, 640, 256)
    x, weight = activations(64, 640).bfloat16(), torch.randn(512, 640).bfloat16()
    if not kernels.takes_many(x.dtype, layer.stored()):
        pytest.skip(f"{kernels.name} takes few rows only")
    before = torch.nn.functional.linear(x, weight)
    for _ in range(5):
        kernels.linear_many(x, layer.stored())
        assert torch.nn.functional.linear(x, weight).equal(before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompts_rows_are_not_rounded_however_few_are_read_at_once(kernels, kind):
    layer, _ = filled(kind, 640, 256)
    layer._kernels = kernels
    x = activations(40, 640).bfloat16()
    with exact_activations():
        whole, few = layer(x), layer(x[:3])
    assert distance(few, x[:3].float() @ layer.dequantized().T) < 2**-7
    assert distance(layer(x[:3]), x[:3].float() @ layer.dequantized().T) > distance(few, whole[:3])
    if kernels.takes_many(x.dtype, layer.stored()):
        assert few.equal(whole[:3])
