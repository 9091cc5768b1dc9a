"""Frames in, samples out, while an utterance is still being made. Knows nothing of the model.

A frame's samples depend on a few frames to either side, so a stream is decoded in windows that
carry this context, and its pieces are exactly the whole utterance cut up. One decoder serves many
requests and decodes them in one batch.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from faster_higgs.codec.codec import Codec, check_codes

FIRST_FRAMES = 5  # of a request's first piece: small, to be heard early
PIECE_FRAMES = 25  # of a later piece: large, because every piece pays for its context
_LONGEST = 100  # frames of a piece when many are waiting; bounds memory


class Piece(NamedTuple):
    """The next samples [S] of a request, on the CPU; an empty stream ends with an empty piece."""

    request_id: Hashable
    samples: Tensor
    is_last: bool


@dataclass
class _Stream:
    """Frames of one request that are still needed, the first of them at `start`."""

    parts: list[Tensor] = field(default_factory=list)  # each [K, n]
    start: int = 0
    known: int = 0
    sent: int = 0
    is_ended: bool = False

    def append(self, frames: Tensor) -> None:
        self.parts.append(frames)
        self.known += frames.shape[-1]

    def take(self, first: int, last: int) -> Tensor:
        """Frames first..last; forgets those before."""
        frames = self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts, dim=-1)
        self.parts = [frames[:, first - self.start :]]
        self.start = first
        return self.parts[0][:, : last - first]


class _Window(NamedTuple):
    """Frames to decode together; `before` and `after` are context around the `new` ones."""

    request_id: Hashable
    frames: Tensor  # [K, before + new + after]
    before: int
    new: int
    after: int
    is_last: bool


class StreamDecoder:
    """Decodes the streams of all live requests in batches; pieces join to the whole utterance."""

    def __init__(
        self, codec: Codec, first_frames: int = FIRST_FRAMES, piece_frames: int = PIECE_FRAMES
    ) -> None:
        self._codec = codec
        self._context = codec.context
        self._first_frames = first_frames
        self._piece_frames = piece_frames
        self._streams: dict[Hashable, _Stream] = {}

    def push(self, request_id: Hashable, frames: Tensor, last: bool = False) -> None:
        """Give the next frames [K, n] of a request, n may be 0; `last` if none will follow."""
        check_codes(frames, self._codec.config)
        stream = self._streams.setdefault(request_id, _Stream())
        assert not stream.is_ended, "frames after the last one"
        stream.append(frames)
        stream.is_ended = last

    def drop(self, request_id: Hashable) -> None:
        """Forget a request; nothing more will be heard of it."""
        self._streams.pop(request_id, None)

    def pull(self) -> list[Piece]:
        """Samples of every request that has enough frames, in order within a request."""
        pieces: list[Piece] = []
        while windows := [w for name, s in self._streams.items() if (w := self._window(name, s))]:
            for batch in _batches(windows, self._context):
                pieces.extend(self._decode(batch))
        return pieces

    def _window(self, request_id: Hashable, stream: _Stream) -> _Window | None:
        ready = stream.known - (0 if stream.is_ended else self._context)
        new = min(ready - stream.sent, _LONGEST)
        if not stream.is_ended and new < self._wanted(stream):
            return None
        first = max(0, stream.sent - self._context)
        end = stream.sent + new
        last = min(stream.known, end + self._context)
        is_last = stream.is_ended and end == stream.known
        frames = stream.take(first, last)
        return _Window(request_id, frames, stream.sent - first, new, last - end, is_last)

    def _wanted(self, stream: _Stream) -> int:
        """Pieces grow from the first to the usual length, each no longer than all before it."""
        return min(self._piece_frames, max(self._first_frames, stream.sent))

    def _decode(self, batch: list[_Window]) -> Iterator[Piece]:
        hop, width = self._codec.hop, max(window.frames.shape[-1] for window in batch)
        rows, skipped = [], []
        for window in batch:
            missing = width - window.frames.shape[-1]
            # Whatever stands beyond a full context on one side cannot be heard.
            left, right = (0, missing) if window.after >= self._context else (missing, 0)
            rows.append(functional.pad(window.frames, (left, right)))
            skipped.append(left + window.before)
        samples = self._codec.decode(torch.stack(rows)).float().cpu()
        for window, skip, row in zip(batch, skipped, samples, strict=True):
            self._advance(window)
            heard = row[skip * hop : (skip + window.new) * hop]
            yield Piece(window.request_id, heard, window.is_last)

    def _advance(self, window: _Window) -> None:
        if window.is_last:
            self.drop(window.request_id)
        else:
            self._streams[window.request_id].sent += window.new


class SharedDecoder:
    """A StreamDecoder for several threads: whoever comes decodes for all who wait, in one batch."""

    def __init__(self, codec: Codec) -> None:
        self._decoder = StreamDecoder(codec)
        self._busy = threading.Lock()  # of the decoder and of `_ready`
        self._brought: queue.SimpleQueue[tuple[Hashable, Tensor, bool]] = queue.SimpleQueue()
        self._ready: dict[Hashable, list[Tensor]] = {}

    def stream(self) -> SharedStream:
        """A stream of its own for one request."""
        return SharedStream(self)

    def decode(self, stream: SharedStream, frames: Tensor, last: bool) -> list[Tensor]:
        self._brought.put((stream, frames, last))
        with self._busy:
            while not self._brought.empty():
                self._decoder.push(*self._brought.get())
            for piece in self._decoder.pull():
                self._ready.setdefault(piece.request_id, []).append(piece.samples)
            return self._ready.pop(stream, [])

    def drop(self, stream: SharedStream) -> None:
        with self._busy:
            self._decoder.drop(stream)
            self._ready.pop(stream, None)


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
    """Windows to decode at once; a shorter one is padded if that is harmless and wastes little."""

    def order(window: _Window) -> tuple[int, bool, int]:
        rigid = max(window.before, window.after) < context
        return len(window.frames), rigid, window.frames.shape[-1]

    batch: list[_Window] = []
    for window in sorted(windows, key=order, reverse=True):
        if batch and not _fits(order(window), order(batch[0])):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _fits(short: tuple[int, bool, int], long: tuple[int, bool, int]) -> bool:
    rows, rigid, width = short
    return long[:2] == (rows, rigid) and (width == long[2] if rigid else 2 * width >= long[2])
