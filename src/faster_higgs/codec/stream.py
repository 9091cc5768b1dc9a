"""Frames in, samples out, while an utterance is still being made. Knows nothing of the model.

A frame's samples depend on a few frames to either side, so a stream is decoded in windows that
carry this context, and its pieces are exactly the whole utterance cut up. One decoder serves many
requests and decodes them in one batch.

The windows have fixed places: blocks of growing length, and the last frames by themselves. What is
known of a block is sent before it is whole where playback would pause otherwise. Then its window is
filled up, so that samples do not depend on when they were wanted, not even by their last bits.
"""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from faster_higgs.codec.codec import Codec, check_codes
from faster_higgs.errors import EngineError

FIRST_FRAMES = 5  # of a stream's first block
PIECE_FRAMES = 25  # of a later block: large, because every block pays for its context
TOGETHER = 16 * 45  # frames decoded at once: 16 listeners' widest windows, each 45 in the plan
SHARE = 4  # a piece of a block lasts so many times as long as it takes to decode


class Piece(NamedTuple):
    """The next samples [S] of a request, on the CPU; an empty stream ends with an empty piece."""

    request_id: Hashable
    samples: Tensor
    is_last: bool


class Failure(NamedTuple):
    """A request whose frames cannot be decoded; nothing more will be heard of it."""

    request_id: Hashable
    error: Exception


@dataclass
class _Stream:
    """Frames of one request that are still needed, the first of them at `start`."""

    parts: list[Tensor] = field(default_factory=list)  # each [K, n]
    start: int = 0
    known: int = 0
    sent: int = 0
    block: int = 0  # where the block begins that is sent next
    is_ended: bool = False
    began: float = 0.0  # when the first frame came; times are the clock's
    pace: float = 0.0  # seconds from one frame to the next
    played: float = -math.inf  # when the last of what was sent will have been heard

    def append(self, frames: Tensor, now: float) -> None:
        if not self.known:
            self.began = now
        self.parts.append(frames)
        self.known += frames.shape[-1]
        self.pace = (now - self.began) / max(1, self.known - 1)

    def take(self, first: int, last: int) -> Tensor:
        """Frames first..last, as far as they are known; forgets those before."""
        frames = self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts, dim=-1)
        self.parts = [frames[:, first - self.start :]]
        self.start = first
        return self.parts[0][:, : last - first]


class _Window(NamedTuple):
    """Frames to decode together: `before` are known, `new` are wanted, the rest is context."""

    request_id: Hashable
    frames: Tensor  # [K, known]
    width: int  # frames it is decoded as
    before: int
    new: int
    is_last: bool


class StreamDecoder:
    """Decodes the streams of all live requests in batches; pieces join to the whole utterance."""

    def __init__(
        self,
        codec: Codec,
        first_frames: int = FIRST_FRAMES,
        piece_frames: int = PIECE_FRAMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._codec = codec
        self._context = codec.context
        self._first_frames = first_frames
        self._piece_frames = piece_frames
        self._clock = clock
        self._frame = codec.hop / codec.sample_rate  # seconds
        self._cost = 0.0  # seconds that decoding takes: rises at once, falls slowly
        self._streams: OrderedDict[Hashable, _Stream] = OrderedDict()  # last looked at, last
        self._changed: dict[Hashable, None] = {}  # those of them that may want to be decoded
        self._aside = _stream_beside(codec.device)

    def push(self, request_id: Hashable, frames: Tensor, last: bool = False) -> None:
        """Give the next frames [K, n] of a request, n may be 0; `last` if none will follow."""
        check_codes(frames, self._codec.config)
        stream = self._streams.get(request_id)
        if stream is None:
            stream = self._streams[request_id] = _Stream()
        assert not stream.is_ended, "frames after the last one"
        stream.append(frames, self._clock())
        stream.is_ended = last
        self._changed[request_id] = None

    def drop(self, request_id: Hashable) -> None:
        """Forget a request; nothing more will be heard of it."""
        self._streams.pop(request_id, None)
        self._changed.pop(request_id, None)

    def pull(self) -> Iterator[Piece | Failure]:
        """Samples of every request that has enough frames, in order within a request.

        What was decoded is given away before more is. Of those that got nothing meanwhile only the
        one is looked at that was not for the longest time: it may have to be heard before more of
        it comes.
        """
        self._changed |= dict.fromkeys(itertools.islice(self._streams, 1))
        while windows := self._windows():
            begun = self._clock()
            for batch in _batches(windows, self._context):
                pieces = self._decoded(batch)
                took = self._clock() - begun
                self._cost = max(took, (3 * self._cost + took) / 4)
                yield from pieces

    def _windows(self) -> list[_Window]:
        """What can be decoded of those that have changed; the others are as before from now on."""
        found = []
        for request_id in self._changed:
            self._streams.move_to_end(request_id)
            if window := self._window(request_id, self._streams[request_id]):
                found.append(window)
        self._changed = {window.request_id: None for window in found}
        return found

    def _window(self, request_id: Hashable, stream: _Stream) -> _Window | None:
        context, block_end = self._context, self._block_end(stream)
        settled = stream.known - context  # frames whose context is known, or that end the stream
        new = min(settled, block_end) - stream.sent
        if stream.is_ended and new <= 0:
            first, width = max(0, settled - context), min(stream.known, 2 * context)
            new = stream.known - stream.sent
        elif new > 0 and (stream.is_ended or settled >= block_end or self._is_due(stream, new)):
            first = max(0, stream.block - context)
            width = block_end + context - first
        else:
            return None
        is_last = stream.is_ended and stream.sent + new == stream.known
        frames = stream.take(first, first + width)
        return _Window(request_id, frames, width, stream.sent - first, new, is_last)

    def _block_end(self, stream: _Stream) -> int:
        """Blocks grow from the first to the usual length, each no longer than all before it."""
        return stream.block + min(self._piece_frames, max(self._first_frames, stream.block))

    def _is_due(self, stream: _Stream, new: int) -> bool:
        """Whether to send `new` frames though their block is not whole: playback would pause."""
        lasts, left = new * self._frame, stream.played - self._clock()
        soon = 2 * (stream.pace + self._cost)  # until more could be there; twice, as times vary
        keeps_up = stream.pace < self._frame  # else there are pauses: let them be few
        if lasts < SHARE * self._cost or (not keeps_up and new < self._first_frames):
            return False
        if left < self._cost:  # at the beginning, or after a pause
            return keeps_up and lasts >= soon
        return left < soon

    def _decoded(self, batch: list[_Window]) -> Sequence[Piece | Failure]:
        """What a batch gives; each by itself where it cannot be decoded together."""
        try:
            return self._decode(batch)
        except Exception as error:  # noqa: BLE001  whose frames they are must hear of it
            if len(batch) == 1:
                self.drop(batch[0].request_id)
                return [Failure(batch[0].request_id, error)]
        return [one for window in batch for one in self._decoded([window])]

    def _decode(self, batch: list[_Window]) -> list[Piece]:
        hop, width = self._codec.hop, max(window.width for window in batch)
        rows, skipped = [], []
        for window in batch:
            missing = width - window.frames.shape[-1]
            # Whatever stands beyond a full context on one side cannot be heard.
            left, right = (missing, 0) if window.is_last else (0, missing)
            rows.append(functional.pad(window.frames, (left, right)))
            skipped.append(left + window.before)
        with self._beside():
            samples = self._codec.decode(torch.stack(rows)).float().cpu()
        pieces = []
        for window, skip, row in zip(batch, skipped, samples, strict=True):
            self._advance(window)
            heard = row[skip * hop : (skip + window.new) * hop]
            pieces.append(Piece(window.request_id, heard, window.is_last))
        return pieces

    def _advance(self, window: _Window) -> None:
        if window.is_last:
            self.drop(window.request_id)
            return
        stream = self._streams[window.request_id]
        block_end = self._block_end(stream)
        stream.sent += window.new
        stream.block = block_end if stream.sent == block_end else stream.block
        stream.played = max(stream.played, self._clock()) + window.new * self._frame

    def _beside(self) -> AbstractContextManager[object]:
        """Sound waits for no step of the model that was begun, nor a step for sound."""
        return nullcontext() if self._aside is None else torch.cuda.stream(self._aside)


def _stream_beside(device: torch.device) -> torch.cuda.Stream | None:
    """Another stream of a card, on which the weights are there already."""
    if device.type != "cuda":
        return None
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(device))
    return aside


class SharedDecoder:
    """A StreamDecoder for several threads: whoever comes decodes for all who wait, in one batch.

    An error belongs to the request whose frames made it, whoever meets it.
    """

    def __init__(self, codec: Codec) -> None:
        self._decoder = StreamDecoder(codec)
        self._busy = threading.Lock()  # of the decoder and of what stands below, but `_brought`
        self._brought: queue.SimpleQueue[tuple[Hashable, Tensor, bool]] = queue.SimpleQueue()
        self._ready: dict[Hashable, list[Tensor]] = {}
        self._failed: dict[Hashable, Exception] = {}
        self._closed = False

    def stream(self) -> SharedStream:
        """A stream of its own for one request."""
        return SharedStream(self)

    def decode(self, stream: SharedStream, frames: Tensor, last: bool) -> list[Tensor]:
        self._brought.put((stream, frames, last))
        with self._busy:
            if self._closed:
                raise EngineError("The model was unloaded while it was speaking.")
            while not self._brought.empty():
                self._push(*self._brought.get())
            for piece in self._decoder.pull():
                if isinstance(piece, Failure):
                    self._failed[piece.request_id] = piece.error
                else:
                    self._ready.setdefault(piece.request_id, []).append(piece.samples)
            if stream in self._failed:
                raise self._failed[stream]
            return self._ready.pop(stream, [])

    def _push(self, stream: Hashable, frames: Tensor, last: bool) -> None:
        if stream in self._failed:
            return
        try:
            self._decoder.push(stream, frames, last)
        except Exception as error:  # noqa: BLE001  who brought them must hear of it
            self._decoder.drop(stream)
            self._failed[stream] = error

    def drop(self, stream: SharedStream) -> None:
        with self._busy:
            self._decoder.drop(stream)
            self._ready.pop(stream, None)
            self._failed.pop(stream, None)

    def close(self) -> None:
        """Decode no more: what comes from now on is refused with an EngineError."""
        with self._busy:
            self._closed = True


@dataclass(frozen=True, eq=False)
class SharedStream:
    """One request's place in a SharedDecoder; close it when no more is wanted."""

    decoder: SharedDecoder

    def decode(self, frames: Tensor, last: bool = False) -> list[Tensor]:
        """Give the next frames [K, n]; the samples [S] that are known by now."""
        return self.decoder.decode(self, frames, last)

    def close(self) -> None:
        """Forget what is not finished."""
        self.decoder.drop(self)


def _batches(windows: list[_Window], context: int) -> Iterator[list[_Window]]:
    """Windows to decode at once; a shorter one is padded if that is harmless and wastes little.

    So many at the most that memory does not grow with the number of streams.
    """

    def order(window: _Window) -> tuple[int, bool, int]:
        rigid = window.is_last and window.before < context
        return len(window.frames), rigid, window.width

    batch: list[_Window] = []
    for window in sorted(windows, key=order, reverse=True):
        full = batch and (len(batch) + 1) * batch[0].width > TOGETHER
        if batch and (full or not _fits(order(window), order(batch[0]))):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _fits(short: tuple[int, bool, int], long: tuple[int, bool, int]) -> bool:
    rows, rigid, width = short
    return long[:2] == (rows, rigid) and (width == long[2] if rigid else 2 * width >= long[2])
