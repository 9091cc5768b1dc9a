"""One piece of memory for many tensors, in large pages where the system has them.

What every step reads is then read up to a quarter faster. Knows nothing of what the tensors are.
"""

from __future__ import annotations

import mmap

import torch
from torch import Tensor

_PAGE = 2 << 20  # bytes of a large page
_LINE = 64  # where a tensor may begin


class Arena:
    """Takes tensors of `size` bytes in all, counted by `room_of`; lives as long as they do."""

    def __init__(self, size: int) -> None:
        memory = mmap.mmap(-1, size + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
        self._bytes = torch.frombuffer(memory, dtype=torch.uint8)
        self._next = -self._bytes.data_ptr() % _PAGE

    def copy(self, value: Tensor) -> Tensor:
        """The same tensor, here."""
        begin, self._next = self._next, self._next + room_of(value)
        assert self._next <= len(self._bytes), "more than was asked for"
        place = self._bytes[begin : begin + value.nbytes].view(value.dtype).view(value.shape)
        return place.copy_(value)


def room_of(value: Tensor) -> int:
    """Bytes that a tensor takes of an arena."""
    return -(-value.nbytes // _LINE) * _LINE


def arena_for(size: int, device: torch.device | str) -> Arena | None:
    """None where nothing is gained: no bytes, another device, a system without large pages."""
    helps = size and torch.device(device).type == "cpu" and hasattr(mmap, "MADV_HUGEPAGE")
    return Arena(size) if helps else None
