"""On CUDA a step is recorded once for every size of batch and replayed from then on.

Knows nothing of requests: a step is a function of row numbers and of how many pages are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Tensor, int], tuple[Tensor, ...]]

_WARM_UPS = 3  # runs before recording, in which libraries choose their kernels


def bucket(count: int) -> int:
    """The recorded size that serves `count`: powers of two, and from 64 on what lies half-way."""
    size = 1 << (count - 1).bit_length()
    half_way = size * 3 // 4
    return half_way if count > 64 and count <= half_way else size


class Graphs:
    """The recorded steps. Rows that fill a batch up are `spare`, which belongs to nobody."""

    def __init__(self, step: Step, spare: int) -> None:
        self._step, self._spare = step, spare
        self._pool: Any = None  # the memory that all graphs share
        self._recorded: dict[tuple[int, int], _Recorded] = {}

    def forget(self) -> None:
        """Record anew: tensors that the step works on have moved."""
        self._recorded.clear()

    def run(self, rows: Tensor, pages: int) -> tuple[Tensor, ...]:
        """The step for `rows` [B]; its outputs [B, ..] hold until the next call."""
        size = bucket(len(rows)), bucket(pages)
        if size not in self._recorded:
            self._recorded[size] = self._record(*size, rows.device)
        recorded = self._recorded[size]
        recorded.rows[: len(rows)].copy_(rows)
        recorded.rows[len(rows) :].fill_(self._spare)
        recorded.graph.replay()
        return tuple(out[: len(rows)] for out in recorded.outputs)

    def _record(self, count: int, pages: int, device: torch.device) -> _Recorded:
        rows = torch.full((count,), self._spare, device=device)
        for _ in range(_WARM_UPS):
            self._step(rows, pages)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = self._step(rows, pages)
        self._pool = self._pool or graph.pool()
        return _Recorded(graph, rows, outputs)


class _Recorded:
    """A graph, the tensor it reads its rows from, and those it writes to."""

    def __init__(
        self, graph: torch.cuda.CUDAGraph, rows: Tensor, outputs: tuple[Tensor, ...]
    ) -> None:
        self.graph, self.rows, self.outputs = graph, rows, outputs
