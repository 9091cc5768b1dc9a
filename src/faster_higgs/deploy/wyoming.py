"""Speech for Home Assistant: its Wyoming protocol on one side, a server of speech on the other.

The server is ours or any other with OpenAI's endpoints, so that no second model is loaded. Text
that arrives word by word is spoken sentence by sentence. Knows nothing of models.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import httpx2
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.server import AsyncEventHandler, AsyncServer
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from faster_higgs.deploy.upstream import voice_names
from faster_higgs.errors import EngineError, HiggsError, SettingError, TextError
from faster_higgs.text.chunk import sentences

LOG = logging.getLogger(__name__)
RATE = 24_000  # where the server does not say
BLOCK = 4096  # bytes of a chunk of sound: 85 ms
LONGEST = 50_000  # characters that wait to be spoken
AT_ONCE = 4_000  # that a server surely takes
OURS = Attribution("Faster Higgs", "")


@dataclass(frozen=True)
class BridgeSettings:
    """What an operator says. Every default of the bridge is written here."""

    uri: str = "tcp://127.0.0.1:10200"
    server: str = "http://localhost:8000"
    voice: str | None = None  # for those who name none; None leaves it to the server
    languages: tuple[str, ...] = ("en",)
    timeout: float = 60.0  # seconds without a byte from the server
    key: str | None = None

    def __post_init__(self) -> None:
        asks = urlsplit(self.server)
        if not _is_listenable(self.uri):
            raise SettingError(
                f"uri is '{self.uri}'; use one such as tcp://127.0.0.1:10200 "
                "or unix:///run/higgs.sock."
            )
        if asks.scheme not in ("http", "https") or not asks.hostname:
            raise SettingError(f"server is '{self.server}'; use one such as http://localhost:8000.")
        if not 0 < self.timeout < float("inf"):
            raise SettingError(f"timeout is {self.timeout}; use seconds, more than 0.")


class Speaker:
    """The server that speaks."""

    def __init__(self, settings: BridgeSettings) -> None:
        self._settings = settings
        headers = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
        self._client = httpx2.AsyncClient(
            base_url=settings.server.rstrip("/").removesuffix("/v1"),  # as OpenAI clients have it
            timeout=settings.timeout,
            headers=headers,
            trust_env=False,
        )

    async def voices(self) -> list[str]:
        """Names of its voices; servers write the list in several ways. Raises EngineError."""
        try:
            answer = await self._client.get("/v1/audio/voices")
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        if answer.status_code == 404:
            return ["default"]
        return voice_names(self._checked(answer).json())

    async def speak(self, text: str, voice: str | None) -> AsyncIterator[tuple[int, bytes]]:
        """Pieces of 16 bit sound, each with its rate. Raises EngineError."""
        body = {"input": text, "response_format": "pcm", "stream_format": "audio"}
        if wanted := voice or self._settings.voice:
            body["voice"] = wanted
        try:
            async with self._client.stream("POST", "/v1/audio/speech", json=body) as answer:
                if not answer.is_success:
                    await answer.aread()
                rate = int(self._checked(answer).headers.get("x-sample-rate", RATE))
                async for data in answer.aiter_bytes(BLOCK):
                    yield rate, data
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None

    async def close(self) -> None:
        """End all connections."""
        await self._client.aclose()

    def _checked(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.is_success:
            return answer
        try:
            told = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            told = f"status {answer.status_code}"
        raise EngineError(f"{self._settings.server} refuses: {told}")

    def _unreachable(self, error: httpx2.HTTPError) -> EngineError:
        reason = str(error) or type(error).__name__
        return EngineError(
            f"Nothing answers at {self._settings.server} ({reason}); "
            "start a server with `higgs serve`, or name one with --server."
        )


class Bridge(AsyncEventHandler):
    """One connection of Home Assistant."""

    def __init__(
        self, speaker: Speaker, settings: BridgeSettings, reader: StreamReader, writer: StreamWriter
    ) -> None:
        super().__init__(reader, writer)
        self._speaker, self._settings = speaker, settings
        self._waiting: str | None = None  # text of a stream that is not yet spoken
        self._voice: str | None = None
        self._rate: int | None = None  # once there is sound

    async def handle_event(self, event: Event) -> bool:
        """Answer one event; False ends the connection."""
        try:
            await self._answer(event)
        except ConnectionError:
            return False
        except HiggsError as error:
            LOG.error("%s", error)
            await self.write_event(Error(str(error), type(error).__name__).event())
            return False
        return True

    async def _answer(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self.write_event(self._info(await self._speaker.voices()).event())
        elif SynthesizeStart.is_type(event.type):
            begun = SynthesizeStart.from_event(event)
            self._begin(begun.voice, begun.text_format)
        elif SynthesizeChunk.is_type(event.type):
            await self._go_on(SynthesizeChunk.from_event(event).text)
        elif SynthesizeStop.is_type(event.type):
            await self._end()
            await self.write_event(SynthesizeStopped().event())
        elif Synthesize.is_type(event.type) and self._waiting is None:
            # While a stream is open this is its whole text again, for those who cannot stream.
            asked = Synthesize.from_event(event)
            self._begin(asked.voice, asked.text_format)
            self._add(asked.text)
            await self._end()

    def _begin(self, voice: SynthesizeVoice | None, format: str | None) -> None:
        if format not in (None, "text"):
            raise TextError(f"The text is {format}; send plain text.")
        self._waiting, self._rate = "", None
        self._voice = voice.name if voice else None

    async def _go_on(self, text: str) -> None:
        """Speak the sentences that are whole."""
        waiting = self._add(text)
        *whole, rest = sentences(waiting) or [""]
        self._waiting = rest + _blank_at_end(waiting)
        for sentence in whole:
            await self._say(sentence)

    def _add(self, text: str) -> str:
        """All that waits to be spoken. Raises TextError."""
        if self._waiting is None:
            raise TextError("A chunk of text came before its beginning.")
        self._waiting += text
        if len(self._waiting) > LONGEST:
            raise TextError(f"More than {LONGEST:,} characters wait to be spoken; send less.")
        return self._waiting

    async def _end(self) -> None:
        """Speak the rest."""
        rest, self._waiting = self._waiting or "", None
        for part in [rest] if len(rest) <= AT_ONCE else sentences(rest):
            await self._say(part)
        if self._rate is None:  # nothing was to be heard, and that is an answer too
            await self._start(RATE)
        await self.write_event(AudioStop().event())

    async def _say(self, text: str) -> None:
        if not any(character.isalnum() for character in text):
            return
        odd = b""
        async for rate, data in self._speaker.speak(text.strip(), self._voice):
            if self._rate is None:
                await self._start(rate)
            data = odd + data
            cut = len(data) - len(data) % 2  # a sample has two bytes
            data, odd = data[:cut], data[cut:]
            if data:
                await self.write_event(AudioChunk(rate, 2, 1, data).event())

    async def _start(self, rate: int) -> None:
        self._rate = rate
        await self.write_event(AudioStart(rate, 2, 1).event())

    def _info(self, voices: list[str]) -> Info:
        def about(name: str) -> TtsVoice:
            languages = list(self._settings.languages)
            return TtsVoice(name, OURS, True, name, None, languages=languages)

        return Info(
            tts=[
                TtsProgram(
                    "faster-higgs",
                    OURS,
                    True,
                    "Faster Higgs",
                    None,
                    voices=[about(name) for name in voices],
                    supports_synthesize_streaming=True,
                )
            ]
        )


def bridge(settings: BridgeSettings, listening: Callable[[], None]) -> None:
    """Answer until stopped; `listening` is called first. Raises EngineError, SettingError."""
    asyncio.run(_bridge(settings, listening))


async def _bridge(settings: BridgeSettings, listening: Callable[[], None]) -> None:
    speaker = Speaker(settings)
    try:
        await speaker.voices()
        listening()
        await AsyncServer.from_uri(settings.uri).run(partial(Bridge, speaker, settings))
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingError(f"Nothing can listen at {settings.uri}: {reason}.") from None
    finally:
        await speaker.close()


def _is_listenable(uri: str) -> bool:
    parts = urlsplit(uri)
    if parts.scheme == "unix":
        return bool(parts.path)
    try:
        return parts.scheme == "tcp" and bool(parts.hostname and parts.port)
    except ValueError:  # the port is no number
        return False


def _blank_at_end(text: str) -> str:
    """Sentences come without the blanks around them; the next word must not join the last."""
    return " " if text[-1:].isspace() else ""
