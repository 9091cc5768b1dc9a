"""Who does the work: this process, several, or machines that Ray has. Knows nothing of clips.

A crew maps a function of the top of a module over tasks, and gives results in the tasks' order.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, Protocol, TypeVar

import torch

from faster_higgs.errors import EngineError, MissingExtra

Task = TypeVar("Task")
Result = TypeVar("Result")
_AHEAD = 2  # tasks that wait for each worker
_RAY_TASKS = 64  # given to Ray at once


class Crew(Protocol):
    """Whoever does the work; tasks are asked for while there is somebody to do them."""

    def map(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]: ...


class Alone:
    """This process; on the CPU with one thread, as every worker has, for the same results."""

    def __init__(self, *, one_thread: bool = True) -> None:
        self._one_thread = one_thread

    def map(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]:
        """Raises what the work raises."""
        for task in tasks:
            with _threads(1 if self._one_thread else torch.get_num_threads()):
                result = work(task)
            yield result


class Processes:
    """So many processes, each with one thread; they end with this one, however it ends."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]:
        """A single task is not worth a process. Raises what the work raises, and EngineError when
        a process dies.
        """
        rest = iter(tasks)
        first = list(islice(rest, 2))
        if len(first) < 2:
            yield from Alone().map(work, first)
            return
        waiting = deque(self._pool.submit(work, task) for task in first)
        try:
            while waiting:
                room = self._workers * _AHEAD - len(waiting)
                waiting.extend(self._pool.submit(work, task) for task in islice(rest, room))
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise EngineError(
                "A worker process was ended by the system, most likely for want of memory; give "
                "the same command again with fewer --workers. What was finished is kept."
            ) from None
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True)
class OnRay:
    """The machines of a Ray cluster, or this one under the address "local".

    Paths in the tasks must be the same on all of them.
    """

    address: str
    graphics: bool = False  # each task takes a graphics card

    def map(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[Result, None, None]:
        """Raises MissingExtra without Ray, EngineError when a task fails there."""
        ray = _ray(self.address)
        rest = iter(tasks)
        while some := list(islice(rest, _RAY_TASKS)):
            rows = [{"place": i, "call": pickle.dumps((work, task))} for i, task in enumerate(some)]
            data = ray.data.from_items(rows, override_num_blocks=len(rows))
            mapped = data.map_batches(called, batch_size=1, num_gpus=int(self.graphics) or None)
            try:
                done = sorted(mapped.take_all(), key=lambda row: int(row["place"]))
            except ray.exceptions.RayError as error:
                raise EngineError(f"A task failed on Ray: {_last_line(error)}.") from error
            yield from (pickle.loads(row["result"]) for row in done)


def processors() -> int:
    """That this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def called(batch: dict[str, Any]) -> dict[str, Any]:
    """One task, on some machine of Ray's."""
    work, task = pickle.loads(batch["call"][0])
    with _threads(1):
        return {"place": batch["place"], "result": [pickle.dumps(work(task))]}


def _ray(address: str) -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtra(
            "Ray is not installed; install it with `pip install 'faster-higgs[ray]'`."
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(None if address == "local" else address, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise EngineError(f"Ray does not answer at {address}: {_last_line(error)}.") from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _begin() -> None:
    """One thread, and an end when the parent ends: a killed one cannot tell."""
    torch.set_num_threads(1)
    Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
