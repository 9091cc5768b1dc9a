"""/v1/audio/voices: the voices there are, and new ones, each known by its id and never by a path.

The forms of the answers are those that clients of several servers read.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import Response

from faster_higgs.audio.encode import encode
from faster_higgs.audio.files import FROM_STRANGERS, read
from faster_higgs.audio.reference import passable
from faster_higgs.errors import AudioError, VoiceError, VoiceNotFound
from faster_higgs.prompt import consents
from faster_higgs.prompt.voices import (
    OPENAI_NAME,
    OPENAI_VOICES,
    PROFILES,
    SOUND_SUFFIXES,
    VoiceFiles,
)
from faster_higgs.server.errors import Refusal, bad, refusal
from faster_higgs.server.limits import check_length
from faster_higgs.server.service import Here, Service

router = APIRouter()
Format = Literal["names", "vllm-omni"]
ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
# What some systems cannot have as the name of a file.
RESERVED = re.compile(r"(default|con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*\.\..*|.*\.")
SUFFIXES = {
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/wave": ".wav",
    "audio/ogg": ".ogg",
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/x-flac": ".flac",
    "audio/webm": ".webm",
    "audio/mp4": ".m4a",
    "audio/x-m4a": ".m4a",
}


@router.get("/v1/audio/voices", response_model=None)
async def voices(
    service: Here, format: Format | None = None, legacy: bool = False
) -> dict[str, Any]:
    """All voices; `legacy` and `format` choose other servers' shapes."""
    rows = await asyncio.to_thread(_rows, service)
    if legacy or format == "names":
        return {"voices": [row["id"] for row in rows]}
    mine = [row for row in rows if row["uploaded"]]
    if format == "vllm-omni":
        return {"voices": [row["id"] for row in rows], "uploaded_voices": mine}
    return {"object": "list", "data": rows, "voices": rows, "uploaded_voices": mine}


@router.get("/v1/audio/voices/{id}")
async def voice(id: str, service: Here) -> dict[str, Any]:
    """One voice."""
    return await asyncio.to_thread(_row_of, id, service)


@router.get("/v1/audio/voices/{id}/sample", response_class=Response)
async def sample(id: str, service: Here) -> Response:
    """Its clip, as a WAV file."""
    return Response(await asyncio.to_thread(_sample, id, service), media_type="audio/wav")


@router.post("/v1/audio/voices")
async def add(  # noqa: PLR0913  one for each field of the form
    request: Request,
    service: Here,
    name: Annotated[str, Form()],
    audio_sample: UploadFile | None = None,
    take: Annotated[str, Form()] = "",
    ref_text: Annotated[str, Form()] = "",
    type: Annotated[Literal["audio_sample", "prompt"], Form()] = "audio_sample",
    prompt: Annotated[str, Form()] = "",
    consent: Annotated[str, Form()] = "",
    speaker_description: Annotated[str, Form()] = "",
    model: Annotated[str, Form()] = "auto",
    script_hint: Annotated[str, Form()] = "",
    speaker_embedding: Annotated[str, Form()] = "",
    openai_name: Annotated[bool, Form()] = False,
) -> dict[str, Any]:
    """A new voice: a clip and what is said in it, a take of a speech, or a description."""
    refuse_unknown(await request.form(), FIELDS)
    fields = {"ref_text": ref_text, "prompt": prompt, "speaker_description": speaker_description}
    fields |= {"script_hint": script_hint, "consent": consent, "name": name}
    for param, written in fields.items():
        check_length(written, param, service.settings)
    id = _new_id(name, openai_name)
    await asyncio.to_thread(_refuse_unknown_consent, consent, service)
    about = {"name": name.strip(), "consent": consent, "type": type, "created_at": int(time.time())}
    about |= {OPENAI_NAME: True} if openai_name else {}
    if speaker_embedding:
        raise bad("speaker_embedding: this model reads clips; send audio_sample.", *_UNSUPPORTED)
    if type == "prompt":
        if model != "auto":
            service.check_model(model)
        if audio_sample is not None or ref_text or take:
            raise bad("A voice of type prompt has no clip; send prompt alone.", "type")
        words = "\n".join(filter(None, [prompt, speaker_description, script_hint]))
        return await asyncio.to_thread(_describe, service, id, words, about)
    if prompt or script_hint or model != "auto":
        given = "prompt" if prompt else "script_hint" if script_hint else "model"
        raise bad(f"{given} belongs to voices of type prompt; leave it out.", given)
    if take:
        if audio_sample is not None or ref_text:
            given = "ref_text" if ref_text else "audio_sample"
            raise bad(f"The sound and the text of a take are known; leave {given} out.", given)
        return await asyncio.to_thread(_keep, service, id, take, speaker_description, about)
    clip = await clip_of(audio_sample, "audio_sample", service)
    return await asyncio.to_thread(_add, service, id, clip, ref_text, speaker_description, about)


@router.delete("/v1/audio/voices/{id}")
async def remove(id: str, service: Here) -> dict[str, Any]:
    """Delete a voice that was added."""
    await asyncio.to_thread(_remove, id, service)
    told = {"id": id, "deleted": True, "object": "audio.voice.deleted"}
    return {**told, "success": True, "message": f"The voice '{id}' was deleted."}


FIELDS = (
    *("name", "audio_sample", "take", "ref_text", "type", "prompt", "consent"),
    *("speaker_description", "model", "script_hint", "speaker_embedding", "openai_name"),
)
_UNSUPPORTED = ("speaker_embedding", "unsupported_parameter")
Clip = tuple[bytes, str]  # and its suffix


def refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises Refusal for a field that is not known."""
    for name in names:
        if name not in known:
            raise bad(f"There is no parameter '{name}'.", name, "unknown_parameter")


def store_of(service: Service) -> consents.ConsentStore:
    """The consents beside the voices. Raises VoiceError where nothing can be kept."""
    return consents.ConsentStore(service.higgs.voices.own / consents.FOLDER)


def _refuse_unknown_consent(id: str, service: Service) -> None:
    """Raises Refusal for the id of a consent that is not there; other words are only kept."""
    if consents.ID.fullmatch(id) and store_of(service).find(id) is None:
        raise bad(f"There is no consent '{id}'.", "consent", "consent_not_found")


def _new_id(name: str, openai_name: bool) -> str:
    """The id of a voice that is called so: small letters, and '-' for blanks."""
    if not name.strip():
        raise bad("name is empty; give the voice a name.", "name")
    id = re.sub(r"\s+", "-", name.strip()).lower()
    if not ID.fullmatch(id) or RESERVED.fullmatch(id):
        raise bad(
            "name cannot name a voice; use letters, digits, '-', '_' and '.', at most 64, "
            "beginning with a letter or digit.",
            "name",
        )
    if id in OPENAI_VOICES and not openai_name:
        raise bad(
            f"Clients of OpenAI send '{id}' for one of its voices; choose another name, or send "
            "openai_name=true to speak to them with this voice.",
            "name",
            "reserved_name",
        )
    if openai_name and id not in OPENAI_VOICES:
        raise bad(f"'{id}' is no name of OpenAI's; leave openai_name out.", "openai_name")
    return id


async def clip_of(upload: UploadFile | None, param: str, service: Service) -> Clip:
    """What was sent, if it is not too much of it. Raises Refusal."""
    if upload is None:
        raise bad(f"{param} is missing.", param, "missing_required_parameter")
    most = service.settings.max_upload_bytes
    data = await upload.read(most + 1)
    if len(data) > most:
        raise Refusal(413, f"{param} is larger than {most:,} bytes.", "body_too_large", param)
    suffix = Path(upload.filename or "").suffix.lower()
    kind = (upload.content_type or "").partition(";")[0].lower()
    return data, suffix if suffix in SOUND_SUFFIXES else SUFFIXES.get(kind, ".wav")


def _add(
    service: Service, id: str, clip: Clip, text: str, description: str, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Judge the clip, then keep it. Raises Refusal."""
    data, suffix = clip
    if not text.strip():
        raise bad(
            "ref_text is missing; write what is said in the clip, word for word.",
            "ref_text",
            "missing_required_parameter",
        )
    warnings = _linted(data, service)
    with (
        service.keeper.use(),
        service.changing,
        TemporaryDirectory(prefix="higgs-voice-") as folder,
    ):
        _refuse_taken(id, service)
        sound = Path(folder) / f"clip{suffix}"
        sound.write_bytes(data)
        try:
            service.higgs.voices.add(id, sound, text, description=description, about=about)
        except (VoiceError, AudioError) as error:
            raise _as(error, "audio_sample") from None
    return {**_added(id, service), "warnings": warnings}


def _keep(
    service: Service, id: str, take: str, description: str, about: Mapping[str, Any]
) -> dict[str, Any]:
    """A take becomes a voice, with the very codes it was spoken in. Raises Refusal."""
    higgs, voice = service.higgs, service.takes.voice(take)
    assert voice.codes is not None
    with service.keeper.use():
        samples = higgs.decode(voice.codes)
    try:
        warnings = [finding.message for finding in passable(samples, higgs.rate)]
    except AudioError as error:
        raise _as(error, "take") from None
    with service.changing, TemporaryDirectory(prefix="higgs-voice-") as folder:
        _refuse_taken(id, service)
        sound = Path(folder) / "take.wav"
        sound.write_bytes(encode(samples, "wav", higgs.rate))
        text, codes = voice.transcript, voice.codes
        try:
            higgs.voices.add(id, sound, text, description=description, about=about, codes=codes)
        except VoiceError as error:
            raise _as(error, "take") from None
    return {**_added(id, service), "warnings": warnings}


def _describe(service: Service, id: str, words: str, about: Mapping[str, Any]) -> dict[str, Any]:
    with service.changing:
        _refuse_taken(id, service)
        try:
            service.higgs.voices.describe(id, words, about=about)
        except VoiceError as error:
            raise _as(error, "prompt") from None
    return _added(id, service)


def _linted(data: bytes, service: Service) -> list[str]:
    """What is amiss with a clip but may pass. Raises Refusal for what may not."""
    rate, longest = service.higgs.rate, service.settings.max_reference_s
    try:
        clip = read(data, rate=rate, max_seconds=longest, bounds=FROM_STRANGERS)
        findings = passable(clip, rate)
    except AudioError as error:
        raise _as(error, "audio_sample") from None
    return [finding.message for finding in findings]


def _refuse_taken(id: str, service: Service) -> None:
    known = service.higgs.voices.list()
    if same := next((files for files in known if files.name.lower() == id), None):
        cure = "delete it first" if same.own else "it comes with the model; choose another name"
        raise Refusal(409, f"There is a voice '{id}' already; {cure}.", "voice_exists", "name")
    if sum(files.own for files in known) >= service.settings.max_voices:
        raise Refusal(409, "There is no room for more voices; delete one first.", "too_many_voices")


def _added(id: str, service: Service) -> dict[str, Any]:
    row = _row_of(id, service)
    return {**row, "success": True, "voice": row}


def _remove(id: str, service: Service) -> None:
    with service.changing:
        told = id.removeprefix("profile:") != id and _row_of(id, service)
        if told or not (files := _found(id, service)).own:
            raise Refusal(403, f"'{id}' comes with the model and stays.", "voice_read_only", "id")
        service.higgs.voices.remove(files.name)


def _found(id: str, service: Service) -> VoiceFiles:
    """A voice by its id. Raises Refusal."""
    for files in service.higgs.voices.list():
        if id.lower() == files.name.lower():
            return files
    raise Refusal(
        404,
        f"There is no voice '{id[:100]}'; GET /v1/audio/voices lists those there are.",
        "voice_not_found",
        "id",
    )


def _sample(id: str, service: Service) -> bytes:
    higgs, files = service.higgs, _found(id, service)
    if files.described:
        raise bad(f"'{id}' is told in words and has no clip; it can only be spoken.", "id")
    if files.sound is not None:
        return encode(read(files.sound, rate=higgs.rate), "wav", higgs.rate)
    with service.keeper.use():
        codes = higgs.voices.load(files.name).codes
        if codes is None:
            raise VoiceNotFound(f"The voice '{id}' has no clip.")
        return encode(higgs.decode(codes), "wav", higgs.rate)


def _rows(service: Service) -> list[dict[str, Any]]:
    rows = [_row(files) for files in service.higgs.voices.list()]
    return rows + [_profile(name, words) for name, words in PROFILES.items()]


def _row_of(id: str, service: Service) -> dict[str, Any]:
    name = id.removeprefix("profile:")
    if name != id and name in PROFILES:
        return _profile(name, PROFILES[name])
    return _row(_found(id, service))


def _profile(name: str, words: str) -> dict[str, Any]:
    id = f"profile:{name}"
    told = {"id": id, "voice_id": id, "name": id, "object": "audio.voice", "type": "prompt"}
    return {**told, "prompt": words, "created_at": 0, "uploaded": False}


def _row(files: VoiceFiles) -> dict[str, Any]:
    about = files.about()
    told: dict[str, Any] = {
        "id": files.name,
        "voice_id": files.name,
        "name": about.get("name", files.name),
        "object": "audio.voice",
        "type": "prompt" if files.described else "audio_sample",
        "created_at": about.get("created_at", 0),
        "uploaded": files.own,
    }
    if consent := about.get("consent"):
        told["consent"] = consent
    if files.description.is_file():
        words = _words(files.description)
        told["prompt" if files.described else "speaker_description"] = words
    if not files.described:
        told["ref_text"] = _words(files.transcript)
    if files.sound is not None:
        told |= {"embedding_source": "audio", "embedding_dim": None}
        told |= {"file_size": files.sound.stat().st_size, "mime_type": _mime(files.sound)}
    return told


def _words(path: Path) -> str:
    """What was written, as far as it can be read: one damaged voice does not hide the others."""
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _mime(sound: Path) -> str:
    return next((mime for mime, suffix in SUFFIXES.items() if suffix == sound.suffix), "audio/*")


def _as(error: Exception, param: str) -> Refusal:
    """The answer to an error, laid at the door of a field."""
    refused = refusal(error)
    refused.param = param
    return refused
