"""`higgs voices import`: a folder of voices as the vLLM image for this model reads it.

Its config.json says {NAME: {"transcript", "audio_file", "system_prompt"}}. Knows nothing of codes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from faster_higgs.errors import VoiceError


class Preset(NamedTuple):
    """One voice of such a folder."""

    name: str
    sound: Path
    transcript: str
    system: str = ""


def presets(folder: Path) -> list[Preset]:
    """All of them. Raises VoiceError for a folder that is none, or a voice that is not whole."""
    config = folder / "config.json"
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise VoiceError(f"{config} cannot be read: {reason}.") from None
    if not isinstance(found, dict) or not found:
        raise VoiceError(f"{config} names no voices.")
    return [_preset(folder, name, told) for name, told in found.items()]


def _preset(folder: Path, name: str, told: Any) -> Preset:
    words = told if isinstance(told, dict) else {}
    transcript, file = words.get("transcript"), words.get("audio_file")
    if not (isinstance(transcript, str) and transcript.strip() and isinstance(file, str) and file):
        raise VoiceError(f"'{name}' in config.json needs transcript and audio_file.")
    sound = folder / file
    if not sound.resolve().is_relative_to(folder.resolve()):
        raise VoiceError(f"'{name}' in config.json names {file}, which is not in {folder}.")
    if not sound.is_file():
        raise VoiceError(f"'{name}' in config.json names {file}, which is not there.")
    return Preset(name, sound, transcript, str(words.get("system_prompt") or ""))
