"""The original project's names, and the conversation dicts of transformers, over the same engine.

A script written for `boson_multimodal` changes its import line only. Knows nothing of command lines or HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faster_higgs.audio.files import read
from faster_higgs.engine.request import FrameEvent, Result
from faster_higgs.errors import AudioError, NoAudio, SettingError
from faster_higgs.prompt import template
from faster_higgs.prompt.tokens import END_OF_TEXT, EOT, SCENE_END, SCENE_START
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.text.normalize import speakable


@dataclass
class TextContent:
    """A piece of text in a message."""

    text: str
    type: str = "text"


@dataclass
class AudioContent:
    """A clip in a message: a file, or base64 in `raw_audio`; `offset` and `duration` in seconds cut it."""

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


@dataclass
class HiggsAudioResponse:
    """What the original's `generate` returns. `generated_audio_tokens` are delayed columns [K, T] of the first segment."""

    audio: NDArray[np.float32] | None = None
    generated_audio_tokens: NDArray[np.int64] | None = None
    sampling_rate: int | None = None
    generated_text: str = ""
    generated_text_tokens: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    usage: dict[str, int] | None = None


@dataclass
class HiggsAudioStreamerDelta:
    """News of a stream: aligned codes [K, n] that became whole, and at the end the text and why it ended."""

    text: str | None = None
    text_tokens: NDArray[np.int64] | None = None
    audio_tokens: Tensor | None = None
    finish_reason: str | None = None


class HiggsAudioServeEngine:
    """The original's engine class. `tokenizer_name_or_path` and caches of fixed length are not needed here."""

    def __init__(
        self,
        model_name_or_path: str,
        audio_tokenizer_name_or_path: str | None = None,
        tokenizer_name_or_path: str | None = None,
        device: str = "cuda",
        torch_dtype: torch.dtype | str = "auto",
        kv_cache_lengths: Sequence[int] = (),
    ) -> None:
        if tokenizer_name_or_path not in (None, model_name_or_path):
            raise SettingError(
                "The text tokenizer lies in the model's folder; a separate one is not supported."
            )
        if torch_dtype != "auto":
            raise SettingError("torch_dtype is chosen by the device; leave it at 'auto'.")
        self.kv_cache_lengths = tuple(
            kv_cache_lengths
        )  # caches grow as needed; kept for scripts that read it back
        self.higgs = Higgs.load(
            model_name_or_path, codec=audio_tokenizer_name_or_path, device=device, text_head=True
        )

    def generate(
        self,
        chat_ml_sample: ChatMLSample | Sequence[Mapping[str, Any]],
        max_new_tokens: int,
        temperature: float = 0.7,
        top_k: int | None = None,
        top_p: float = 0.95,
        stop_strings: Sequence[str] | None = None,
        force_audio_gen: bool = False,
        ras_win_len: int | None = 7,
        ras_win_max_num_repeat: int = 2,
        seed: int | None = None,
    ) -> HiggsAudioResponse:
        """The whole answer. Raises NoAudio when sound was forced and none came."""
        prompt = self.prompt(chat_ml_sample, force_audio=force_audio_gen)
        sampling = _sampling(
            max_new_tokens, temperature, top_k, top_p, ras_win_len, ras_win_max_num_repeat, seed
        )
        events = list(self.higgs.frames(prompt, sampling, self._stops(stop_strings)))
        result = events[-1].result
        assert result is not None
        codes = torch.cat([event.frames for event in events], dim=1)
        if force_audio_gen and not codes.shape[1]:
            raise NoAudio(
                "The model answered without any sound; try another seed or a higher temperature."
            )
        return self._response(prompt, result, codes)

    async def generate_delta_stream(
        self,
        chat_ml_sample: ChatMLSample | Sequence[Mapping[str, Any]],
        max_new_tokens: int,
        temperature: float = 0.7,
        top_k: int | None = None,
        top_p: float = 0.95,
        stop_strings: Sequence[str] | None = None,
        force_audio_gen: bool = False,
        ras_win_len: int | None = 7,
        ras_win_max_num_repeat: int = 2,
        seed: int | None = None,
    ) -> AsyncIterator[HiggsAudioStreamerDelta]:
        """The answer while it is made; errors are raised here and never swallowed."""
        prompt = self.prompt(chat_ml_sample, force_audio=force_audio_gen)
        sampling = _sampling(
            max_new_tokens, temperature, top_k, top_p, ras_win_len, ras_win_max_num_repeat, seed
        )
        events = self.higgs.frames(prompt, sampling, self._stops(stop_strings))
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            for delta in self._deltas(event):
                yield delta

    def prompt(
        self, sample: ChatMLSample | Sequence[Mapping[str, Any]], *, force_audio: bool
    ) -> template.Prompt:
        """The conversation as the model reads it."""
        return self.higgs.prompt(conversation(sample, self.higgs), force_audio=force_audio)

    def _stops(self, stop_strings: Sequence[str] | None) -> tuple[int, ...]:
        names = stop_strings or (END_OF_TEXT, EOT)
        if unknown := [
            name for name in names if not (name.startswith("<|") and name.endswith("|>"))
        ]:
            raise SettingError(
                f"'{unknown[0]}' is not a special token; generation can stop at special tokens only."
            )
        return tuple(self.higgs.tokenizer.special(name) for name in names)

    def _deltas(self, event: FrameEvent) -> Iterator[HiggsAudioStreamerDelta]:
        if event.frames.shape[1]:
            yield HiggsAudioStreamerDelta(audio_tokens=event.frames)
        if event.result is not None:
            ids = event.result.text_ids
            yield HiggsAudioStreamerDelta(
                self.higgs.tokenizer.decode(ids),
                np.array(ids, np.int64),
                None,
                event.result.finish.value,
            )

    def _response(
        self, prompt: template.Prompt, result: Result, codes: Tensor
    ) -> HiggsAudioResponse:
        spoken = codes.shape[1] > 0
        columns = sum(segment.shape[1] for segment in result.segments)
        made = len(result.text_ids) + columns
        return HiggsAudioResponse(
            audio=self.higgs.decode(codes) if spoken else None,
            generated_audio_tokens=result.segments[0].numpy() if spoken else None,
            sampling_rate=self.higgs.rate if spoken else None,
            generated_text=self.higgs.tokenizer.decode(result.text_ids),
            generated_text_tokens=np.array(result.text_ids, np.int64),
            usage={
                "prompt_tokens": len(prompt),
                "completion_tokens": made,
                "total_tokens": len(prompt) + made,
                "cached_tokens": 0,
            },
        )


def _sampling(
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    window: int | None,
    repeats: int,
    seed: int | None,
) -> Sampling:
    return Sampling(
        temperature=temperature,
        top_k=top_k or 0,
        top_p=top_p,
        ras_window=max(0, window or 0),
        ras_repeats=max(0, repeats),
        seed=seed,
        max_new_tokens=max_new_tokens,
    )


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
            m.role, tuple(_part(c, m.role, higgs) for c in _items(m.content)), m.recipient
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
    items = [content] if isinstance(content, str) else [_item(item) for item in content]
    return Message(str(turn["role"]), items, turn.get("recipient"))


def _item(item: Mapping[str, Any]) -> str | AudioContent:
    kind = item.get("type")
    if kind == "text":
        return str(item.get("text", ""))
    if kind == "audio":
        source = next(
            (item[key] for key in ("audio_url", "url", "path", "audio") if item.get(key)), ""
        )
        return AudioContent(audio_url=str(source), raw_audio=item.get("raw_audio"))
    raise SettingError(f"A part of a message has the type '{kind}'; use 'text' or 'audio'.")


def _items(content: Content) -> list[str | AudioContent]:
    parts = [content] if isinstance(content, (str, TextContent, AudioContent)) else list(content)
    return [part.text if isinstance(part, TextContent) else part for part in parts]


def _without_scene(messages: Sequence[Message]) -> list[Message]:
    """Fold a second message of role `scene` into the system turn, as transformers' template does (lm.md, d)."""
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
        return higgs.spell(speakable(part))
    return part


def _samples(clip: AudioContent, rate: int) -> NDArray[np.float32]:
    if clip.raw_audio:
        try:
            source: Any = io.BytesIO(base64.b64decode(clip.raw_audio, validate=True))
        except (binascii.Error, ValueError):
            raise AudioError("A clip's raw_audio is not valid base64.") from None
    elif clip.audio_url.startswith(("http:", "https:")):
        raise AudioError(
            f"The clip {clip.audio_url} is not fetched; download it and give the file's path."
        )
    else:
        source = Path(clip.audio_url.removeprefix("file://"))
    samples = read(source, rate=rate, max_seconds=120)
    first = round((clip.offset or 0.0) * rate)
    last = len(samples) if clip.duration is None else first + round(clip.duration * rate)
    return samples[first:last]
