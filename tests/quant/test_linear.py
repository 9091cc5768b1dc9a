"""Small linear layers: every way of computing them gives the same, and stays near the weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from faster_higgs.errors import SettingError
from faster_higgs.native.kernels import FEW_ROWS
from faster_higgs.quant.linear import Fp8Linear, Int4Linear, Int8Linear
from tests.quant.layers import KINDS, ON_CARDS, SHAPES, activations, distance, filled


@pytest.mark.parametrize("kind", ON_CARDS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_many_rows_are_multiplied_by_the_dequantized_weights(kind, inputs, outputs):
    layer, _ = filled(kind, inputs, outputs)
    x = activations(FEW_ROWS + 5, inputs)
    assert distance(layer(x), functional.linear(x, layer.dequantized())) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_few_rows_and_many_agree_but_for_the_rounding_of_activations(kind):
    layer, _ = filled(kind, 512, 64)
    x = activations(FEW_ROWS + 1, 512)
    assert 0 < distance(layer(x[:3]), layer(x)[:3]) < 0.01


ROOMS = [(Int8Linear, 0.01), (Fp8Linear, 0.03), (Int4Linear, 0.11)]


@pytest.mark.parametrize(("kind", "room"), ROOMS)
def test_the_weights_stay_near(kind, room):
    layer, weight = filled(kind, 256, 100)
    assert distance(layer.dequantized(), weight) < room


def test_smaller_groups_stay_nearer():
    errors = []
    for group in (128, 32, 8):
        layer, weight = filled(Int4Linear, 256, 64, group=group)
        errors.append(distance(layer.dequantized(), weight))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(("inputs", "group"), [(256, 128), (192, 64), (96, 32), (40, 8)])
def test_the_group_is_the_largest_that_divides_the_inputs(inputs, group):
    assert Int4Linear(inputs, 4).group == group


@pytest.mark.parametrize("kind", ON_CARDS)
def test_inputs_that_do_not_fit_are_refused_in_words(kind):
    with pytest.raises(SettingError, match="12 inputs"):
        kind(12, 4)


@pytest.mark.parametrize("kind", ON_CARDS)
def test_a_layer_on_meta_packs_a_weight_and_computes_like_any(kind):
    with torch.device("meta"):
        empty = kind(64, 20)
    layer, weight = filled(kind, 64, 20)
    for name, value in empty.pack(weight).items():
        assert value.equal(getattr(layer, name)) and not value.is_meta
        assert value.shape == getattr(empty, name).shape


@pytest.mark.parametrize("kind", ON_CARDS)
def test_a_cast_changes_no_weight(kind):
    layer, _ = filled(kind, 64, 20)
    before = layer.dequantized()
    assert layer.to(torch.bfloat16).double().half().dequantized().equal(before)


@pytest.mark.parametrize("kind", ON_CARDS)
def test_the_gradient_goes_through_to_the_input(kind):
    layer, _ = filled(kind, 64, 20)
    x = activations(3, 64).requires_grad_()
    layer(x).sum().backward()
    assert distance(x.grad[0], layer.dequantized().sum(0)) < 1e-6


@pytest.mark.parametrize("kind", ON_CARDS)
def test_any_leading_dimensions_will_do(kind):
    layer, _ = filled(kind, 64, 20)
    x = activations(6, 64)
    assert layer(x.view(2, 3, 64)).flatten(0, 1).equal(layer(x))
    assert layer(x[0]).equal(layer(x[:1])[0])


@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1])
def test_fp8_is_left_to_torch_on_the_processor(rows):
    layer, _ = filled(Fp8Linear, 64, 20)
    assert Fp8Linear(64, 20)._kernels is None
    x = activations(rows, 64)
    assert distance(layer(x), functional.linear(x, layer.dequantized())) < 1e-6
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    with pytest.raises(AssertionError):
        layer.stored().in_c()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_the_gradient_is_that_of_the_dequantized_weights_and_none_of_them_are_kept(
    kind, inputs, outputs
):
    layer, _ = filled(kind, inputs, outputs)
    x, slope = activations(FEW_ROWS + 5, inputs).requires_grad_(), activations(3, outputs)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda none: none):
        made = layer(x)[:3]
    made.backward(slope)
    wanted = torch.zeros_like(x)
    wanted[:3] = slope @ layer.dequantized()
    assert distance(x.grad, wanted) < 1e-5
    assert not kept
