"""Attention over packed documents, for training: several conversations in one row of positions.

Knows nothing of losses or labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from faster_higgs.model.attention import Attend

HALF = (torch.bfloat16, torch.float16)
Documents = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(queries [T, H, d], keys [T, G, d], values [T, G, d]) -> [T, H, d], documents side by side."""


@dataclass
class AttentionWatch:
    """Asks train_forward for one head's attention: it fills `maps`, [n, n] per document."""

    layer: int
    head: int
    maps: list[Tensor] = field(default_factory=list)


def packed_attend(
    order: Tensor, back: Tensor, lengths: Sequence[int], watch: AttentionWatch | None
) -> Attend:
    """Rows see the earlier rows of their own document. `order` sorts rows by document and position.

    On a graphics card all documents are one call, in 16 bits and where torch has that call (2.10).
    """
    at_once = in_one_call(lengths, order.device) if order.is_cuda else None

    def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q, k, v = (rows[order] for rows in (queries, keys, values))
        if watch is not None and watch.layer == layer:
            parts = zip(torch.split(q, list(lengths)), torch.split(k, list(lengths)), strict=True)
            watch.maps.extend(_probabilities(*pair, watch.head) for pair in parts)
        if at_once is not None and q.dtype in HALF:
            return at_once(q, k, v)[back]
        return one_by_one(q, k, v, lengths)[back]

    return attend


def one_by_one(queries: Tensor, keys: Tensor, values: Tensor, lengths: Sequence[int]) -> Tensor:
    """One call per document: on one CPU core (bfloat16, documents of 100 to 300 positions) this
    beats a dense mask over all of them by three times and padding them to one length by two.
    """
    parts = (torch.split(rows, list(lengths)) for rows in (queries, keys, values))
    return torch.cat([_causal(*rows) for rows in zip(*parts, strict=True)])


def in_one_call(lengths: Sequence[int], device: torch.device) -> Documents | None:
    """The same for all documents at once, by FlashAttention; None where torch has it not."""
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return None
    ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32).to(device, non_blocking=True)
    longest = max(lengths)

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        sizes = (ends, ends, longest, longest)
        causal = {"window_size": (-1, 0), "enable_gqa": True}
        out: Tensor = varlen.varlen_attn(queries, keys, values, *sizes, **causal)  # type: ignore[arg-type,assignment]
        return out

    return attend


def _causal(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    q, k, v = (rows.transpose(0, 1)[None] for rows in (queries, keys, values))  # [1, H, n, d]
    out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out[0].transpose(0, 1)


def _probabilities(queries: Tensor, keys: Tensor, head: int) -> Tensor:
    q = queries[:, head].float()  # [n, d]
    k = keys[:, head * keys.shape[1] // queries.shape[1]].float()
    hidden = torch.ones(len(q), len(k), dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.T) / math.sqrt(q.shape[-1])
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)
