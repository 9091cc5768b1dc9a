"""What is slow only once, done before anybody can wait for it. Knows nothing of speech."""

from __future__ import annotations

import gc

import anyio
import numpy as np
from starlette.types import ASGIApp, Message, Scope

from faster_higgs.audio.encode import encode

_NOWHERE: Scope = {
    "type": "http",
    "method": "GET",
    "path": "/nowhere",
    "raw_path": b"/nowhere",
    "query_string": b"",
    "headers": [],
    "root_path": "",
    "client": None,
    "server": None,
}


async def load_late(app: ASGIApp) -> None:
    """Load what the first file and the first request would load while everybody waits."""
    encode(np.zeros(1, np.float32), "opus")  # FFmpeg's libraries
    anyio.current_time()  # anyio's half for this loop
    await app({**_NOWHERE, "state": {}}, _nothing, _unheard)  # FastAPI puts its routes together


def settle() -> None:
    """What there is now lives as long as the process: searches for garbage, which halt every
    thread, look at it no more."""
    gc.collect()
    gc.freeze()


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _unheard(_: Message) -> None:
    return
