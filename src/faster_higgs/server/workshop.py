"""Where jobs are made: the queue, and what may be asked of a job on its way.

A job that ran when the server stopped goes on at the next start, after the last utterance that was
finished. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from faster_higgs.audio.encode import FORMATS
from faster_higgs.errors import HiggsError, OutputError
from faster_higgs.prompt.voices import Voice
from faster_higgs.server.accounts import Account, asker
from faster_higgs.server.desk import OnStop, Take, Use
from faster_higgs.server.errors import Refusal, refusal
from faster_higgs.server.narrator import Ask, Progress, narrated
from faster_higgs.server.order import Order
from faster_higgs.server.settings import ServerSettings
from faster_higgs.server.shelf import Record, Shelf, Status
from faster_higgs.speech import Higgs, Voices

Verb = Literal["pause", "resume", "cancel", "retry"]
OVER: tuple[Status, ...] = ("done", "failed", "cancelled")
# From where each leads where.
MOVES: Mapping[Verb, tuple[tuple[Status, ...], Status]] = {
    "pause": (("queued", "running"), "paused"),
    "resume": (("paused",), "queued"),
    "cancel": (("queued", "running", "paused"), "cancelled"),
    "retry": (("failed", "cancelled"), "queued"),
}
NO_FOLDER = "This server keeps no jobs; its operator can name a folder with HIGGS_JOBS_DIR."
ELSEWHERE = "Jobs are made by the server behind this one; ask that."


@dataclass(eq=False)
class Job:
    """A job and who makes it. Only the event loop touches it."""

    record: Record
    done: Progress
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # of what is asked of it
    news: asyncio.Event = field(default_factory=asyncio.Event)  # set once, at the next change
    task: asyncio.Task[None] | None = None
    take: Take[Progress] | None = None
    gone: bool = False
    account: Account = field(default_factory=Account)  # who pays for its sound

    @property
    def over(self) -> bool:
        """Whether it moves no more by itself."""
        return self.gone or self.record.status in OVER

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return self.done.samples / self.record.rate

    def change(self, record: Record | None = None, done: Progress | None = None) -> None:
        """It is different now: wake who waits for news."""
        self.record, self.done = record or self.record, done or self.done
        self.news.set()
        self.news = asyncio.Event()

    def told(self) -> dict[str, Any]:
        """As clients see it."""
        record, made = self.record, self.done.utterances
        return {
            "id": record.id,
            "object": "audio.job",
            "status": record.status,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "seed": record.seed,
            "response_format": record.format,
            "sample_rate": record.rate,
            "title": record.title,
            "progress": {
                "utterances_done": made,
                "utterances_total": record.utterances,
                "seconds": round(self.seconds, 3),
                "fraction": round(made / record.utterances, 4),
            },
            "error": record.error,
        }


class Workshop:
    """All jobs of a server. Raises Refusal, OutputError."""

    def __init__(
        self,
        higgs: Higgs,
        settings: ServerSettings,
        model: str,
        using: Use,
    ) -> None:
        """`using` is entered by each thread that makes a job, until it is over."""
        self._higgs, self._settings, self._using = higgs, settings, using
        self._model = f"{model} {higgs.voices.codec}"
        self._threads = ThreadPoolExecutor(settings.max_jobs_running, thread_name_prefix="job")
        self._jobs: dict[str, Job] = {}
        self._shelf: Shelf | None = None
        self._why = ELSEWHERE if settings.engine else NO_FOLDER  # there is no shelf
        self._intake = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False
        self.leaving = False  # who listens is let go

    # --- from start to end ---------------------------------------------------------------------

    async def load(self) -> None:
        """Find the jobs there are."""
        self._loop = asyncio.get_running_loop()
        if self._settings.jobs_dir is None:
            return
        try:
            self._shelf = await asyncio.to_thread(Shelf, Path(self._settings.jobs_dir))
            for job in await asyncio.to_thread(self._found, self._shelf):
                self._jobs[job.record.id] = job
        except (OutputError, OSError) as error:
            self._why = f"There are no jobs now: {error}"
            logging.getLogger(__name__).error(
                "Long texts cannot be made: %s Name another folder with HIGGS_JOBS_DIR, now %s.",
                error,
                self._settings.jobs_dir,
            )

    def begin(self) -> None:
        """The model is ready: make them."""
        self._open = True
        self._fill()

    def leave(self) -> None:
        """The server is about to end: who only listens must not hold it up. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._let_go)

    async def close(self) -> None:
        """Stop; what runs goes on at the next start."""
        self._open = False
        self._let_go()
        running = [job for job in self._jobs.values() if job.task]
        for job in running:
            async with job.lock:  # else one that is just beginning would go on to its end
                if job.take:
                    job.take.stop()
        await asyncio.gather(*(job.task for job in running if job.task))
        self._threads.shutdown()
        if self._shelf:
            self._shelf.close()

    # --- what is asked -------------------------------------------------------------------------

    @property
    def shelf(self) -> Shelf:
        """Raises Refusal where jobs are not kept."""
        self.refuse_off()
        assert self._shelf is not None
        return self._shelf

    def refuse_off(self) -> None:
        """The same."""
        if self._shelf is None:
            raise Refusal(503, self._why, "jobs_off")

    def count(self, status: Status) -> int:
        """Jobs of that status."""
        return sum(job.record.status == status for job in self._jobs.values())

    def kept(self) -> list[Job]:
        """All jobs, the newest first."""
        self.refuse_off()
        return [self._jobs[id] for id in sorted(self._jobs, reverse=True)]

    def find(self, id: str) -> Job:
        """A job by its id."""
        self.refuse_off()
        job = self._jobs.get(id)
        if job is None or job.gone:
            raise Refusal(
                404, "There is no such job; GET /v1/jobs lists those there are.", "job_not_found"
            )
        return job

    async def add(self, order: Order, voices: Callable[[], Voices]) -> Job:
        """A new job; it is on disk when this returns. Raises as `Higgs.plan` does."""
        async with self._intake:
            most = self._settings.max_jobs
            if len(self._jobs) >= most:
                raise Refusal(
                    409, f"At most {most} jobs are kept; delete one first.", "too_many_jobs"
                )
            account = asker()
            account.begin()
            try:
                record = await asyncio.to_thread(self._taken, self.shelf, order, voices)
            finally:
                account.end()
            job = Job(record, Progress(0, 0), account=account)
            self._jobs[record.id] = job
        self._fill()
        return job

    async def move(self, job: Job, verb: Verb) -> None:
        """Pause, resume, cancel or retry it; that it is so is on disk when this returns."""
        allowed, status = MOVES[verb]
        async with job.lock:
            if job.record.status not in allowed or job.gone:
                raise Refusal(
                    409,
                    f"The job is {job.record.status}; {verb} is for jobs that are "
                    f"{' or '.join(allowed)}.",
                    "wrong_state",
                )
            record = _turned(job.record, status)
            await asyncio.to_thread(self.shelf.keep, record)
            job.change(record)
            if status != "queued" and job.take:
                job.take.stop()
        self._fill()

    async def remove(self, job: Job) -> None:
        """Stop it, and delete all of it."""
        async with job.lock:
            if job.gone:
                raise Refusal(404, "The job was deleted already.", "job_not_found")
            job.gone = True
            if job.take:
                job.take.stop()
        if job.task:
            await asyncio.wait({job.task})
        try:
            await asyncio.to_thread(self.shelf.remove, job.record.id)
        except OutputError:
            job.gone = False
            raise
        del self._jobs[job.record.id]
        stopped = job.record.status not in OVER
        job.change(replace(job.record, status="cancelled") if stopped else None)

    def file(self, record: Record) -> Path:
        """Where the whole sound is, once it is done."""
        return self.shelf.place(record.id) / f"speech{FORMATS[record.format].suffix}"

    # --- the making ----------------------------------------------------------------------------

    def _found(self, shelf: Shelf) -> list[Job]:
        """Those on the shelf; what ran is queued again."""
        jobs = []
        for record in shelf.load():
            reel = shelf.reel(record.id)
            status = record.status if record.status != "running" else "queued"
            done = Progress(len(reel.rows), reel.samples)
            jobs.append(Job(replace(record, status=status), done))
        return jobs

    def _taken(self, shelf: Shelf, order: Order, voices: Callable[[], Voices]) -> Record:
        """An order on the shelf."""
        delivery = replace(
            order.delivery,
            priority="batch",
            deadline=None,
            max_chars=self._settings.max_job_chars,
        )
        with self._using():  # a clip may have to be encoded
            ask = Ask(order.text, self._loaded(voices()), order.sampling, delivery)
        plan = self._higgs.plan(ask.text, ask.voices, delivery)
        now = int(time.time())
        record = Record(
            f"job_{time.time_ns():016x}{secrets.token_hex(4)}",
            "queued",
            now,
            now,
            title=" ".join(plan[0].text[:200].split())[:60],
            seed=order.sampling.seed or 0,
            format=order.format,
            rate=order.rate or self._higgs.rate,
            speed=order.speed,
            model=self._model,
            utterances=len(plan),
        )
        shelf.add(record, ask.plain())
        return record

    def _loaded(self, voices: Voices) -> list[Voice] | None:
        """Voices by name as they are now; None leaves them to the model."""
        if voices is None:
            return None
        names: Sequence[str | Voice]
        names = voices.split(",") if isinstance(voices, str) else _listed(voices)
        return [self._higgs.voices.load(one) if isinstance(one, str) else one for one in names]

    def _let_go(self) -> None:
        self.leaving = True
        for job in self._jobs.values():
            job.change()

    def _fill(self) -> None:
        """Begin those that wait longest, as many as may run."""
        if not self._open or self._shelf is None:
            return
        free = self._settings.max_jobs_running - sum(job.task is not None for job in self.kept())
        waiting = (job for job in reversed(self.kept()) if job.record.status == "queued")
        for job in [job for job in waiting if job.task is None and not job.gone][: max(0, free)]:
            job.task = asyncio.create_task(self._run(job))

    async def _run(self, job: Job) -> None:
        """Make a job until it is over, or not wanted for now."""
        try:
            if take := await self._begun(job):
                making = asyncio.get_running_loop().run_in_executor(self._threads, take.run)
                error = await _followed(take, job)
                await making
                await self._ended(job, error)
        finally:
            job.task = None
            self._fill()

    async def _begun(self, job: Job) -> Take[Progress] | None:
        async with job.lock:
            if job.record.status != "queued" or job.gone or not self._open:
                return None
            await self._turn(job, "running")
            job.take = Take(partial(self._used, job.record))
            return job.take

    async def _ended(self, job: Job, error: Exception | None) -> None:
        """Of its own accord, unless it was stopped."""
        async with job.lock:
            job.take = None
            if job.record.status == "running" and not job.gone and self._open:
                await self._turn(job, "failed" if error else "done", error)

    async def _turn(self, job: Job, status: Status, error: Exception | None = None) -> None:
        """The next state of a job. One that cannot be saved is found out anew at the next start."""
        record = _turned(job.record, status, error)
        try:
            await asyncio.to_thread(self.shelf.keep, record)
        except OutputError as unsaved:
            logging.getLogger(__name__).error("%s is %s. %s", record.id, status, unsaved)
        job.change(record)

    def _used(self, record: Record, on_stop: OnStop) -> Generator[Progress]:
        with self._using():
            yield from self._made(record, on_stop)

    def _made(self, record: Record, on_stop: OnStop) -> Generator[Progress]:
        """Make what is missing of a job, in a thread."""
        if record.model != self._model:
            raise Refusal(
                409,
                f"The job was begun with the model {record.model.split()[0]}, in this form it is "
                "not served now; serve it again and retry, or ask for a new job.",
                "model_changed",
            )
        file, note = self.file(record), self._settings.note
        yield from narrated(self._higgs, self.shelf, record, file, on_stop, note)


async def _followed(take: Take[Progress], job: Job) -> Exception | None:
    """Tell how far a job is until it is over; what it failed of."""
    try:
        async for progress in take:
            job.account.heard((progress.samples - job.done.samples) / job.record.rate)
            job.change(done=progress)
    except Exception as error:  # noqa: BLE001  it becomes the job's
        return error
    return None


def _turned(record: Record, status: Status, error: Exception | None = None) -> Record:
    told = None
    if error is not None:
        if not isinstance(error, HiggsError | Refusal):
            logging.getLogger(__name__).error("%s failed.", record.id, exc_info=error)
        refused = refusal(error)
        told = {"message": refused.message, "code": refused.code}
    return replace(record, status=status, updated_at=int(time.time()), error=told)


def _listed(voices: Voice | Sequence[str | Voice]) -> Sequence[str | Voice]:
    return [voices] if isinstance(voices, Voice) else voices
