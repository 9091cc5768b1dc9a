"""Ray Serve: a front that takes requests, and replicas with an engine each, on several machines.

    serve run faster_higgs.deploy.ray:app voices_dir=/shared/voices max_replicas=4
    python -m faster_higgs.deploy.ray voices_dir=/shared/voices max_replicas=4

Requests are passed on as they are. Knows nothing of speech.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, get_type_hints

from starlette.types import Message, Receive, Scope, Send

from faster_higgs.errors import HiggsError, MissingExtra, SettingError
from faster_higgs.server.app import create_app
from faster_higgs.server.errors import Refusal, bad
from faster_higgs.server.gate import Gate
from faster_higgs.server.ledger import Ledger
from faster_higgs.server.service import WARM_UP, Facts
from faster_higgs.server.settings import ServerSettings, key_and_limits
from faster_higgs.speech import Higgs

NAME = "faster-higgs"
SPEAKER = "Speaker"
TRIES = 5  # replicas that a request is given to before it is given up
VOICES = 256  # whose beginnings a replica is taken to remember
# What a prompt begins with: requests that share it go to the replica that has read it.
BEGINNING = (
    *("voice", "speaker", "ref_audio", "ref_text", "references", "task_type", "instructions"),
    *("scene_prompt", "system_prompt", "voice_id", "reference_audio_base64", "reference_text"),
    "speakers",
)
# Kept by one replica, and a front cannot tell by which.
_NOT_HERE = ("/v1/jobs",)
_LASTING = ("/v1/audio/voices",)  # a change made twice is not the same as one made once
_WAIT = 0.05  # seconds before the next try; doubled each time

Load = Callable[[], Higgs]


@dataclass(frozen=True)
class FleetSettings:
    """What an operator says about the fleet, as NAME=VALUE; of the server: HIGGS_..., as ever."""

    model: str | None = None  # a folder or hub id, on every machine; None: the default one
    voices_dir: str | None = None  # a folder that all machines share
    min_replicas: int = 1
    max_replicas: int = 8
    busy: int | None = None  # speeches a replica has when another is wanted; None: half its places
    fronts: int = 1  # replicas of the front
    cpus: float = 1.0  # of a replica
    gpus: float | None = None  # of a replica; None: one, where the cluster has any

    def __post_init__(self) -> None:
        least = {"min_replicas": 0, "fronts": 1, "cpus": 0, "gpus": 0, "busy": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise SettingError(f"{name} is {value}; use {low} or more.")
        if self.max_replicas < max(1, self.min_replicas):
            raise SettingError(
                f"max_replicas is {self.max_replicas}; use {max(1, self.min_replicas)} or more."
            )

    @classmethod
    def given(cls, words: Mapping[str, str]) -> FleetSettings:
        """From names and values as they are written. Raises SettingError."""
        types = get_type_hints(cls)
        for name in words:
            if name not in types:
                raise SettingError(f"There is no setting '{name}'; use {', '.join(types)}.")
        return cls(**{name: _read(name, word, str(types[name])) for name, word in words.items()})


def _read(name: str, word: str, kind: str) -> Any:
    if "str" in kind:
        return word
    try:
        return (int if "int" in kind else float)(word)
    except ValueError:
        raise SettingError(f"{name} is '{word}'; use a number.") from None


class Asked(NamedTuple):
    """A request, whole."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def repeatable(self) -> bool:
        """Whether another replica may be asked after one that died over it."""
        return self.method == "GET" or not self.path.startswith(_LASTING)

    @property
    def beginning(self) -> str:
        """What stands for the beginning of its prompt; nothing where none is known."""
        if self.method != "POST" or not self.body.lstrip().startswith(b"{"):
            return ""
        try:
            body = json.loads(self.body)
        except ValueError:
            return ""
        shared = {name: body[name] for name in BEGINNING if body.get(name)}
        if not shared:
            return ""
        return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]


class Head(NamedTuple):
    """How an answer begins."""

    status: int
    headers: list[tuple[bytes, bytes]]


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


class Front:
    """Passes requests on; one whose replica dies before it was heard is given to another."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lived(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "Not behind Ray."})
        else:
            try:
                await self._pass_on(await _read_whole(scope, receive), send)
            except Refusal as refused:
                await refused.answer(scope["path"])(scope, receive, send)

    async def _pass_on(self, asked: Asked, send: Send) -> None:
        """Raises Refusal; any other error breaks off an answer that has begun."""
        from ray.exceptions import (
            NodeDiedError,
            ObjectLostError,
            RayActorError,
            RayTaskError,
            WorkerCrashedError,
        )
        from ray.serve.exceptions import BackPressureError, RayServeException

        if asked.path.startswith(_NOT_HERE):
            raise Refusal(501, "Jobs are kept by one machine; ask it, not the fleet.", "not_here")
        lost = (RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError)
        for number in range(TRIES):
            answer = Answer(asked, send)
            try:
                return await answer.passed()
            except BackPressureError:
                raise Refusal(
                    429, "All replicas are busy; try again later.", "queue_full", retry_after=1.0
                ) from None
            except lost:
                if answer.begun:
                    raise
                if not asked.repeatable:
                    raise Refusal(
                        502,
                        "The replica died over this; look whether it was done, then ask again.",
                        "replica_died",
                    ) from None
                await asyncio.sleep(_WAIT * 2**number)
            except RayTaskError:
                if answer.begun:
                    raise
                break
            except RayServeException:
                break
        raise Refusal(503, "No replica could answer.", "engine_unavailable", retry_after=1.0)


class Answer:
    """One try: what a replica answers, as it comes."""

    def __init__(self, asked: Asked, send: Send) -> None:
        self._asked, self._send = asked, send
        self.begun = False

    async def passed(self) -> None:
        """Pass it on, from its first byte of sound."""
        from ray import serve

        context = serve.get_replica_context()
        speakers = serve.get_deployment_handle(SPEAKER, context.app_name)
        chosen = speakers.options(
            stream=True, method_name="answer", multiplexed_model_id=self._asked.beginning
        )
        parts: Any = chosen.remote(self._asked)
        head: Head | None = None
        try:
            async for part in parts:
                if isinstance(part, Head):
                    head = part
                else:
                    await self._begin(head)
                    await self._send(_body(part, more=True))
            await self._begin(head)
            await self._send(_body(b"", more=False))
        finally:
            parts.cancel()

    async def _begin(self, head: Head | None) -> None:
        if self.begun:
            return
        assert head is not None
        self.begun = True
        start = {"type": "http.response.start", "status": head.status, "headers": head.headers}
        await self._send(start)


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


def app(words: Mapping[str, str]) -> Any:
    """The application as `serve run` takes it; `words` are fleet settings. Raises SettingError."""
    settings = ServerSettings(**ServerSettings.given(os.environ))
    fleet = FleetSettings.given(words)
    voices = fleet.voices_dir or os.environ.get("HIGGS_VOICES")
    load = partial(Higgs.load, fleet.model, voices=[voices] if voices else [])
    return application(fleet, settings, load)


def application(fleet: FleetSettings, settings: ServerSettings, load: Load) -> Any:
    """A front and its speakers. `load` is called once in each replica."""
    serve = _serve()
    of_a_replica(settings)  # what cannot be followed is told here, not by each replica
    gpus = fleet.gpus
    if gpus is None:
        gpus = float(_cluster_has_gpus())
    speaker = serve.deployment(
        name=SPEAKER,
        max_ongoing_requests=settings.max_running,
        max_queued_requests=settings.max_queue,
        graceful_shutdown_timeout_s=settings.drain_timeout_s,
        ray_actor_options={"num_cpus": fleet.cpus, "num_gpus": gpus},
        autoscaling_config={
            "min_replicas": fleet.min_replicas,
            "max_replicas": fleet.max_replicas,
            "target_ongoing_requests": fleet.busy or max(1, settings.max_running // 2),
        },
    )(Speaker)

    def fronts() -> Gate:
        return Gate(Front(), settings, Ledger())

    front = serve.deployment(
        name="Front",
        num_replicas=fleet.fronts,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0},
    )(serve.ingress(fronts)())
    return front.bind(speaker.bind(load, settings, fleet.model or "higgs-audio-v2"))


def main(words: Sequence[str]) -> None:
    """Serve until it is told to stop."""
    settings = ServerSettings(**ServerSettings.given(os.environ))
    if not settings.local and not settings.api_keys:
        raise SettingError(f"host is {settings.host}, which others reach; set HIGGS_API_KEYS.")
    if wrong := [word for word in words if "=" not in word]:
        raise SettingError(f"'{wrong[0]}' is no setting; write NAME=VALUE.")
    fleet = dict(word.split("=", 1) for word in words)
    FleetSettings.given(fleet)
    serve = _serve()
    import ray

    if not ray.is_initialized():
        ray.init()
    serve.start(http_options={"host": settings.host, "port": settings.port})
    with suppress(KeyboardInterrupt):
        serve.run(app(fleet), name=NAME, blocking=True)


def _serve() -> Any:
    try:
        from ray import serve
    except ImportError:
        raise MissingExtra(
            "A fleet needs ray; install it with: pip install 'faster-higgs[ray]'."
        ) from None
    return serve


def _cluster_has_gpus() -> bool:
    import ray

    cluster: Any = ray
    return bool(cluster.is_initialized() and cluster.cluster_resources().get("GPU"))


async def _read_whole(scope: Scope, receive: Receive) -> Asked:
    """A request with its body; the gate has counted it. Raises Refusal."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise bad("The client went away.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
    number = scope["state"]["request_id"].encode()
    headers = [pair for pair in scope["headers"] if pair[0] != b"x-request-id"]
    headers.append((b"x-request-id", number))
    return Asked(scope["method"], scope["path"], scope["query_string"], headers, body)


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


async def _lived(receive: Receive, send: Send) -> None:
    """A life without events."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


if __name__ == "__main__":
    from faster_higgs.deploy import ray as this  # by its name, by which replicas find it

    try:
        this.main(sys.argv[1:])
    except HiggsError as error:
        sys.exit(str(error))
