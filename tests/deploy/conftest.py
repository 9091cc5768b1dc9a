"""Servers that a Faster Higgs may stand before: real ones over HTTP, each as its makers tell it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from faster_higgs.audio.encode import encode
from faster_higgs.cli.ports import bound
from faster_higgs.deploy.remote import Remote
from faster_higgs.deploy.upstream import Upstream
from faster_higgs.server.app import create_app
from faster_higgs.server.settings import ServerSettings
from faster_higgs.testing import spoken, tones
from tests.server.conftest import Live, until

Answer = Callable[[], Response] | None


@contextmanager
def running(app: Any, service: Any = None) -> Iterator[Live]:
    """A server until the block ends."""
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    listening = bound("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    until(lambda: server.started)
    try:
        yield Live(listening.getsockname()[1], service, server)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def before(
    url: str, *, patience: float = 20.0, voices: list[Path] | None = None, **settings: Any
) -> Iterator[Live]:
    """A Faster Higgs whose engine is the server at `url`."""
    remote = Remote(Upstream.at(url, "the-key", patience), voices=voices or [])
    own = ServerSettings(warmup=False, **settings)
    app = create_app(remote, own, model="elsewhere", facts=remote.facts, admit=remote.admit)
    with running(app, app.inner.state.service) as live:
        until(lambda: live.service.ready)
        yield live


@dataclass
class StandIn:
    """A server that is not ours: it says a text in the tones of the fake model."""

    owner = "vllm"
    model = "higgs-audio-v2-generation-3B-base"
    voices: Any = None
    fields: tuple[str, ...] = ()  # of /v1/audio/speech
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""
    instead: Answer = None  # of sound
    hold: threading.Event | None = None  # half of the sound waits for it
    gone: threading.Event = field(default_factory=threading.Event)
    healthy = True

    def fresh(self) -> StandIn:
        """As before the last test."""
        self.asked.clear()
        self.instead, self.hold, self.healthy = None, None, True
        self.gone.clear()
        return self

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, body in self.asked]

    def app(self) -> Starlette:
        routes = [
            Route("/health", self.health),
            Route("/version", lambda _: JSONResponse({"version": "0.9"})),
            Route("/v1/models", self.models),
            Route("/v1/audio/speech", self.speech, methods=["POST"]),
        ]
        if self.voices is not None:
            routes.append(Route("/v1/audio/voices", lambda _: JSONResponse(self.voices)))
        return Starlette(routes=[*routes, *self.more()])

    def more(self) -> list[Route]:
        return []

    async def health(self, _: Request) -> Response:
        return PlainTextResponse("", 200 if self.healthy else 503)

    async def models(self, request: Request) -> Response:
        self.keys.add(request.headers.get("authorization", ""))
        row = {"id": self.model, "object": "model", "created": 1, "owned_by": self.owner}
        return JSONResponse({"object": "list", "data": [row]})

    async def speech(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append((request.url.path, body))
        if self.instead is not None:
            return self.instead()
        if unknown := body.keys() - set(self.fields):
            return self.wrong(f"unknown fields {sorted(unknown)}")
        return self.check(body) or StreamingResponse(
            self.sound(body["input"]), media_type="audio/pcm"
        )

    def check(self, body: dict[str, Any]) -> Response | None:
        """A refusal, if there is something to refuse."""
        assert body["model"] == self.model and body["response_format"] == "pcm"
        return None

    def wrong(self, message: str) -> Response:
        told = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
        return JSONResponse({"error": told}, 400)

    async def sound(self, text: str) -> AsyncIterator[bytes]:
        """16-bit samples, cut where it is awkward."""
        data = encode(tones(spoken(text)), "pcm")
        half = len(data) // 2 | 1
        try:
            yield data[:half]
            while self.hold is not None and not self.hold.is_set():
                await anyio.sleep(0.005)
            yield data[half:]
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            self.gone.set()
            raise


class Omni(StandIn):
    """vLLM-Omni 0.30 with its Higgs v2 adapter."""

    def __init__(self) -> None:
        names = "input model voice speaker instructions response_format speed sample_rate stream"
        names += " stream_format task_type language ref_audio ref_text max_new_tokens seed"
        names += " initial_codec_chunk_frames non_streaming_mode extra_params references"
        super().__init__(
            voices={"voices": ["ann"], "uploaded_voices": []}, fields=tuple(names.split())
        )

    def check(self, body: dict[str, Any]) -> Response | None:
        super().check(body)
        refused = {"instructions", "task_type", "language", "references"} & body.keys()
        if refused or "[SPEAKER" in body["input"] or body.get("speed", 1) != 1:
            return self.wrong("Higgs v2 takes plain text, or ref_audio with ref_text")
        if ("ref_audio" in body) != ("ref_text" in body):
            return self.wrong("ref_audio and ref_text are both needed")
        if body["max_new_tokens"] > 1024:
            return self.wrong("too long")
        assert body["extra_params"].keys() <= {"temperature", "top_p", "top_k"}
        return None


class Boson(StandIn):
    """The original vLLM image."""

    def __init__(self) -> None:
        names = "model input voice speed temperature top_p top_k response_format stop max_tokens"
        names += " audio_chunk_size audio_chunk_overlap_size"
        super().__init__(voices=["en_woman", "en_man"], fields=tuple(names.split()))

    def more(self) -> list[Route]:
        return [Route("/v1/chat/completions", self.chat, methods=["POST"])]

    def check(self, body: dict[str, Any]) -> Response | None:
        assert body["voice"] in self.voices
        return super().check(body)

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append((request.url.path, body))
        if self.instead is not None:
            return self.instead()
        assert "extra_body" not in body and body["modalities"] == ["text", "audio"]
        last = body["messages"][-1]
        assert last["role"] == "user" and body["stream"]
        return StreamingResponse(self.events(last["content"]), media_type="text/event-stream")

    async def events(self, text: str) -> AsyncIterator[bytes]:
        yield self.event({"role": "assistant", "content": ""})
        async for piece in self.sound(text):
            for cut in (piece[:1000], piece[1000:]):
                yield self.event({"audio": {"data": base64.b64encode(cut).decode()}})
        yield self.event({}, "stop")
        yield b"data: [DONE]\n\n"

    def event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        told = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
        return b"data: " + json.dumps(told).encode() + b"\n\n"


class OpenAI(StandIn):
    """Any server with OpenAI's interface, and no more."""

    owner = "somebody"
    model = "tts-9"

    def __init__(self) -> None:
        names = "model input voice instructions response_format speed stream_format"
        super().__init__(fields=tuple(names.split()))

    def check(self, body: dict[str, Any]) -> Response | None:
        assert body["voice"]
        return super().check(body)


@pytest.fixture(scope="module")
def stand_ins() -> Iterator[dict[str, StandIn]]:
    """One of each, for all tests of a module."""
    known = {"omni": Omni(), "boson": Boson(), "openai": OpenAI()}
    with ExitStack() as stack:
        for one in known.values():
            one.url = stack.enter_context(running(one.app())).url
        yield known


@pytest.fixture(scope="module")
def before_omni(stand_ins: dict[str, StandIn]) -> Iterator[Live]:
    with before(stand_ins["omni"].url) as live:
        yield live


@pytest.fixture(scope="module")
def hasty_omni(stand_ins: dict[str, StandIn]) -> Iterator[Live]:
    """Gives it up after half a second."""
    with before(stand_ins["omni"].url, patience=0.5) as live:
        yield live


@pytest.fixture(scope="module")
def before_boson(stand_ins: dict[str, StandIn]) -> Iterator[Live]:
    with before(stand_ins["boson"].url) as live:
        yield live


@pytest.fixture(scope="module")
def before_openai(stand_ins: dict[str, StandIn]) -> Iterator[Live]:
    with before(stand_ins["openai"].url + "/v1") as live:
        yield live


@pytest.fixture
def omni(stand_ins: dict[str, StandIn]) -> StandIn:
    return stand_ins["omni"].fresh()


@pytest.fixture
def boson(stand_ins: dict[str, StandIn]) -> StandIn:
    return stand_ins["boson"].fresh()


@pytest.fixture
def openai(stand_ins: dict[str, StandIn]) -> StandIn:
    return stand_ins["openai"].fresh()
