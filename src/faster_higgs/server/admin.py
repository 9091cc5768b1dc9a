"""/v1/admin: load, unload, drain. Without an admin key it is as if it were not there."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request

from faster_higgs.server.accounts import asker
from faster_higgs.server.errors import Refusal
from faster_higgs.server.service import Here, Service


async def _admin(request: Request, service: Here) -> None:
    """Raises Refusal for who has no admin key."""
    if not service.settings.admin_keys:
        raise Refusal(404, f"Not Found: {request.method} {request.url.path}", "not_found")
    if not asker().admin:
        raise Refusal(
            401,
            "This needs an admin key: send Authorization: Bearer KEY.",
            "invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


router = APIRouter(prefix="/v1/admin", dependencies=[Depends(_admin)])


@router.post("/load")
async def load(service: Here) -> dict[str, Any]:
    """Load the model if it is not there, and take requests again."""
    await asyncio.to_thread(service.keeper.load)
    service.draining = False
    return _told(service)


@router.post("/unload")
async def unload(service: Here) -> dict[str, Any]:
    """Give the model's memory back until it is loaded by name; refused while somebody speaks."""
    await asyncio.to_thread(service.keeper.unload, by_operator=True)
    return _told(service)


@router.post("/drain")
async def drain(service: Here) -> dict[str, Any]:
    """Take nothing new; what was begun is finished. Asked again, it tells what is left."""
    service.draining = True
    return _told(service)


def _told(service: Service) -> dict[str, Any]:
    return {
        "model_loaded": service.keeper.loaded,
        "draining": service.draining,
        "running": service.desk.running,
        "waiting": service.desk.waiting,
    }
