"""What a client may say in a session of /v1/audio/speech/stream. Knows nothing of sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from faster_higgs.server.body import SpeechBody, Strict, invalid, refuse_halves
from faster_higgs.server.errors import Refusal, bad
from faster_higgs.server.settings import ServerSettings
from faster_higgs.text.arriving import Granularity

FIELDS: Mapping[str, tuple[str, ...]] = {  # of the messages that are not session.config
    "input.text": ("text",),
    "input.done": (),
    "session.close": (),
}
# Fields of a speech that say nothing about a session.
FOREIGN = ("input", "stream", "stream_format", "utterance_events")


class Ways(Strict):
    """How the speech of a session is sent."""

    stream_audio: bool = False
    split_granularity: Granularity | None = None
    audio_transport: Literal["binary", "json"] = "binary"


def parsed(text: str | None, settings: ServerSettings) -> dict[str, Any]:
    """A message with its type; None stands for one that is no text. Raises Refusal."""
    size = len((text or "").encode())
    _check_size(size, max(settings.max_socket_config_bytes, settings.max_socket_text_bytes))
    try:
        message = json.loads(text or "")
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise bad("A message is no JSON object with a type.", None, "invalid_json")
    try:
        refuse_halves(message)
    except ValueError as error:
        raise bad(str(error), None, "invalid_json") from None
    config = message["type"] == "session.config"
    _check_size(
        size, settings.max_socket_config_bytes if config else settings.max_socket_text_bytes
    )
    return message


def check_fields(kind: str, message: Mapping[str, Any]) -> None:
    """Raises Refusal for a message that is unknown, or has something in it that is."""
    if kind not in FIELDS:
        known = ", ".join(("session.config", *FIELDS))
        raise bad(f"There is no message of type '{kind}'; send one of {known}.", "type")
    for name in message:
        if name not in FIELDS[kind]:
            raise bad(f"There is no parameter '{name}' in {kind}.", name, "unknown_parameter")


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise Refusal(413, f"A message is larger than {most:,} bytes.", "message_too_large")


def configured(message: Mapping[str, Any]) -> tuple[Ways, SpeechBody]:
    """How a session speaks; the input is not there yet. Raises Refusal."""
    own = {name: message[name] for name in Ways.model_fields if name in message}
    rest = {name: value for name, value in message.items() if name not in own}
    for name in FOREIGN:
        if name in rest:
            raise bad(f"There is no '{name}' in session.config.", name, "unknown_parameter")
    try:
        ways = Ways.model_validate(own)
        body = SpeechBody.model_validate({**rest, "input": "Text."})
    except ValidationError as error:
        raise invalid(error.errors()) from None
    if ways.split_granularity is None:
        ways = ways.model_copy(
            update={"split_granularity": "sentence" if ways.stream_audio else "none"}
        )
    format = body.response_format or ("pcm" if ways.stream_audio else "wav")
    return ways, body.model_copy(update={"response_format": format})
