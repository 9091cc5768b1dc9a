"""GET /v1/models and its relatives: by which names the one model goes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from faster_higgs.server.service import Here, Service

router = APIRouter()

# Names that clients send without asking which there are.
ALIASES = ("higgs-audio-v2", "tts-1", "tts-1-hd", "gpt-4o-mini-tts")


def ids_of(model: str) -> tuple[str, ...]:
    """All ids of a model, its own first."""
    short = (model.rpartition("/")[2],) if "/" in model else ()
    return tuple(dict.fromkeys([model, *short, *ALIASES]))


@router.get("/v1/models")
async def models(service: Here) -> dict[str, Any]:
    """All ids."""
    return {"object": "list", "data": [_told(id, service) for id in service.models]}


@router.get("/v1/models/{model:path}")
async def model(model: str, service: Here) -> dict[str, Any]:
    """One of them."""
    service.check_model(model)
    return _told(model, service)


@router.get("/v1/audio/models")
async def audio_models(service: Here) -> dict[str, Any]:
    """The same, as pages for speech ask for them."""
    told = [{**_told(id, service), "name": id} for id in service.models]
    return {"object": "list", "data": told, "models": told}


def _told(id: str, service: Service) -> dict[str, Any]:
    return {
        "id": id,
        "object": "model",
        "created": service.created,
        "owned_by": "faster-higgs",
        "root": service.models[0],
    }
