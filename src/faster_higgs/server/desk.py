"""Where speeches are taken in: so many are made at once, so many wait, the rest are sent away.

Each is made in a thread of its own, and ends when nobody wants it any more. What is made waits for
its reader, as long as all of it together has room. Knows nothing of HTTP or of sound.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Generic, TypeVar

import anyio

from faster_higgs.errors import Aborted, QueueFull
from faster_higgs.server.accounts import Account, asker
from faster_higgs.server.errors import Refusal
from faster_higgs.server.hearing import Hearing
from faster_higgs.server.ledger import Ledger

T = TypeVar("T")
Stop = Callable[[], None]
OnStop = Callable[[Stop], None]
Make = Callable[[OnStop], Generator[T]]
Use = Callable[[], AbstractContextManager[Any]]
PIECE = 1 << 16  # bytes that are sent at once


class Shelf:
    """Bytes that wait for their readers, of all takes; on the loop only."""

    def __init__(self, room: float = float("inf")) -> None:
        self._room = room
        self._held: dict[Take[Any], int] = {}
        self.total = 0

    def put(self, take: Take[Any], size: int) -> None:
        """More of a take waits. Where there is no room, who reads least loses what waits."""
        self._change(take, size)
        while self.total > self._room:
            slowest = max(self._held, key=lambda one: self._held[one])
            slowest.stop()
            slowest.put(Aborted("The reader was too slow."))

    def take(self, take: Take[Any], size: int) -> None:
        """It was read."""
        self._change(take, -size)

    def clear(self, take: Take[Any]) -> None:
        """Nothing of it waits any more."""
        self._change(take, -self._held.get(take, 0))

    def _change(self, take: Take[Any], size: int) -> None:
        self.total += size
        self._held[take] = self._held.get(take, 0) + size
        if not self._held[take]:
            del self._held[take]


class Take(Generic[T]):
    """Something made in a thread, for a reader on the loop. What is made waits for its reader."""

    def __init__(
        self,
        make: Make[T],
        over: Callable[[Take[T]], None] = lambda _: None,
        shelf: Shelf | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        """`over` is called with it on the loop, before the reader learns that it is."""
        self._make, self._over, self._shelf = make, over, shelf or Shelf()
        self._hearing = hearing or Hearing()
        self._begun = False  # whether bytes were told
        self._ready: asyncio.Queue[T | Exception | None] = asyncio.Queue()
        self._stops: list[Stop] | None = []  # None once stopped
        self._lock = threading.Lock()

    def start(self, threads: ThreadPoolExecutor) -> None:
        """Let one of these make it; the reader hears why none can."""
        try:
            threads.submit(self.run)
        except RuntimeError as error:  # no thread can be started
            self._tell(error)

    def run(self) -> None:
        """Make it; in a thread."""
        failed: Exception | None = None
        try:
            with closing(self._make(self._on_stop)) as pieces:
                for piece in pieces:
                    if self.stopped:
                        return
                    self._tell(piece)
        except Exception as error:  # noqa: BLE001  the reader must hear of it
            failed = error
        finally:
            self._tell(failed)  # which ends it, as None does
            del failed  # its traceback holds this frame, and all that the speech is made with

    async def __aiter__(self) -> AsyncIterator[T]:
        behind: list[T | Exception | None] = []
        while (piece := behind.pop() if behind else await self._ready.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, bytes):
                piece = self._joined(piece, behind)
            self._shelf.take(self, _size(piece))
            yield piece

    def _joined(self, piece: bytes, behind: list[T | Exception | None]) -> Any:
        """The bytes that wait already are sent with it; what waits and is not bytes is `behind`."""
        joined = [piece]
        while not behind and sum(map(len, joined)) < PIECE and not self._ready.empty():
            waits = self._ready.get_nowait()
            if isinstance(waits, bytes):
                joined.append(waits)
            else:
                behind.append(waits)
        return b"".join(joined)

    def put(self, piece: T | Exception | None) -> None:
        """Something waits for the reader; None is the end."""
        if self.stopped and piece is None:
            piece = Aborted("It was stopped.")  # what is missing must not look whole
        if _is_end(piece) or not self.stopped:
            self._ready.put_nowait(piece)
            self._shelf.put(self, _size(piece))

    @property
    def stopped(self) -> bool:
        """Whether nobody wants it any more."""
        return self._stops is None

    def stop(self) -> None:
        """End it, wherever it is, and forget what waits; on the loop, if it still runs.

        Who still reads learns that it is over, also where its end was among what waited.
        """
        with self._lock:
            stops, self._stops = self._stops, None
        waited = [self._ready.get_nowait() for _ in range(self._ready.qsize())]
        if any(_is_end(piece) for piece in waited):
            self._ready.put_nowait(Aborted("It was stopped."))
        self._shelf.clear(self)
        for stop in stops or ():
            stop()

    def _on_stop(self, stop: Stop) -> None:
        with self._lock:
            if self._stops is not None:
                self._stops.append(stop)
                return
        stop()

    def _tell(self, piece: T | Exception | None) -> None:
        """What is heard first is urgent, and so is the end."""
        is_bytes = isinstance(piece, bytes)
        try:
            self._hearing.tell(partial(self._hear, piece), urgent=not (is_bytes and self._begun))
        except RuntimeError:  # the loop is closed: nobody listens
            self.stop()
        self._begun |= is_bytes

    def _hear(self, piece: T | Exception | None) -> None:
        try:
            if _is_end(piece):
                self._over(self)
        finally:
            self.put(piece)


def _nothing(on_stop: OnStop) -> Generator[bytes]:
    yield from ()


def _is_end(piece: object) -> bool:
    return piece is None or isinstance(piece, Exception)


def _size(piece: object) -> int:
    return len(piece) if isinstance(piece, bytes) else 0


@dataclass(eq=False)
class Waiter:
    """Somebody in the queue."""

    account: Account
    called: anyio.Event = field(default_factory=anyio.Event)


class Desk:
    """Places for speeches. Of those who wait, the account with the fewest is next, then the one
    whose turn is longest ago, then who came first."""

    def __init__(
        self,
        places: int,
        queue: int,
        patience: float,
        ledger: Ledger,
        using: Use = nullcontext,
        unread: float = float("inf"),
    ) -> None:
        """`using` is entered by each thread that makes a speech, until it is over."""
        self._queue, self._patience, self._using = queue, patience, using
        self._free = places
        self._line: list[Waiter] = []
        self._held: Counter[Account] = Counter()  # places
        self._turns = count(1)
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="higgs-speech")
        self._starter = ThreadPoolExecutor(1)  # who starts a thread waits until it runs
        self._ledger = ledger
        self._live: set[Take[Any]] = set()
        self._hearing: Hearing | None = None
        self.shelf = Shelf(unread)
        self.running = 0

    @asynccontextmanager
    async def take(self, make: Make[T]) -> AsyncIterator[Take[T]]:
        """One that is being made; whoever leaves early ends it. Raises QueueFull."""
        take = await self.begin(make)
        try:
            yield take
        finally:
            take.stop()

    async def begin(self, make: Make[T]) -> Take[T]:
        """Wait for a place, and let it be made. Raises QueueFull, Refusal."""
        account = asker()
        self._let_in(account)
        try:
            await self._place(account)
        except BaseException:
            account.end()
            raise
        self.running += 1
        make, over = self._used(make), partial(self._leave, account)
        take = Take(make, over, self.shelf, self._heard_here())
        self._live.add(take)
        self._starter.submit(take.start, self._threads)
        return take

    def held(self, data: bytes) -> Take[bytes]:
        """What is made already, in pieces that wait for their reader as those of others do."""
        take: Take[bytes] = Take(_nothing, shelf=self.shelf)
        for start in range(0, len(data), PIECE):
            take.put(data[start : start + PIECE])
        take.put(None)
        return take

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._line)

    @property
    def idle(self) -> bool:
        """Whether nothing is made, and nobody waits."""
        return not self.running and not self._line

    @property
    def full(self) -> bool:
        """Whether one more would not even wait."""
        return not self._free and self.waiting >= self._queue

    def refuse_full(self) -> None:
        """Raises QueueFull when it is full."""
        if self.full:
            self._ledger.rejected("queue_full")
            raise QueueFull(
                f"{self.running} speeches are being made and {self.waiting} wait; try again later."
            )

    async def close(self) -> None:
        """End what is still being made, and wait until it is over."""
        self._ledger.ending = True
        for take in [*self._live]:
            take.stop()
        for threads in (self._starter, self._threads):
            await asyncio.to_thread(threads.shutdown)

    def _heard_here(self) -> Hearing:
        """The ear of the loop that runs, the same for all takes."""
        if self._hearing is None or self._hearing.loop is not asyncio.get_running_loop():
            self._hearing = Hearing()
        return self._hearing

    def _let_in(self, account: Account) -> None:
        try:
            account.begin()
        except Refusal:
            self._ledger.rejected("rate_limit")
            raise

    def _used(self, make: Make[T]) -> Make[T]:
        def used(on_stop: OnStop) -> Generator[T]:
            with self._using(), closing(make(on_stop)) as pieces:
                yield from pieces

        return used

    async def _place(self, account: Account) -> None:
        if self._free:  # then nobody waits
            self._free -= 1
            self._ledger.waited(0.0)
        else:
            await self._wait(account)
        self._held[account] += 1
        account.turn = next(self._turns)

    async def _wait(self, account: Account) -> None:
        self.refuse_full()
        one, begin = Waiter(account), anyio.current_time()
        self._line.append(one)
        try:
            with anyio.fail_after(self._patience):
                await one.called.wait()
        except BaseException as error:
            if one in self._line:
                self._line.remove(one)
            else:  # called, and gone at the same moment
                self._call_next()
            if not isinstance(error, TimeoutError):
                raise
            self._ledger.rejected("queue_timeout")
            raise QueueFull(
                f"No place became free within {self._patience:g} s; try again later."
            ) from None
        self._ledger.waited(anyio.current_time() - begin)

    def _call_next(self) -> None:
        """A place is free."""
        if not self._line:
            self._free += 1
            return
        one = min(self._line, key=lambda one: (self._held[one.account], one.account.turn))
        self._line.remove(one)
        one.called.set()

    def _leave(self, account: Account, take: Take[Any]) -> None:
        self._live.discard(take)
        self.running -= 1
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        account.end()
        self._call_next()
