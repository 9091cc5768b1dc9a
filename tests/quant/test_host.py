"""Weights that stay in main memory: the same product, and no move with the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from faster_higgs.errors import SettingError
from faster_higgs.quant.host import HostLinear, keep_text_on_host
from tests.model.tiny_model import tiny_model


def pair() -> tuple[nn.Linear, HostLinear]:
    """A linear layer and a host one of equal weights."""
    plain = nn.Linear(24, 10, bias=False)
    host = HostLinear(24, 10)
    host.load_state_dict(plain.state_dict())
    return plain, host


def test_beside_its_weights_it_is_the_plain_layer() -> None:
    plain, host = pair()
    x = torch.randn(3, 5, 24)
    assert torch.equal(host(x), plain(x))


def test_the_product_is_where_x_is_and_the_weights_stay() -> None:
    _, host = pair()
    out = host(torch.empty(3, 24, device="meta"))
    assert out.is_meta and out.shape == (3, 10)
    assert not host.weight.is_meta


def test_a_cast_is_followed_and_a_move_is_not() -> None:
    plain, host = pair()
    before = host.weight.clone()
    model = nn.ModuleList([plain, host]).to("meta", torch.bfloat16)
    assert plain.weight.is_meta and model[1].weight.device.type == "cpu"
    assert torch.equal(host.weight, before.to(torch.bfloat16))
    assert not host.weight.requires_grad


def test_one_without_weights_yet_can_be_given_room() -> None:
    with torch.device("meta"):
        host = HostLinear(24, 10)
    assert host.weight.is_meta
    assert host.to_empty(device="cpu").weight.shape == (10, 24)
    assert not host.weight.is_meta


def test_the_text_side_and_no_other_layer_is_kept() -> None:
    model = tiny_model().to("meta")
    keep_text_on_host(model, "cuda")
    kept = {name for name, module in model.named_modules() if isinstance(module, HostLinear)}
    sides = {f"layers.{n}.text_mlp.{part}" for n in range(3) for part in ("gate", "up", "down")}
    assert kept == {"text_head", *sides}
    assert all(model.get_submodule(name).weight.is_meta for name in kept)


def test_for_the_processor_it_is_refused() -> None:
    with pytest.raises(SettingError, match="in main memory already"):
        keep_text_on_host(tiny_model(), "cpu")


@pytest.mark.gpu
def test_a_card_gets_the_weights_for_the_call_only() -> None:
    plain, host = pair()
    host.to("cuda")
    assert host.weight.is_pinned()
    x = torch.randn(5, 24)
    held = torch.cuda.memory_allocated()
    out = host(x.cuda())
    assert torch.allclose(out.cpu(), plain(x), atol=1e-5)
    del out
    assert torch.cuda.memory_allocated() == held
