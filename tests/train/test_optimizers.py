"""Optimisers: small steps are not lost to 16 bits, states come back exactly, groups are right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tiny_training as tiny
from faster_higgs.train.config import OptimizerSettings
from faster_higgs.train.optimizers import MasterAdamW, grouped, optimizer


def small(dtype: torch.dtype) -> nn.Module:
    layer = nn.Linear(16, 16, bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 1.5, 256).view(16, 16))
    return layer


def steps(layer: nn.Module, made: torch.optim.Optimizer, count: int) -> None:
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        layer.weight.grad = 1 + 0.1 * torch.randn(16, 16, generator=generator).to(layer.weight)  # type: ignore[operator]
        made.step()


def test_masters_in_fp32_keep_the_steps_that_16_bits_lose() -> None:
    settings = OptimizerSettings(1e-5, weight_decay=0.0)
    wide, narrow, lossy = (small(d) for d in (torch.float32, torch.bfloat16, torch.bfloat16))
    started = narrow.weight.detach().clone()
    exact, made = optimizer(wide, settings), optimizer(narrow, settings)
    assert type(exact) is torch.optim.AdamW and isinstance(made, MasterAdamW)
    with torch.no_grad():
        wide.weight.copy_(narrow.weight)
    steps(wide, exact, 400)
    steps(narrow, made, 400)
    steps(lossy, torch.optim.AdamW(lossy.parameters(), 1e-5, weight_decay=0.0), 400)
    assert torch.equal(lossy.weight, started)
    off = (made.state[narrow.weight]["master"] - wide.weight).abs().max()
    assert off < 2e-5
    assert torch.equal(narrow.weight, made.state[narrow.weight]["master"].bfloat16())
    assert not torch.equal(narrow.weight, started)


def test_what_masters_know_comes_back_bit_for_bit() -> None:
    settings = OptimizerSettings(1e-3)
    whole, first, second = (small(torch.bfloat16) for _ in range(3))
    steps(whole, made := optimizer(whole, settings), 6)
    steps(first, before := optimizer(first, settings), 3)
    second.load_state_dict(first.state_dict())
    after = optimizer(second, settings)
    after.load_state_dict(before.state_dict())
    for number in range(3, 6):
        generator = torch.Generator().manual_seed(number)
        second.weight.grad = 1 + 0.1 * torch.randn(16, 16, generator=generator).to(second.weight)
        after.step()
    assert torch.equal(second.weight, whole.weight)
    for key in ("master", "exp_avg", "exp_avg_sq", "step"):
        assert torch.equal(after.state[second.weight][key], made.state[whole.weight][key])


def test_norms_and_embeddings_do_not_decay_and_pairs_may_differ_in_pace() -> None:
    pytest.importorskip("peft")
    from faster_higgs.train import lora
    from faster_higgs.train.tune_config import AdapterSettings

    model = tiny.model()
    names = {weight: name for name, weight in model.named_parameters()}
    groups = grouped(model, OptimizerSettings(1e-3, weight_decay=0.1))
    still = [group for group in groups if not group["weight_decay"]]
    assert {names[w].split(".")[-2] for g in still for w in g["params"]} == {
        *("embed_text", "embed_audio", "norm", "text_input_norm", "text_post_norm"),
        *("audio_input_norm", "audio_post_norm"),
    }
    lora.put(model, AdapterSettings(rank=2))
    rates = {
        name.split(".")[-3]: group["lr"]
        for group in grouped(model, OptimizerSettings(1e-3, plus=16))
        for weight in group["params"]
        for name in [next(n for n, w in model.named_parameters() if w is weight)]
    }
    assert rates == {"lora_A": 1e-3, "lora_B": pytest.approx(1.6e-2)}


def test_eight_bits_learn() -> None:
    pytest.importorskip("bitsandbytes")
    layer = nn.Linear(128, 64, bias=False)
    made = optimizer(layer, OptimizerSettings(1e-2, kind="adamw8bit"))
    inputs = torch.randn(32, 128, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(20):
        made.zero_grad()
        loss = layer(inputs).square().mean()
        loss.backward()
        made.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert made.state[layer.weight]["state1"].dtype == torch.uint8
