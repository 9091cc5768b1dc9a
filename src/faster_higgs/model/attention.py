"""Attention over a cache or over packed documents, and the cache itself.

Knows nothing of weights, nor of text and audio: it sees queries, keys and values of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries [T, H, d], keys [T, G, d], values [T, G, d]) -> [T, H, d], rows in any order."""


class PrefillCache(Protocol):
    """Where the rows of one request go, and what they see: `KVCache`, or pages of a pool."""

    length: int

    def reserve(self, rows: int) -> None: ...
    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]: ...
    def advance(self, rows: int) -> None: ...


class DecodeCache(Protocol):
    """The same for one more row of each of several requests."""

    @property
    def positions(self) -> Tensor: ...
    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor: ...
    def advance(self) -> None: ...


GROWTH = 1024  # positions a full cache grows by: 41 s of sound, however long the prompt was


class KVCache:
    """Keys and values of one request, per layer [kv_heads, capacity, head_dim]."""

    def __init__(
        self, like: Tensor, layers: int, kv_heads: int, head_dim: int, capacity: int
    ) -> None:
        self.length = 0
        self.capacity = max(capacity, 1)
        shape = (kv_heads, self.capacity, head_dim)
        self.keys = [like.new_empty(shape) for _ in range(layers)]
        self.values = [like.new_empty(shape) for _ in range(layers)]

    def reserve(self, rows: int) -> None:
        """Make room for `rows` more positions."""
        needed = self.length + rows
        if needed <= self.capacity:
            return
        self.capacity = max(needed, self.capacity + GROWTH)
        for tensors in (self.keys, self.values):
            for layer, tensor in enumerate(tensors):  # one at a time: the others wait as they are
                tensors[layer] = self._grown(tensor)

    def _grown(self, old: Tensor) -> Tensor:
        new = old.new_empty((old.shape[0], self.capacity, old.shape[2]))
        new[:, : self.length] = old[:, : self.length]
        return new

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write [kv_heads, T, d] after the known ones and return all. See `advance`."""
        end = self.length + keys.shape[1]
        self.keys[layer][:, self.length : end] = keys
        self.values[layer][:, self.length : end] = values
        return self.keys[layer][:, :end], self.values[layer][:, :end]

    def advance(self, rows: int) -> None:
        """The last `rows` appended positions now belong to the past, in every layer."""
        self.length += rows


def prefill_attend(cache: PrefillCache, order: Tensor, back: Tensor, mixed: bool) -> Attend:
    """Each row sees the cache and earlier rows. `order` sorts by position, `back` undoes it; rows
    that are not `mixed` are sorted as they come."""
    rows, past = len(order), cache.length
    mask = _continued(rows, past, order.device) if past and rows > 1 else None

    def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if mixed:
            queries, keys, values = queries[order], keys[order], values[order]
        q = queries.transpose(0, 1)  # [H, T, d]
        k, v = cache.append(layer, keys.transpose(0, 1), values.transpose(0, 1))
        out = functional.scaled_dot_product_attention(
            q[None], k[None], v[None], mask, is_causal=mask is None and rows > 1, enable_gqa=True
        )[0]
        out = out.transpose(0, 1)
        return out[back] if mixed else out

    return attend


def _continued(rows: int, past: int, device: torch.device) -> Tensor:
    """Causal mask [T, past + T] of rows that come after `past` known positions."""
    return torch.ones(rows, past + rows, dtype=torch.bool, device=device).tril(past)


class KVCaches:
    """Several caches that each read one row: row b sees cache b and itself."""

    def __init__(self, caches: Sequence[KVCache]) -> None:
        self._caches = caches
        for cache in caches:
            cache.reserve(1)

    @property
    def positions(self) -> Tensor:
        """Where the new rows stand, [B]."""
        device = self._caches[0].keys[0].device
        return torch.tensor([cache.length for cache in self._caches], device=device)

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[B, H, d] in, [B, H, d] out."""
        rows = zip(self._caches, queries, keys, values, strict=True)
        return torch.stack([_decode_one(cache, layer, *row) for cache, *row in rows])

    def advance(self) -> None:
        for cache in self._caches:
            cache.advance(1)


def _decode_one(cache: KVCache, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    k, v = cache.append(layer, key[:, None], value[:, None])  # [G, L, d]
    # The heads that share a key are the rows of one small matrix: no copy of keys per head.
    q = query.view(k.shape[0], -1, query.shape[-1])  # [G, H / G, d]
    return functional.scaled_dot_product_attention(q[None], k[None], v[None])[0].flatten(0, 1)
