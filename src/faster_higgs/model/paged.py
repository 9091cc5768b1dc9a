"""Keys and values in pages of one pool, shared by all requests, and attention over them.

Who owns which page is decided elsewhere; here a request is a row of page numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from faster_higgs.config import PAGE
from faster_higgs.native import cuda
from faster_higgs.native.kernels import COMPILED, LANES, MOST_DIM, load


class PagePool:
    """Per layer keys and values [pages, kv_heads, PAGE, head_dim].

    There is one page more than asked for; rows that only fill up a batch write there.
    """

    def __init__(self, like: Tensor, layers: int, kv_heads: int, head_dim: int, pages: int) -> None:
        self.pages = pages
        shape = (pages + 1, kv_heads, PAGE, head_dim)
        self.keys = [_zeros(like, shape) for _ in range(layers)]
        self.values = [_zeros(like, shape) for _ in range(layers)]


def _zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros, as what is masked is still multiplied and must be finite.

    On the CPU they take memory only where something is written, which torch's own do at once.
    """
    if not like.is_cpu:
        return like.new_zeros(shape)
    size = math.prod(shape) * like.element_size()
    return torch.from_numpy(np.zeros(size, np.uint8)).view(like.dtype).view(shape)


@dataclass
class PagedCache:
    """The cache of one request, as `DualFFN.prefill` wants it; its pages were given to it."""

    pool: PagePool
    pages: Tensor  # [n]
    length: int
    _placed: tuple[tuple[int, int], Tensor] | None = field(default=None, repr=False)

    def reserve(self, rows: int) -> None:
        """Takes nothing: who owns the pages has taken them."""
        assert self.length + rows <= len(self.pages) * PAGE, "pages are taken before they are used"

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write [kv_heads, T, d] after the known ones and return all."""
        end = self.length + keys.shape[1]
        used = self.pages[: -(-end // PAGE)]
        places = self._places(keys.shape[1])
        both = []
        for pool, new in ((self.pool.keys[layer], keys), (self.pool.values[layer], values)):
            pool.view(-1, pool.shape[3]).index_copy_(0, places, new.flatten(0, 1))
            known = pool[used].transpose(0, 1).flatten(1, 2)[:, :end] if self.length else new
            both.append(known)
        return both[0], both[1]

    def _places(self, rows: int) -> Tensor:
        """Where the next rows go in a pool [pages * kv_heads * PAGE, d], head by head."""
        if self._placed is None or self._placed[0] != (self.length, rows):
            at = torch.arange(self.length, self.length + rows, device=self.pages.device)
            heads = torch.arange(self.pool.keys[0].shape[1], device=self.pages.device)[:, None]
            page = self.pages[at // PAGE] * len(heads)
            self._placed = (self.length, rows), ((page + heads) * PAGE + at % PAGE).flatten()
        return self._placed[1]

    def advance(self, rows: int) -> None:
        """The last `rows` appended positions now belong to the past, in every layer."""
        self.length += rows


@dataclass(frozen=True)
class PagedBatch:
    """The caches of B requests that read one position each."""

    pool: PagePool
    table: Tensor  # int32 [B, n], page numbers
    positions: Tensor  # int32 [B], where the new rows stand

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Write each request's new row, then let it see its pages; [B, H, d] -> [B, H, d]."""
        all_keys, all_values = self.pool.keys[layer], self.pool.values[layer]
        page, place = self._written
        all_keys[page, :, place] = keys
        all_values[page, :, place] = values
        return self._attention(queries, all_keys, all_values, self.table, self._lengths)

    @cached_property
    def _attention(self) -> Callable[..., Tensor]:
        """The compiled kernel where there is one for this device, type and width of heads."""
        pages = self.pool.keys[0]
        if pages.is_cuda:
            card = cuda.load() if cuda.fits(pages) else None
            return gathered_attention if card is None else card.paged_attention
        known = pages.is_cpu and pages.dtype in COMPILED
        fits = known and pages.shape[3] % LANES == 0 and pages.shape[3] <= MOST_DIM
        compiled = load() if fits else None
        return gathered_attention if compiled is None else compiled.paged_attention

    @cached_property
    def _lengths(self) -> Tensor:
        """Positions that are seen, the new ones included."""
        return self.positions + 1

    @cached_property
    def _written(self) -> tuple[Tensor, Tensor]:
        """Where the new rows go: pages and places in them."""
        at = self.positions.long()
        return self.table.gather(1, (at // PAGE)[:, None])[:, 0].long(), at % PAGE

    def advance(self) -> None:
        """Positions belong to the caller."""


def gathered_attention(
    queries: Tensor, keys: Tensor, values: Tensor, table: Tensor, lengths: Tensor
) -> Tensor:
    """Each request's pages side by side, nothing seen behind its length; [B, H, d]."""
    held_keys, held_values = (
        pool[table.long()].transpose(1, 2).flatten(2, 3) for pool in (keys, values)
    )  # [B, G, n * PAGE, d]
    places = torch.arange(held_keys.shape[2], device=queries.device)
    seen = (places < lengths[:, None])[:, None]  # [B, 1, n * PAGE]
    grouped = queries.view(len(queries), keys.shape[1], -1, queries.shape[2])  # [B, G, H / G, d]
    out = functional.scaled_dot_product_attention(grouped, held_keys, held_values, seen[:, :, None])
    return out.flatten(1, 2)
