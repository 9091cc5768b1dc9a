"""WS /v1/audio/speech/stream: speech of a text that is still being written.

The messages are vLLM-Omni's. Text is read and speech is sent at the same time; who hangs up ends
both. Knows nothing of how a text is cut, or how it is spoken.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from faster_higgs.errors import HiggsError
from faster_higgs.server.body import SpeechBody
from faster_higgs.server.desk import Make, OnStop
from faster_higgs.server.errors import Refusal, bad, refusal
from faster_higgs.server.events import facts
from faster_higgs.server.making import Making, cast
from faster_higgs.server.messages import Ways, check_fields, configured, parsed
from faster_higgs.server.order import Order, order_of
from faster_higgs.server.service import Here, Service
from faster_higgs.text.arriving import Arriving

router = APIRouter()
PATH = "/v1/audio/speech/stream"
SUBPROTOCOL = "higgs"  # the only one that is spoken
WRONG, TOO_MUCH, BROKEN = 1008, 1009, 1011  # why a session is ended


@dataclass(frozen=True)
class Part:
    """What is spoken at once, and where it stands."""

    order: Order
    ways: Ways
    utterance: int
    sentence: int


@dataclass(frozen=True)
class Flushed:
    """The end of an utterance of so many parts."""

    utterance: int
    count: int


class Over(Exception):
    """The session cannot go on."""

    def __init__(self, refused: Refusal, code: int = WRONG) -> None:
        super().__init__(refused.message)
        self.refused, self.code = refused, code


@router.websocket(PATH)
async def stream(socket: WebSocket, service: Here) -> None:
    """One session, if there is room for it."""
    if service.sockets >= service.settings.max_sockets:
        full = Refusal(429, "There are too many sessions; try again later.", "too_many_sessions")
        full.retry_after = service.patience()
        await socket.send_denial_response(full.answer(PATH))
        return
    service.sockets += 1
    try:
        spoken = SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None
        await socket.accept(subprotocol=spoken)
        await Session(socket, service).run()
    finally:
        service.sockets -= 1


class Session:
    """What a client writes, and what it hears."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self._socket, self._service = socket, service
        self._body: SpeechBody | None = None  # how everything is spoken, once it is known
        self._ways = Ways()
        self._text = Arriving("none")
        self._utterance = self._sentence = 0
        self._open = False  # whether there is text since the last flush
        self._told: asyncio.Queue[Part | Flushed | None] = asyncio.Queue()
        self._undone = 0  # of what was put there
        self._unspoken = 0  # characters in it
        self._active = anyio.current_time()

    async def run(self) -> None:
        """Until either side ends it."""
        tasks = [asyncio.ensure_future(work) for work in (self._read(), self._speak())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect):
                await self._end(end)

    async def _end(self, error: Exception) -> None:
        if not isinstance(error, Over):
            logging.getLogger(__name__).error("A session failed.", exc_info=error)
            error = Over(refusal(error), BROKEN)
        with suppress(WebSocketDisconnect, RuntimeError):  # it may have ended by itself
            await self._complain(error.refused)
            await self._socket.close(error.code)

    async def _read(self) -> None:
        """Take what the client sends, until it goes away."""
        while True:
            text = await self._received()
            self._active = anyio.current_time()
            try:
                if not await self._take(parsed(text, self._service.settings)):
                    return await self._until_gone()
            except (Refusal, HiggsError) as error:
                refused = refusal(error)
                if self._body is None or refused.status == 413:
                    raise Over(refused, TOO_MUCH if refused.status == 413 else WRONG) from None
                await self._complain(refused)

    async def _received(self) -> str | None:
        """The next message; None for one that is no text. Raises WebSocketDisconnect, Over."""
        while (left := self._patience()) > 0:
            with anyio.move_on_after(left):
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message.get("code", 1006))
                text: str | None = message.get("text")
                return text
        awaited = "session.config" if self._body is None else "message"
        raise Over(Refusal(408, f"No {awaited} came in time.", "session_timeout"))

    def _patience(self) -> float:
        """Seconds until the client has been silent for too long."""
        own = self._service.settings
        if self._undone:  # it listens
            return own.socket_idle_timeout_s
        most = own.socket_config_timeout_s if self._body is None else own.socket_idle_timeout_s
        return self._active + most - anyio.current_time()

    async def _until_gone(self) -> None:
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            continue

    async def _take(self, message: dict[str, Any]) -> bool:
        """Do what a message says; False for the last one. Raises Refusal, HiggsError."""
        kind: str = message.pop("type")
        if kind in ("session.config", "input.text"):
            self._service.refuse_new()
        if kind == "session.config":
            await self._configure(message)
            return True
        if self._body is None:
            raise bad("The first message must be session.config.", "type", "session_not_configured")
        check_fields(kind, message)
        if kind == "input.text":
            self._write(message.get("text"))
        elif kind == "input.done":
            self._flush()
        else:
            self._put(None)
        return kind != "session.close"

    async def _configure(self, message: dict[str, Any]) -> None:
        """Take over how everything is spoken from now on, if it can be."""
        if self._open:
            raise bad(
                "session.config cannot change an utterance that was begun; send input.done first.",
                "type",
            )
        ways, body = configured(message)
        self._service.check_model(body.model)
        order = order_of(body, self._service.settings)
        await asyncio.to_thread(cast, order.voice, self._service.higgs)
        several = len(order.clips) > 1 or "," in (order.voice or "")
        if several and ways.split_granularity != "none":
            raise bad(
                "Several speakers cannot be told apart in single sentences; "
                "set split_granularity to none.",
                "split_granularity",
            )
        self._ways, self._body = ways, body
        self._text = Arriving(ways.split_granularity or "none", order.delivery.language)

    def _write(self, text: Any) -> None:
        if not isinstance(text, str):
            raise bad("input.text has no text.", "text", "missing_required_parameter")
        own = self._service.settings
        waiting = self._unspoken + len(self._text.waiting) + len(text)
        if waiting > own.max_socket_waiting_chars:
            raise Refusal(
                413,
                f"{waiting:,} characters wait to be spoken; at most "
                f"{own.max_socket_waiting_chars:,} may.",
                "too_much_text",
                "text",
            )
        self._open = self._open or bool(text)
        for part in self._text.feed(text):
            self._say(part)
        if len(self._text.waiting) > own.max_text_chars:
            raise Refusal(
                413,
                f"{own.max_text_chars:,} characters have come without an end; "
                "send input.done, or set split_granularity to sentence.",
                "string_above_max_length",
                "text",
            )

    def _flush(self) -> None:
        for part in self._text.finish():
            self._say(part)
        self._put(Flushed(self._utterance, self._sentence))
        self._utterance, self._sentence, self._open = self._utterance + 1, 0, False

    def _say(self, text: str) -> None:
        assert self._body is not None
        order = order_of(self._body.model_copy(update={"input": text}), self._service.settings)
        self._unspoken += len(text)
        self._put(Part(order, self._ways, self._utterance, self._sentence))
        self._sentence += 1

    def _put(self, one: Part | Flushed | None) -> None:
        self._undone += 1
        self._told.put_nowait(one)

    async def _speak(self) -> None:
        """Speak part after part, until the last one was spoken."""
        while (one := await self._told.get()) is not None:
            if isinstance(one, Part):
                await self._utter(one)
                self._unspoken -= len(one.order.text)
            else:
                await self._tell(
                    "session.done", utterance_index=one.utterance, total_sentences=one.count
                )
            self._undone -= 1
            self._active = anyio.current_time()
        await self._socket.close()

    async def _utter(self, part: Part) -> None:
        making, order = self._service.making(part.order), part.order
        place = {"utterance_index": part.utterance, "sentence_index": part.sentence}
        form = {"sample_rate": making.rate, "channels": 1}
        about = {"sentence_text": order.text, "format": order.format, **form}
        await self._tell("audio.start", **place, **about, seed=order.sampling.seed)
        sent, failed = 0, False
        try:
            async with self._service.desk.take(_timed(making, part.ways)) as take:
                number, begin = 0, 0
                async for data, end in take:
                    if part.ways.audio_transport == "binary":
                        await self._socket.send_bytes(data)
                    else:
                        times = {"chunk_start_ms": begin, "chunk_end_ms": end}
                        sound = {"audio_b64": base64.b64encode(data).decode(), "timestamps": None}
                        told = {"chunk_id": number, **times, **form, **sound}
                        await self._tell("audio.chunk", **place, **told)
                    sent, number, begin = sent + len(data), number + 1, end
        except WebSocketDisconnect:
            raise
        except Exception as error:
            if not isinstance(error, HiggsError | Refusal):
                logging.getLogger(__name__).exception("A speech failed.")
            failed = True
            partial = {"partial_audio": True, "action": "discard"} if sent else {}
            await self._complain(refusal(error), **place, **partial)
        known = {} if failed else facts(making)
        await self._tell("audio.done", **place, total_bytes=sent, error=failed, **known)

    async def _complain(self, refused: Refusal, **more: Any) -> None:
        told = {name: refused.body()["error"][name] for name in ("message", "param", "code")}
        await self._tell("error", **told, **more)

    async def _tell(self, kind: str, **told: Any) -> None:
        await self._socket.send_text(json.dumps({"type": kind} | told, ensure_ascii=False))


def _timed(making: Making, ways: Ways) -> Make[tuple[bytes, int]]:
    """The pieces of a speech, with the milliseconds of sound there are at the end of each."""

    def make(on_stop: OnStop) -> Generator[tuple[bytes, int]]:
        pieces = making.streamed if ways.stream_audio else making.whole
        with closing(pieces(on_stop)) as found:
            for data in found:
                if data:
                    yield data, round(1000 * making.duration)

    return make
