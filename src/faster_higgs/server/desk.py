"""Where speeches are taken in: so many are made at once, so many wait, the rest are sent away.

Each is made in a thread of its own, and ends when nobody wants it any more. Knows nothing of HTTP
or of sound.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from typing import Any, Generic, TypeVar

import anyio

from faster_higgs.errors import QueueFull
from faster_higgs.server.ledger import Ledger

T = TypeVar("T")
Stop = Callable[[], None]
OnStop = Callable[[Stop], None]
Make = Callable[[OnStop], Generator[T]]


class Take(Generic[T]):
    """Something made in a thread, for a reader on the loop. What is made waits for its reader."""

    def __init__(self, make: Make[T]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Queue[T | Exception | None] = asyncio.Queue()
        self._stops: list[Stop] | None = []  # None once stopped
        self._lock = threading.Lock()

    def run(self) -> None:
        """Make it; in a thread."""
        try:
            with closing(self._make(self._on_stop)) as pieces:
                for piece in pieces:
                    if self.stopped:
                        return
                    self._tell(piece)
        except Exception as error:  # noqa: BLE001  the reader must hear of it
            self._tell(error)
        finally:
            self._tell(None)

    async def __aiter__(self) -> AsyncIterator[T]:
        while (piece := await self._ready.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    @property
    def stopped(self) -> bool:
        """Whether nobody wants it any more."""
        return self._stops is None

    def stop(self) -> None:
        """End it, wherever it is."""
        with self._lock:
            stops, self._stops = self._stops, None
        for stop in stops or ():
            stop()

    def _on_stop(self, stop: Stop) -> None:
        with self._lock:
            if self._stops is not None:
                self._stops.append(stop)
                return
        stop()

    def _tell(self, piece: T | Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.put_nowait, piece)
        except RuntimeError:  # the loop is closed: nobody listens
            self.stop()


class Desk:
    """Places for speeches, first come first served."""

    def __init__(self, places: int, queue: int, patience: float, ledger: Ledger) -> None:
        self._places, self._queue, self._patience = places, queue, patience
        self._free = anyio.Semaphore(places)
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="higgs-speech")
        self._ledger = ledger
        self._live: set[Take[Any]] = set()
        self.waiting = 0
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
        """Wait for a place, and let it be made. Raises QueueFull."""
        await self._place()
        self.running += 1
        take = Take(make)
        made = asyncio.get_running_loop().run_in_executor(self._threads, take.run)
        self._live.add(take)
        made.add_done_callback(lambda _: self._leave(take))
        return take

    @property
    def full(self) -> bool:
        """Whether one more would not even wait."""
        return not self._free.value and self.waiting >= self._queue

    def refuse_full(self) -> None:
        """Raises QueueFull when it is full."""
        if self.full:
            self._ledger.rejected("queue_full")
            raise QueueFull(
                f"{self.running} speeches are being made and {self.waiting} wait; try again later."
            )

    async def close(self) -> None:
        """End what is still being made, and wait until it is over."""
        for take in [*self._live]:
            take.stop()
        await asyncio.to_thread(self._threads.shutdown)

    async def _place(self) -> None:
        try:
            self._free.acquire_nowait()
            self._ledger.waited(0.0)
        except anyio.WouldBlock:
            await self._wait()

    async def _wait(self) -> None:
        self.refuse_full()
        self.waiting += 1
        begin = anyio.current_time()
        try:
            with anyio.fail_after(self._patience):
                await self._free.acquire()
        except TimeoutError:
            self._ledger.rejected("queue_timeout")
            raise QueueFull(
                f"No place became free within {self._patience:g} s; try again later."
            ) from None
        finally:
            self.waiting -= 1
        self._ledger.waited(anyio.current_time() - begin)

    def _leave(self, take: Take[Any]) -> None:
        self._live.discard(take)
        self.running -= 1
        self._free.release()
