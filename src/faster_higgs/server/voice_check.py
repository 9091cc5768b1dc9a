"""POST /v1/audio/voices/check: what speaks against a clip as a voice. Keeps nothing.

Knows nothing of how a voice is made of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, UploadFile

from faster_higgs.audio.checks import Finding
from faster_higgs.audio.files import FROM_STRANGERS, read
from faster_higgs.audio.reference import LONGEST_CLIP, lint_reference
from faster_higgs.errors import AudioError
from faster_higgs.server.errors import bad, without_paths
from faster_higgs.server.limits import check_length
from faster_higgs.server.service import Here, Service
from faster_higgs.server.voices import clip_of

router = APIRouter()
FIELDS = ("audio_sample", "ref_text")
LETTERS_PER_SECOND = (1.0, 35.0)  # that people speak, in any script


@router.post("/v1/audio/voices/check")
async def check(
    request: Request,
    service: Here,
    audio_sample: UploadFile | None = None,
    ref_text: Annotated[str, Form()] = "",
) -> dict[str, Any]:
    """Whether a clip, and what is said in it, may be a voice; and what is amiss with them."""
    for name in await request.form():
        if name not in FIELDS:
            raise bad(f"There is no parameter '{name}'.", name, "unknown_parameter")
    check_length(ref_text, "ref_text", service.settings)
    data, _ = await clip_of(audio_sample, "audio_sample", service)
    return await asyncio.to_thread(_judged, data, ref_text, service)


def _judged(data: bytes, text: str, service: Service) -> dict[str, Any]:
    """`ok` is whether it would be taken."""
    rate = service.higgs.rate
    try:
        samples = read(data, rate=rate, max_seconds=LONGEST_CLIP, bounds=FROM_STRANGERS)
    except AudioError as error:
        return _told(0.0, [Finding("unreadable", without_paths(str(error)), "error")])
    seconds = samples.size / rate
    found = [*lint_reference(samples, rate), *_pace(text, seconds)]
    longest = service.settings.max_reference_s
    if seconds > longest:
        found = [one for one in found if one.check != "too_long"]
        words = f"The clip is too long: {seconds:.1f} s; at most {longest:g} s are taken here."
        found.append(Finding("too_long", words, "error"))
    return _told(seconds, found)


def _pace(text: str, seconds: float) -> Iterator[Finding]:
    """Whether somebody could have said the text in this time."""
    letters = sum(character.isalnum() for character in text)
    slow, fast = LETTERS_PER_SECOND
    if letters > fast * seconds:
        yield Finding("text_too_long", f"Nobody says this text in {seconds:.1f} s; check it.")
    elif 0 < letters < slow * seconds:
        yield Finding("text_too_short", f"The text is short for {seconds:.1f} s; is it all there?")


def _told(seconds: float, findings: list[Finding]) -> dict[str, Any]:
    notes = [
        {"code": one.check, "message": one.message, "severity": one.severity} for one in findings
    ]
    ok = all(one.severity != "error" for one in findings)
    return {"ok": ok, "duration": round(seconds, 3), "notes": notes}
