"""POST /v1/audio/dialogue: turns, and who speaks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from faster_higgs.errors import TextError
from faster_higgs.server.body import SpeakingBody, Strict
from faster_higgs.server.clips import Clip, clips_of
from faster_higgs.server.errors import Refusal, bad
from faster_higgs.server.limits import check_length
from faster_higgs.server.order import Order, Role, Told, spoken_order
from faster_higgs.server.service import Here
from faster_higgs.server.settings import ServerSettings
from faster_higgs.text.dialogue import speakers
from faster_higgs.text.pauses import LONGEST, stretches, written

router = APIRouter()
MISSING = "missing_required_parameter"


class Turn(Strict):
    """What one says, and the seconds of silence after it."""

    speaker: str
    text: str
    pause: Annotated[float, Field(ge=0, le=LONGEST)] = 0.0


class Speaker(Strict):
    """A voice by its name, by a clip and what is said in it, or in words."""

    voice: str | None = None
    ref_audio: str | None = None
    ref_text: str | None = None
    description: str | None = None


class DialogueBody(SpeakingBody):
    """The body of POST /v1/audio/dialogue."""

    turns: list[Turn]
    speakers: dict[str, Speaker]


@router.post("/v1/audio/dialogue", response_class=Response)
async def dialogue(request: Request, body: DialogueBody, service: Here) -> Response:
    """Speech of several: a file at once, in pieces, or as events."""
    service.check_model(body.model)
    return await service.answer(request, dialogue_order(body, service.settings))


def dialogue_order(body: DialogueBody, settings: ServerSettings) -> Order:
    """What a body asks for. Raises Refusal, SettingError."""
    tags = _tags(body)
    check_length("".join(turn.text for turn in body.turns), "turns", settings)
    lines = [_line(i, turn, tags[turn.speaker]) for i, turn in enumerate(body.turns)]
    cast = [_role(name, body.speakers[name], settings) for name in tags]
    clips = sum(isinstance(role, Clip) for role in cast)
    if clips > settings.max_references:
        raise bad(
            f"There are {clips} reference clips; at most {settings.max_references} are read.",
            "speakers",
        )
    names = {tag: name for name, tag in tags.items()}
    order = spoken_order(body, "\n".join(lines), settings)
    return replace(order, cast=tuple(cast), names=names)


def _tags(body: DialogueBody) -> Mapping[str, str]:
    """The tag of each speaker, in the order in which they begin. Raises Refusal."""
    if not body.turns:
        raise bad("There are no turns; send one or more.", "turns")
    for i, turn in enumerate(body.turns):
        if turn.speaker not in body.speakers:
            known = ", ".join(body.speakers) or "nobody"
            raise bad(
                f"There is no speaker '{turn.speaker[:100]}'; speakers names {known[:500]}.",
                f"turns.{i}.speaker",
            )
    order = dict.fromkeys(turn.speaker for turn in body.turns)
    for name in body.speakers:
        if name not in order:
            raise bad(f"'{name[:100]}' has no turn; leave the speaker out.", f"speakers.{name}")
    return {name: f"SPEAKER{i}" for i, name in enumerate(order)}


def _line(index: int, turn: Turn, tag: str) -> str:
    """A turn as it stands in a script. Raises Refusal."""
    place = f"turns.{index}.text"
    if not any(c.isalnum() for c in turn.text):
        raise bad("The turn has no word that can be spoken.", place)
    if speakers(turn.text) or "<|speaker_id_start|>" in turn.text:
        raise bad("A turn has one speaker; make a turn of each.", place)
    try:
        stretches(turn.text)
    except TextError as error:
        raise bad(str(error), place) from None
    pause = f" {written(turn.pause)}" if turn.pause else ""
    return f"[{tag}] {turn.text}{pause}"


def _role(name: str, speaker: Speaker, settings: ServerSettings) -> Role:
    """Who speaks. Raises Refusal."""
    place = f"speakers.{name}"
    given = [value for value in (speaker.voice, speaker.ref_audio, speaker.description) if value]
    if len(given) != 1 or (speaker.ref_text and not speaker.ref_audio):
        raise bad(
            f"'{name[:100]}' needs one of voice, ref_audio with ref_text, and description.",
            place,
            "invalid_value" if given else MISSING,
        )
    if speaker.ref_audio:
        try:
            return clips_of([(speaker.ref_audio, speaker.ref_text or "")], settings)[0]
        except Refusal as refused:
            refused.param = f"{place}.{refused.param}"
            raise
    if speaker.description:
        check_length(speaker.description, f"{place}.description", settings)
        return Told(speaker.description)
    assert speaker.voice
    return speaker.voice
