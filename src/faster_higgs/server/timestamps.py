"""POST /v1/audio/speech/timestamps: a speech, and when each utterance of it is heard."""

from __future__ import annotations

import base64
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from faster_higgs.captions import as_json, written
from faster_higgs.server.body import SpeechBody
from faster_higgs.server.events import facts, usage
from faster_higgs.server.order import whole_order
from faster_higgs.server.service import Here, headers

router = APIRouter()


class TimedBody(SpeechBody):
    """A speech, and the form of its captions."""

    timestamp_format: Literal["json", "srt", "vtt"] = "json"


@router.post("/v1/audio/speech/timestamps", response_class=JSONResponse)
async def timestamps(request: Request, body: TimedBody, service: Here) -> JSONResponse:
    """The whole file in base64 with `segments`, or `captions` as a file has them."""
    service.check_model(body.model)
    making = service.making(whole_order(body, service.settings))
    data = await service.unless_gone(request, service.whole(making))
    told: dict[str, Any] = {
        "audio": base64.b64encode(data).decode(),
        "format": making.order.format,
        "sample_rate": making.rate,
        **facts(making),
        "usage": usage(making),
    }
    if body.timestamp_format == "json":
        told["segments"] = as_json(making.parts)
    else:
        told["captions"] = written(making.parts, body.timestamp_format)
    return JSONResponse(told, headers=headers(making))
