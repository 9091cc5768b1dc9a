"""How the server is: for people, for who restarts it, for who sends it work, for Prometheus."""

from __future__ import annotations

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from faster_higgs.server.gauges import memory
from faster_higgs.server.service import Here

router = APIRouter()


@router.get("/health")
async def health(service: Here) -> dict[str, Any]:
    """Both forms of the seeds' servers in one, and what this machine is."""
    ready = service.state in ("ok", "full")
    return {
        "status": "ok" if ready else "degraded",
        "ready": ready,
        "higgs_available": True,
        "model_loaded": service.keeper.loaded,
        "model_id": service.models[0],
        "model": "higgs-audio-v2",
        "vllm_backend": "local",
        "vllm_healthy": ready,
        "queue": {"running": service.desk.running, "waiting": service.desk.waiting},
        "stats": service.ledger.stats(),
        **await asyncio.to_thread(service.facts),
    }


@router.get("/health/live")
async def live() -> dict[str, str]:
    """Whether the process answers at all. Needs no key."""
    return {"status": "ok"}


@router.get("/health/ready", responses={503: {"description": "Not now"}})
async def ready(service: Here) -> JSONResponse:
    """Whether a speech would be taken now."""
    status, loaded = service.state, service.keeper.loaded
    if status == "ok" and not (await asyncio.to_thread(service.facts)).get("vllm_healthy", True):
        status = "upstream unhealthy"
    told = {"status": status, "model_loaded": loaded}
    return JSONResponse(told, 200 if status == "ok" else 503)


@router.get("/stats")
async def stats(service: Here) -> dict[str, Any]:
    """The counters, and how desk, engine and memory are now."""
    ledger, desk, engine = service.ledger, service.desk, service.higgs.stats()
    facts = await asyncio.to_thread(service.facts)
    return {
        **ledger.stats(),
        "avg_generation_time": round(ledger.mean, 6),
        "queue_depth": desk.waiting,
        "running": desk.running,
        "audio_seconds": round(ledger.audio_seconds, 3),
        "memory": memory(facts),
        "engine": {**engine._asdict(), "mean_batch": round(engine.mean_batch, 3)},
    }


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
    text = await asyncio.to_thread(service.metrics)  # it looks at the machine
    return Response(text, media_type=CONTENT_TYPE_LATEST)
