"""A server in this process, on a free port, over the fake model; and a plain client."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn

from faster_higgs.audio.files import read
from faster_higgs.cli.ports import bound
from faster_higgs.engine.engine import FrameEvent
from faster_higgs.engine.worker import OnStop
from faster_higgs.errors import Aborted
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling
from faster_higgs.server.app import create_app
from faster_higgs.server.service import Service
from faster_higgs.server.settings import ServerSettings
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs

RATE = 24_000
SECONDS_PER_CHARACTER = 0.08  # of the fake model


class Reply(NamedTuple):
    """An answer; the names of its headers are small."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        assert found.keys() == {"message", "type", "param", "code"}
        return found


class Live(NamedTuple):
    """A server that runs."""

    port: int
    service: Service
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request; a body that is not bytes goes as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        told = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            told.setdefault("Content-Type", "application/json")
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, told)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read())
        finally:
            connection.close()

    def speak(self, text: str = "Hello there.", **fields: Any) -> Reply:
        """One speech."""
        return self.ask("/v1/audio/speech", {"input": text, **fields})

    def form(self, path: str, fields: dict[str, str], clip: Path | None = None) -> Reply:
        """A form as browsers send it."""
        parts = [_part(name, value.encode()) for name, value in fields.items()]
        if clip is not None:
            parts.append(_part("audio_sample", clip.read_bytes(), f'; filename="{clip.name}"'))
        body = b"".join(parts) + b"--limit--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=limit"}
        return self.ask(path, body, headers=kind)


def _part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


@contextmanager
def serving(
    higgs: Higgs,
    *,
    await_ready: bool = True,
    load: Callable[[], Higgs] | None = None,
    apart: bool = False,
    settle: Callable[[], None] = lambda: None,
    **settings: Any,
) -> Iterator[Live]:
    """A server until the block ends; `apart`: its port is the one of metrics."""
    listening = bound("127.0.0.1", 0)
    if apart:
        settings["metrics_port"] = listening.getsockname()[1]
    own = ServerSettings(**settings)
    app = create_app(higgs, own, model="fake-higgs", load=load, settle=settle)
    config = uvicorn.Config(
        app,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=5,
        ws_max_size=own.max_socket_config_bytes,
    )
    server = Restless(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    service: Service = app.inner.state.service
    until(lambda: server.started and (service.ready or not await_ready))
    try:
        yield Live(listening.getsockname()[1], service, server)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class Restless(uvicorn.Server):
    """Looks a hundred times a second whether it is to end, not ten times."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(0.01)


def until(true: Callable[[], bool], seconds: float = 20.0, every: float = 0.002) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(every)


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """A server over a `Witness`."""
    with Witness() as higgs, serving(higgs) as server:
        yield server


def seconds(data: bytes) -> float:
    """How long a sound file plays."""
    return len(read(data, rate=RATE)) / RATE


class Witness(FakeHiggs):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, ...]] = []
        self.prompts: list[Prompt] = []

    def pieces(self, *asked: Any, **more: Any) -> Any:
        self.asked.append(asked)
        return super().pieces(*asked, **more)

    def frames(self, prompt: Prompt, *rest: Any, **more: Any) -> Generator[FrameEvent]:
        self.prompts.append(prompt)
        return super().frames(prompt, *rest, **more)


class Slow(FakeHiggs):
    """Takes its time: a step is made when the test lets it be made."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Semaphore(0)
        self.begun = self.ended = 0
        self._count = threading.Lock()

    def frames(
        self,
        prompt: Prompt,
        sampling: Sampling,
        stop_ids: Sequence[int] = (),
        *,
        priority: int = 0,
        deadline: float | None = None,
        on_stop: OnStop | None = None,
    ) -> Generator[FrameEvent]:
        stopped = threading.Event()
        if on_stop is not None:
            on_stop(stopped.set)
        with self._count:
            self.begun += 1
        try:
            for event in super().frames(prompt, sampling):
                while not self.go.acquire(timeout=0.02):
                    if stopped.is_set():
                        raise Aborted("stopped")
                yield event
        finally:
            with self._count:
                self.ended += 1
