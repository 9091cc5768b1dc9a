"""The model, its cache and the state of live requests on the device. Knows nothing of queues.

Prompts are read with `prefill`; `step` then writes a column for many requests at once, and asks the
host nothing while it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from faster_higgs.engine.drawing import draw, sample, uniforms, warp
from faster_higgs.engine.graphs import Graphs
from faster_higgs.engine.kv_cache import pages_for
from faster_higgs.engine.request import Request
from faster_higgs.engine.slots import Slots, sent
from faster_higgs.model.compiled import compiled_step
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.model.paged import PagedBatch, PagedCache
from faster_higgs.native.kernels import FEW_ROWS

FIRST, REDRAW, TEXT = 0, 1, 2  # independent streams of random numbers


class Drawn:
    """What a step wrote, on its way to the host: the next step need not wait for it."""

    def __init__(self, columns: Tensor, endings: Tensor, done: Tensor) -> None:
        packed = torch.cat([columns, endings[:, None], done[:, None]], dim=1)
        self._arrived: torch.cuda.Event | None = None
        self._host = packed
        if packed.is_cuda:
            self._host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
            self._host.copy_(packed, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(packed.device))

    def read(self) -> tuple[Tensor, list[int], list[int]]:
        """Columns [B, K], when each clip began to end (-1: not yet), and whether it is over."""
        if self._arrived is not None:
            self._arrived.synchronize()
        *_, endings, done = self._host.unbind(1)
        # A copy, lest those who keep a column keep memory that the next steps could use again.
        return self._host[:, :-2].clone(), endings.tolist(), done.tolist()


class Runner:
    """Runs requests on a model, in a pool of `pages` pages and `slots` rows."""

    def __init__(self, model: DualFFN, pages: int, slots: int) -> None:
        self.model = model
        self.config = model.config
        self.device = model.embed_text.weight.device
        self.pool = model.new_pool(pages)
        self.slots = Slots(model.config, slots, pages, self.device)
        self._compiled = compiled_step(model, self.pool)
        self._graphs: Graphs | None = None
        self._served: tuple[int, ...] = ()  # who was served by the last step
        self._rows = sent(torch.tensor(self._served, dtype=torch.long), self.device)
        if self.device.type == "cuda":
            self._graphs = Graphs(self._write, self.slots.nobodys, self.device)
            with self.here(), torch.inference_mode():
                self._graphs.warm(slots, pages)

    def here(self) -> AbstractContextManager[object]:
        """Where all is to be run: what is made without a word of a device is made on this one."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    @property
    def writes_text(self) -> bool:
        """Whether the model has the head that text comes from."""
        return hasattr(self.model, "text_head")

    @torch.inference_mode()
    def prefill(self, request: Request, pages: Sequence[int], start: int, count: int) -> None:
        """Read positions [start, start + count) of what the request has to read."""
        ids, columns, is_audio = (sent(part, self.device) for part in request.rows(start, count))
        cache = self._cache(pages, start)
        # A copy, lest the last row keep all others in memory.
        request.hidden = self.model.prefill(ids, columns, is_audio, cache)[-1].clone()

    @torch.inference_mode()
    def read_text(self, request: Request, pages: Sequence[int], position: int) -> None:
        """Read the pending id."""
        assert request.pending is not None and not request.speaks
        ids = torch.tensor([request.pending], device=self.device)
        nothing = ids.new_empty(0, self.config.num_codebooks)
        cache = self._cache(pages, position)
        is_audio = torch.zeros_like(ids, dtype=torch.bool)
        request.hidden = self.model.prefill(ids, nothing, is_audio, cache)[-1]

    @torch.inference_mode()
    def draw_text(self, request: Request) -> int:
        """The id after the last position read."""
        assert request.hidden is not None
        logits = self.model.text_logits(request.hidden).cpu()
        # A slot for sound is opened by its opening token only; the original fails on any other.
        logits[[self.config.audio_in_token_id, self.config.audio_out_token_id]] = -torch.inf
        seed, step = torch.tensor([request.seed]), torch.tensor([request.steps])
        number = uniforms(seed, step, 1, TEXT)[0, 0]
        return int(draw(warp(logits, request.sampling), number))

    @torch.inference_mode()
    def step(self, slots: Sequence[int], reach: int) -> Drawn:
        """Read the columns of these slots and draw the next; no position is beyond `reach`."""
        if self._served != tuple(slots):
            self._served = tuple(slots)
            self._rows = sent(torch.tensor(slots), self.device)
        pages, window = pages_for(reach), max(self.slots.windows[slot] for slot in slots)
        run = self._write if self._graphs is None else self._graphs.run
        return Drawn(*run(self._rows, pages, window))

    def _cache(self, pages: Sequence[int], length: int) -> PagedCache:
        """One request's cache: its pages in order, `length` positions of them written."""
        return PagedCache(self.pool, sent(torch.tensor(pages), self.device), length)

    def _write(self, rows: Tensor, pages: int, window: int) -> tuple[Tensor, Tensor, Tensor]:
        """The step on the device: no number is read back, no shape depends on one.

        Nobody looks at more than so many pages, and at more than `window` columns of the past.
        """
        slots, config = self.slots, self.config
        bos, eos = config.audio_stream_bos_id, config.audio_stream_eos_id
        table = slots.table[rows, :pages]
        cache = PagedBatch(self.pool, table, slots.position[rows])
        scores = self._scores(slots.column[rows], cache)
        clocks, step, seed = slots.clocks[rows], slots.step[rows], slots.seed[rows]
        clocks.close(slots.limit[rows] - step <= config.num_codebooks)
        logits = clocks.mask(scores, bos, eos)
        numbers = [uniforms(seed, step, config.num_codebooks, use) for use in (FIRST, REDRAW)]
        history = slots.history[rows, :, -window:]
        drawn = sample(logits, history, slots.sampling[rows], (numbers[0], numbers[1]), (bos, eos))
        columns, done = clocks.settle(drawn, bos, eos)
        slots.column[rows] = columns
        slots.history[rows, :, -window:] = torch.cat([history[..., 1:], columns[..., None]], dim=2)
        slots.step[rows] = step + 1
        slots.position[rows] += rows != slots.nobodys  # which stays
        slots.clocks.column[rows], slots.clocks.ending[rows] = clocks.column, clocks.ending
        return columns, clocks.ending, done

    def _scores(self, columns: Tensor, cache: PagedBatch) -> Tensor:
        """What follows these columns [B, K], as scores [B, K, V] in fp32."""
        if self._compiled is not None and len(columns) <= FEW_ROWS:
            return self._compiled.logits(columns, cache)
        return self.model.audio_logits(self.model.decode(columns, cache))
