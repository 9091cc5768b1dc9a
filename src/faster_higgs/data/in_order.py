"""Threads that work ahead on a long row of things, in order. Knows nothing of the things."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_AHEAD = 4  # items that wait for each thread


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Result]]:
    """Every item with what the work gives of it, in order. Raises what the work raises."""
    rest = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque((item, pool.submit(work, item)) for item in islice(rest, _AHEAD * threads))
        while waiting:
            item, job = waiting.popleft()
            waiting.extend((one, pool.submit(work, one)) for one in islice(rest, 1))
            yield item, job.result()
