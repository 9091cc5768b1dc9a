"""What the device must know of every live request to write its next column: one row for each.

Knows nothing of queues, of who owns which page, or of text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from faster_higgs.config import ModelConfig
from faster_higgs.delay import DelayClock, DelayClocks
from faster_higgs.engine.drawing import SamplingRows
from faster_higgs.engine.kv_cache import pages_for
from faster_higgs.engine.request import Request
from faster_higgs.sampling import Sampling

NOTHING = -1  # where the history holds no column
WIDEST = 1000  # repetition window that `Sampling` allows


class Slots:
    """State of up to `count` requests as tensors, which a step reads and writes in place.

    None of them is ever replaced, as recorded steps know them by their addresses. The last row is
    nobody's: rows that only fill up a batch use it, and the page after the last.
    """

    def __init__(self, config: ModelConfig, count: int, pages: int, device: torch.device) -> None:
        self._device, self.nobodys = device, count
        rows, books = count + 1, config.num_codebooks
        longest = min(pages, pages_for(config.positions))
        idle = DelayClock(books, config.audio_stream_bos_id, config.audio_stream_eos_id)
        self.column = self._whole(rows, books, fill=config.audio_stream_bos_id)
        self.history = self._whole(rows, books, WIDEST, fill=NOTHING)  # latest last
        self.windows = [1] * rows  # how much of its history a row needs
        self.step, self.seed = self._whole(rows), self._whole(rows)
        self.limit = self._whole(rows, fill=1 << 40)
        self.position = self._whole(rows).int()  # of `column`, which is not in the cache yet
        self.table = self._whole(rows, longest, fill=pages).int()
        self.clocks = DelayClocks.of([idle] * rows, device)
        self.sampling = SamplingRows.of([Sampling()] * rows, device)

    @torch.inference_mode()
    def put(self, slot: int, request: Request, position: int, pages: Sequence[int]) -> None:
        """Let `request` go on in this row; its pending column will stand at `position`."""
        assert request.speaks
        self.windows[slot] = request.window
        known = request.spoken()
        self.column[slot] = sent(known[-1], self._device)
        self.history[slot].fill_(NOTHING)
        self.history[slot, :, -len(known) :] = sent(known, self._device).T
        self.step[slot].fill_(request.steps)
        self.seed[slot].fill_(request.seed)
        self.limit[slot].fill_(request.limit)
        self.position[slot].fill_(position)
        numbers = torch.tensor(pages, dtype=torch.int32)
        self.table[slot, : len(pages)] = sent(numbers, self._device)
        _store(self.clocks, slot, DelayClocks.of([request.clock]))
        _store(self.sampling, slot, SamplingRows.of([request.sampling]))

    @torch.inference_mode()
    def add_page(self, slot: int, pages: Sequence[int]) -> None:
        """Of the pages of a row, in order, the last is new."""
        self.table[slot, len(pages) - 1].fill_(pages[-1])

    def _whole(self, *shape: int, fill: int = 0) -> Tensor:
        return torch.full(shape, fill, dtype=torch.long, device=self._device)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """On the device, in the order of its work, for which the host does not wait."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def _store(state: object, row: int, one: object) -> None:
    """Copy the only row of `one`, which is on the host, to a row of `state`."""
    for name, value in vars(one).items():
        getattr(state, name)[row].fill_(value.item())
