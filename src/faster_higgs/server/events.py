"""A speech as server-sent events. Knows nothing of requests."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from faster_higgs.captions import plain
from faster_higgs.errors import Aborted, HiggsError
from faster_higgs.server.desk import Make, OnStop
from faster_higgs.server.errors import refusal
from faster_higgs.server.making import Begun, Making, News


def as_events(making: Making) -> Make[bytes]:
    """The events of a speech; an error after the first of them is one, too."""

    def make(on_stop: OnStop) -> Generator[bytes]:
        begun = False
        try:
            with closing(making.told(on_stop)) as told:
                for one in told:
                    for event in _events(making, one):
                        yield event
                        begun = True
        except Aborted:
            raise
        except Exception as error:
            if not begun:
                raise
            if not isinstance(error, HiggsError):
                logging.getLogger(__name__).exception("A speech failed.")
            yield _event("error", **refusal(error).body(), partial_audio=True, action="discard")
            return
        yield _event("done", usage=usage(making), **facts(making))

    return make


def usage(making: Making) -> dict[str, Any]:
    """Tokens that were read and made."""
    read, made = making.input_tokens, making.output_tokens
    return {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}


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
