"""Requests in, frames out, many at once. Knows nothing of text, sound, files or HTTP.

A request's codes do not depend on its neighbours, on being interrupted, or on being streamed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from typing import NamedTuple

from faster_higgs.config import PAGE, EngineConfig
from faster_higgs.engine.kv_cache import Pages
from faster_higgs.engine.request import Finish, FrameEvent, Request, RequestFailed
from faster_higgs.engine.runner import Drawn, Runner
from faster_higgs.engine.scheduler import INTERACTIVE, Job, Prefill, Scheduler
from faster_higgs.errors import SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.expand import expand
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling


class Stats(NamedTuple):
    """How an engine is, and what it has done since it began."""

    running: int = 0
    waiting: int = 0
    pages_used: int = 0  # that requests hold
    pages_total: int = 0
    steps: int = 0
    step_seconds: float = 0.0  # of all steps together
    columns: int = 0  # that were decoded, by all requests together
    last_batch: int = 0  # requests that decoded in the latest step
    admitted: int = 0  # requests that began to be read, interrupted ones again
    prefix_hits: int = 0  # those whose prompt began as a known one

    @property
    def mean_batch(self) -> float:
        """Requests that decoded in a step, on average."""
        return self.columns / self.steps if self.steps else 0.0


class Engine:
    """Continuous batching: requests join and leave between any two steps."""

    def __init__(
        self, model: DualFFN, config: EngineConfig = EngineConfig(), *, behind: bool | None = None
    ) -> None:
        """`behind`: whether a step begins before the one before it is known, as on a GPU."""
        pages = -(-config.positions // PAGE)
        self._config = model.config
        self._positions = min(model.config.positions, pages * PAGE)
        self._runner = Runner(model, pages, config.slots)
        self._pages = Pages(pages)
        self._scheduler = Scheduler(self._pages, config.slots, config.chunk, config.max_waiting)
        self._requests: dict[int, Request] = {}
        self._ended: list[Request] = []  # whose last event is still to be told
        self._news: list[FrameEvent] = []
        self._numbers = itertools.count(1)
        self._behind = self._runner.device.type == "cuda" if behind is None else behind
        self._flight: Flight | None = None  # the step that is not known yet
        self._steps, self._seconds, self._columns, self._batch = 0, 0.0, 0, 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._requests and not self._ended and not self._news

    @property
    def free_pages(self) -> int:
        """Pages of the cache that no request holds; some of them keep prefixes for later ones."""
        return self._pages.free + self._pages.kept

    def stats(self) -> Stats:
        """Plain numbers; any thread may ask."""
        scheduler, pages = self._scheduler, self._pages
        return Stats(
            len(scheduler.running),
            len(scheduler.waiting),
            pages.total - self.free_pages,
            pages.total,
            self._steps,
            self._seconds,
            self._columns,
            self._batch,
            scheduler.admitted,
            scheduler.shared,
        )

    def add(
        self,
        prompt: Prompt,
        sampling: Sampling,
        stop_ids: Iterable[int] = (),
        *,
        priority: int = INTERACTIVE,
        deadline: float | None = None,
    ) -> int:
        """Queue a prompt; its number comes back in every event.

        Lower priorities go first; `deadline` is a time of `time.monotonic`. Raises QueueFull, and
        SettingError for a prompt that can never be answered: too long, clips of another codec, or
        an answer in text by a model without a text head.
        """
        config, room = self._config, self._positions - len(prompt)
        if room < config.num_codebooks + 2:  # the shortest clip
            raise SettingError(self._told_too_long(len(prompt)))
        writes_text = self._runner.writes_text
        if prompt.ids[-1] != config.audio_out_bos_token_id and not writes_text:
            raise SettingError(
                "This prompt lets the model write text first, but the model was loaded without its "
                "text head; force audio, or load with text_head=True."
            )
        number, limit = next(self._numbers), min(sampling.max_new_tokens, room)
        request = Request(
            number, prompt, expand(prompt, config), sampling, config, writes_text, limit,
            frozenset(stop_ids),
        )  # fmt: skip
        keys, length = request.page_keys(), len(prompt)
        self._scheduler.add(Job(number, length, length + limit, keys, priority, deadline))
        self._requests[number] = request
        return number

    def _told_too_long(self, positions: int) -> str:
        whole = self._positions == self._config.positions
        return (
            f"The prompt takes {positions} of the {'model' if whole else 'cache'}'s "
            f"{self._positions} positions, which leaves no room for an answer; "
            "shorten the reference clip, the history or the text"
            f"{'.' if whole else ', or give the cache more positions with --context.'}"
        )

    def abort(self, number: int) -> None:
        """Stop a request; its last event comes with the next step. Other numbers are ignored."""
        if self._scheduler.abort(number):
            self._end(number, Finish.ABORTED)

    def clear(self) -> None:
        """Forget every request, after an error that none of them can survive."""
        for number in list(self._requests):
            self._scheduler.abort(number)
        self._requests.clear()
        self._ended.clear()
        self._news.clear()
        self._flight = None
        self._pages.forget()

    def step(self) -> list[FrameEvent]:
        """One model step; the events it gave rise to. Raises RequestFailed."""
        begin = time.perf_counter()
        try:
            with self._runner.here():
                return self._step()
        finally:
            self._steps += 1
            self._seconds += time.perf_counter() - begin

    def _step(self) -> list[FrameEvent]:
        for number in self._scheduler.expired(time.monotonic()):
            self._end(number, Finish.DEADLINE)
        plan, landing = self._scheduler.plan(), self._flight
        self._batch = len(plan.decode)
        self._columns += self._batch
        served = self._decode(plan.decode)
        if landing is not None:
            served += self._land(landing)
        if self._flight is not None and not self._behind:
            served += self._land(self._flight)
        try:
            for part in plan.prefill:
                served += self._read(part)
        finally:  # if one fails, the news of the others come with the next step
            self._news += [request.news() for request in self._over(served)]
        news, self._news = self._news, []
        return news

    def _over(self, served: list[Request]) -> list[Request]:
        """These and whoever was ended from outside; those that are over are forgotten."""
        for request in served:
            if request.finish is not None:
                self._scheduler.finish(request.id)
                del self._requests[request.id]
        ended, self._ended = self._ended, []
        return [*ended, *served]

    def _end(self, number: int, finish: Finish) -> None:
        request = self._requests.pop(number)
        request.finish = finish
        self._ended.append(request)

    def _read(self, part: Prefill) -> list[Request]:
        """Read a stretch of a prompt; the request, if its answer has begun."""
        job, request = part.job, self._requests[part.job.id]
        try:
            self._runner.prefill(request, job.table.pages, part.start, part.positions)
        except Exception as error:
            self._scheduler.abort(job.id)
            del self._requests[job.id]
            raise RequestFailed(job.id) from error  # the others may well be possible
        self._scheduler.advanced(job, part.positions)
        if job.unread:
            return []
        if request.pending is not None:  # it was interrupted
            self._resume(job, request)
            return []
        if request.forced:
            request.open_segment()
            self._resume(job, request)
        else:
            request.take_text(self._runner.draw_text(request))
        return [request]

    def _resume(self, job: Job, request: Request) -> None:
        """Let the device go on with a request that speaks."""
        if request.speaks:
            assert job.slot is not None
            self._runner.slots.put(job.slot, request, job.table.length, job.table.pages)

    def _decode(self, jobs: list[Job]) -> list[Request]:
        """One more position for each of these; those that write text have written it."""
        served = [(job, self._requests[job.id]) for job in jobs]
        speaking = [one for one in served if one[1].speaks]
        writing = [one for one in served if not one[1].speaks]
        self._flight = self._launch(speaking) if speaking else None
        return [self._write_text(job, request) for job, request in writing]

    def _write_text(self, job: Job, request: Request) -> Request:
        self._runner.read_text(request, job.table.pages, job.table.length)
        self._scheduler.advanced(job, 1)
        request.has_read()
        if request.pending == self._config.audio_out_bos_token_id:
            request.open_segment()
            self._resume(job, request)
        else:
            request.take_text(self._runner.draw_text(request))
        return request

    def _launch(self, served: list[tuple[Job, Request]]) -> Flight:
        """Let the device write a column for each."""
        jobs = [job for job, _ in served]
        slots = [job.slot for job in jobs if job.slot is not None]
        for job, slot in zip(jobs, slots, strict=True):
            if job.table.length % PAGE == 0:  # it has just got a page
                self._runner.slots.add_page(slot, job.table.pages)
        reach = max(job.table.length for job in jobs) + 1
        drawn = self._runner.step(slots, reach)
        for job in jobs:
            self._scheduler.advanced(job, 1)
        return Flight(served, drawn, set())

    def _land(self, flight: Flight) -> list[Request]:
        """Take what a step wrote; some of it may be for requests that were over by then."""
        if flight is self._flight:
            self._flight = None
        served = []
        for (job, request), column, ending, over in zip(
            flight.served, *flight.drawn.read(), strict=True
        ):
            if request.finish is None and job.id not in flight.void:
                request.has_read()
                request.take_column(column, None if ending < 0 else ending, bool(over))
                served.append(request)
                if not request.speaks and self._flight is not None:
                    self._flight.cancel(job)
        return served


class Flight(NamedTuple):
    """A step that was begun: for whom, and what it writes."""

    served: list[tuple[Job, Request]]
    drawn: Drawn
    void: set[int]  # jobs whose column is not wanted

    def cancel(self, job: Job) -> None:
        """Where this step wrote for `job`, something else will come: its clip was over."""
        if any(job is one for one, _ in self.served):
            job.table.length -= 1
            self.void.add(job.id)
