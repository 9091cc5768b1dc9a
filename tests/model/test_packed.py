"""Attention over packed documents in one call equals a call for each of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

from faster_higgs.model.packed import in_one_call, one_by_one

LENGTHS = (5, 1, 9)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def rows() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(  # type: ignore[return-value]
        torch.randn(sum(LENGTHS), heads, 64, generator=generator) for heads in (4, 2, 2)
    )


def spelt_out(q, k, v, *sizes, window_size, enable_gqa):
    """What torch promises of varlen_attn, softmax by softmax."""
    ends_q, ends_k, most_q, most_k = sizes
    assert enable_gqa and window_size == (-1, 0)
    assert ends_q.dtype == ends_k.dtype == torch.int32
    assert most_q == most_k == max(LENGTHS)
    out = torch.empty_like(q)
    for start, end in pairwise(ends_q.tolist()):
        for head in range(q.shape[1]):
            group = head * k.shape[1] // q.shape[1]
            scores = q[start:end, head] @ k[start:end, group].T / q.shape[-1] ** 0.5
            later = torch.ones_like(scores, dtype=torch.bool).triu(1)
            shares = scores.masked_fill(later, -torch.inf).softmax(-1)
            out[start:end, head] = shares @ v[start:end, group]
    return out


def test_torch_is_asked_for_the_same_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", spelt_out)
    attend = in_one_call(LENGTHS, torch.device("cpu"))
    assert attend is not None
    torch.testing.assert_close(attend(*rows()), one_by_one(*rows(), LENGTHS), atol=1e-5, rtol=0)


@needs_gpu
@pytest.mark.gpu
def test_one_call_on_a_card_equals_one_by_one_and_so_do_its_gradients() -> None:
    given = [part.cuda().bfloat16().requires_grad_() for part in rows()]
    attend = in_one_call(LENGTHS, given[0].device)
    assert attend is not None
    found, wanted = attend(*given), one_by_one(*given, LENGTHS)
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=2e-2)
    slope = torch.randn_like(found)
    pairs = zip(*(torch.autograd.grad(out, given, slope) for out in (found, wanted)), strict=True)
    for one, two in pairs:
        torch.testing.assert_close(one, two, atol=3e-2, rtol=3e-2)
