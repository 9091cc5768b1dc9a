"""What is wanted next, made in a thread while other work goes on. Knows nothing of what it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

NAME = "prefetch"  # of the thread
Key = TypeVar("Key")
Made = TypeVar("Made")


@dataclass
class _Begun(Generic[Key, Made]):
    """Something in the making."""

    key: Key
    made: Future[list[Made]] = field(default_factory=Future)
    wanted: threading.Event = field(default_factory=threading.Event)
    dropped: bool = False

    def drop(self) -> None:
        """Nobody waits for it any more."""
        self.dropped = True
        self.wanted.set()


class Prefetch(Generic[Key, Made]):
    """Lists of things that follow from a key alone, so that it is all the same who makes them when.

    `make` gives one thing after the other; it never runs twice at a time.
    """

    def __init__(self, make: Callable[[Key], Iterator[Made]]) -> None:
        self._make = make
        self._begun: _Begun[Key, Made] | None = None

    def begin(self, key: Key) -> None:
        """Make it in the thread, which rests as long as it works until somebody waits."""
        self.close()
        self._begun = _Begun[Key, Made](key)
        thread = ThreadPoolExecutor(1, NAME)
        self._begun.made = thread.submit(_all_of, self._begun, self._make)
        thread.shutdown(wait=False)  # it ends with its work

    def take(self, key: Key) -> list[Made]:
        """What was begun, if it is that, or else made now. Raises what making it raises."""
        if self._begun is None or self._begun.key != key:
            self.close()
            return list(self._make(key))
        begun, self._begun = self._begun, None
        begun.wanted.set()
        return begun.made.result()

    def close(self) -> None:
        """Drop what was begun; returns when the thread does nothing any more."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.drop()
            begun.made.exception()


def _all_of(begun: _Begun[Key, Made], make: Callable[[Key], Iterator[Made]]) -> list[Made]:
    made: list[Made] = []
    since = time.perf_counter()
    for thing in make(begun.key):
        made.append(thing)
        if begun.dropped:
            break
        begun.wanted.wait(time.perf_counter() - since)
        since = time.perf_counter()
    return made
