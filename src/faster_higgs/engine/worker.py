"""Runs the engine in a thread, so that callers wait for frames and not for each other.

The thread starts with the first request and sleeps while nothing is in flight. Knows nothing of
sound.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator

from faster_higgs.engine.engine import Engine
from faster_higgs.engine.request import FrameEvent
from faster_higgs.errors import EngineError
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling

Inbox = queue.SimpleQueue[FrameEvent | BaseException]


class Worker:
    """The only one who touches the engine. Closing it aborts what is in flight."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Condition()
        self._inboxes: dict[int, Inbox] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def frames(
        self, prompt: Prompt, sampling: Sampling, stop_ids: Iterable[int] = ()
    ) -> Iterator[FrameEvent]:
        """Events of one request until the one with its result. Dropping the iterator aborts it."""
        inbox: Inbox = queue.SimpleQueue()
        with self._lock:
            if self._closed:
                raise EngineError("The model was unloaded; load it again.")
            number = self._engine.add(prompt, sampling, stop_ids)
            self._inboxes[number] = inbox
            self._start()
            self._lock.notify()
        try:
            while True:
                event = inbox.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if event.result is not None:
                    return
        finally:
            with self._lock:
                if self._inboxes.pop(number, None) is not None:
                    self._engine.abort(number)

    def close(self) -> None:
        """Stop the thread; requests in flight end with an EngineError."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join()
        self._tell_all(EngineError("The model was unloaded while it was speaking."))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="higgs-engine", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closed or not self._engine.idle)
                if self._closed:
                    return
                try:
                    events = self._engine.step()
                except Exception as error:  # noqa: BLE001  whoever waits must hear of it
                    self._engine.clear()
                    self._tell_all(error)
                    continue
                for event in events:
                    self._deliver(event)

    def _deliver(self, event: FrameEvent) -> None:
        inbox = self._inboxes.get(event.request)
        if inbox is None:
            return
        if event.result is not None:
            del self._inboxes[event.request]
        inbox.put(event)

    def _tell_all(self, error: BaseException) -> None:
        for inbox in self._inboxes.values():
            inbox.put(error)
        self._inboxes.clear()
