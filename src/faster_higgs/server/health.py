"""How the server is: for people, for who restarts it, for who sends it work, for Prometheus."""

from __future__ import annotations

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from faster_higgs.server.service import Here

router = APIRouter()


@router.get("/health")
async def health(service: Here) -> dict[str, Any]:
    """Both forms of the seeds' servers in one, and what this machine is."""
    return {
        "status": "ok" if service.ready else "degraded",
        "ready": service.ready,
        "higgs_available": True,
        "model_loaded": True,
        "model_id": service.models[0],
        "model": "higgs-audio-v2",
        "vllm_backend": "local",
        "vllm_healthy": service.ready,
        "queue": {"running": service.desk.running, "waiting": service.desk.waiting},
        "stats": service.ledger.stats(),
        **await asyncio.to_thread(service.facts),
    }


@router.get("/health/live")
async def live() -> dict[str, str]:
    """Whether the process answers at all. Needs no key."""
    return {"status": "ok"}


@router.get("/health/ready")
async def ready(service: Here) -> JSONResponse:
    """Whether a speech would be taken now."""
    full = service.desk.full
    status = "starting" if not service.ready else "full" if full else "ok"
    if status == "ok" and not (await asyncio.to_thread(service.facts)).get("vllm_healthy", True):
        status = "upstream unhealthy"
    return JSONResponse({"status": status}, 200 if status == "ok" else 503)


@router.get("/stats")
async def stats(service: Here) -> dict[str, float]:
    """The counters, and the average of them."""
    return {**service.ledger.stats(), "avg_generation_time": round(service.ledger.mean, 6)}


@router.get("/version")
async def told_version() -> dict[str, str]:
    """Of this package."""
    try:
        return {"version": version("faster-higgs")}
    except PackageNotFoundError:
        return {"version": "from source"}


@router.get("/metrics", response_class=Response)
async def metrics(service: Here) -> Response:
    """For Prometheus."""
    return Response(service.ledger.text(), media_type=CONTENT_TYPE_LATEST)
