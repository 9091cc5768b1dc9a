"""A speech as server-sent events. Knows nothing of requests."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from faster_higgs.captions import plain
from faster_higgs.errors import Aborted, HiggsError
from faster_higgs.server.desk import Make, OnStop
from faster_higgs.server.errors import Refusal, refusal
from faster_higgs.server.making import Begun, Making, News


def as_events(making: Making) -> Make[bytes]:
    """The events of a speech; an error after the first of them is one, too."""

    def events(on_stop: OnStop) -> Generator[bytes]:
        before = b""  # news of an utterance that begins: they go with its sound
        with closing(making.told(on_stop)) as told:
            for one in told:
                event = before + _event_of(making, one)
                before = event if isinstance(one, Begun) else b""
                if event and not before:
                    yield event
        yield before + _event("done", usage=usage(making), **facts(making))

    def error(refused: Refusal) -> bytes:
        return _event("error", **refused.body(), partial_audio=True, action="discard")

    return lambda on_stop: or_an_error(events(on_stop), error)


def or_an_error(events: Generator[bytes], told: Callable[[Refusal], bytes]) -> Generator[bytes]:
    """The events; what goes wrong after the first is one. Raises what goes wrong before it."""
    begun = False
    try:
        with closing(events):
            for event in events:
                yield event
                begun = True
    except Aborted:
        raise
    except Exception as error:
        if not begun:
            raise
        if not isinstance(error, HiggsError):
            logging.getLogger(__name__).exception("A speech failed.")
        yield told(refusal(error))


def usage(making: Making) -> dict[str, Any]:
    """Tokens that were read and made."""
    read, made, heard = making.input_tokens, making.output_tokens, making.heard_tokens
    return {
        "input_tokens": read,
        "output_tokens": made,
        "total_tokens": read + made,
        "input_token_details": {"text_tokens": read - heard, "audio_tokens": heard},
    }


def facts(making: Making) -> dict[str, Any]:
    """What is known of a speech when it is over."""
    return {
        "seed": making.order.sampling.seed,
        "duration": round(making.duration, 6),
        "finish_reason": making.finish,
        "take": making.take if making.kept else None,
    }


def _event_of(making: Making, one: bytes | News) -> bytes:
    """Nothing where there is nothing to tell."""
    if isinstance(one, bytes):
        if not one:
            return b""
        audio = base64.b64encode(one).decode()
        return _event("delta", audio=audio, response_format=making.order.format)
    if not making.order.utterance_events:
        return b""
    told = {"index": one.index, "text": plain(one), "start": round(one.begin, 6)}
    if one.speaker is not None:
        told["speaker"] = one.speaker
    if isinstance(one, Begun):
        return _event("utterance.begin", **told)
    end = {"end": round(one.end, 6), "finish_reason": one.finish.value}
    return _event("utterance.end", **told, **end)


def _event(kind: str, **told: Any) -> bytes:
    name = f"speech.audio.{kind}"
    return f"event: {name}\ndata: {json.dumps({'type': name, **told})}\n\n".encode()
