"""Voice presets as Boson's server has them: a folder with clips and a config.json.

Knows nothing of where they will be kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faster_higgs.errors import VoiceError
from faster_higgs.prompt.voices import NAME

CONFIG = "config.json"
KNOWN = ("transcript", "audio_file", "system_prompt")
USUAL_SYSTEM = "Convert text to speech with the same voice."  # says nothing of a voice


@dataclass(frozen=True)
class Preset:
    """A voice: its clip, what is said in it, and what its prompt began with."""

    name: str
    clip: Path
    transcript: str
    system: str  # empty where it is the usual one


def presets_in(folder: Path) -> list[Preset]:
    """All of them, in their order. Raises VoiceError, before anything is done, for any fault."""
    config = folder / CONFIG
    try:
        entries = json.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise VoiceError(f"{config} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise VoiceError(f"{config} is not JSON in UTF-8.") from None
    if not isinstance(entries, dict) or not entries:
        raise VoiceError(f"{config} names no voices; it must hold {{name: {{transcript, ...}}}}.")
    return [_preset(folder, name, entry) for name, entry in entries.items()]


def _preset(folder: Path, name: str, entry: Any) -> Preset:
    if not NAME.fullmatch(name):
        raise VoiceError(
            f"{CONFIG}: '{name[:100]}' cannot name a voice; use letters, digits, '-', '_' and '.', "
            "at most 64."
        )
    if not isinstance(entry, dict) or not set(entry) <= set(KNOWN):
        raise VoiceError(f"{CONFIG}: '{name}' must have {', '.join(KNOWN)} and nothing else.")
    clip = folder / _text(entry, "audio_file", name)
    if not clip.resolve().is_relative_to(folder.resolve()):
        raise VoiceError(f"{CONFIG}: the clip of '{name}' lies outside {folder}.")
    if not clip.is_file():
        raise VoiceError(f"{CONFIG}: '{name}' has no clip: {clip} is not there.")
    system = _text(entry, "system_prompt", name) if "system_prompt" in entry else ""
    transcript = _text(entry, "transcript", name)
    return Preset(name, clip, transcript, "" if system == USUAL_SYSTEM else system)


def _text(entry: Mapping[str, Any], field: str, name: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str) or (field != "system_prompt" and not value.strip()):
        raise VoiceError(f"{CONFIG}: '{name}' has no {field}; write it as text.")
    return value.strip()
