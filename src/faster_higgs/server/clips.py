"""Clips to speak like, as they are sent or named by their place. Reads none before it is needed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from faster_higgs.fetch import LONGEST_ADDRESS, Elsewhere, is_web
from faster_higgs.server.errors import bad
from faster_higgs.server.limits import check_length
from faster_higgs.server.settings import ServerSettings


@dataclass(frozen=True)
class Clip:
    """A clip to speak like: a data URI, base64, or where it lies, and what is said in it."""

    sound: str
    text: str

    def data(self, elsewhere: Elsewhere) -> bytes:
        """Its bytes. Raises Refusal, AudioError."""
        if lies_elsewhere(self.sound):
            return elsewhere.read(self.sound)
        try:
            return base64.b64decode(self.sound.rpartition("base64,")[2], validate=True)
        except (binascii.Error, ValueError):
            raise bad(
                "A reference clip is not valid base64, nor a data: URI of it.", "ref_audio"
            ) from None


def clips_of(references: Sequence[tuple[str, str]], settings: ServerSettings) -> tuple[Clip, ...]:
    """Clips with what is said in them. Raises Refusal."""
    if len(references) > settings.max_references:
        raise bad(
            f"There are {len(references)} reference clips; at most {settings.max_references} "
            "are read.",
            "references",
        )
    for sound, text in references:
        _refuse_places(sound, settings)
        check_length(text, "ref_text", settings)
        if not text.strip():
            raise bad(
                "What is said in a reference clip is missing; write it word for word in ref_text.",
                "ref_text",
                "missing_required_parameter",
            )
    return tuple(Clip(sound, text) for sound, text in references)


def lies_elsewhere(sound: str) -> bool:
    """Whether a clip is named by its place. Base64 has no '.', and files of sound have a suffix."""
    if sound[:5].lower() == "data:":
        return False
    return ":" in sound[:64] or (len(sound) <= LONGEST_ADDRESS and "." in sound)


def _refuse_places(sound: str, settings: ServerSettings) -> None:
    """Raises Refusal for a clip that lies where nothing is fetched or read."""
    if sound[:5].lower() == "data:" and "base64," not in sound[:256]:
        raise bad("A data: URI must hold base64.", "ref_audio", "invalid_audio")
    if not lies_elsewhere(sound):
        return
    web = sound[:8].lower().startswith(("http://", "https://"))
    allowed = settings.allow_url_references if web else settings.allowed_media_path
    if not allowed or (is_web(sound) and not web):
        raise bad(
            "A reference clip must be sent, as base64 or a data: URI; "
            f"{'addresses are not fetched' if is_web(sound) else 'files are not read'} here.",
            "ref_audio",
            "reference_not_sent",
        )
