"""Triton's kernels against torch, on a card or in Triton's interpreter: see test_cuda_found.py."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from faster_higgs.model.compiled import compiled_step
from faster_higgs.model.fused import FusedStep, fused_step
from faster_higgs.model.paged import gathered_attention
from faster_higgs.native import cuda
from faster_higgs.native.cuda import CudaKernels, Ready
from faster_higgs.native.kernels import Stored
from faster_higgs.quant.linear import Fp8Linear, PackedLinear
from tests.engine.conftest import CONFIG
from tests.native.test_kernels import FLOATS, attention, plain_attention, seeded
from tests.native.test_step import PRECISIONS as ON_CPUS
from tests.native.test_step import WIDE, in_torch, situation, speaker
from tests.quant.layers import ON_CARDS, activations, distance, filled

pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]
on_a_card = pytest.mark.skipif(INTERPRETED, reason="asks where tensors are")

SHAPES = [(8, 5), (40, 17), (1024, 16), (1096, 17)]  # inputs, outputs
HEADS = [(3, 1, 64), (6, 2, 128), (4, 2, 20), (18, 1, 8)]  # q, kv, width
PRECISIONS = (*ON_CPUS, "fp8")
NARROW = 2**-7  # the interpreter cuts what does not fit into bf16


@pytest.fixture
def kernels() -> CudaKernels:
    return CudaKernels()


def here(*values):
    return tuple(one.to(DEVICE) for one in values)


@pytest.mark.parametrize("kind", ON_CARDS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("rows", [1, 5])
def test_few_rows_meet_the_dequantized_weights(kernels, kind, inputs, outputs, rows):
    layer, _ = filled(kind, inputs, outputs)
    x, weight = here(activations(rows, inputs), layer.dequantized())
    wanted = functional.linear(x.double(), weight.double())
    stored = layer.to(DEVICE).stored()
    assert distance(kernels.linear(x, stored), wanted) < 1e-6
    narrow = kernels.linear(x.bfloat16(), stored)
    wanted = functional.linear(x.bfloat16().double(), weight.double())
    assert narrow.dtype == torch.bfloat16 and distance(narrow, wanted) < NARROW


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_numbers_are_multiplied_as_they_are(kernels, dtype, inputs, outputs):
    x, weight = here(seeded(3, inputs), seeded(outputs, inputs, dtype=dtype, seed=1))
    wanted = functional.linear(x.double(), weight.double())
    assert distance(kernels.linear(x, Stored.plain(weight)), wanted) < 1e-6


@pytest.mark.parametrize("kind", [*ON_CARDS, nn.Linear])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_row_is_multiplied_in_company_as_alone(kernels, kind, dtype):
    if kind is nn.Linear:
        stored = Stored.plain(seeded(20, 520).to(DEVICE))
    else:
        stored = filled(kind, 520, 20)[0].to(DEVICE).stored()
    (x,) = here(activations(5, 520, dtype))
    together = kernels.linear(x, stored)
    for rows in (1, 2):
        assert kernels.linear(x[:rows].clone(), stored).equal(together[:rows])


@pytest.mark.parametrize("kind", ON_CARDS)
def test_no_fault_passes(kernels, kind):
    stored = filled(kind, 64, 16)[0].to(DEVICE).stored()
    (x,) = here(activations(2, 64))
    x[0, 5] = torch.nan
    found = kernels.linear(x, stored)
    assert found[0].isnan().all() and found[1].isfinite().all()


@pytest.mark.parametrize("kind", ON_CARDS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_weights_are_unpacked_as_in_torch(kernels, kind, inputs, outputs):
    layer = filled(kind, inputs, outputs)[0].to(DEVICE)
    whole = layer.stored()._replace(outputs=layer.tiles * 16)
    for dtype in FLOATS:
        found, wanted = kernels.unpack(whole, dtype), layer.floats(slice(None), dtype).T
        if INTERPRETED and dtype == torch.bfloat16:
            assert distance(found, wanted) < NARROW
        else:
            assert found.equal(wanted)


def test_every_number_of_fp8_is_unpacked(kernels):
    layer = Fp8Linear(16, 16)
    layer.scales.fill_(1)
    codes = torch.arange(256).where(torch.arange(256) % 128 != 127, 0)  # 127 and 255 are NaN
    layer.codes = codes.to(torch.uint8).view(layer.codes.shape)
    layer.to(DEVICE)
    found = kernels.unpack(layer.stored(), torch.float32)
    assert found.equal(layer.floats(slice(None), torch.float32).T)


@pytest.mark.parametrize("width", [32, 40])
def test_a_sum_is_ready_for_the_norm_after_it(kernels, width):
    x, to, gain = here(seeded(3, 64), seeded(3, width, seed=1), seeded(width, seed=2))
    weight, after = here(seeded(width, 64, seed=3), seeded(5, width, seed=4))
    summed = to + functional.linear(x, weight)
    ready = kernels.add(x, Stored.plain(weight), to, gain)
    torch.testing.assert_close(to, summed)
    wanted = functional.linear(functional.rms_norm(summed, (width,), gain, 1e-5), after)
    for one in (ready, Ready.of(summed, gain)):
        found = kernels.score(one, 1e-5, Stored.plain(after))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cached", FLOATS)
@pytest.mark.parametrize(("heads", "groups", "dim"), HEADS)
def test_attention_over_pages_is_attention(kernels, heads, groups, dim, cached):
    q, *rest = here(*attention(heads, groups, dim, [1, 17, 256, 257, 2200], cached))
    wanted = plain_attention(q.double(), rest[0].double(), rest[1].double(), *rest[2:])
    room = 1e-5 if cached == torch.float32 else 2 * NARROW
    assert distance(kernels.paged_attention(q, *rest), wanted) < room
    if cached == torch.float32:
        for stored in rest[:2]:
            stored.nan_to_num_()  # torch multiplies what it then leaves out
        assert distance(gathered_attention(q, *rest), wanted) < room


@pytest.mark.parametrize("cached", FLOATS)
def test_a_request_is_attended_to_in_company_as_alone(kernels, cached):
    lengths = [5, 256, 300, 2300]
    q, keys, values, table, counts = here(*attention(3, 1, 16, lengths, cached))
    together = kernels.paged_attention(q, keys, values, table, counts)
    for row, length in enumerate(lengths):
        one, entries = slice(row, row + 1), -(-length // 16)
        alone = (table[one, :entries].contiguous(), counts[one])
        found = kernels.paged_attention(q[one], keys, values, *alone)
        assert found.equal(together[one])


def moved(model, positions):
    """A situation for `model`, all of it here."""
    columns, batch = situation(model, positions)
    for kept in (batch.pool.keys, batch.pool.values):
        kept[:] = here(*kept)
    table, at = here(batch.table, batch.positions)
    return columns.to(DEVICE), replace(batch, table=table, positions=at)


def unpacked(model):
    """The same numbers, now in plain layers."""
    for name, packed in [*model.named_modules()]:
        if isinstance(packed, PackedLinear):
            layer = nn.Linear(packed.in_features, packed.out_features, bias=False)
            layer.weight.data = packed.dequantized()
            model.set_submodule(name, layer)
    return model


@pytest.fixture
def fused(kernels, monkeypatch):
    monkeypatch.setattr("faster_higgs.model.fused.load", lambda: kernels)
    return fused_step


@torch.inference_mode()
@pytest.mark.parametrize("config", [CONFIG, WIDE])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_is_that_of_torch_and_writes_the_same_pages(fused, precision, config):
    model = speaker(precision, config=config)
    columns, batch = moved(model, (0, 37, 15))
    pool = copy.deepcopy(batch.pool)
    found = fused(model.to(DEVICE), batch.pool).logits(columns, batch)
    plain = unpacked(speaker(precision, config=config)).to(DEVICE)
    wanted = in_torch(plain, columns, replace(batch, pool=pool))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(
        batch.pool.keys + batch.pool.values, pool.keys + pool.values, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_request_is_written_in_company_as_alone(fused, precision):
    model = speaker(precision, torch.bfloat16).to(DEVICE)
    columns, batch = moved(model, (0, 260, 15, 16, 3))
    step = fused(model, batch.pool)
    together = step.logits(columns, batch)
    for row in (1, 4):
        one = slice(row, row + 1)
        alone = replace(batch, table=batch.table[one], positions=batch.positions[one])
        assert step.logits(columns[one], alone).equal(together[one])


@torch.inference_mode()
def test_many_rows_of_numbers_are_left_to_torch(fused):
    model = speaker().to(DEVICE)
    columns, batch = moved(model, tuple(range(cuda.FEW_ROWS)))
    found = fused(model, batch.pool).logits(columns, batch)
    assert found.equal(in_torch(model, columns, batch))


@on_a_card
@torch.inference_mode()
@pytest.mark.parametrize("kind", ON_CARDS)
def test_a_layer_on_a_card_uses_them(kind):
    layer, _ = filled(kind, 256, 640)
    layer.to("cuda")
    x = activations(3, 256, torch.bfloat16).cuda()
    assert layer(x).equal(cuda.load().linear(x, layer.stored()))
    many = activations(100, 256, torch.bfloat16).cuda()
    wanted = functional.linear(many.float(), layer.dequantized())
    assert distance(layer(many), wanted) < NARROW


@on_a_card
def test_a_model_on_a_card_has_a_fused_step():
    model = speaker("int8", torch.bfloat16).cuda()
    assert isinstance(compiled_step(model, model.new_pool(1)), FusedStep)
