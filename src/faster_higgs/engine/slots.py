"""What the device must know of every live request to write its next column: one row for each.

Knows nothing of queues, of who owns which page, or of text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from faster_higgs.config import ModelConfig
from faster_higgs.delay import DelayClock, DelayClocks
from faster_higgs.engine.request import Request
from faster_higgs.sampling import Sampling, SamplingRows

NOTHING = -1  # where the history holds no column


class Slots:
    """State of up to `count` requests as tensors, which a step reads and writes in place.

    The last row is nobody's: rows that only fill up a batch use it, and the page `spare`.
    """

    def __init__(self, config: ModelConfig, count: int, spare: int, device: torch.device) -> None:
        self._spare, self._device, self.nobodys = spare, device, count
        self.moves = 0  # times a tensor was replaced by a larger one
        rows, books = count + 1, config.num_codebooks
        idle = DelayClock(books, config.audio_stream_bos_id, config.audio_stream_eos_id)
        self.column = self._whole(rows, books, fill=config.audio_stream_bos_id)
        self.history = self._whole(rows, books, 1, fill=NOTHING)
        self.step, self.seed = self._whole(rows), self._whole(rows)
        self.limit = self._whole(rows, fill=1 << 40)
        self.position = self._whole(rows).int()  # of `column`, which is not in the cache yet
        self.table = self._whole(rows, 1, fill=spare).int()
        self.clocks = DelayClocks.of([idle] * rows, device)
        self.sampling = SamplingRows.of([Sampling()] * rows, device)

    def put(self, slot: int, request: Request, position: int, pages: Sequence[int]) -> None:
        """Let `request` go on in this row; its pending column will stand at `position`."""
        assert isinstance(request.pending, Tensor)
        self._widen(request.history.maxlen or 1)
        self.column[slot] = request.pending.to(self._device)
        self.history[slot] = NOTHING
        if request.history:
            known = torch.stack(list(request.history), dim=1)
            self.history[slot, :, -known.shape[1] :] = known.to(self._device)
        self.step[slot], self.seed[slot] = request.steps, request.seed
        self.limit[slot], self.position[slot] = request.limit, position
        self.give(slot, pages)
        _store(self.clocks, slot, DelayClocks.of([request.clock], self._device))
        _store(self.sampling, slot, SamplingRows.of([request.sampling], self._device))

    def give(self, slot: int, pages: Sequence[int]) -> None:
        """The pages of a row, in order."""
        self.reserve(len(pages))
        self.table[slot, : len(pages)] = torch.tensor(pages, dtype=torch.int32)

    def reserve(self, pages: int) -> None:
        """Room for so many pages in a row."""
        rows, room = self.table.shape
        if pages > room:
            more = self._whole(rows, max(2 * room, pages) - room, fill=self._spare).int()
            self.table = torch.cat([self.table, more], dim=1)
            self.moves += 1

    def _widen(self, window: int) -> None:
        """Room for a longer repetition window than any before."""
        rows, books, known = self.history.shape
        if window > known:
            self.moves += 1
            older = self._whole(rows, books, window - known, fill=NOTHING)
            self.history = torch.cat([older, self.history], dim=2)

    def _whole(self, *shape: int, fill: int = 0) -> Tensor:
        return torch.full(shape, fill, dtype=torch.long, device=self._device)


def _store(state: object, row: int, one: object) -> None:
    """Copy the only row of `one` to a row of `state`."""
    for name, value in vars(one).items():
        getattr(state, name)[row] = value[0]
