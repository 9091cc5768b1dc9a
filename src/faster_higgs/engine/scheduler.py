"""Who runs next: which prompts are read, which utterances go on, who has to wait.

Jobs are served by importance and then in the order of arrival. A job that runs and has to give way
loses its pages, not its place in the queue; what it had written is computed again later. Knows
nothing of models, tensors or clocks; time is a number that the caller passes in.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from faster_higgs.config import PAGE
from faster_higgs.engine.kv_cache import Pages, Table, pages_for
from faster_higgs.errors import QueueFull, SettingError

INTERACTIVE, BATCH = 0, 1  # priorities: the lower number goes first


@dataclass(eq=False)
class Job:
    """What the scheduler knows of a request."""

    id: int
    prompt: int  # positions
    limit: int  # positions in all, the prompt's included
    keys: Sequence[Hashable] = ()  # of the prompt's full pages that may be shared, see `chain`
    priority: int = INTERACTIVE
    deadline: float | None = None
    # Written by the scheduler alone:
    arrival: int = field(init=False, default=-1)
    goal: int = field(init=False)  # positions to read before it decodes; grows when it is preempted
    table: Table = field(init=False, default_factory=Table)
    slot: int | None = field(init=False, default=None)  # its row in the batch, while it runs

    def __post_init__(self) -> None:
        assert 1 <= self.prompt <= self.limit and len(self.keys) <= self.prompt // PAGE
        self.goal = self.prompt

    @property
    def rank(self) -> tuple[int, int]:
        """Lower ranks are served first."""
        return self.priority, self.arrival

    @property
    def unread(self) -> int:
        """Positions of the prompt, and of what has to be computed again, not in the cache yet."""
        return max(0, self.goal - self.table.length)

    @property
    def may_grow(self) -> bool:
        """Whether it decodes: all is read, and the limit not reached."""
        return not self.unread and self.table.length < self.limit

    @property
    def sharable(self) -> Sequence[Hashable]:
        """Keys of the pages it may take over; its last position is always computed afresh."""
        return self.keys[: (self.goal - 1) // PAGE]

    def is_late(self, now: float) -> bool:
        """Whether its deadline has come."""
        return self.deadline is not None and self.deadline <= now


class Prefill(NamedTuple):
    """So many positions of a job are to be read, from `start` on."""

    job: Job
    start: int
    positions: int


class Step(NamedTuple):
    """What to do in one step. Nobody is both preempted and admitted."""

    preempted: list[Job]
    admitted: list[Job]
    prefill: list[Prefill]
    decode: list[Job]  # each writes one position


class Scheduler:
    """Plans steps; whoever carries them out reports with `advanced`."""

    def __init__(self, pages: Pages, slots: int, chunk: int, max_waiting: int) -> None:
        self.pages = pages
        self._chunk = chunk  # positions of prompts read in one step
        self._max_waiting = max_waiting
        self._slots = list(range(slots))  # free ones, a heap: the lowest is given first
        self._numbers = itertools.count()
        self._jobs: dict[int, Job] = {}
        self._waiting: list[Job] = []  # both sorted by rank
        self._running: list[Job] = []
        self.admitted = 0  # jobs, those that came again included
        self.shared = 0  # jobs that found their beginning in the cache

    @property
    def waiting(self) -> tuple[Job, ...]:
        """Jobs without a slot, the next one first."""
        return tuple(self._waiting)

    @property
    def running(self) -> tuple[Job, ...]:
        """Jobs with a slot, the most important first."""
        return tuple(self._running)

    def add(self, job: Job) -> None:
        """Queue a job. Raises QueueFull, or SettingError for one that can never be served.

        Only jobs at least as important count as waiting, less as many as there are free slots.
        """
        assert job.id not in self._jobs
        if pages_for(job.limit) > self.pages.total:
            raise SettingError(
                f"The request may need {job.limit} positions, but the cache holds "
                f"{self.pages.total * PAGE}; shorten the text or the reference clip, lower the "
                "limit on new frames, or give the cache more memory."
            )
        ahead = sum(other.priority <= job.priority for other in self._waiting)
        if ahead - len(self._slots) >= self._max_waiting:
            raise QueueFull(
                f"{ahead} requests are waiting already, and no more than {self._max_waiting} may; "
                "try again later."
            )
        job.arrival = next(self._numbers)
        self._jobs[job.id] = job
        insort(self._waiting, job, key=_rank)

    def finish(self, number: int) -> None:
        """Give back everything of a job that is done."""
        known = self.abort(number)
        assert known

    def abort(self, number: int) -> bool:
        """Forget a job, waiting or running; False if there is none of that number."""
        job = self._jobs.pop(number, None)
        if job is None:
            return False
        if job.slot is None:
            self._waiting.remove(job)
        else:
            self._stop(job)
        return True

    def expired(self, now: float) -> list[int]:
        """Forget the jobs whose deadline has come; their numbers."""
        late = [job.id for job in self._jobs.values() if job.is_late(now)]
        for number in late:
            self.abort(number)
        return late

    def plan(self) -> Step:
        """The next step. It holds work while there are jobs, unless all have reached their limits:
        such jobs wait for `finish`.
        """
        preempted = self._make_room()
        admitted = self._admit(preempted)
        prefill, budget = [], self._chunk
        for job in self._running:
            if positions := min(job.unread, budget):
                prefill.append(Prefill(job, job.table.length, positions))
                budget -= positions
        decode = [job for job in self._running if job.may_grow]
        return Step(preempted, admitted, prefill, decode)

    def advanced(self, job: Job, positions: int) -> None:
        """So many more positions of a running job are in the cache."""
        was_reading = job.unread
        job.table.length += positions
        assert job.slot is not None and job.table.length <= len(job.table.pages) * PAGE
        if was_reading:
            self.pages.keep(job.table, job.keys)

    def _make_room(self) -> list[Job]:
        """A position more for everyone who decodes; those who had to give way for it."""
        preempted = []
        for job in self.running:
            # It may have to give way itself.
            while job.slot is not None and job.may_grow and not self._grow(job):
                preempted.append(self._preempt(self._running[-1]))
        return preempted

    def _grow(self, job: Job) -> bool:
        return self.pages.take(job.table, job.table.length + 1)

    def _admit(self, preempted: list[Job]) -> list[Job]:
        """Start jobs strictly in their order; adds those who had to give way to `preempted`."""
        admitted = []
        while self._waiting:
            job = self._waiting[0]
            if job in preempted or self._is_being_read(job):
                break
            victims = self._in_the_way_of(job)
            if victims is None:
                break
            preempted += map(self._preempt, victims)
            table = self.pages.open(job.sharable, job.goal)
            assert table is not None
            job.table, job.slot = table, heapq.heappop(self._slots)
            self._waiting.remove(job)
            insort(self._running, job, key=_rank)
            admitted.append(job)
            self.admitted += 1
            self.shared += bool(table.shared)
        return admitted

    def _is_being_read(self, job: Job) -> bool:
        """Whether a running job is about to write the next page that this one could share."""
        keys = job.sharable
        known = len(self.pages.match(keys))
        return known < len(keys) and any(
            known < len(other.keys)
            and other.keys[known] == keys[known]
            and other.table.length < (known + 1) * PAGE
            for other in self._running
        )

    def _in_the_way_of(self, job: Job) -> list[Job] | None:
        """The fewest less important jobs to preempt for this one; None if that would not do.

        A page for each of the others stays in reserve, so that it need not give way right away.
        """
        lesser = [other for other in self._running if other.priority > job.priority]
        others = len(self._running) - len(lesser)
        for count in range(len(lesser) + 1):
            victims = lesser[len(lesser) - count :]
            tables = [victim.table for victim in victims]
            has_slot = victims or self._slots
            if has_slot and self.pages.fits(job.sharable, job.goal, spare=others, without=tables):
                return victims
        return None

    def _preempt(self, job: Job) -> Job:
        """Back into the queue, ahead of all who came later; what was written is to be read."""
        job.goal = max(job.goal, job.table.length)
        self._stop(job)
        insort(self._waiting, job, key=_rank)
        return job

    def _stop(self, job: Job) -> None:
        assert job.slot is not None
        heapq.heappush(self._slots, job.slot)
        job.slot = None
        self._running.remove(job)
        self.pages.release(job.table)


def _rank(job: Job) -> tuple[int, int]:
    return job.rank
