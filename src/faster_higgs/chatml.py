"""Conversations in the original's form and in that of transformers, put into our own words.

Knows nothing of generation.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faster_higgs.audio.files import read
from faster_higgs.audio.reference import LONGEST_CLIP
from faster_higgs.errors import AudioError, SettingError
from faster_higgs.prompt import template
from faster_higgs.prompt.tokens import SCENE_END, SCENE_START
from faster_higgs.speech import Higgs


@dataclass
class TextContent:
    """A piece of text in a message."""

    text: str
    type: str = "text"


@dataclass
class AudioContent:
    """A clip in a message: a file, or base64 in `raw_audio`.

    `offset` and `duration`, in seconds, cut it.
    """

    audio_url: str = ""
    raw_audio: str | None = None
    offset: float | None = None
    duration: float | None = None
    row_id: int | None = None
    type: str = "audio"


Content = str | TextContent | AudioContent | Sequence[str | TextContent | AudioContent]


@dataclass
class Message:
    """One turn."""

    role: str
    content: Content
    recipient: str | None = None


@dataclass
class ChatMLSample:
    """A conversation; the model gives the next assistant turn."""

    messages: Sequence[Message]
    start_index: int | None = None
    misc: dict[str, Any] | None = None
    speaker: str | None = None


def conversation(
    sample: ChatMLSample | Sequence[Mapping[str, Any]], higgs: Higgs
) -> list[template.Message]:
    """Messages of either kind in our own words, clips encoded. Raises SettingError, AudioError."""
    given = (
        sample.messages
        if isinstance(sample, ChatMLSample)
        else [_from_dict(turn) for turn in sample]
    )
    messages = [
        template.Message(
            m.role,
            tuple(_part(c, m.role, higgs) for c in _items(m.content)),
            m.recipient,
            instructs=True,
        )
        for m in _without_scene(given)
    ]
    if not messages:
        raise SettingError("The conversation has no message; give at least one user message.")
    return messages


def _from_dict(turn: Mapping[str, Any]) -> Message:
    """A turn of the transformers form. Unknown keys are refused."""
    if unknown := set(turn) - {"role", "content", "recipient"}:
        raise SettingError(
            f"A message has the unknown key '{sorted(unknown)[0]}'; use role, content, recipient."
        )
    if "role" not in turn or "content" not in turn:
        raise SettingError("A message needs a role and a content.")
    content = turn["content"]
    if not isinstance(content, (str, list, tuple)):
        raise SettingError(
            f"A message's content is {content!r}; use a text, or a list of texts and clips."
        )
    items = [content] if isinstance(content, str) else [_item(item) for item in content]
    return Message(str(turn["role"]), items, turn.get("recipient"))


def _item(item: Mapping[str, Any] | str) -> str | AudioContent:
    if isinstance(item, str):
        return item
    kind = item.get("type") if isinstance(item, Mapping) else type(item).__name__
    if kind == "text":
        return str(item.get("text", ""))
    if kind == "audio":
        keys = ("audio_url", "url", "path", "audio")
        source = next((item[key] for key in keys if item.get(key) is not None), "")
        if not isinstance(source, (str, Path)):
            raise SettingError(
                f"A clip is given as a {type(source).__name__}; give the path of a file, "
                "or its bytes as base64 in raw_audio."
            )
        return AudioContent(audio_url=str(source), raw_audio=item.get("raw_audio"))
    raise SettingError(f"A part of a message has the type '{kind}'; use 'text' or 'audio'.")


def _items(content: Content) -> list[str | AudioContent]:
    parts = [content] if isinstance(content, (str, TextContent, AudioContent)) else list(content)
    return [part.text if isinstance(part, TextContent) else part for part in parts]


def _without_scene(messages: Sequence[Message]) -> list[Message]:
    """Fold a second message of role `scene` into the system turn, as in transformers (lm.md, d)."""
    if len(messages) < 2 or messages[1].role != "scene":
        return list(messages)
    items, scene = _items(messages[1].content), list[str | AudioContent]()
    for i, item in enumerate(items):
        last = i == len(items) - 1
        before_clip = not last and isinstance(items[i + 1], AudioContent)
        if isinstance(item, AudioContent):
            scene += [" ", item, "" if last else "\n"]
        elif i == 0:
            scene.append(item.strip() + ("" if last else "\n\n"))
        else:
            scene.append(item.strip() + ("" if last or before_clip else "\n"))
    system = "".join(part for part in _items(messages[0].content) if isinstance(part, str)).strip()
    whole = _joined([f"{system}\n\n{SCENE_START}\n", *scene, f"\n{SCENE_END}"])
    return [Message("system", whole), *messages[2:]]


def _joined(parts: Sequence[str | AudioContent]) -> list[str | AudioContent]:
    """Neighbouring texts become one, because each piece is tokenized alone."""
    out: list[str | AudioContent] = []
    for part in parts:
        if isinstance(part, str) and out and isinstance(out[-1], str):
            out[-1] += part
        else:
            out.append(part)
    return out


def _part(part: str | AudioContent, role: str, higgs: Higgs) -> str | template.Clip:
    if isinstance(part, AudioContent):
        return template.Clip(higgs.encode(_samples(part, higgs.rate)))
    if role == "user" and higgs.config.text_input == "phonemes":
        return higgs.spell(part)
    return part


def _samples(clip: AudioContent, rate: int) -> NDArray[np.float32]:
    if clip.raw_audio:
        try:
            source: Any = io.BytesIO(base64.b64decode(clip.raw_audio, validate=True))
        except (binascii.Error, ValueError):
            raise AudioError("A clip's raw_audio is not valid base64.") from None
    elif not clip.audio_url:
        raise AudioError("A clip names no file in audio_url and carries no raw_audio.")
    elif clip.audio_url.startswith(("http:", "https:")):
        raise AudioError(
            f"The clip {clip.audio_url} is not fetched; download it and give the file's path."
        )
    else:
        source = Path(clip.audio_url.removeprefix("file://"))
    if (clip.offset or 0.0) < 0 or (clip.duration or 0.0) < 0:
        raise AudioError("A clip's offset and duration are seconds from its start, 0 or more.")
    samples = read(source, rate=rate, max_seconds=LONGEST_CLIP)
    first = round((clip.offset or 0.0) * rate)
    last = len(samples) if clip.duration is None else first + round(clip.duration * rate)
    return samples[first:last]
