"""A speech as server-sent events. Knows nothing of requests."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Generator, Iterator
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
        with closing(making.told(on_stop)) as told:
            for one in told:
                yield from _events(making, one)
        yield _event("done", usage=usage(making), **facts(making))

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


def _events(making: Making, one: bytes | News) -> Iterator[bytes]:
    if isinstance(one, bytes):
        if one:
            audio = base64.b64encode(one).decode()
            yield _event("delta", audio=audio, response_format=making.order.format)
        return
    if not making.order.utterance_events:
        return
    told = {"index": one.index, "text": plain(one), "start": round(one.begin, 6)}
    if one.speaker is not None:
        told["speaker"] = one.speaker
    if isinstance(one, Begun):
        yield _event("utterance.begin", **told)
    else:
        end = {"end": round(one.end, 6), "finish_reason": one.finish.value}
        yield _event("utterance.end", **told, **end)


def _event(kind: str, **told: Any) -> bytes:
    name = f"speech.audio.{kind}"
    return f"event: {name}\ndata: {json.dumps({'type': name, **told})}\n\n".encode()
