"""POST /v1/audio/speech."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from faster_higgs.server.body import SpeechBody
from faster_higgs.server.order import order_of
from faster_higgs.server.service import Here

router = APIRouter()


@router.post("/v1/audio/speech", response_class=Response)
async def speech(request: Request, body: SpeechBody, service: Here) -> Response:
    """Speech from text: a file at once, in pieces, or as events."""
    service.check_model(body.model)
    return await service.answer(request, order_of(body, service.settings))
