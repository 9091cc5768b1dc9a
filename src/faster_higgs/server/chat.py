"""POST /v1/chat/completions with audio: the last user message is spoken.

A user message and the assistant's clip of it, before that, are a voice: a clip and what is said in
it. Knows no other conversation: this model writes no text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from faster_higgs.captions import plain
from faster_higgs.errors import HiggsError
from faster_higgs.server.body import Drawing, Reference, SpeechBody
from faster_higgs.server.chat_body import ChatBody, ChatMessage, no_effect, refuse_unspeakable
from faster_higgs.server.desk import Make, OnStop
from faster_higgs.server.errors import Refusal, bad, refusal
from faster_higgs.server.events import or_an_error
from faster_higgs.server.making import GOOD_ENDS, Begun, Making
from faster_higgs.server.order import Order, order_of
from faster_higgs.server.service import Here, Service, headers
from faster_higgs.text.dialogue import speakers

router = APIRouter()
EXPIRES = 0  # takes are kept by number, not by time

# Where a field of a speech stands in a chat.
_PLACES = {
    **dict.fromkeys(("input", "system_prompt", "references"), "messages"),
    **dict.fromkeys(("ref_audio", "ref_text"), "messages"),
    "voice": "audio.voice",
    "response_format": "audio.format",
    "max_new_tokens": "max_completion_tokens",
}


@router.post("/v1/chat/completions", response_class=JSONResponse)
async def completions(request: Request, body: ChatBody, service: Here) -> Response:
    """The spoken text as an assistant's message; with `stream` in pieces of pcm16."""
    service.check_model(body.model)
    refuse_unspeakable(body)
    try:
        making = service.making(chat_order(body, service))
        answer = partial(_answer, making, service, body)
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            make = _chunks(making, answer, usage)
            return await service.flow(request, making, make, "text/event-stream")
        data = await service.unless_gone(request, service.whole(making))
    except (Refusal, HiggsError) as error:
        raise _placed(error) from None
    text = " ".join(plain(part) for part in making.parts)
    audio = {"id": making.take, "data": base64.b64encode(data).decode(), "expires_at": EXPIRES}
    said = {"role": "assistant", "content": None, "refusal": None}
    message = {**said, "audio": {**audio, "transcript": text}}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(making)}
    told = {**answer("chat.completion", [choice]), "usage": _usage(making)}
    return JSONResponse(told, headers=headers(making))


def chat_order(body: ChatBody, service: Service) -> Order:
    """What a conversation asks for. Raises Refusal, SettingError."""
    format = body.audio.format if body.audio else "pcm16" if body.stream else "wav"
    if body.stream and format != "pcm16":
        raise bad(f"A stream is pcm16, not {format}.", "audio.format", "unsupported_value")
    asked, pairs, system = _read(body.messages)
    clips = [Reference(audio_path=sound, text=text) for text, sound in pairs if sound]
    drawn = body.model_dump(include={*Drawing.model_fields} & body.model_fields_set)
    if body.max_completion_tokens is not None:
        if body.max_tokens not in (None, body.max_completion_tokens):
            raise bad("max_tokens and max_completion_tokens differ; give one.", "max_tokens")
        drawn["max_tokens"] = body.max_completion_tokens
    order = order_of(
        SpeechBody(
            input=asked,
            voice=body.audio.voice if body.audio else None,
            references=clips,
            system_prompt=system,
            response_format="pcm" if format == "pcm16" else format,
            stop=body.stop,
            **drawn,
        ),
        service.settings,
    )
    ignored = no_effect(body) + [_PLACES.get(name, name) for name in order.ignored]
    order = _like_before(order, body.messages, service)
    if order.cast and body.audio and body.audio.voice:
        ignored.append("audio.voice")
    mode: Literal["sse", "whole"] = "sse" if body.stream else "whole"
    return replace(order, mode=mode, ignored=tuple(ignored))


def _read(messages: Sequence[ChatMessage]) -> tuple[str, list[tuple[str, str]], str | None]:
    """What is to be said, texts with the clips of them, and the system message.

    Raises Refusal for a message that has no place here.
    """
    system = [one.text for one in messages if one.role in ("system", "developer") and one.text]
    talk = [(i, one) for i, one in enumerate(messages) if one.role in ("user", "assistant")]
    if not talk or talk[-1][1].role != "user":
        raise bad("The last message must be the user's; it is what is spoken.", "messages")
    pairs = []
    for at in range(0, len(talk) - 1, 2):
        (i, user), (j, assistant) = talk[at], talk[at + 1]
        if user.role != "user" or assistant.role != "assistant":
            place = i if user.role != "user" else j
            raise bad("A user message must be followed by the clip of it.", f"messages.{place}")
        pairs.append((user.text, _clip_of(j, assistant)))
    for i, one in enumerate(messages):
        if one.role != "assistant" and (one.sounds or one.audio):
            raise bad("This model does not listen; clips are the assistant's.", f"messages.{i}")
    return talk[-1][1].text, pairs, "\n\n".join(system) or None


def _clip_of(index: int, message: ChatMessage) -> str:
    """The clip of an assistant's message; empty where it names a take. Raises Refusal."""
    sounds = message.sounds
    if len(sounds) + bool(message.audio) != 1 or message.text:
        raise bad(
            "An assistant's message is one clip of the message before it, as input_audio "
            "or by the id of its audio.",
            f"messages.{index}",
        )
    return sounds[0] if sounds else ""


def _like_before(order: Order, messages: Sequence[ChatMessage], service: Service) -> Order:
    """The order in the voice of the latest answer that is named by its id, if one is."""
    ids = [(i, one.audio.id) for i, one in enumerate(messages) if one.audio]
    if not ids:
        return order
    index, id = ids[-1]
    place = f"messages.{index}.audio.id"
    if order.clips or len(speakers(order.text)) > 1:
        raise bad("An answer by its id is one speaker's voice; leave other voices out.", place)
    try:
        voice = service.takes.voice(id)
    except Refusal as refused:
        refused.param = place
        raise
    return replace(order, voice=None, cast=(voice,), names={"SPEAKER0": "assistant"})


def _placed(error: Refusal | HiggsError) -> Refusal:
    """The answer to an error, with the place of its fault in a chat."""
    refused = refusal(error)
    refused.param = _PLACES.get(refused.param or "", refused.param)
    return refused


def _answer(
    making: Making, service: Service, body: ChatBody, object: str, choices: list[Any]
) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{making.take.removeprefix('take_')}",
        "object": object,
        "created": making.created,
        "model": body.model or service.models[0],
        "choices": choices,
    }


def _chunks(making: Making, answer: Callable[..., dict[str, Any]], usage: bool) -> Make[bytes]:
    """The speech as chunks of a completion."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data(answer("chat.completion.chunk", [choice]) | ({"usage": None} if usage else {}))

    def data(told: Mapping[str, Any]) -> bytes:
        return f"data: {json.dumps(told)}\n\n".encode()

    def chunks(on_stop: OnStop) -> Generator[bytes]:
        opening = {"role": "assistant", "content": None, "audio": {"id": making.take}}
        with closing(making.told(on_stop)) as told:
            before = chunk(opening)  # goes with the sound that follows
            for one in told:
                if isinstance(one, Begun):
                    before += chunk({"audio": {"transcript": " " * bool(one.index) + plain(one)}})
                elif isinstance(one, bytes) and one:
                    yield before + chunk({"audio": {"data": base64.b64encode(one).decode()}})
                    before = b""
        yield before + chunk({}, _finish(making))
        yield chunk({"audio": {"expires_at": EXPIRES}})
        if usage:
            yield data({**answer("chat.completion.chunk", []), "usage": _usage(making)})
        yield b"data: [DONE]\n\n"

    def make(on_stop: OnStop) -> Generator[bytes]:
        return or_an_error(chunks(on_stop), lambda refused: data(refused.body()))

    return make


def _finish(making: Making) -> str:
    return "stop" if making.finish in GOOD_ENDS else "length"


def _usage(making: Making) -> dict[str, Any]:
    read, made, heard = making.input_tokens, making.output_tokens, making.heard_tokens
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
        "prompt_tokens_details": {"text_tokens": read - heard, "audio_tokens": heard},
        "completion_tokens_details": {"text_tokens": 0, "audio_tokens": made},
    }
