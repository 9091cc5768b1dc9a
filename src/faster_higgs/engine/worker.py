"""Runs the engine in a thread, so that callers wait for frames and not for each other.

The thread starts with the first request, sleeps while nothing is in flight, and ends when the
worker is closed or nobody holds it any more. Knows nothing of sound.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterable

import torch

from faster_higgs.engine.engine import Engine, Stats
from faster_higgs.engine.request import FrameEvent, RequestFailed
from faster_higgs.engine.scheduler import INTERACTIVE
from faster_higgs.errors import Aborted, EngineError
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling

Inbox = queue.SimpleQueue[FrameEvent | Exception]
HANDED_IN = FrameEvent(0, torch.empty(0, 0))
Order = Callable[["_Thread"], None]
OnStop = Callable[[Callable[[], None]], None]


class Worker:
    """Where requests are handed in. Callers talk to the thread through queues alone."""

    def __init__(self, engine: Engine) -> None:
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._served = _Thread(engine, self._orders)
        self._lock = threading.RLock()  # of `thread` and `_closed`; nobody computes under it
        self._closed = False
        weakref.finalize(self, self._served.stop)  # at exit too

    def frames(
        self,
        prompt: Prompt,
        sampling: Sampling,
        stop_ids: Iterable[int] = (),
        *,
        priority: int = INTERACTIVE,
        deadline: float | None = None,
        on_stop: OnStop | None = None,
    ) -> Generator[FrameEvent]:
        """Events of one request until the one with its result. Dropping the iterator aborts it.

        The engine begins at once, whenever the first event is asked for. `on_stop` is handed what
        any thread may call to end the wait for the next event with Aborted.
        """
        stops = tuple(stop_ids)

        def add(engine: Engine) -> int:
            return engine.add(prompt, sampling, stops, priority=priority, deadline=deadline)

        events = self._events(add, on_stop)
        next(events)  # hands the request in
        return events

    def _events(
        self, add: Callable[[Engine], int], on_stop: OnStop | None
    ) -> Generator[FrameEvent]:
        inbox: Inbox = queue.SimpleQueue()
        if on_stop is not None:
            on_stop(lambda: self._stop(inbox))
        if not self._tell(lambda thread: thread.add(inbox, add)):
            raise EngineError("The model was unloaded; load it again.")
        try:
            yield HANDED_IN
            while True:
                event = inbox.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if event.result is not None:
                    return
        finally:
            self._tell(lambda thread: thread.drop(inbox))

    def _stop(self, inbox: Inbox) -> None:
        """Abort a request before the next step, and wake who waits for its next event."""
        self._tell(lambda thread: thread.drop(inbox))
        inbox.put(Aborted("The request was stopped."))

    def close(self) -> None:
        """Stop the thread and let go of the engine; requests in flight end with an EngineError."""
        with self._lock:
            self._closed = True
        self._served.stop()

    def stats(self) -> Stats:
        """Of the engine; nothing of one that was let go."""
        engine = self._served.engine
        return Stats() if engine is None else engine.stats()

    @property
    def thread(self) -> threading.Thread | None:
        """Where the engine runs, once there was a request."""
        return self._served.thread

    def _tell(self, order: Order) -> bool:
        """Give the thread an order; False when it takes none any more."""
        with self._lock:
            if self._closed:
                return False
            self._orders.put(order)
            if self.thread is None:
                thread = threading.Thread(target=self._served.run, name="higgs-engine", daemon=True)
                self._served.thread = thread
                thread.start()
            return True


class _Thread:
    """The only one who touches the engine, between steps as well. Holds no worker."""

    def __init__(self, engine: Engine, orders: queue.SimpleQueue[Order | None]) -> None:
        self._engine = engine
        self._orders = orders
        self._inboxes: dict[int, Inbox] = {}
        self.thread: threading.Thread | None = None

    @property
    def engine(self) -> Engine | None:
        """To be looked at; None once it was let go."""
        return self.__dict__.get("_engine")

    def stop(self) -> None:
        """End the thread, wait for it and let go of the engine, with all its memory.

        A thread inside torch must not outlive the interpreter.
        """
        self._orders.put(None)
        if self.thread is threading.current_thread():
            return
        if self.thread is not None:
            self.thread.join()
        self.__dict__.pop("_engine", None)

    def run(self) -> None:
        """Obey and step until the order to stop, which is None."""
        while self._obey():
            try:
                events = self._engine.step()
            except RequestFailed as failed:
                self._fail_one(failed)
                continue
            except Exception as error:  # noqa: BLE001  whoever waits must hear of it
                self._fail(_told(error))
                continue
            for event in events:
                self._deliver(event)
        self._fail(EngineError("The model was unloaded while it was speaking."))

    def add(self, inbox: Inbox, add: Callable[[Engine], int]) -> None:
        try:
            self._inboxes[add(self._engine)] = inbox
        except Exception as error:  # noqa: BLE001  whoever asked must hear of it
            inbox.put(_told(error))

    def drop(self, inbox: Inbox) -> None:
        for number in [number for number, known in self._inboxes.items() if known is inbox]:
            del self._inboxes[number]
            self._engine.abort(number)

    def _obey(self) -> bool:
        """Carry out what was ordered meanwhile; sleeps while there is nothing else to do."""
        while True:
            try:
                order = self._orders.get(block=self._engine.idle)
            except queue.Empty:
                return True
            if order is None:
                return False
            order(self)

    def _deliver(self, event: FrameEvent) -> None:
        inbox = self._inboxes.get(event.request)
        if inbox is None:
            return
        if event.result is not None:
            del self._inboxes[event.request]
        inbox.put(event)

    def _fail_one(self, failed: RequestFailed) -> None:
        inbox = self._inboxes.pop(failed.request, None)
        if inbox is not None:
            assert isinstance(failed.__cause__, Exception)
            inbox.put(_told(failed.__cause__))

    def _fail(self, error: Exception) -> None:
        """End every request with an error."""
        self._engine.clear()
        for inbox in self._inboxes.values():
            inbox.put(error)
        self._inboxes.clear()


def _told(error: Exception) -> Exception:
    """A full memory in words; anything else as it is."""
    # Of a full CPU torch says so in words alone.
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        return error
    told = EngineError(
        "The device ran out of memory; shorten the reference clip or the history, "
        "or load the model on another device."
    )
    told.__cause__ = error.with_traceback(None)  # which would keep the memory
    return told
