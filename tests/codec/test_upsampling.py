"""The transposed convolution of the decoder: its quick form computes what torch's does."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from faster_higgs.codec import acoustic
from faster_higgs.codec.acoustic import Upsampling


def plain(layer: Upsampling, x: torch.Tensor) -> torch.Tensor:
    return functional.conv_transpose1d(
        x, layer.weight, layer.bias, layer.stride, layer.padding, layer.output_padding
    )


@pytest.fixture
def always_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acoustic, "_MANY", 0)


@torch.no_grad()
@pytest.mark.usefixtures("always_quick")
@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_neighbours_make_what_the_transposed_convolution_makes(ratio: int, length: int) -> None:
    torch.manual_seed(0)
    layer, x = Upsampling(6, ratio), torch.randn(2, 6, length)
    torch.testing.assert_close(layer(x), plain(layer, x))


@pytest.mark.usefixtures("always_quick")
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_weight_or_bias_that_changes_is_heard(name: str) -> None:
    layer, x = Upsampling(6, 3), torch.randn(1, 6, 4)
    for change in (lambda w: w.add_(1), lambda w: w.copy_(w * 2)):
        with torch.no_grad():
            layer(x)
            change(getattr(layer, name))
            torch.testing.assert_close(layer(x), plain(layer, x))


def test_gradients_pass() -> None:
    layer, x = Upsampling(256, 3), torch.randn(1, 256, 4, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is not None
