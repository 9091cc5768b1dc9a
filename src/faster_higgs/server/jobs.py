"""/v1/jobs: long texts, made beside everything else, that outlive the server's process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal, NamedTuple

import anyio
from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from faster_higgs.audio.encode import FORMATS, checked_format, encoder_for
from faster_higgs.captions import FORMATS as CAPTIONS
from faster_higgs.captions import written
from faster_higgs.errors import SettingError
from faster_higgs.server.body import SpeechBody
from faster_higgs.server.errors import Refusal, bad
from faster_higgs.server.order import order_of
from faster_higgs.server.service import Here, Service
from faster_higgs.server.shelf import Record, Reel
from faster_higgs.server.workshop import Job, Verb

router = APIRouter()
CaptionFormat = Literal["srt", "vtt", "json"]
QUIET = 15.0  # seconds without news after which a line shows that the stream is alive
# Fields of a speech that a job has no use for.
FOREIGN = {
    "stream": "its sound is at /v1/jobs/{id}/audio",
    "stream_format": "its sound is at /v1/jobs/{id}/audio",
    "timeout": "it takes as long as it needs, and can be cancelled",
    "utterance_events": "its captions say when what is spoken",
}


class Line(NamedTuple):
    """A row of captions, in seconds."""

    text: str
    begin: float
    end: float
    speaker: str | None


@router.post("/v1/jobs", status_code=202)
async def add(body: SpeechBody, service: Here) -> JSONResponse:
    """A new job, from the body of a speech; its text may be long."""
    service.check_model(body.model)
    for name, why in FOREIGN.items():
        if getattr(body, name, None):
            raise bad(f"{name} means nothing to a job: {why}.", name, "unsupported_parameter")
    order = order_of(body, service.settings, service.settings.max_job_chars)
    job = await service.jobs.add(order, service.making(order).voices)
    headers = {"Location": f"/v1/jobs/{job.record.id}"}
    if order.ignored:
        headers["X-Ignored-Params"] = ", ".join(order.ignored)
    return JSONResponse(job.told(), 202, headers)


@router.get("/v1/jobs")
async def jobs(service: Here) -> dict[str, Any]:
    """All jobs, the newest first."""
    return {"object": "list", "data": [job.told() for job in service.jobs.kept()]}


@router.get("/v1/jobs/{id}")
async def job(id: str, service: Here) -> dict[str, Any]:
    """One job."""
    return service.jobs.find(id).told()


@router.delete("/v1/jobs/{id}")
async def remove(id: str, service: Here) -> dict[str, Any]:
    """Stop a job and delete all of it."""
    await service.jobs.remove(service.jobs.find(id))
    return {"id": id, "object": "audio.job.deleted", "deleted": True}


@router.get("/v1/jobs/{id}/events", response_class=StreamingResponse)
async def events(id: str, service: Here) -> StreamingResponse:
    """How far it is, now and whenever that changes."""
    told = _events(service.jobs.find(id), service)
    return StreamingResponse(told, headers=FRESH, media_type="text/event-stream")


@router.post("/v1/jobs/{id}/pause")
async def pause(id: str, service: Here) -> dict[str, Any]:
    """Stop for now. Finished utterances are kept."""
    return await _moved(id, "pause", service)


@router.post("/v1/jobs/{id}/resume")
async def resume(id: str, service: Here) -> dict[str, Any]:
    """Go on."""
    return await _moved(id, "resume", service)


@router.post("/v1/jobs/{id}/cancel")
async def cancel(id: str, service: Here) -> dict[str, Any]:
    """Stop. What is finished is kept until it is deleted."""
    return await _moved(id, "cancel", service)


@router.post("/v1/jobs/{id}/retry")
async def retry(id: str, service: Here) -> dict[str, Any]:
    """Go on after a failure, or after all."""
    return await _moved(id, "retry", service)


async def _moved(id: str, verb: Verb, service: Service) -> dict[str, Any]:
    found = service.jobs.find(id)
    await service.jobs.move(found, verb)
    return found.told()


@router.get("/v1/jobs/{id}/audio", response_class=Response)
async def audio(
    id: str, service: Here, format: str | None = None, partial: bool = False
) -> Response:
    """The whole sound; `partial` takes what there is of one that is not done."""
    found = service.jobs.find(id)
    record = found.record
    wanted = format or record.format
    try:
        kind = checked_format(wanted, record.rate)
    except SettingError as error:
        raise bad(str(error), "format") from None
    reel = await _reel(found, service, partial)
    path = service.jobs.file(record)
    headers = _headers(record, reel)
    if record.status == "done" and FORMATS[record.format] == kind and path.is_file():
        return FileResponse(path, headers=headers, media_type=kind.mime)
    return StreamingResponse(
        _encoded(reel, wanted, record.rate, service.settings.note),
        headers=headers,
        media_type=kind.mime,
    )


@router.get("/v1/jobs/{id}/captions", response_class=Response)
async def captions(
    id: str, service: Here, format: CaptionFormat = "srt", partial: bool = False
) -> Response:
    """Which utterance is heard when."""
    found = service.jobs.find(id)
    reel = await _reel(found, service, partial)
    second = found.record.rate
    lines = [Line(row.text, row.begin / second, row.end / second, row.speaker) for row in reel.rows]
    return Response(written(lines, format), headers=FRESH, media_type=CAPTIONS[format])


FRESH = {"Cache-Control": "no-store"}


async def _events(job: Job, service: Service) -> AsyncIterator[bytes]:
    """The state at once and at every change; the last event says that it is over."""
    while not service.jobs.leaving:
        news, over, told = job.news, job.over, job.told()
        yield _event("job.progress", told)
        if over:
            yield _event("job.end", told)
            return
        while not news.is_set():
            with anyio.move_on_after(QUIET):
                await news.wait()
            if not news.is_set():
                yield b": nothing new\n\n"


def _event(name: str, told: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **told})}\n\n".encode()


async def _reel(job: Job, service: Service, partial: bool) -> Reel:
    """Its finished utterances: all of them, unless a part will do. Raises Refusal."""
    record = job.record
    if record.status != "done" and not partial:
        raise Refusal(
            409,
            f"The job is {record.status}; it can be had when it is done, "
            "or what there is of it with partial=true.",
            "job_not_done",
        )
    reel = await asyncio.to_thread(service.jobs.shelf.reel, record.id)
    if not reel.rows:
        raise Refusal(409, "Nothing of the job is finished yet.", "job_not_done")
    return reel


def _headers(record: Record, reel: Reel) -> dict[str, str]:
    seconds = reel.samples / record.rate
    told = {"X-Seed": str(record.seed), "X-Sample-Rate": str(record.rate)}
    return {**FRESH, **told, "X-Duration": f"{seconds:.3f}"}


def _encoded(reel: Reel, format: str, rate: int, note: str) -> Iterator[bytes]:
    encoder = encoder_for(format, rate, note)
    for samples in reel.sound():
        if data := encoder.encode(samples):
            yield data
    yield encoder.finish()
