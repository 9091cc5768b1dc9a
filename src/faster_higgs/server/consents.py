"""/v1/audio/voice_consents: recordings in which somebody agrees to a voice, for OpenAI clients."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, UploadFile

from faster_higgs.audio.files import FROM_STRANGERS, read
from faster_higgs.audio.reference import LONGEST_CLIP
from faster_higgs.errors import AudioError
from faster_higgs.prompt.consents import Consent
from faster_higgs.server.body import Strict
from faster_higgs.server.errors import Refusal, bad, refusal
from faster_higgs.server.limits import check_length
from faster_higgs.server.service import Here, Service
from faster_higgs.server.voices import Clip, clip_of, refuse_unknown, store_of

router = APIRouter()
FIELDS = ("name", "language", "recording")
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")  # BCP 47, as far as it is used


class Renamed(Strict):
    """What of a consent can be changed."""

    name: str


@router.post("/v1/audio/voice_consents")
async def create(
    request: Request,
    service: Here,
    name: Annotated[str, Form()],
    language: Annotated[str, Form()],
    recording: UploadFile | None = None,
) -> dict[str, Any]:
    """Keep a recording."""
    refuse_unknown(await request.form(), FIELDS)
    _check_name(name, service)
    if not LANGUAGE.fullmatch(language):
        raise bad(f"language is '{language}'; use a tag such as en or en-US.", "language")
    clip = await clip_of(recording, "recording", service)
    return await asyncio.to_thread(_create, service, name.strip(), language, clip)


@router.get("/v1/audio/voice_consents")
async def consents(
    service: Here, after: str = "", limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """The newest of them; `after` goes on behind one."""
    found = await asyncio.to_thread(store_of(service).list)
    if after:
        ids = [one.id for one in found]
        if after not in ids:
            raise _missing(after, "after")
        found = found[ids.index(after) + 1 :]
    page = [_told(one) for one in found[:limit]]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    return {"object": "list", "data": page, "has_more": len(found) > limit, **ends}


@router.get("/v1/audio/voice_consents/{id}")
async def consent(id: str, service: Here) -> dict[str, Any]:
    """One of them."""
    return _told(await asyncio.to_thread(_found, id, service))


@router.post("/v1/audio/voice_consents/{id}")
async def update(id: str, body: Renamed, service: Here) -> dict[str, Any]:
    """Call it something else."""
    _check_name(body.name, service)
    return await asyncio.to_thread(_update, id, body.name.strip(), service)


@router.delete("/v1/audio/voice_consents/{id}")
async def remove(id: str, service: Here) -> dict[str, Any]:
    """Delete it, unless there are voices that refer to it."""
    await asyncio.to_thread(_remove, id, service)
    return {"id": id, "deleted": True, "object": "audio.voice_consent"}


def _check_name(name: str, service: Service) -> None:
    check_length(name, "name", service.settings)
    if not name.strip():
        raise bad("name is empty; give the recording a name.", "name")


def _create(service: Service, name: str, language: str, clip: Clip) -> dict[str, Any]:
    data, suffix = clip
    try:
        read(data, rate=service.higgs.rate, max_seconds=LONGEST_CLIP, bounds=FROM_STRANGERS)
    except AudioError as error:
        refused = refusal(error)
        refused.param = "recording"
        raise refused from None
    with service.changing:
        store = store_of(service)
        if len(store.list()) >= service.settings.max_voices:
            raise Refusal(409, "There is no room for more; delete one first.", "too_many_consents")
        return _told(store.add(name, language, data, suffix))


def _update(id: str, name: str, service: Service) -> dict[str, Any]:
    with service.changing:
        return _told(store_of(service).rename(_found(id, service), name))


def _remove(id: str, service: Service) -> None:
    with service.changing:
        found = _found(id, service)
        voices = [files for files in service.higgs.voices.list() if files.own]
        named = [files.name for files in voices if files.about().get("consent") == id]
        if named:
            raise Refusal(
                409, f"Voices refer to it: {', '.join(named)}. Delete them first.", "consent_in_use"
            )
        store_of(service).remove(found)


def _found(id: str, service: Service) -> Consent:
    found = store_of(service).find(id)
    if found is None:
        raise _missing(id, "id")
    return found


def _missing(id: str, param: str) -> Refusal:
    return Refusal(
        404,
        f"There is no consent '{id}'; GET /v1/audio/voice_consents lists those there are.",
        "consent_not_found",
        param,
    )


def _told(consent: Consent) -> dict[str, Any]:
    told = {"id": consent.id, "object": "audio.voice_consent", "created_at": consent.created_at}
    return {**told, "name": consent.name, "language": consent.language}
