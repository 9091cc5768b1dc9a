"""A compiled decoding step against the same step in torch, and the laws that hold bit by bit."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from faster_higgs.model.compiled import CompiledStep, compiled_step
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.model.paged import PagedBatch
from faster_higgs.quant.apply import swap
from faster_higgs.quant.quantization import Quantization
from tests.engine.conftest import CONFIG

WIDE = replace(CONFIG, hidden_size=40, num_attention_heads=6, num_key_value_heads=2, head_dim=20)
PRECISIONS = (None, "int8", "int4")
POSITIONS = (0, 37, 15, 16, 3)


def speaker(precision=None, dtype=torch.float32, config=CONFIG):
    model = DualFFN(config, text_head=False)
    model.initialize(torch.Generator().manual_seed(3), std=0.3)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    model = model.to(dtype).eval()
    if precision is not None:
        swap(model, Quantization(audio=precision))
    return model


def situation(model, positions=POSITIONS):
    """Columns and caches of requests that stand at `positions`; the pool is full of numbers."""
    generator = torch.Generator().manual_seed(5)
    entries = max(positions) // 16 + 1
    pool = model.new_pool(len(positions) * entries)
    for kept in (*pool.keys, *pool.values):
        kept.copy_(torch.randn(kept.shape, generator=generator))
    order = torch.randperm(len(positions) * entries, generator=generator)
    table = order.view(len(positions), entries).int()
    books, codes = model.config.num_codebooks, model.config.codebook_size
    columns = torch.randint(codes, (len(positions), books), generator=generator)
    return columns, PagedBatch(pool, table, torch.tensor(positions, dtype=torch.int32))


def in_torch(model, columns, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faster_higgs.model.layers.load", lambda: None)
        return model.audio_logits(model.decode(columns, batch))


@torch.inference_mode()
@pytest.mark.parametrize("config", [CONFIG, WIDE])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_computes_what_torch_does_and_writes_the_same_pages(kernels, precision, config):
    model = speaker(precision, config=config)
    columns, batch = situation(model)
    pool = copy.deepcopy(batch.pool)
    found = CompiledStep(kernels, model, batch.pool).logits(columns, batch)
    wanted = in_torch(model, columns, replace(batch, pool=pool))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(
        batch.pool.keys + batch.pool.values, pool.keys + pool.values, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_fp8_has_no_compiled_step():
    model = speaker("fp8")
    assert compiled_step(model, model.new_pool(1)) is None


@torch.inference_mode()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_narrow_models_are_computed_more_exactly_than_torch_does(kernels, precision):
    """Activations stay fp32: nearer to the same weights in fp32 than torch's own step is."""
    model = speaker(precision, torch.bfloat16)
    columns, batch = situation(model)
    pools = [copy.deepcopy(batch.pool) for _ in range(2)]
    found = CompiledStep(kernels, model, batch.pool).logits(columns, batch)
    rounded = in_torch(model, columns, replace(batch, pool=pools[0]))
    for kept in (pools[1].keys, pools[1].values):
        kept[:] = [pages.float() for pages in kept]
    exact = in_torch(model.float(), columns, replace(batch, pool=pools[1]))
    assert (found - exact).norm() < (rounded - exact).norm()


@torch.inference_mode()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_request_is_written_in_company_as_alone(kernels, precision):
    model = speaker(precision)
    columns, batch = situation(model, positions=tuple(range(16)))
    step = CompiledStep(kernels, model, batch.pool)
    together = step.logits(columns, batch)
    for row in range(16):
        one = slice(row, row + 1)
        alone = PagedBatch(batch.pool, batch.table[one], batch.positions[one])
        assert step.logits(columns[one], alone).equal(together[one])


@torch.inference_mode()
def test_two_threads_compute_what_one_does(kernels):
    model = speaker("int4")
    columns, batch = situation(model)
    step, before = CompiledStep(kernels, model, batch.pool), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        both = [step.logits(columns, batch) for _ in range(200)]
        torch.set_num_threads(1)
        assert all(one.equal(step.logits(columns, batch)) for one in both)
    finally:
        torch.set_num_threads(before)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_layer_that_computes_something_else_is_left_to_torch(kernels, monkeypatch):
    monkeypatch.setattr("faster_higgs.model.compiled.load", lambda: kernels)
    model = speaker()
    pool = model.new_pool(1)
    assert compiled_step(model, pool) is not None
    model.layers[1].o_proj = Doubled(32, 32, bias=False)
    assert compiled_step(model, pool) is None
    model.layers[1].o_proj = nn.Linear(32, 32, bias=True)
    assert compiled_step(model, pool) is None
    assert compiled_step(speaker(dtype=torch.float16), pool) is None
