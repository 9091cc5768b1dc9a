"""POST /v1/audio/speech/batch: several texts in one request; one that fails stops no other."""

from __future__ import annotations

import asyncio
import base64
import secrets
from typing import Any

from fastapi import APIRouter, Request

from faster_higgs.audio.encode import FORMATS
from faster_higgs.errors import HiggsError
from faster_higgs.server.body import SharedBody, SpeechBody
from faster_higgs.server.errors import Refusal, bad, refusal
from faster_higgs.server.events import facts, usage
from faster_higgs.server.order import whole_order
from faster_higgs.server.service import Here, Service

router = APIRouter()
# Fields that say the same: an item that has one of them has said it.
_ONE = (
    ("voice", "speaker"),
    ("max_tokens", "max_new_tokens"),
    ("references", "ref_audio", "ref_text"),
)


class BatchBody(SharedBody):
    """Texts with what differs between them, and what holds for those that say nothing else."""

    items: list[SpeechBody]


@router.post("/v1/audio/speech/batch")
async def batch(request: Request, body: BatchBody, service: Here) -> dict[str, Any]:
    """Each as a whole file in base64, or why there is none."""
    most = service.settings.max_batch_items
    if not 1 <= len(body.items) <= most:
        raise bad(f"The batch has {len(body.items)} items; send 1 to {most}.", "items")
    places = service.places()
    work = asyncio.gather(
        *(_one(i, _merged(body, item), service, places) for i, item in enumerate(body.items))
    )
    results = await service.unless_gone(request, work)
    good = sum(result["status"] == "success" for result in results)
    return {
        "id": f"speech-batch-{secrets.token_hex(12)}",
        "results": results,
        "total": len(results),
        "succeeded": good,
        "failed": len(results) - good,
    }


def _merged(body: BatchBody, item: SpeechBody) -> SpeechBody:
    own = item.model_dump(exclude_unset=True)
    said = {name for names in _ONE for name in names if own.keys() & {*names}}
    shared = body.model_dump(exclude_unset=True, exclude={"items", *said})
    return SpeechBody.model_validate({**shared, **own})


async def _one(
    index: int, body: SpeechBody, service: Service, places: asyncio.Semaphore
) -> dict[str, Any]:
    told: dict[str, Any] = {"index": index, "audio_data": None, "media_type": None, "usage": None}
    try:
        service.check_model(body.model)
        making = service.making(whole_order(body, service.settings))
        async with places:
            data = await service.whole(making)
    except (Refusal, HiggsError) as error:
        refused = refusal(error)
        return {**told, "status": "error", "error": refused.message, "code": refused.code}
    return {
        **told,
        "status": "success",
        "audio_data": base64.b64encode(data).decode(),
        "media_type": FORMATS[making.order.format].mime,
        "error": None,
        "usage": usage(making),
        **facts(making),
        "ignored": list(making.order.ignored),
    }
