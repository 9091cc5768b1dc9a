"""One utterance in flight: its state, its events, the reasons it can finish.

Knows nothing of text or sound.
"""

from __future__ import annotations

import secrets
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from faster_higgs.config import PAGE, ModelConfig
from faster_higgs.delay import Columns, DelayClock
from faster_higgs.engine.guard import goes_in_circles
from faster_higgs.engine.kv_cache import chain
from faster_higgs.prompt.expand import Expanded
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling


class Finish(str, Enum):
    """Why an utterance is over."""

    STOP = "stop"  # the model ended it
    LENGTH = "length"  # the limit on steps was reached
    LOOP = "loop"  # the codes went in circles
    SILENCE = "silence"  # nothing but silence followed the speech
    NO_AUDIO = "no_audio"  # the model answered with text only
    ABORTED = "aborted"
    DEADLINE = "deadline"  # it was not ready in time


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


class FrameEvent(NamedTuple):
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
    """State of one utterance. The engine is its only owner.

    What is written is not read yet: `pending` is the id that the next step reads, of a column that
    of its slot.
    """

    id: int
    prompt: Prompt
    reading: Expanded
    sampling: Sampling
    config: ModelConfig
    writes_text: bool
    limit: int  # steps: those that were asked for and that have a position
    stop_ids: frozenset[int] = frozenset()
    seed: int = 0
    pending: int | None = None
    hidden: Tensor | None = None  # [D], at the last text position read
    clock: DelayClock = field(init=False)
    text_ids: list[int] = field(default_factory=list)
    segments: list[Columns] = field(default_factory=list)
    read: list[int] = field(default_factory=list)  # after the prompt, in order; of columns slots
    written: list[int | Tensor] = field(default_factory=list)  # not told yet, see FrameEvent
    steps: int = 0
    released: int = 0
    cut: bool = False  # ended by the limit, not by the model
    finish: Finish | None = None

    def __post_init__(self) -> None:
        given = self.sampling.seed
        self.seed = secrets.randbits(62) if given is None else given
        self.clock = self.new_clock()

    @property
    def speaks(self) -> bool:
        """Whether the next step reads a column, and draws the one after it."""
        return self.pending == self.config.audio_out_token_id

    @property
    def forced(self) -> bool:
        """Whether the answer begins with sound."""
        return self.prompt.ids[-1] == self.config.audio_out_bos_token_id

    @property
    def guarded(self) -> bool:
        return self.sampling.rules == "guarded"

    @property
    def window(self) -> int:
        """How many of the latest columns are looked at for repetitions."""
        return max(1, self.sampling.ras_window)

    def spoken(self) -> Tensor:
        """The latest columns [T, K] within the window, assistant clips too; the last is pending."""
        known = self.reading.columns[self.reading.spoken]
        latest = [segment.last(self.window) for segment in self.segments]
        return torch.cat([known, *latest])[-self.window :]

    def page_keys(self) -> list[Hashable]:
        """A key for each full page of the prompt, the same wherever the same prompt begins."""
        ids, is_audio = self.reading.ids, self.reading.is_audio
        rows = torch.full((len(ids), self.config.num_codebooks), -1)
        rows[is_audio] = self.reading.columns
        rows = torch.cat([torch.where(is_audio, -1, ids)[:, None], rows], 1)
        ends = range(PAGE, len(ids) + 1, PAGE)
        return list(chain(rows[end - PAGE : end].numpy().tobytes() for end in ends))

    def rows(self, start: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Positions [start, start + count) of prompt and answer: ids, columns, is_audio."""
        whole = self._everything() if self.read else self.reading
        cut = slice(start, start + count)
        before = int(whole.is_audio[:start].sum())
        columns = whole.columns[before : before + int(whole.is_audio[cut].sum())]
        return whole.ids[cut], columns, whole.is_audio[cut]

    def _everything(self) -> Expanded:
        """The prompt and what was read of the answer."""
        ids, old = torch.tensor(self.read, dtype=torch.long), self.reading
        # The last column of each clip is pending, or was followed by text instead.
        columns = [segment.last(len(segment))[:-1] for segment in self.segments]
        return Expanded(
            torch.cat([old.ids, ids]),
            torch.cat([old.is_audio, ids == self.config.audio_out_token_id]),
            torch.cat([old.columns, *columns]),
            old.spoken,
        )

    def new_clock(self) -> DelayClock:
        """The state machine of one audio segment."""
        config = self.config
        return DelayClock(
            config.num_codebooks,
            config.audio_stream_bos_id,
            config.audio_stream_eos_id,
            self.sampling.rules,
        )

    def has_read(self) -> None:
        """What was pending is in the cache now."""
        assert self.pending is not None
        self.read.append(self.pending)

    def open_segment(self) -> None:
        """Begin an audio segment with its first column, all begin-of-stream."""
        self.write_text(self.config.audio_out_token_id)
        self.clock, self.released = self.new_clock(), 0
        self.segments.append(Columns(self.config.num_codebooks))
        self._write_column(
            torch.full((self.config.num_codebooks,), self.config.audio_stream_bos_id)
        )
        self._count()

    def take_column(self, column: Tensor, ending: int | None, done: bool) -> None:
        """Add the column [K] that was drawn, and what the device's clock says of it."""
        clock = self.clock
        if self.guarded and self.near_limit and clock.ending is None:
            self.cut = True  # the clock was told to close, so that the limit cuts no frame in two
        clock.column, clock.ending, clock.done = clock.column + 1, ending, done
        self._write_column(column)
        if done:
            self._end_segment()
        elif self.guarded and clock.ending is None and goes_in_circles(self.segments[-1]):
            self.finish = Finish.LOOP
        self._count()

    @property
    def near_limit(self) -> bool:
        """Whether no more columns are left than a clip needs to end."""
        return self.limit - self.steps <= self.config.num_codebooks

    def take_text(self, token: int) -> None:
        """Add an id to the text stream; it may be one to stop at."""
        self._stop_or_go_on(token)
        self._count()

    def write_text(self, token: int) -> None:
        self.text_ids.append(token)
        self.written.append(token)
        self.pending = token

    def _write_column(self, column: Tensor) -> None:
        self.segments[-1].append(column)
        self.written.append(column)
        self.pending = self.config.audio_out_token_id

    def _end_segment(self) -> None:
        """Go on with text, unless the rules want nothing but this clip or there is no text head."""
        alone = self.sampling.rules == "transformers" or (self.forced and self.guarded)
        if self.cut or alone or not self.writes_text:
            self.finish = Finish.LENGTH if self.cut else Finish.STOP
            return
        self._stop_or_go_on(self.config.audio_eos_token_id)

    def _stop_or_go_on(self, token: int) -> None:
        self.write_text(token)
        if token in self.stop_ids:
            self.finish = Finish.STOP if self.segments else Finish.NO_AUDIO

    def _count(self) -> None:
        self.steps += 1
        if self.finish is None and self.steps >= self.limit:
            self.finish = Finish.LENGTH

    def news(self) -> FrameEvent:
        """What happened since the last call."""
        written, self.written = tuple(self.written), []
        result = None if self.finish is None else self.result()
        return FrameEvent(self.id, self.release(), result, written)

    def release(self) -> Tensor:
        """Frames [K, n] that became whole since the last call."""
        first, self.released = self.released, max(self.released, self.clock.frames)
        if self.released == first:
            return torch.empty(self.config.num_codebooks, 0, dtype=torch.long)
        frames = self.segments[-1].frames(first, self.released)
        return frames.clamp(max=self.config.num_codes - 1)  # a copy

    def result(self) -> Result:
        """What is reported when the request is over."""
        assert self.finish is not None
        segments = tuple(one.last(len(one)).T.contiguous() for one in self.segments)
        return Result(self.finish, self.seed, len(self.prompt), tuple(self.text_ids), segments)
