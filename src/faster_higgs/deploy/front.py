"""The front of a fleet: an application that passes requests on to replicas, as they are.

Knows nothing of speech.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from faster_higgs.deploy.passing import SPEAKER, Asked, Head
from faster_higgs.server.errors import Refusal, bad

TRIES = 5  # replicas that a request is given to before it is given up
# Kept by one replica, and a front cannot tell by which.
_NOT_HERE = ("/v1/jobs",)
_WAIT = 0.05  # seconds before the next try; doubled each time


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


async def _lived(receive: Receive, send: Send) -> None:
    """A life without events."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
