"""The servers that can speak in our place: how each is recognised and asked, what it cannot do.

Knows nothing of connections.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from faster_higgs.audio.encode import encode
from faster_higgs.audio.levels import Samples
from faster_higgs.delivery import Delivery, Utterance
from faster_higgs.errors import SettingError, UpstreamError
from faster_higgs.prompt.conversation import QUIET_ROOM
from faster_higgs.prompt.template import Clip, Message
from faster_higgs.prompt.tokens import AUDIO_EOS, END_OF_TEXT, EOT
from faster_higgs.prompt.voices import Voice
from faster_higgs.sampling import Sampling

RATE = 24_000
FRAME = 960  # samples: 40 ms
SPEECH, CHAT = "/v1/audio/speech", "/v1/chat/completions"
ENDS = ("stop", "silence", "length", "loop", "deadline")  # how a Faster Higgs says it ended
_STOPS = [EOT, END_OF_TEXT, AUDIO_EOS]
_OWN_FIELDS = "the upstream has the fields of OpenAI only"
_PLAIN = "the upstream takes a text, and a clip to speak like, and nothing else"
_NO_RAS = "the upstream has no repetition-aware sampling; 0 says so"
_RAS = {"ras_win_len": _NO_RAS, "ras_win_max_num_repeat": _NO_RAS}


@dataclass(frozen=True)
class Dialect:
    """What a kind of server cannot follow, by our names for it, and why."""

    name: str
    refused: Mapping[str, str] = field(default_factory=dict)
    clones: bool = True
    scenes: bool = True  # hears scenes, descriptions, several speakers
    seeds: bool = True
    whole: bool = False  # cuts long texts itself
    words: int | None = None  # of one utterance
    steps: int | None = None
    temperature: float | None = None  # if none is given; without RAS a low one may never end


DIALECTS = {
    one.name: one
    for one in (
        Dialect("faster-higgs", whole=True),
        Dialect(
            "vllm-omni",
            {
                **dict.fromkeys(("instructions", "scene_prompt", "system_prompt"), _PLAIN),
                "min_p": "the upstream does not know it",
                **_RAS,
            },
            scenes=False,
            words=60,  # 1024 steps are 40 seconds
            steps=1024,
            temperature=1.0,
        ),
        Dialect("boson", _RAS, temperature=1.0),
        Dialect(
            "openai",
            {
                **dict.fromkeys(("temperature", "top_p", "top_k", "min_p", "seed"), _OWN_FIELDS),
                **dict.fromkeys(("max_new_tokens", "scene_prompt", "system_prompt"), _OWN_FIELDS),
                **dict.fromkeys(_RAS, _OWN_FIELDS),
                "ref_audio": _OWN_FIELDS,
            },
            clones=False,
            scenes=False,
            seeds=False,
        ),
    )
}
# The voices that a Boson server knows by name are asked for at /v1/audio/speech.
_NAMED = "the upstream takes a text alone for the voices of its own"
BOSON_NAMED = Dialect(
    "boson",
    {
        **dict.fromkeys(("instructions", "scene_prompt", "system_prompt"), _NAMED),
        **dict.fromkeys(("seed", "min_p"), "the upstream has none for the voices of its own"),
        **_RAS,
    },
    scenes=False,
    seeds=False,
    temperature=1.0,
)


@dataclass
class Telling:
    """What an answer tells beside its sound."""

    finish: str = "stop"
    seed: int | None = None
    prompt_tokens: int = 0


def recognised(models: Any, voices: Any) -> str:
    """The dialect, by what a server answers to /v1/models and /v1/audio/voices."""
    rows = models.get("data") if isinstance(models, dict) else None
    owners = [row.get("owned_by") for row in rows or () if isinstance(row, dict)]
    if "faster-higgs" in owners:
        return "faster-higgs"
    if isinstance(voices, list):
        return "boson"
    if isinstance(voices, dict) and "uploaded_voices" in voices:
        return "vllm-omni"
    return "openai"


def model_names(models: Any) -> list[str]:
    """The ids in an answer of /v1/models."""
    rows = models.get("data") if isinstance(models, dict) else None
    return [row["id"] for row in rows or () if isinstance(row, dict) and "id" in row]


def is_theirs(voice: Voice) -> bool:
    """Whether the upstream knows it by name: there is no sound of it here."""
    return voice.codes is not None and not voice.codes.numel()


def sound_of(codes: Tensor) -> Samples:
    """The samples that stand in the place of codes."""
    return _scaled(codes.numpy().T.reshape(-1))


def _scaled(numbers: NDArray[np.int16]) -> Samples:
    return np.asarray(numbers, np.float32) / np.float32(32_768)


def whole_body(
    utterance: Utterance, sampling: Sampling, delivery: Delivery, model: str
) -> dict[str, Any]:
    """A text for another Faster Higgs. Raises SettingError."""
    voices = utterance.setting.voices
    body: dict[str, Any] = {
        "model": model,
        "input": utterance.text,
        "response_format": "pcm",
        "stream_format": "sse",
        "scene_prompt": delivery.scene or "",
        "normalization": delivery.normalization,
        **_drawn(sampling),
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": sampling.seed,
        "ras_win_len": sampling.ras_window,
        "ras_win_max_num_repeat": sampling.ras_repeats,
        "max_new_tokens": sampling.max_new_tokens,
    }
    if delivery.system is not None:
        body["system_prompt"] = delivery.system
    if delivery.language is not None:
        body["language"] = delivery.language
    if voices and all(map(is_theirs, voices)):
        body["voice"] = ",".join(voice.name for voice in voices)
    elif len(voices) == 1 and voices[0].codes is None:
        body |= {"task_type": "VoiceDesign", "instructions": voices[0].description}
    elif voices:
        body["references"] = [
            {"audio_path": _clip(voice), "text": voice.transcript} for voice in _heard(voices)
        ]
    return body


def request(
    dialect: Dialect,
    utterance: Utterance,
    messages: Sequence[Message],
    sampling: Sampling,
    model: str,
) -> tuple[str, dict[str, Any]]:
    """The path and the body that ask for one utterance. Raises SettingError."""
    voices = utterance.setting.voices
    if dialect.name == "boson" and not (voices and all(map(is_theirs, voices))):
        _heard(voices)
        return CHAT, _chat(messages, sampling, model)
    _refuse_company(utterance, voices)
    body: dict[str, Any] = {"model": model, "input": utterance.text, "response_format": "pcm"}
    if voices and is_theirs(voices[0]):
        body["voice"] = voices[0].name
    if dialect.name == "boson":
        return SPEECH, {**body, **_drawn(sampling), "max_tokens": sampling.max_new_tokens}
    body["stream_format"] = "audio"
    if dialect.name == "openai":
        body.setdefault("voice", "alloy")
        scene = (utterance.setting.scene or "").removeprefix(QUIET_ROOM).strip()
        return SPEECH, body | ({"instructions": scene} if scene else {})
    body |= {"max_new_tokens": sampling.max_new_tokens, "seed": sampling.seed}
    body["extra_params"] = _drawn(sampling)
    if "voice" not in body:
        body |= _reference(messages)
    return SPEECH, body


def _drawn(sampling: Sampling) -> dict[str, Any]:
    """How codes are drawn, as vLLM has it: a top_k of -1 is off."""
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    return {**drawn, "top_k": sampling.top_k or -1}


def _chat(messages: Sequence[Message], sampling: Sampling, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "stream": True,
        "modalities": ["text", "audio"],
        "stop": _STOPS,
        "messages": [{"role": one.role, "content": _content(one)} for one in messages],
        "max_completion_tokens": sampling.max_new_tokens,
        "min_p": sampling.min_p,
        "seed": sampling.seed,
        **_drawn(sampling),
    }


def _content(message: Message) -> str | list[dict[str, Any]]:
    if all(isinstance(part, str) for part in message.parts):
        return "".join(map(str, message.parts))
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "input_audio", "input_audio": {"data": _wav(part), "format": "wav"}}
        for part in message.parts
    ]


def _reference(messages: Sequence[Message]) -> dict[str, Any]:
    """The last clip of a conversation, and what is said in it."""
    for said, message in reversed(list(pairwise(messages))):
        if message.role == "assistant" and isinstance(message.parts[0], Clip):
            sound = "data:audio/wav;base64," + _wav(message.parts[0])
            return {"ref_audio": sound, "ref_text": "".join(map(str, said.parts))}
    return {}


def _refuse_company(utterance: Utterance, voices: Sequence[Voice]) -> None:
    """Raises SettingError for what a text and one voice cannot tell."""
    if len(voices) > 1 or len(utterance.tags) > 1:
        raise SettingError(
            "input is for several speakers, and the upstream hears one at a time; "
            "name a voice, or send a clip, for each of them."
        )
    if voices and voices[0].codes is None:
        raise SettingError(
            f"voice is '{voices[0].name}', told in words, which the upstream does not understand; "
            "name another, or send a clip."
        )


def _heard(voices: Sequence[Voice]) -> Sequence[Voice]:
    """The same. Raises SettingError where names of the upstream stand beside other voices."""
    if any(map(is_theirs, voices)):
        raise SettingError(
            "The upstream's own voices cannot be combined with others in one text; "
            "use clips for all speakers."
        )
    return voices


def _clip(voice: Voice) -> str:
    if voice.codes is None:
        raise SettingError(
            f"voice is '{voice.name}', told in words; it cannot stand beside others in one text."
        )
    return "data:audio/wav;base64," + _wav(voice)


def _wav(clip: Clip | Voice) -> str:
    assert clip.codes is not None
    return base64.b64encode(encode(sound_of(clip.codes), "wav", RATE)).decode()


def sound(pieces: Iterable[bytes], path: str, kind: str, telling: Telling) -> Iterator[Samples]:
    """Samples in an answer of this content type. Raises UpstreamError for one that has none."""
    if kind.startswith("text/event-stream"):
        reading = _chat_events if path == CHAT else _speech_events
        pieces = reading(_events(pieces), telling)
    elif kind.startswith(("application/json", "text/")):
        raise UpstreamError(f"The upstream answers with {kind} in place of sound.")
    held = b""
    for piece in pieces:
        held += piece
        whole = len(held) // 2 * 2
        if whole:
            yield _scaled(np.frombuffer(held[:whole], "<i2"))
        held = held[whole:]


def _events(pieces: Iterable[bytes]) -> Iterator[dict[str, Any] | None]:
    """The data of server-sent events; None for [DONE]. Raises UpstreamError."""
    held = b""
    for piece in pieces:
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            field, _, data = line.strip().partition(b":")
            if field != b"data":
                continue
            if data.strip() == b"[DONE]":
                yield None
                continue
            yield _event(data)


def _event(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UpstreamError("The upstream sends events that cannot be read.")
    if error := found.get("error"):
        said = error.get("message") if isinstance(error, dict) else error
        raise UpstreamError(f"The upstream failed: {str(said)[:300]}")
    return found


def _speech_events(events: Iterable[dict[str, Any] | None], telling: Telling) -> Iterator[bytes]:
    """Bytes of speech.audio.delta events, until done."""
    for event in events:
        if event is None or event.get("type") == "speech.audio.done":
            done = event or {}
            telling.prompt_tokens = (done.get("usage") or {}).get("input_tokens") or 0
            if done.get("finish_reason") in ENDS:
                telling.finish = done["finish_reason"]
            return
        if event.get("type") == "speech.audio.delta":
            yield _decoded(event.get("audio"))
    raise UpstreamError("The upstream broke off in the middle of its answer.")


def _chat_events(events: Iterable[dict[str, Any] | None], telling: Telling) -> Iterator[bytes]:
    """Bytes of chat completion chunks, until [DONE]."""
    for event in events:
        if event is None:
            return
        usage = event.get("usage") or {}
        telling.prompt_tokens = usage.get("prompt_tokens") or telling.prompt_tokens
        for choice in event.get("choices") or ():
            audio = (choice.get("delta") or {}).get("audio") or {}
            if audio.get("data"):
                yield _decoded(audio["data"])
            if choice.get("finish_reason") == "length":
                telling.finish = "length"
    raise UpstreamError("The upstream broke off in the middle of its answer.")


def _decoded(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (TypeError, ValueError):
        raise UpstreamError("The upstream sends sound that cannot be read.") from None
