"""Every compiled variant against plain torch, and the laws that hold bit by bit."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from faster_higgs.codec.acoustic import AcousticUnit
from faster_higgs.native.kernels import FEW_ROWS, PAGE, Stored

FLOATS = (torch.float32, torch.bfloat16)
SHAPES = [(32, 16), (40, 17), (6, 3), (136, 33), (640, 256)]  # inputs, outputs
HEADS = [(4, 2, 64), (24, 8, 128), (5, 5, 16), (4, 2, 8), (2, 1, 20), (9, 1, 32)]  # q, kv, width


def seeded(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_close(found, wanted):
    """Within 1e-5 of the largest, or a rounding of the narrower dtype."""
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    room = 1e-5 if found.dtype == torch.float32 else 2**-8
    scale = wanted.float().abs().max()
    assert (found.float() - wanted.float()).abs().max() <= room * scale


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("kept", FLOATS)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 16])
def test_weights_as_they_are_multiply_as_in_torch(kernels, rows, kept, inputs, outputs, dtype):
    x = seeded(rows, inputs, dtype=dtype)
    weight = seeded(outputs, inputs, dtype=kept, seed=1)
    wanted = functional.linear(x.float(), weight.float()).to(dtype)
    assert_close(kernels.linear(x, Stored.plain(weight)), wanted)


def attention(heads, groups, dim, lengths, dtype=torch.float32):
    """Arguments of paged_attention; what lies behind each request's end is NaN."""
    entries = -(-max(lengths) // PAGE) + 1
    pages = entries * len(lengths)
    order = torch.randperm(pages, generator=torch.Generator().manual_seed(7))
    table = order.view(len(lengths), entries).to(torch.int32)
    stored = [seeded(pages, groups, PAGE, dim, dtype=dtype, seed=seed) for seed in (1, 2)]
    for row, length in zip(table, lengths, strict=True):
        for values in stored:
            values[row[-(-length // PAGE) :].long()] = torch.nan
            if length % PAGE:
                values[row[length // PAGE].long(), :, length % PAGE :] = torch.nan
    counts = torch.tensor(lengths, dtype=torch.int32)
    return seeded(len(lengths), heads, dim) * 2, *stored, table, counts


def plain_attention(q, keys, values, table, lengths):
    out = []
    for b, length in enumerate(lengths.tolist()):
        k, v = (
            stored[table[b].long()].transpose(0, 1).flatten(1, 2)[:, :length].float()
            for stored in (keys, values)
        )
        share = q.shape[1] // k.shape[0]
        k, v = k.repeat_interleave(share, 0), v.repeat_interleave(share, 0)
        out.append(functional.scaled_dot_product_attention(q[b, :, None].float(), k, v)[:, 0])
    return torch.stack(out).to(q.dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("cache_dtype", FLOATS)
@pytest.mark.parametrize(("heads", "groups", "dim"), HEADS)
def test_attention_over_pages_is_attention(kernels, heads, groups, dim, cache_dtype, dtype):
    q, *rest = attention(heads, groups, dim, [1, 15, 16, 17, 100], cache_dtype)
    q = q.to(dtype)
    assert_close(kernels.paged_attention(q, *rest), plain_attention(q, *rest))


def test_attention_survives_large_scores(kernels):
    q, *rest = attention(4, 2, 64, [70])
    assert_close(kernels.paged_attention(q * 100, *rest), plain_attention(q * 100, *rest))


def test_a_request_without_positions_gets_zeros(kernels):
    q, keys, values, table, lengths = attention(4, 2, 64, [20, 5])
    lengths[1] = 0
    out = kernels.paged_attention(q, keys, values, table, lengths)
    assert out[1].eq(0).all() and out[0].isfinite().all()


def test_a_request_is_attended_in_company_as_alone(kernels):
    q, keys, values, table, lengths = attention(6, 2, 64, [3, 40, 99])
    together = kernels.paged_attention(q, keys, values, table, lengths)
    for b in range(3):
        one = slice(b, b + 1)
        alone = kernels.paged_attention(q[one], keys, values, table[one], lengths[one])
        assert together[one].equal(alone)


@pytest.mark.parametrize("kept", FLOATS)
def test_a_row_is_multiplied_in_company_as_alone(kernels, kept):
    weight = Stored.plain(seeded(50, 72, dtype=kept))
    x = seeded(FEW_ROWS, 72, seed=1)
    together = kernels.linear(x, weight)
    alone = torch.cat([kernels.linear(row[None], weight) for row in x])
    assert together.equal(alone)


@pytest.mark.usefixtures("two_threads")
def test_two_threads_compute_what_one_does(kernels):
    weight, x = Stored.plain(seeded(512, 64, dtype=torch.bfloat16)), seeded(3, 64)
    args = attention(8, 4, 64, [30, 31])
    both = kernels.linear(x, weight), kernels.paged_attention(*args)
    torch.set_num_threads(1)
    assert both[0].equal(kernels.linear(x, weight))
    assert both[1].equal(kernels.paged_attention(*args))


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(FEW_ROWS + 1, 8),
        torch.zeros(1, 9),
        torch.zeros(1, 8, dtype=torch.float16),
        torch.zeros(8, 2).T,
    ],
)
def test_what_the_library_cannot_take_never_reaches_it(kernels, x):
    with pytest.raises(AssertionError):
        kernels.linear(x, Stored.plain(torch.zeros(4, 8, dtype=torch.bfloat16)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", [16, 23, 320])
def test_a_norm_is_that_of_torch(kernels, width, dtype):
    x, weight = seeded(5, width, dtype=dtype), seeded(width, dtype=dtype, seed=1)
    wanted = functional.rms_norm(x.float(), (width,), weight.float(), 1e-5).to(dtype)
    assert_close(kernels.norm(x, weight, 1e-5), wanted)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", [7, 5000])
def test_a_gate_opens_as_in_torch(kernels, width, dtype):
    gate, up = seeded(3, width, dtype=dtype) * 9, seeded(3, width, dtype=dtype, seed=1)
    wanted = (functional.silu(gate.float()) * up.float()).to(dtype)
    assert_close(kernels.gate(gate, up), wanted)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("dim", [6, 64])
def test_heads_are_rotated_as_in_torch(kernels, dim, dtype):
    x, angles = seeded(5, 3, dim, dtype=dtype), seeded(5, 1, dim // 2, seed=1) * 30
    table = angles.cos().to(dtype), angles.sin().to(dtype)
    first, second = x.float().chunk(2, -1)
    cosines, sines = (part.float() for part in table)
    parts = first * cosines - second * sines, second * cosines + first * sines
    assert_close(kernels.rotate(x, *table), torch.cat(parts, -1).to(dtype))


@pytest.mark.parametrize("length", [1, 15, 16, 5000])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_the_codecs_activation_is_that_of_torch(kernels, length, size):
    x = size * seeded(2, 3, length)
    alpha = torch.tensor([0.7, -2.0, 1e-6])
    wanted = x + (x * alpha[:, None]).sin() ** 2 / (alpha + 1e-9)[:, None]
    found = kernels.snake(x, alpha, torch.empty_like(x))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-5)
    assert kernels.snake(x, alpha, x) is x and x.equal(found)


@pytest.mark.parametrize("dilation", [1, 3, 9])
@pytest.mark.parametrize("channels", [1, 8, 13])
@pytest.mark.parametrize("length", [1, 5, 47, 192, 500])
def test_a_unit_of_the_codec_is_that_of_torch(kernels, dilation, channels, length):
    unit = AcousticUnit(channels, dilation)
    for seed, snake in enumerate((unit.snake_in, unit.snake_out)):
        snake.alpha.data.copy_(seeded(1, channels, 1, seed=seed))
    x = seeded(2, channels, length)
    with torch.enable_grad():
        wanted = unit(x.clone().requires_grad_()).detach()
    weights = [part.detach() for part in unit._weights()]
    torch.testing.assert_close(kernels.residual_unit(x, weights, dilation), wanted)


@pytest.mark.usefixtures("two_threads")
def test_two_threads_make_the_unit_that_one_makes(kernels):
    x, weights = seeded(1, 16, 2000), [part.detach() for part in AcousticUnit(16, 3)._weights()]
    both = kernels.residual_unit(x, weights, 3)
    torch.set_num_threads(1)
    assert both.equal(kernels.residual_unit(x, weights, 3))
