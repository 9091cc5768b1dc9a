"""What the endpoints share: the one model, the desk, the counters; and how an order is answered.

Knows nothing of bodies.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypeVar, cast

import anyio
from fastapi import Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from faster_higgs.audio.encode import FORMATS
from faster_higgs.errors import Aborted, QueueFull
from faster_higgs.server.accounts import asker
from faster_higgs.server.desk import Desk, Make, OnStop, Take
from faster_higgs.server.engine import Admit, Engine, as_asked
from faster_higgs.server.errors import GONE, Refusal, refusal
from faster_higgs.server.events import as_events
from faster_higgs.server.gauges import Twins, Watched
from faster_higgs.server.keeper import Keeper, Load
from faster_higgs.server.ledger import Ledger
from faster_higgs.server.making import Clones, Making
from faster_higgs.server.order import Order
from faster_higgs.server.settings import ServerSettings
from faster_higgs.server.takes import Takes
from faster_higgs.server.workshop import Workshop
from faster_higgs.speech import Higgs

T = TypeVar("T")
Facts = Callable[[], Mapping[str, Any]]
WARM_UP = "Hello."


def no_facts() -> Mapping[str, Any]:
    """Of a machine that was not looked at."""
    return {}


@dataclass
class Service:
    """One model and everyone who asks it."""

    higgs: Engine
    settings: ServerSettings
    models: tuple[str, ...]  # ids by which it goes, its own first
    facts: Facts = no_facts  # what /health tells of the machine
    load: Load | None = None  # makes the model anew, after it was unloaded
    admit: Admit = as_asked  # refuses what this engine cannot do; in the thread of a take
    settle: Callable[[], None] = lambda: None  # called when all is loaded
    ready: bool = False
    draining: bool = False  # what was begun is finished, and nothing new is taken
    sockets: int = 0  # sessions that are open
    created: int = field(default_factory=lambda: int(time.time()))
    ledger: Ledger = field(default_factory=Ledger)
    keeper: Keeper = field(init=False)
    desk: Desk = field(init=False)
    clones: Clones = field(init=False)
    jobs: Workshop = field(init=False)
    takes: Takes = field(default_factory=Takes)
    changing: threading.Lock = field(default_factory=threading.Lock)  # of the voices

    def __post_init__(self) -> None:
        own = self.settings
        self.keeper = Keeper(self.higgs, self.load)
        self.desk = Desk(
            own.max_running,
            own.max_queue,
            own.queue_timeout_s,
            self.ledger,
            self.keeper.use,
            own.max_unread_bytes,
        )
        self.clones = Clones(self.higgs, self.ledger, own.elsewhere, own.max_reference_s)
        self.jobs = Workshop(cast(Higgs, self.higgs), own, self.models[0], self.keeper.use)
        watch, desk = self.ledger.watch, self.desk
        watch("running", "Speeches that are being made.", lambda: desk.running)
        watch("queue_depth", "Speeches that wait.", lambda: desk.waiting)
        for status in ("running", "queued"):
            count = partial(self.jobs.count, status)
            watch(f"jobs_{status}", f"Jobs that are {status}.", count)
        watch("sockets", "Sessions that are open.", lambda: self.sockets)
        watch("ready", "Whether a speech would be taken now.", lambda: self.state == "ok")
        watch("model_loaded", "Whether the weights are there.", lambda: self.keeper.loaded)
        self.ledger.registry.register(Watched(self.higgs, self.facts))

    @property
    def state(self) -> str:
        """`ok` where a speech would be taken now, else the reason why not."""
        reasons = {
            "draining": self.draining,
            "starting": not self.ready,
            "unloaded": self.keeper.sent_away,
            "full": self.desk.full,
        }
        return next((reason for reason, holds in reasons.items() if holds), "ok")

    def refuse_new(self) -> None:
        """Raises Refusal while the server is about to end."""
        if self.draining:
            self.ledger.rejected("draining")
            raise Refusal(503, "This server takes nothing new; ask another.", "draining", None, 5.0)

    def metrics(self) -> bytes:
        """For Prometheus."""
        text = self.ledger.text()
        if self.settings.metrics_compat == "vllm_omni":
            text += Twins(self.ledger.registry, self.models[0]).text()
        return text

    def check_model(self, name: str | None) -> None:
        """Raises Refusal for a model that is not served."""
        if name is not None and name not in self.models:
            raise Refusal(
                404,
                f"The model '{name[:100]}' is not served here; GET /v1/models lists what is.",
                "model_not_found",
                "model",
            )

    def making(self, order: Order) -> Making:
        """An order, about to be made."""
        return Making(
            self.higgs,
            order,
            self.clones,
            self.ledger,
            self.takes,
            admit=self.admit,
            note=self.settings.note,
        )

    async def warm_up(self) -> None:
        """Speak once to nobody: the first caller must not wait for what is loaded late."""

        def make(on_stop: OnStop) -> Generator[bool]:
            for _ in self.higgs.pieces(WARM_UP, on_stop=on_stop):
                yield True

        async with self.desk.take(make) as take:
            async for _ in take:
                continue

    async def whole(self, making: Making) -> bytes:
        """A whole file. Raises what making it raises."""
        async with self.desk.take(making.whole) as take:
            return b"".join([piece async for piece in take])

    async def answer(self, request: Request, order: Order) -> Response:
        """The response to an order, in the form it asks for."""
        making = self.making(order)
        if order.mode == "whole":
            data = await self.unless_gone(request, self.whole(making))
            told = headers(making) | {"Content-Length": str(len(data))}
            held = self.desk.held(data)
            return Flow(held, aiter(held), told, FORMATS[order.format].mime)
        if order.mode == "sse":
            return await self.flow(request, making, as_events(making), "text/event-stream")
        return await self.flow(request, making, making.streamed, FORMATS[order.format].mime)

    async def flow(
        self, request: Request, making: Making, make: Make[bytes], mime: str
    ) -> Response:
        """A response in pieces, the first of which is there."""
        take, pieces = await self.unless_gone(request, self._begun(make))
        return Flow(take, pieces, headers(making), mime)

    async def _begun(self, make: Make[bytes]) -> tuple[Take[bytes], Any]:
        """A take and its pieces, the first of which is there."""
        take = await self.desk.begin(make)
        pieces = aiter(take)
        try:
            first = await anext(pieces)
        except BaseException:
            take.stop()
            raise
        return take, _chained(first, pieces)

    async def unless_gone(self, request: Request, work: Awaitable[T]) -> T:
        """What the work gives; it is given up when the client goes away."""
        try:
            with _until_gone(request.receive):
                return await work
        except QueueFull as full:
            refused = refusal(full)
            refused.retry_after = self.patience()
            raise refused from None
        raise Refusal(GONE, "The client went away.", "aborted")

    def places(self) -> asyncio.Semaphore:
        """For the speeches of one request: as many at once as do not crowd each other out."""
        most = asker().limits.concurrent or self.settings.max_running
        return asyncio.Semaphore(max(1, int(min(most, self.settings.max_running))))

    def patience(self) -> float:
        """Seconds after which a place may be free."""
        waves = (self.desk.waiting + 1) / self.settings.max_running
        return min(60.0, max(1.0, waves * self.ledger.mean))


async def _of(asked: HTTPConnection) -> Service:
    service: Service = asked.app.state.service
    return service


Here = Annotated[Service, Depends(_of)]


class Flow(StreamingResponse):
    """Pieces as they come. Whoever stops listening ends the making."""

    def __init__(
        self, take: Take[bytes], pieces: AsyncIterator[bytes], headers: dict[str, str], mime: str
    ) -> None:
        super().__init__(pieces, headers=headers, media_type=mime)
        self._take = take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(Aborted), _until_gone(receive):  # broken off, and so it looks
                await self.stream_response(send)
        finally:
            self._take.stop()


def headers(making: Making) -> dict[str, str]:
    """What is told of a speech beside it; of a stream only what is known at its beginning."""
    order = making.order
    told = {
        "X-Sample-Rate": str(making.rate),
        "X-Channels": "1",
        "X-Voice": making.voice.encode("ascii", "replace").decode(),
        "Cache-Control": "no-store",
    }
    if making.kept or order.mode != "whole":  # of a stream it is not yet known
        told["X-Take"] = making.take
    if order.sampling.seed is not None:
        told["X-Seed"] = str(order.sampling.seed)
    if order.mode == "whole":
        told |= {
            "X-Duration": f"{making.duration:.3f}",
            "X-Generation-Time": f"{making.seconds:.3f}",
            "X-Finish-Reason": making.finish,
        }
        told |= {f"X-VLLM-OMNI-{name}": str(count) for name, count in _counts(making).items()}
    if order.ignored:
        told["X-Ignored-Params"] = ", ".join(order.ignored)
    return told


@contextmanager
def _until_gone(receive: Receive) -> Iterator[None]:
    """What the block does is given up when the client goes away. The body must have been read."""
    with anyio.CancelScope() as here:

        async def watch() -> None:
            with suppress(Exception):  # who cannot be heard any more has gone, too
                while (await receive())["type"] != "http.disconnect":
                    continue
            here.cancel()

        watching = asyncio.ensure_future(watch())
        try:
            yield
        finally:
            watching.cancel()


async def _chained(first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for one in rest:
        yield one


def _counts(making: Making) -> dict[str, int]:
    """Tokens, as vLLM-Omni's headers name them."""
    read, made, heard = making.input_tokens, making.output_tokens, making.heard_tokens
    parts = {"INPUT-TEXT-TOKENS": read - heard, "INPUT-AUDIO-TOKENS": heard}
    whole = {"INPUT-TOKENS": read, "OUTPUT-TOKENS": made, "TOTAL-TOKENS": read + made}
    return whole | parts
