"""A replica of a fleet: one engine and the application over it, in an actor of Ray's.

Knows nothing of who passes requests on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.types import Message, Receive

from faster_higgs.deploy.passing import Asked, Head
from faster_higgs.errors import SettingError
from faster_higgs.server.app import create_app
from faster_higgs.server.service import WARM_UP, Facts
from faster_higgs.server.settings import ServerSettings, key_and_limits
from faster_higgs.server.starting import settle
from faster_higgs.speech import Higgs

VOICES = 256  # whose beginnings a replica is taken to remember

Load = Callable[[], Higgs]


class Speaker:
    """A replica: one engine, and the application over it."""

    def __init__(self, load: Load, settings: ServerSettings, model: str) -> None:
        from ray import serve

        async def held(beginning: str) -> str:
            return beginning  # the engine keeps what it has read; this tells Ray so

        self._higgs = load()
        if settings.warmup:
            for _ in self._higgs.pieces(WARM_UP):
                pass
        settle()
        own = of_a_replica(settings)
        self._replica = serve.get_replica_context().replica_id.unique_id
        facts: Facts = partial(dict, replica=self._replica)
        self._app = create_app(self._higgs, own, model=model, facts=facts)
        self._hold = serve.multiplexed(max_num_models_per_replica=VOICES)(held)
        self._life: asyncio.Task[None] | None = None

    async def answer(self, asked: Asked) -> AsyncIterator[Head | bytes]:
        """How the answer begins, then its bytes as they come."""
        from ray import serve

        self._live()
        if beginning := serve.get_multiplexed_model_id():
            await self._hold(beginning)
        told: asyncio.Queue[Message | None] = asyncio.Queue()
        gone = asyncio.Event()
        task = asyncio.create_task(self._app(_scope(asked), _once(asked.body, gone), told.put))
        task.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (message := await told.get()) is not None:
                if message["type"] == "http.response.start":
                    own = (b"x-replica", self._replica.encode())
                    yield Head(message["status"], [*message["headers"], own])
                elif data := message.get("body"):
                    yield data
            task.result()
        finally:
            gone.set()
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    def _live(self) -> None:
        """The application's own beginning; it ends with the process."""
        if self._life is None:
            never = asyncio.Event()
            receive = _once(b"", never, "lifespan.startup")
            self._life = asyncio.create_task(self._app({"type": "lifespan"}, receive, _unheard))


def of_a_replica(settings: ServerSettings) -> ServerSettings:
    """The settings behind a front, which has asked for keys and counted requests. Raises
    SettingError for what one machine alone can follow."""
    each = settings.each_key
    limits = [each, *(key_and_limits(line, each)[1] for line in settings.api_keys)]
    if any(one.concurrent or one.audio_seconds_per_day for one in limits):
        raise SettingError(
            "Speeches at once and sound a day are not counted in a fleet; limit "
            "requests_per_minute, or put `higgs serve --engine` before it."
        )
    if settings.admin_keys:
        raise SettingError("HIGGS_ADMIN_KEYS is for one machine, not for a fleet; leave it out.")
    off: dict[str, Any] = {"api_keys": (), "key_requests_per_minute": 0, "jobs_dir": None}
    return replace(settings, **off, allowed_hosts=("*",), warmup=False)


def _scope(asked: Asked) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": asked.method,
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "query_string": asked.query,
        "headers": asked.headers,
        "root_path": "",
        "client": None,
        "server": None,
    }


def _once(body: bytes, gone: asyncio.Event, kind: str = "http.request") -> Receive:
    """A body, and then nothing until the client is gone."""
    told = False

    async def receive() -> Message:
        nonlocal told
        if not told:
            told = True
            return {"type": kind, "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive


async def _unheard(_: Message) -> None:
    return
