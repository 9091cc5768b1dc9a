"""Scenes by name: what `--scene-prompt` may say in one word. Knows nothing of prompts."""

from __future__ import annotations

from faster_higgs.cli.words import existing_file, text_of
from faster_higgs.prompt.conversation import QUIET_ROOM

SCENES = {
    "quiet_indoor": QUIET_ROOM,
    "outdoor": "Audio is recorded outdoors, with wind and distant traffic in the background.",
    "studio": "Audio is recorded in a studio, close to the microphone.",
    "phone_call": "Audio is recorded over a telephone line.",
    "conference": "Audio is recorded in a large conference hall.",
}
NO_SCENE = "empty"


def scene(wanted: str) -> str | None:
    """The text of a scene given by name, file or words; None for no scene."""
    if wanted == NO_SCENE or not wanted.strip():
        return None
    if wanted in SCENES:
        return SCENES[wanted]
    file = existing_file(wanted)
    return text_of(file) if file else wanted
