"""The delay pattern: codebook k is written k columns after codebook 0.

Example for K = 4 codebooks and 3 frames (B begin of stream, E end of stream), wrapped and delayed:

    B a0 a1 a2 E  E  E  E
    B B  b0 b1 b2 E  E  E
    B B  B  c0 c1 c2 E  E
    B B  B  B  d0 d1 d2 E

Knows nothing of models or sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RULES = ("guarded", "original", "transformers")
"""The three state machines of lm.md (f)."""


def delay(codes: Tensor, bos: int, eos: int) -> Tensor:
    """Shift row k right by k: [K, F] -> [K, F+K-1], `bos` fills the left and `eos` the right."""
    books, frames = codes.shape
    delayed = codes.new_full((books, frames + books - 1), eos)
    for k in range(books):
        delayed[k, :k] = bos
        delayed[k, k : k + frames] = codes[k]
    return delayed


def undelay(delayed: Tensor) -> Tensor:
    """Align rows again: [K, F+K-1] -> [K, F]."""
    books, columns = delayed.shape
    frames = columns - books + 1
    return torch.stack([row[k : k + frames] for k, row in enumerate(delayed)])


def wrap(codes: Tensor, bos: int, eos: int) -> Tensor:
    """What the model reads for a clip: a bos and an eos column around it, delayed; [K, F+K+1]."""
    edge = codes.new_ones((codes.shape[0], 1))
    return delay(torch.cat([edge * bos, codes, edge * eos], dim=1), bos, eos)


def unwrap(columns: Tensor) -> Tensor:
    """The clip that `wrap` was given: [K, F+K+1] -> [K, F]."""
    return undelay(columns)[:, 1:-1]


class Columns:
    """What is written of a wrapped clip, column by column, in memory that grows."""

    def __init__(self, books: int) -> None:
        self._memory = torch.empty(64, books, dtype=torch.long)
        self._rows = self._memory.numpy()  # the same; written many times as fast
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, column: Tensor) -> None:
        """One more, [K]."""
        if self._length == len(self._memory):
            self._memory = torch.cat([self._memory, torch.empty_like(self._memory)])
            self._rows = self._memory.numpy()
        self._rows[self._length] = column.numpy()
        self._length += 1

    def last(self, count: int) -> Tensor:
        """The latest [T, K]; a view."""
        return self._memory[max(0, self._length - count) : self._length]

    def frames(self, first: int, end: int) -> Tensor:
        """Frames [K, n] from `first` to before `end`, as `unwrap` would give them; a view."""
        books = self._memory.shape[1]  # frame f of book k stands in column f+k+1
        shape, strides = (books, end - first), (books + 1, books)
        return self._memory.as_strided(shape, strides, (first + 1) * books)


@dataclass
class DelayClock:
    """Which codebooks are open at this column, and when the clip is over.

    The plain form, of one clip; `DelayClocks` does the same for many at once. `rules` chooses one
    of the three state machines of lm.md (f). `mask` is asked before a column is drawn, `settle`
    makes the drawn column a legal one and moves the clock.
    """

    books: int
    bos: int
    eos: int
    rules: str = "guarded"
    column: int = 0  # columns settled so far, the all-bos column not counted
    ending: int | None = None  # column in which codebook 0 first shows eos, or would have
    done: bool = False

    def mask(self, logits: Tensor, least: int = 1) -> Tensor:
        """Scores [K, V] with what may not be drawn at -inf.

        Only the guarded rules forbid anything in advance: begin-of-stream is never drawn, and
        end-of-stream only in codebook 0, not before `least` frames.
        """
        if self.rules != "guarded":
            return logits
        logits = logits.clone()
        logits[:, self.bos] = -torch.inf
        first = 1 if self.ending is None and self.column >= least else 0
        logits[first:, self.eos] = -torch.inf
        return logits

    def settle(self, drawn: Tensor) -> Tensor:
        """The column that is written, [K] -> [K]."""
        row = torch.arange(self.books, device=drawn.device)
        column = torch.where(row > self.column, self.bos, drawn)
        if self.rules == "transformers":
            return self._settle_transformers(column, row)
        if self.ending is None:
            ends = (column == self.eos).nonzero()
            if len(ends):
                first = int(ends[0])
                column = torch.where(row < first, self.eos, column)
                self.ending = self.column - first
        else:
            # Row k is forced one column after it may show eos by itself under the original's rules.
            late = 0 if self.rules == "guarded" else 1
            column = torch.where(row <= self.column - self.ending - late, self.eos, column)
        self.column += 1
        self.done = self.ending is not None and self.column - self.ending >= self.books
        return column

    def _settle_transformers(self, column: Tensor, row: Tensor) -> Tensor:
        if self.ending is not None:
            column = torch.where(row < self.column - self.ending, self.eos, column)
        elif bool((column == self.eos).any()):
            self.ending = self.column
        self.column += 1
        self.done = bool((column == self.eos).all())
        return column

    def close(self) -> None:
        """Let codebook 0 end with the next column; the others follow in staircase order."""
        if self.ending is None:
            self.ending = self.column

    @property
    def frames(self) -> int:
        """Frames that are whole and real so far, by the references' rules of what the end drops."""
        whole = self.column - self.books + 1
        if self.rules == "transformers":
            return max(0, whole - self.done)
        if self.ending is None:
            return max(0, whole - (self.rules == "original"))
        return max(0, min(whole, self.ending))


@dataclass
class DelayClocks:
    """The clocks of B requests as tensors [B]: what `DelayClock` does, without asking the host.

    `ending` is -1 while nothing ends. `rules` numbers them in the order of RULES.
    """

    column: Tensor
    ending: Tensor
    rules: Tensor

    @classmethod
    def of(cls, clocks: Sequence[DelayClock], device: torch.device | str = "cpu") -> DelayClocks:
        """One row for each."""
        endings = (-1 if clock.ending is None else clock.ending for clock in clocks)
        values = ([c.column for c in clocks], [*endings], [RULES.index(c.rules) for c in clocks])
        return cls(*(torch.tensor(value, device=device) for value in values))

    def __getitem__(self, rows: Tensor) -> DelayClocks:
        return DelayClocks(*(value[rows] for value in vars(self).values()))

    def close(self, now: Tensor) -> None:
        """Of the guarded ones in `now` [B], let codebook 0 end with the next column."""
        now = now & (self.rules == 0) & (self.ending < 0)
        self.ending = torch.where(now, self.column, self.ending)

    def mask(self, logits: Tensor, bos: int, eos: int, least: int = 1) -> Tensor:
        """Scores [B, K, V] with what may not be drawn at -inf; changes them in place."""
        guarded = self.rules == 0
        logits[..., bos] = logits[..., bos].masked_fill(guarded[:, None], -torch.inf)
        may_end = (self.ending < 0) & (self.column >= least)
        closed = guarded[:, None].expand(-1, logits.shape[1]).clone()
        closed[:, 0] &= ~may_end
        logits[..., eos] = logits[..., eos].masked_fill(closed, -torch.inf)
        return logits

    def settle(self, drawn: Tensor, bos: int, eos: int) -> tuple[Tensor, Tensor]:
        """The columns that are written, [B, K] -> [B, K], and which clips are over, [B]."""
        books = drawn.shape[1]
        row = torch.arange(books, device=drawn.device)[None]
        now, ending = self.column[:, None], self.ending[:, None]
        column = torch.where(row > now, bos, drawn)
        ends = column == eos
        any_ends, first = ends.any(1), ends.int().argmax(1)
        staircase, is_open = (self.rules < 2)[:, None], ending < 0
        late = (self.rules > 0)[:, None].long()
        starts = is_open & any_ends[:, None] & staircase & (row < first[:, None])
        goes_on = ~is_open & (row < now - ending + torch.where(staircase, 1 - late, 0))
        column = torch.where(starts | goes_on, eos, column)
        begun = torch.where(self.rules < 2, self.column - first, self.column)
        self.ending = torch.where((self.ending < 0) & any_ends, begun, self.ending)
        self.column = self.column + 1
        closed = (self.ending >= 0) & (self.column - self.ending >= books)
        return column, torch.where(self.rules < 2, closed, (column == eos).all(1))
