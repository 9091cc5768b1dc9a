"""Requests to a server, in a closed loop or an open one, and what became of each.

Knows nothing of how it is told.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from faster_higgs.errors import AudioError, EngineError
from faster_higgs.loadtest.endpoints import PATHS, NoSound, error_in, reader_for
from faster_higgs.loadtest.listening import RATE, Listener
from faster_higgs.loadtest.settings import LoadSettings

QUICK = 10.0  # seconds in which a server tells of itself
Progress = Callable[[int], None]


@dataclass
class Sample:
    """What became of one request. Times are in seconds since it was due."""

    number: int
    total: float = 0.0
    error: str | None = None
    status: int | None = None
    first: float | None = None  # when the first sound came
    size: int = 0  # bytes of sound
    seconds: float = 0.0  # that it plays
    making: float | None = None  # as the server tells it
    underruns: int | None = None  # None where it cannot be told
    dry: float = 0.0  # seconds without sound

    @property
    def factor(self) -> float | None:
        """Seconds of waiting for one of sound."""
        return self.total / self.seconds if self.seconds else None


@dataclass
class LoadTest:
    """One test of a server: what was asked, and what is known of it so far."""

    settings: LoadSettings
    health: Mapping[str, Any] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0

    def meet(self) -> None:
        """Ask who is there, and warm up. Raises EngineError when nobody can be measured."""
        asyncio.run(self._with_client(self._met))

    def run(self, progress: Progress = lambda done: None) -> None:
        """All requests. Whoever interrupts finds those that ended in `samples`."""
        begin = time.perf_counter()
        try:
            asyncio.run(self._with_client(lambda client: self._loop(client, progress)))
        finally:
            self.seconds = time.perf_counter() - begin

    def ask_stats(self) -> None:
        """What the server counted, if it tells."""
        asyncio.run(self._with_client(self._counted))

    async def _with_client(self, work: Callable[[httpx2.AsyncClient], Any]) -> None:
        key = self.settings.key
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx2.AsyncClient(
            base_url=self.settings.url.rstrip("/").removesuffix("/v1"),  # as OpenAI clients have it
            timeout=self.settings.timeout,
            limits=limits,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            trust_env=False,
        ) as client:
            await work(client)

    async def _met(self, client: httpx2.AsyncClient) -> None:
        self.health = await self._told(client, "/health")
        if False in (self.health.get("vllm_healthy"), self.health.get("ready")):
            raise EngineError(f"{self.settings.url} is not ready to speak yet; try again later.")
        for number in range(self.settings.warm_up):
            sample = await self._ask(client, number, time.perf_counter())
            if sample.error is not None:
                raise EngineError(f"The first request failed: {sample.error}")

    async def _counted(self, client: httpx2.AsyncClient) -> None:
        try:
            self.stats = await self._told(client, "/stats")
        except EngineError:
            self.stats = {}

    async def _told(self, client: httpx2.AsyncClient, path: str) -> Mapping[str, Any]:
        """The JSON at a path; nothing where a server has none. Raises EngineError."""
        try:
            answer = await client.get(path, timeout=min(QUICK, self.settings.timeout))
        except httpx2.HTTPError as error:
            raise EngineError(
                f"Nothing answers at {self.settings.url} ({_reason(error)}); "
                "start a server with `higgs serve`, or name one with --url."
            ) from None
        if answer.status_code in (401, 403):
            raise EngineError(f"{self.settings.url} refuses us: {error_in(answer.content)}")
        try:
            found = answer.json()
        except ValueError:
            return {}
        return found if answer.is_success and isinstance(found, dict) else {}

    async def _loop(self, client: httpx2.AsyncClient, progress: Progress) -> None:
        async def one(number: int, due: float) -> None:
            sample = await self._ask(client, number, due)
            self.samples.append(sample)
            progress(len(self.samples))

        if self.settings.rate is None:
            await self._closed(one)
        else:
            await self._open(one)

    async def _closed(self, one: Callable[[int, float], Any]) -> None:
        numbers: Iterator[int] = iter(range(self.settings.requests))

        async def client() -> None:
            for number in numbers:
                await one(number, time.perf_counter())

        await asyncio.gather(*(client() for _ in range(self.settings.concurrent)))

    async def _open(self, one: Callable[[int, float], Any]) -> None:
        """Arrivals of a Poisson process; each waits from when it was due."""
        assert self.settings.rate is not None
        gaps, due, tasks = random.Random(self.settings.seed or 0), time.perf_counter(), []
        for number in range(self.settings.requests):
            due += gaps.expovariate(self.settings.rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.ensure_future(one(number, due)))
        await asyncio.gather(*tasks)

    async def _ask(self, client: httpx2.AsyncClient, number: int, due: float) -> Sample:
        sample = Sample(number)
        try:
            await self._listen(client, sample, due)
        except (httpx2.HTTPError, NoSound, AudioError) as error:
            sample.error = _reason(error)
        sample.total = sample.total or time.perf_counter() - due
        return sample

    async def _listen(self, client: httpx2.AsyncClient, sample: Sample, due: float) -> None:
        """Play the answer. Raises NoSound, AudioError, and what HTTP raises."""
        settings = self.settings
        body = settings.body(sample.number)
        async with client.stream("POST", PATHS[settings.endpoint], json=body) as answer:
            sample.status = answer.status_code
            if not answer.is_success:
                raise NoSound(f"{answer.status_code}: {error_in(await answer.aread())}")
            reader = reader_for(answer.headers.get("content-type", ""))
            listener = Listener(settings.format, int(answer.headers.get("x-sample-rate", RATE)))
            async for data in answer.aiter_bytes():
                now = time.perf_counter() - due
                for sound in reader.feed(data):
                    listener.feed(sound, now)
            sample.total = time.perf_counter() - due
            for sound in reader.finish():
                listener.feed(sound, sample.total)
            making = answer.headers.get("x-generation-time")
        sample.making = None if making is None else float(making)
        sample.first, sample.size = listener.first, listener.size
        sample.underruns, sample.dry = listener.underruns, listener.dry
        if listener.first is None:
            raise NoSound("The answer holds no sound.")
        sample.seconds = await asyncio.to_thread(lambda: listener.seconds)


def _reason(error: Exception) -> str:
    """An error in a few words; some of them have no words of their own."""
    words = str(error) or type(error).__name__
    return words[:200]
