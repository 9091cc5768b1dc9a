"""POST /generate and /generate/batch, as scripts written for other Higgs servers ask them."""

from __future__ import annotations

import asyncio
import base64
import secrets
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from faster_higgs.delivery import Delivery
from faster_higgs.errors import HiggsError
from faster_higgs.prompt.tokens import SCENE_END, SCENE_START
from faster_higgs.sampling import Sampling
from faster_higgs.server.body import Strict
from faster_higgs.server.clips import clips_of
from faster_higgs.server.errors import Refusal, bad, refusal
from faster_higgs.server.limits import check_length, check_steps
from faster_higgs.server.making import Making
from faster_higgs.server.order import Order, given_in
from faster_higgs.server.service import Here, Service, headers
from faster_higgs.server.settings import ServerSettings
from faster_higgs.text.dialogue import speakers

router = APIRouter()


class GenerateBody(Strict):
    """What is asked of /generate."""

    text: str
    system_prompt: str | None = None
    reference_audio_base64: str | None = None
    reference_text: str | None = None
    voice_id: str | None = None
    voice_url: str | None = None
    temperature: Annotated[float, Field(ge=0, le=1.5)] = 0.3
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    top_k: Annotated[int, Field(ge=0, le=100)] | None = 50
    max_tokens: Annotated[int, Field(ge=256, le=8192)] = 2048
    seed: int | None = None


@router.post("/generate", response_class=Response)
async def generate(request: Request, body: GenerateBody, service: Here) -> Response:
    """A whole WAV file."""
    making = service.making(order_of(body, service))
    try:
        data = await service.unless_gone(request, service.whole(making))
    except (Refusal, HiggsError) as error:
        raise _told(error) from None
    return Response(data, headers=_headers(making, body, service), media_type="audio/wav")


@router.post("/generate/batch")
async def batch(request: Request, bodies: list[GenerateBody], service: Here) -> dict[str, Any]:
    """Each of several, as base64; one that fails does not stop the others."""
    most = service.settings.max_batch_items
    if not 1 <= len(bodies) <= most:
        raise bad(f"The batch has {len(bodies)} requests; send 1 to {most}.")
    places = service.places()
    work = asyncio.gather(*(_one(i, body, service, places) for i, body in enumerate(bodies)))
    results = await service.unless_gone(request, work)
    good = sum(result["success"] for result in results)
    return {
        "results": results,
        "total": len(results),
        "successful": good,
        "failed": len(results) - good,
    }


async def _one(
    index: int, body: GenerateBody, service: Service, places: asyncio.Semaphore
) -> dict[str, Any]:
    try:
        making = service.making(order_of(body, service))
        async with places:
            data = await service.whole(making)
    except (Refusal, HiggsError) as error:
        return {"index": index, "success": False, "error": _told(error).message}
    return {
        "index": index,
        "success": True,
        "audio_base64": base64.b64encode(data).decode(),
        "generation_time": round(making.seconds, 3),
    }


def order_of(body: GenerateBody, service: Service) -> Order:
    """What a body asks for. Raises Refusal, SettingError."""
    if not body.text.strip():
        raise bad("Text cannot be empty", "text")
    for name in ("text", "system_prompt"):
        check_length(getattr(body, name) or "", name, service.settings)
    if body.voice_url and body.reference_audio_base64:
        raise bad("voice_url and reference_audio_base64 were given; leave one of them out.")
    sound = body.voice_url or body.reference_audio_base64
    if body.reference_text and not sound:
        raise bad("reference_text was given without reference_audio_base64.", "reference_text")
    if body.voice_id and body.reference_audio_base64:
        raise bad("voice_id and reference_audio_base64 were given; leave one of them out.")
    clips = clips_of([(sound, body.reference_text or "")] if sound else [], service.settings)
    sampling = Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k or 0,
        max_new_tokens=_steps(body, service.settings),
        seed=secrets.randbits(32) if body.seed is None else body.seed,
    )
    # There a voice_id names what is kept of a voice_url; clips are known by their content here.
    ignored = ("voice_id",) if body.voice_id and clips else ()
    voice = None if clips else body.voice_id or service.settings.default_voice
    delivery, given = _delivery(body, service), given_in(body)
    return Order(body.text, voice, clips, None, sampling, delivery, ignored=ignored, given=given)


def _steps(body: GenerateBody, settings: ServerSettings) -> int:
    """Raises SettingError for more than is made here."""
    if "max_tokens" not in body.model_fields_set:
        return min(body.max_tokens, settings.max_new_tokens_cap)
    check_steps(body.max_tokens, "max_tokens", settings)
    return body.max_tokens


def _delivery(body: GenerateBody, service: Service) -> Delivery:
    """A system prompt as it is; of a dialogue only its scene, because the cast is added to it."""
    delivery = Delivery(deadline=service.settings.request_timeout_s)
    system = (body.system_prompt or "").strip()
    if not system:
        return replace(delivery, system=service.settings.default_system_prompt)
    if _is_dialogue(body.text):
        return replace(delivery, scene=_scene(system))
    return replace(delivery, system=system)


def _scene(system: str) -> str | None:
    """What stands between the scene's marks, else everything."""
    _, mark, rest = system.partition(SCENE_START)
    return (rest.partition(SCENE_END)[0] if mark else system).strip() or None


def _is_dialogue(text: str) -> bool:
    return len(speakers(text)) > 1


def _headers(making: Making, body: GenerateBody, service: Service) -> dict[str, str]:
    told = headers(making) | {
        "X-Mode": "single",
        "X-Has-Voice-Clone": str(bool(making.order.clips or body.voice_id)).lower(),
        "X-Has-System-Prompt": str(bool(body.system_prompt)).lower(),
        "X-Concurrent-Requests": str(service.ledger.running + 1),
    }
    if _is_dialogue(body.text):
        told |= {"X-Mode": "multi-speaker", "X-Chunks": str(making.utterances)}
    return told


def _told(error: Refusal | HiggsError) -> Refusal:
    """What failed while it was made begins as it did there."""
    refused = refusal(error)
    if refused.status == 500:
        refused.message = f"Generation failed: {refused.message}"
    return refused
