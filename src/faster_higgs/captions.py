"""Captions of a speech: SRT, WebVTT and JSON, a row for each utterance.

Knows nothing of sound or models: a row is a text, and when it is heard.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from faster_higgs.text.tags import SOUND, SPEAKER


class Said(Protocol):
    """What is said, and by whom."""

    @property
    def text(self) -> str: ...

    @property
    def speaker(self) -> str | None: ...


class Row(Said, Protocol):
    """And when: from `begin` to `end`, in seconds. A `spoken.Part` is one."""

    @property
    def begin(self) -> float: ...

    @property
    def end(self) -> float: ...


def srt(parts: Iterable[Row]) -> str:
    """SubRip: numbered from 1, commas in the times."""
    return "".join(
        f"{i}\n{_clock(part.begin, ',')} --> {_clock(part.end, ',')}\n{_said(part)}\n\n"
        for i, part in enumerate(parts, 1)
    )


def vtt(parts: Iterable[Row]) -> str:
    """WebVTT, with speakers as voices."""
    rows = (
        f"{_clock(part.begin, '.')} --> {_clock(part.end, '.')}\n{_voiced(part)}\n\n"
        for part in parts
    )
    return "WEBVTT\n\n" + "".join(rows)


def as_json(parts: Iterable[Row]) -> list[dict[str, Any]]:
    """Segments with exact times, numbered from 0."""
    return [_segment(i, part) for i, part in enumerate(parts)]


def written(parts: Iterable[Row], format: str) -> str:
    """The text of a caption file; `format` is one of `FORMATS`."""
    return WRITERS[format](parts)


def plain(said: Said) -> str:
    """A spoken text as it is shown: one line, sounds by their names; where several speak, who."""
    text = SPEAKER.sub(r" \1: " if said.speaker is None else " ", said.text)
    return _line(SOUND.sub(lambda found: f" {_sound(found.group())} ", text))


def _json_file(parts: Iterable[Row]) -> str:
    return json.dumps({"segments": as_json(parts)}, ensure_ascii=False) + "\n"


WRITERS: Mapping[str, Callable[[Iterable[Row]], str]] = {
    "srt": srt,
    "vtt": vtt,
    "json": _json_file,
}
FORMATS: Mapping[str, str] = {  # and their media types
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "json": "application/json",
}


def _segment(index: int, part: Row) -> dict[str, Any]:
    times = {"start": round(part.begin, 6), "end": round(part.end, 6)}
    told = {"index": index, "text": plain(part), **times}
    return told if part.speaker is None else {**told, "speaker": part.speaker}


def _said(part: Row) -> str:
    return plain(part) if part.speaker is None else f"{_line(part.speaker)}: {plain(part)}"


def _voiced(part: Row) -> str:
    text = html.escape(plain(part), quote=False)
    if part.speaker is None:
        return text
    name = html.escape(_line(part.speaker), quote=False)
    space = " " if name.endswith("-") else ""  # else it may end in an arrow
    return f"<v {name}{space}>{text}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _sound(tag: str) -> str:
    """[Laughter] of <SE>[Laughter]</SE>."""
    name = tag.partition(">")[2].partition("</")[0].strip("[] ")
    return f"[{name}]"


def _clock(seconds: float, mark: str) -> str:
    """HH:MM:SS and milliseconds."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}{mark}{thousandths:03d}"
