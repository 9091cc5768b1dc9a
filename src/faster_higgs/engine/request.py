"""One utterance in flight: its state, its events, the reasons it can finish.

Knows nothing of text or sound.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from faster_higgs.config import ModelConfig
from faster_higgs.delay import DelayClock, unwrap
from faster_higgs.model.attention import KVCache
from faster_higgs.prompt.template import Expanded, Prompt
from faster_higgs.sampling import Sampling


class Finish(str, Enum):
    """Why an utterance is over."""

    STOP = "stop"  # the model ended it
    LENGTH = "length"  # the limit on steps was reached
    LOOP = "loop"  # the codes went in circles
    SILENCE = "silence"  # nothing but silence followed the speech
    NO_AUDIO = "no_audio"  # the model answered with text only
    ABORTED = "aborted"


@dataclass(frozen=True)
class Result:
    """A finished utterance.

    `segments` hold delayed columns [K, T], the all-bos column first, as the model wrote them.
    """

    finish: Finish
    seed: int
    prompt_tokens: int
    text_ids: tuple[int, ...]
    segments: tuple[Tensor, ...]


@dataclass(frozen=True)
class FrameEvent:
    """News of one request: frames [K, n] now whole, in order, and its result when it is over.

    `written` are the ids of text and the delayed columns [K] of this step, as the model wrote them.
    """

    request: int
    frames: Tensor
    result: Result | None = None
    written: tuple[int | Tensor, ...] = ()


class RequestFailed(Exception):
    """One request cannot go on; its cause says why. The engine has forgotten it, and it alone."""

    def __init__(self, request: int) -> None:
        super().__init__(f"Request {request} failed.")
        self.request = request


@dataclass
class Request:
    """State of one utterance. The engine is its only owner."""

    id: int
    prompt: Prompt
    reading: Expanded
    sampling: Sampling
    config: ModelConfig
    stop_ids: frozenset[int] = frozenset()
    limit: int = field(init=False)  # steps: those that were asked for and that have a position
    seed: int = 0
    cache: KVCache = field(init=False)  # made when the prompt is read
    last_id: int = -1  # the last id of the text stream decides what the next step does
    hidden: Tensor | None = None  # [D], at the last position read
    history: Tensor = field(init=False)  # [K, n], latest audio-out columns, reference clips too
    clock: DelayClock = field(init=False)
    text_ids: list[int] = field(default_factory=list)
    segments: list[list[Tensor]] = field(default_factory=list)
    written: list[int | Tensor] = field(default_factory=list)  # not told yet, see FrameEvent
    steps: int = 0
    released: int = 0
    cut: bool = False  # ended by the limit, not by the model
    finish: Finish | None = None

    def __post_init__(self) -> None:
        room = self.config.positions - len(self.prompt)
        self.limit = min(self.sampling.max_new_tokens, room)
        given = self.sampling.seed
        self.seed = secrets.randbits(62) if given is None else given
        self.history = torch.empty(self.config.num_codebooks, 0, dtype=torch.long)
        self.clock = self.new_clock()

    def new_clock(self) -> DelayClock:
        """The state machine of one audio segment."""
        config = self.config
        return DelayClock(
            config.num_codebooks,
            config.audio_stream_bos_id,
            config.audio_stream_eos_id,
            self.sampling.rules,
        )

    def open_segment(self) -> Tensor:
        """Begin an audio segment; returns its first column [K], all begin-of-stream."""
        column = torch.full((self.config.num_codebooks,), self.config.audio_stream_bos_id)
        self.clock, self.released = self.new_clock(), 0
        self.segments.append([])
        self.write_column(column)
        return column

    def write_column(self, column: Tensor) -> None:
        """Add a column [K] to the segment."""
        self.segments[-1].append(column)
        self.written.append(column)
        self.remember(column[:, None])

    def write_text(self, token: int) -> None:
        """Add an id to the text stream."""
        self.text_ids.append(token)
        self.written.append(token)

    def remember(self, columns: Tensor) -> None:
        """Keep the latest columns [K, n] for repetition-aware sampling."""
        window = max(1, self.sampling.ras_window)
        self.history = torch.cat([self.history, columns], dim=1)[:, -window:]

    def news(self) -> FrameEvent:
        """What happened since the last call."""
        written, self.written = tuple(self.written), []
        result = None if self.finish is None else self.result()
        return FrameEvent(self.id, self.release(), result, written)

    def release(self) -> Tensor:
        """Frames [K, n] that became whole since the last call."""
        first, self.released = self.released, max(self.released, self.clock.frames)
        books = self.config.num_codebooks
        if self.released == first:
            return torch.empty(books, 0, dtype=torch.long)
        # Frame f of book k stands in column f+k+1; a column more on each side makes a wrapped clip.
        columns = torch.stack(self.segments[-1][first : self.released + books], dim=1)
        pad = columns[:, -1:]
        return unwrap(torch.cat([columns, pad], dim=1)).clamp(max=self.config.num_codes - 1)

    def result(self) -> Result:
        """What is reported when the request is over."""
        assert self.finish is not None
        segments = tuple(torch.stack(columns, dim=1) for columns in self.segments)
        return Result(self.finish, self.seed, len(self.prompt), tuple(self.text_ids), segments)
