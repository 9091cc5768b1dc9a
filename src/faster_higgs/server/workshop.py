"""Where jobs are made: the queue, and what may be asked of a job on its way.

A job that ran when the server stopped goes on at the next start, after the last utterance that was
finished. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from faster_higgs.audio.encode import FORMATS
from faster_higgs.audio.levels import Samples
from faster_higgs.audio.save import save
from faster_higgs.audio.shape import Shape
from faster_higgs.delivery import Delivery, Utterance
from faster_higgs.errors import Aborted, HiggsError, NoAudio, OutputError, QueueFull
from faster_higgs.prompt.plain import bytes_of, codes_of, voice_of_plain, voice_to_plain
from faster_higgs.prompt.voices import Voice
from faster_higgs.sampling import Sampling
from faster_higgs.server.desk import OnStop, Take, Use
from faster_higgs.server.errors import Refusal, refusal
from faster_higgs.server.order import Order
from faster_higgs.server.settings import ServerSettings
from faster_higgs.server.shelf import Damaged, Record, Reel, Row, Shelf, Status, Tape
from faster_higgs.speech import Higgs, Voices
from faster_higgs.spoken import Piece

Verb = Literal["pause", "resume", "cancel", "retry"]
OVER: tuple[Status, ...] = ("done", "failed", "cancelled")
# From where each leads where.
MOVES: Mapping[Verb, tuple[tuple[Status, ...], Status]] = {
    "pause": (("queued", "running"), "paused"),
    "resume": (("paused",), "queued"),
    "cancel": (("queued", "running", "paused"), "cancelled"),
    "retry": (("failed", "cancelled"), "queued"),
}
ATTEMPTS = 4  # at an utterance in which there is nothing to hear
ANEW = 0x85EBCA6B  # what the seed of another attempt differs by
BUSY = 1.0  # seconds to wait while others fill the engine's queue
NO_FOLDER = "This server keeps no jobs; its operator can name a folder with HIGGS_JOBS_DIR."


class Progress(NamedTuple):
    """Utterances that are finished, and their samples."""

    utterances: int
    samples: int


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


class Ask(NamedTuple):
    """What is spoken. The voices are there as they were when the job was asked for."""

    text: str
    voices: Sequence[Voice] | None
    sampling: Sampling
    delivery: Delivery

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        voices = None if self.voices is None else [voice_to_plain(one) for one in self.voices]
        told = {"sampling": asdict(self.sampling), "delivery": asdict(self.delivery)}
        return {"text": self.text, "voices": voices, **told}

    @classmethod
    def of_plain(cls, kept: Mapping[str, Any]) -> Ask:
        """The same again. Raises Damaged."""
        try:
            voices = kept["voices"]
            return cls(
                kept["text"],
                None if voices is None else [voice_of_plain(one) for one in voices],
                Sampling(**kept["sampling"]),
                Delivery(**kept["delivery"]),
            )
        except (KeyError, TypeError, ValueError, HiggsError):
            raise Damaged("What was asked cannot be read by this version.") from None


class Workshop:
    """All jobs of a server. Raises Refusal, OutputError."""

    def __init__(self, higgs: Higgs, settings: ServerSettings, model: str, use: Use) -> None:
        self._use = use
        self._higgs, self._settings = higgs, settings
        self._model = f"{model} {higgs.voices.codec}"
        self._threads = ThreadPoolExecutor(settings.max_jobs_running, thread_name_prefix="job")
        self._jobs: dict[str, Job] = {}
        self._shelf: Shelf | None = None
        self._why = NO_FOLDER  # there is no shelf
        self._intake = asyncio.Lock()
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
            logging.getLogger(__name__).error("There are no jobs: %s", error)

    def begin(self) -> None:
        """The model is ready: make them."""
        self._open = True
        self._fill()

    def leave(self) -> None:
        """The server is about to end: who only listens must not hold it up. From any thread."""
        self._loop.call_soon_threadsafe(self._let_go)

    async def close(self) -> None:
        """Stop; what runs goes on at the next start."""
        self._open = False
        self._let_go()
        running = [job for job in self._jobs.values() if job.task]
        for job in running:
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
        if self._shelf is None:
            raise Refusal(503, self._why, "jobs_off")
        return self._shelf

    def count(self, status: Status) -> int:
        """Jobs of that status."""
        return sum(job.record.status == status for job in self._jobs.values())

    def kept(self) -> list[Job]:
        """All jobs, the newest first."""
        assert self.shelf
        return [self._jobs[id] for id in sorted(self._jobs, reverse=True)]

    def find(self, id: str) -> Job:
        """A job by its id."""
        job = self._jobs.get(id)
        if not self.shelf or job is None or job.gone:
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
            record = await asyncio.to_thread(self._taken, self.shelf, order, voices)
            job = self._jobs[record.id] = Job(record, Progress(0, 0))
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
            job.take = Take(partial(self._used, self.shelf, job.record))
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

    def _used(self, shelf: Shelf, record: Record, on_stop: OnStop) -> Generator[Progress]:
        with self._use():
            yield from self._made(shelf, record, on_stop)

    def _made(self, shelf: Shelf, record: Record, on_stop: OnStop) -> Generator[Progress]:
        """Make what is missing of a job, in a thread; how far it is, after each utterance."""
        if record.model != self._model:
            raise Refusal(
                409,
                f"The job was begun with the model {record.model.split()[0]}, in this form it is "
                "not served now; serve it again and retry, or ask for a new job.",
                "model_changed",
            )
        ask, reel = Ask.of_plain(shelf.ask(record.id)), shelf.reel(record.id)
        plan = self._higgs.plan(ask.text, ask.voices, ask.delivery)
        _check_plan(plan, record, reel)
        yield Progress(len(reel.rows), reel.samples)
        stopped = threading.Event()
        on_stop(stopped.set)
        with reel.growing() as tape:
            speaker = _Speaker(self._higgs, ask, record, reel, tape)
            yield from speaker.speak(len(plan), on_stop, stopped)
        sound = _until(stopped, shelf.reel(record.id).sound())
        note = self._settings.note
        save(self.file(record), sound, format=record.format, rate=record.rate, note=note)


class _Speaker:
    """Adds the utterances of a job to its tape, one after the other."""

    def __init__(self, higgs: Higgs, ask: Ask, record: Record, reel: Reel, tape: Tape) -> None:
        self._higgs, self._ask, self._record, self._tape = higgs, ask, record, tape
        self._said = [None if one is None else codes_of(*one) for one in reel.remembered()]
        self._samples = reel.samples

    def speak(self, total: int, on_stop: OnStop, stopped: threading.Event) -> Generator[Progress]:
        """All that is missing. One without any sound is tried again with other random numbers."""
        attempt = 0
        while len(self._said) < total:
            try:
                for progress in self._go_on(attempt, on_stop):
                    yield progress
                    if attempt:
                        break
                attempt = 0
            except NoAudio:
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
            except QueueFull:
                if stopped.wait(BUSY):
                    raise

    def _go_on(self, attempt: int, on_stop: OnStop) -> Generator[Progress]:
        text, voices, sampling, delivery = self._ask
        if attempt:
            seed = ((sampling.seed or 0) + attempt * ANEW) % 2**62
            sampling = replace(sampling, seed=seed)
        pieces = self._higgs.pieces(
            text, voices, sampling, delivery, said=tuple(self._said), on_stop=on_stop
        )
        with closing(pieces):
            heard, begin, shape = list[Samples](), 0, None
            for piece in pieces:
                if piece.is_pause:
                    heard.append(self._silence(len(piece.samples) / self._higgs.rate))
                    continue
                if shape is None:
                    shape, begin = self._shape(), sum(map(len, heard))
                heard.append(shape.feed(piece.samples))
                if piece.result is not None:
                    self._add(piece, [*heard, shape.finish()], begin)
                    heard, shape = [], None
                    yield Progress(len(self._said), self._samples)

    def _shape(self) -> Shape:
        return Shape(self._higgs.rate, speed=self._record.speed, to=self._record.rate)

    def _silence(self, seconds: float) -> Samples:
        return np.zeros(round(seconds * self._record.rate), np.float32)

    def _add(self, piece: Piece, heard: Sequence[Samples], begin: int) -> None:
        """An utterance that begins so far in what is heard, and the silence wanted after it."""
        assert piece.result is not None
        utterance, codes, start = piece.utterance, piece.remembered, self._samples
        sound = np.concatenate([*heard, self._silence(utterance.after)])
        row = Row(
            utterance.text,
            start + begin,
            start + sum(map(len, heard)),
            start + len(sound),
            piece.result.finish.value,
            None if codes is None else (codes.shape[0], codes.shape[1]),
            utterance.speaker,
        )
        self._tape.add(row, sound, b"" if codes is None else bytes_of(codes))
        self._said.append(codes)
        self._samples = row.until


async def _followed(take: Take[Progress], job: Job) -> Exception | None:
    """Tell how far a job is until it is over; what it failed of."""
    try:
        async for progress in take:
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


def _check_plan(plan: Sequence[Utterance], record: Record, reel: Reel) -> None:
    """Raises Refusal where this version would not go on as the job began."""
    same = all(one.text == row.text for one, row in zip(plan, reel.rows, strict=False))
    if len(plan) != record.utterances or not same:
        raise Refusal(
            409,
            "The text is cut into other utterances than when the job began; ask for a new job.",
            "plan_changed",
        )


def _until(stopped: threading.Event, sound: Iterator[Samples]) -> Iterator[Samples]:
    for samples in sound:
        if stopped.is_set():
            raise Aborted("The job was stopped.")
        yield samples


def _listed(voices: Voice | Sequence[str | Voice]) -> Sequence[str | Voice]:
    return [voices] if isinstance(voices, Voice) else voices
