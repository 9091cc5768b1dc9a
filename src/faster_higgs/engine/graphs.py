"""On CUDA a step is recorded once for every size of batch and replayed from then on.

Knows nothing of requests: a step is a function of row numbers and of how far back is looked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from faster_higgs.engine.slots import WIDEST

Step = Callable[[Tensor, int, int], tuple[Tensor, ...]]

FEWEST_PAGES = 16  # that a recorded step looks at
USUAL_PAGES = 64  # that a request may well come to hold: 41 s of sound
USUAL_WINDOW = 16  # of repetition; wider ones are rare
_WARM_UPS = 3  # runs before recording, in which libraries choose their kernels


def bucket(count: int) -> int:
    """The recorded size that serves `count`: powers of two, and from 64 on what lies half-way."""
    size = 1 << (count - 1).bit_length()
    half_way = size * 3 // 4
    return half_way if count > 64 and count <= half_way else size


def sizes(least: int, most: int) -> list[int]:
    """The recorded sizes that serve these counts, the largest first."""
    return sorted({bucket(count) for count in range(least, max(least, most) + 1)}, reverse=True)


class Size(NamedTuple):
    """What a step is recorded for: so many rows, that look at so many pages and past columns."""

    rows: int
    pages: int
    window: int

    @classmethod
    def of(cls, rows: int, pages: int, window: int) -> Size:
        """The smallest one that serves."""
        wide = USUAL_WINDOW if window <= USUAL_WINDOW else WIDEST
        return cls(bucket(rows), bucket(max(pages, FEWEST_PAGES)), wide)


class Recorded(NamedTuple):
    """What runs a step again, the tensor it reads its rows from, and those it writes to."""

    replay: Callable[[], None]
    rows: Tensor
    outputs: tuple[Tensor, ...]


class Graphs:
    """The recorded steps. Rows that fill a batch up are `spare`, which belongs to nobody."""

    def __init__(self, step: Step, spare: int, device: torch.device) -> None:
        self._step, self._spare, self._device = step, spare, device
        self._pool: Any = None  # the memory that all graphs share
        self._aside: torch.cuda.Stream | None = None  # where they are recorded
        self._recorded: dict[Size, Recorded] = {}

    def warm(self, rows: int, pages: int) -> None:
        """Record what a cache of so many pages usually asks for, with every size of batch.

        The rest is recorded when it is first asked for, as attention gathers what it looks at: for
        many rows and long requests that takes memory which few ever need.
        """
        for wide in sizes(FEWEST_PAGES, min(pages, USUAL_PAGES)):
            for count in sizes(1, rows):
                if wide == FEWEST_PAGES or count * wide <= pages:
                    self._serving(Size(count, wide, USUAL_WINDOW))

    def run(self, rows: Tensor, pages: int, window: int) -> tuple[Tensor, ...]:
        """The step for `rows` [B]; its outputs [B, ..] hold until the next call."""
        recorded = self._serving(Size.of(len(rows), pages, window))
        recorded.rows[: len(rows)].copy_(rows)
        recorded.rows[len(rows) :].fill_(self._spare)
        recorded.replay()
        return tuple(out[: len(rows)] for out in recorded.outputs)

    def _serving(self, size: Size) -> Recorded:
        if size not in self._recorded:
            rows = torch.full((size.rows,), self._spare, device=self._device)
            self._recorded[size] = self._record(rows, size)
        return self._recorded[size]

    def _record(self, rows: Tensor, size: Size) -> Recorded:
        """Record a step for nobody, while other threads may decode sound on the same card."""
        now = torch.cuda.current_stream(self._device)
        if self._aside is None:
            self._aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside = self._aside
        aside.wait_stream(now)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._step(rows, size.pages, size.window)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, self._pool, aside, capture_error_mode="thread_local"):
            outputs = self._step(rows, size.pages, size.window)
        now.wait_stream(aside)
        self._pool = self._pool or graph.pool()
        return Recorded(graph.replay, rows, outputs)
