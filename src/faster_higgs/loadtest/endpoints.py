"""The endpoints that can be measured: where they are, and the sound in what they answer.

Knows nothing of time.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

Endpoint = Literal["generate", "speech", "chat"]
PATHS: Mapping[str, str] = {
    "generate": "/generate",
    "speech": "/v1/audio/speech",
    "chat": "/v1/chat/completions",
}


class NoSound(Exception):
    """An answer that holds no sound; the message says what it holds."""


class Raw:
    """An answer whose bytes are the sound."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The sound in the next bytes."""
        yield data

    def finish(self) -> Iterator[bytes]:
        """What was still held back."""
        yield from ()


class Events(Raw):
    """Server-sent events with sound in base64: those of speech, and those of chat."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises NoSound for an event that tells of an error."""
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            name, _, value = line.strip().partition(b":")
            if name == b"data" and value.strip() != b"[DONE]":
                yield _in_event(_object(value))


class Whole(Raw):
    """A chat's answer in one JSON object."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._held += data
        yield from ()

    def finish(self) -> Iterator[bytes]:
        """Raises NoSound."""
        try:
            sound = _object(self._held)["choices"][0]["message"]["audio"]["data"]
        except (KeyError, IndexError, TypeError):
            raise NoSound("The answer has no audio in its message.") from None
        yield _decoded(sound)


def reader_for(kind: str) -> Raw:
    """How an answer of a content type is read."""
    readers = {"text/event-stream": Events, "application/json": Whole}
    return readers.get(kind.partition(";")[0].strip().lower(), Raw)()


def error_in(body: bytes) -> str:
    """The sentence in an answer that is an error, in whichever server's form."""
    try:
        told = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip()[:200] or "an empty answer"
    if isinstance(told, dict):
        error = told.get("error", told.get("detail", told.get("message", told)))
        told = error.get("message", error) if isinstance(error, dict) else error
    return str(told)[:200]


def _in_event(event: dict[str, Any]) -> bytes:
    if event.get("error"):
        raise NoSound(error_in(json.dumps(event).encode()))
    if event.get("type") == "speech.audio.delta":
        return _decoded(event.get("audio", ""))
    for choice in event.get("choices") or ():
        if audio := (choice.get("delta") or {}).get("audio"):
            return _decoded(audio.get("data", ""))
    return b""


def _object(data: bytes | bytearray) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoSound("The answer is not the JSON it says it is.")
    return found


def _decoded(sound: str) -> bytes:
    try:
        return base64.b64decode(sound)
    except (binascii.Error, ValueError, TypeError):
        raise NoSound("The answer's sound is not valid base64.") from None
