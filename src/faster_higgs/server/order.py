"""From a body to what the spine takes: text, voices, sampling, delivery, and the form of the sound.

Everything that is wrong with a body and shows without a model is refused here, by name.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from faster_higgs.audio.encode import FORMATS, checked_format
from faster_higgs.audio.shape import check_rate, check_speed
from faster_higgs.delivery import Delivery
from faster_higgs.errors import SettingError
from faster_higgs.prompt.tokens import AUDIO_EOS, END_OF_TEXT, EOT
from faster_higgs.prompt.voices import Voice
from faster_higgs.sampling import Sampling
from faster_higgs.server.body import (
    Drawing,
    Reference,
    SpeakingBody,
    SpeechBody,
    VoiceId,
    invalid,
    refuse_meaningless,
    without_effect,
)
from faster_higgs.server.clips import Clip, clips_of
from faster_higgs.server.errors import bad
from faster_higgs.server.limits import check_length, check_steps, check_timeout
from faster_higgs.server.settings import ServerSettings
from faster_higgs.text.language import code_of

Body = TypeVar("Body", bound=SpeakingBody)
Mode = Literal["whole", "audio", "sse"]
NO_VOICE = ("", "default")
STOPS = (EOT, END_OF_TEXT, AUDIO_EOS)  # where speech always ends
_SAMPLING = {
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "seed")},
    "ras_win_len": "ras_window",
    "ras_win_max_num_repeat": "ras_repeats",
    "max_new_tokens": "max_new_tokens",
    "max_tokens": "max_new_tokens",
}


@dataclass(frozen=True)
class Told:
    """A voice in words."""

    words: str


Role = str | Clip | Told | Voice


@dataclass(frozen=True)
class Order:
    """One speech, as it was asked for. The seed is always there."""

    text: str
    voice: str | None = None  # a name, or several by commas
    clips: tuple[Clip, ...] = ()
    described: str | None = None  # a voice in words
    sampling: Sampling = Sampling()
    delivery: Delivery = Delivery()
    format: str = "wav"
    rate: int | None = None
    speed: float = 1.0
    mode: Mode = "whole"
    ignored: tuple[str, ...] = ()
    utterance_events: bool = False
    cast: tuple[Role, ...] = ()  # who speaks a dialogue, in place of the above
    names: Mapping[str, str] = field(default_factory=dict)  # of its speakers, by their tags
    given: frozenset[str] = frozenset()  # the fields that the client named


def order_of(body: SpeechBody, settings: ServerSettings, longest: int | None = None) -> Order:
    """What a body asks for, with a text of up to `longest` characters. Raises Refusal,
    SettingError.
    """
    refuse_meaningless(body)
    check_length(body.input, "input", settings, longest)
    clips = clips_of(_references(body), settings)
    described = _described(body, clips)
    voice = _voice(body)
    ignored = without_effect(body)
    if voice is not None and (clips or described):
        ignored, voice = [*ignored, "speaker" if body.speaker else "voice"], None
    elif voice is None and not (clips or described):
        voice = settings.default_voice
    order = spoken_order(body, body.input, settings, described)
    return replace(order, voice=voice, clips=clips, described=described, ignored=tuple(ignored))


def whole_order(body: SpeechBody, settings: ServerSettings) -> Order:
    """The same where the answer is one piece. Raises Refusal, SettingError."""
    for name in ("stream", "stream_format"):
        if getattr(body, name):
            raise bad(f"This is answered whole; leave {name} out.", name, "unsupported_parameter")
    return replace(order_of(body, settings), mode="whole")


def spoken_order(
    body: SpeakingBody, text: str, settings: ServerSettings, described: str | None = None
) -> Order:
    """What a body asks for, but for who speaks. Raises Refusal, SettingError."""
    body = _with_extras(body)
    for name in ("instructions", "scene_prompt", "system_prompt"):
        check_length(getattr(body, name) or "", name, settings)
    _check_stop(body.stop)
    format, rate = _format(body, settings), body.sample_rate
    _check_format(format, rate)
    mode = _mode(body)
    if body.utterance_events and mode != "sse":
        raise bad("utterance_events needs stream_format sse.", "utterance_events")
    return Order(
        text,
        sampling=sampling_of(body, settings),
        delivery=_delivery(body, settings, described),
        format=format,
        rate=rate,
        speed=check_speed(1.0 if body.speed is None else body.speed),
        mode=mode,
        utterance_events=bool(body.utterance_events),
        given=given_in(body),
    )


def given_in(body: BaseModel) -> frozenset[str]:
    """The fields that a client named and did not leave empty."""
    named = body.model_fields_set
    return frozenset(name for name in named if getattr(body, name) not in (None, "", []))


def _format(body: SpeakingBody, settings: ServerSettings) -> str:
    return (body.response_format or settings.default_response_format).lower()


def _check_format(format: str, rate: int | None) -> None:
    try:
        checked_format(format, 24_000 if rate is None else check_rate(rate))
    except SettingError as error:
        known = format in FORMATS
        raise bad(str(error), "sample_rate" if known else "response_format") from None


def sampling_of(body: Drawing, settings: ServerSettings) -> Sampling:
    """The sampling a body asks for, with a seed."""
    if body.max_tokens is not None and body.max_new_tokens not in (None, body.max_tokens):
        raise bad("max_tokens and max_new_tokens differ; give one of them.", "max_tokens")
    given = {ours: getattr(body, name) for name, ours in _SAMPLING.items()}
    if body.max_new_tokens is not None:
        given["max_new_tokens"] = body.max_new_tokens
    defaults = {
        ours: getattr(settings, f"default_{name}", None) for name, ours in _SAMPLING.items()
    }
    defaults |= {
        "max_new_tokens": settings.default_max_new_tokens
        or min(Sampling.max_new_tokens, settings.max_new_tokens_cap),
        "seed": secrets.randbits(32),
    }
    values = {**_there(defaults), **_there(given)}
    if body.top_k is None and "top_k" in body.model_fields_set:
        values["top_k"] = 0  # null means off
    for name in ("ras_window", "ras_repeats"):
        if name in values:
            values[name] = max(0, values[name])
    sampling = Sampling(**values)
    check_steps(sampling.max_new_tokens, "max_new_tokens", settings)
    return sampling


def check_defaults(settings: ServerSettings) -> None:
    """Raises SettingError for a default that no speech can have."""
    try:
        sampling_of(Drawing(), settings)
    except SettingError as error:
        raise SettingError(f"Among the defaults of speech (HIGGS_DEFAULT_...), {error}") from None


def _there(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _with_extras(body: Body) -> Body:
    """The body with what its extra_params say. Raises Refusal for a field that is there twice."""
    if not body.extra_params:
        return body
    try:
        extras = Drawing.model_validate(body.extra_params)
    except ValidationError as error:
        raise invalid(error.errors(), "extra_params") from None
    given = {name: getattr(extras, name) for name in extras.model_fields_set}
    for name, value in given.items():
        if name in body.model_fields_set and getattr(body, name) != value:
            raise bad(
                f"{name} stands in the body and in extra_params; leave one of them out.",
                f"extra_params.{name}",
            )
    return body.model_copy(update=given)


def _check_stop(stop: str | list[str] | None) -> None:
    """Speech ends where its marks are; there is no text in it to stop at."""
    for mark in [stop] if isinstance(stop, str) else stop or ():
        if mark not in STOPS:
            raise bad(
                f"Speech cannot stop at a text; stop may name {', '.join(STOPS)}, "
                "where it always ends.",
                "stop",
                "unsupported_parameter",
            )


def _references(body: SpeechBody) -> list[tuple[str, str]]:
    if body.references:
        if body.ref_audio or body.ref_text:
            raise bad("references and ref_audio were given; leave one of them out.", "references")
        return [_pair(reference) for reference in body.references]
    sounds, texts = _listed(body.ref_audio), _listed(body.ref_text)
    if texts and len(texts) != len(sounds):
        raise bad(
            f"There are {len(sounds)} clips in ref_audio and {len(texts)} texts in ref_text; "
            "give one for each.",
            "ref_text",
        )
    return list(zip(sounds, texts or [""] * len(sounds), strict=True))


def _pair(reference: Reference) -> tuple[str, str]:
    return reference.audio_path, reference.text


def _listed(value: str | Iterable[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _described(body: SpeechBody, clips: Sequence[Clip]) -> str | None:
    """The description of a designed voice; other kinds of tasks only have to be what they say."""
    voice = _voice(body)
    if body.task_type == "Base" and not clips:
        raise bad("task_type is 'Base'; it needs ref_audio and ref_text.", "task_type")
    if body.task_type in ("CustomVoice", "VoiceDesign") and clips:
        raise bad(f"task_type is '{body.task_type}'; leave the clips out.", "task_type")
    if body.task_type == "CustomVoice" and voice is None:
        raise bad("task_type is 'CustomVoice'; it needs a voice.", "task_type")
    if body.task_type != "VoiceDesign":
        return None
    if not (body.instructions or "").strip():
        raise bad("task_type is 'VoiceDesign'; describe the voice in instructions.", "task_type")
    return body.instructions


def _voice(body: SpeechBody) -> str | None:
    voice = body.voice.id if isinstance(body.voice, VoiceId) else body.voice
    if voice and body.speaker and voice != body.speaker:
        raise bad("voice and speaker differ; give one of them.", "speaker")
    name = (voice or body.speaker or "").strip()
    return None if name in NO_VOICE else name


def _delivery(body: SpeakingBody, settings: ServerSettings, described: str | None) -> Delivery:
    delivery = Delivery(deadline=settings.request_timeout_s)
    if body.timeout is not None:
        check_timeout(body.timeout, settings)
        delivery = replace(delivery, deadline=body.timeout)
    if body.scene_prompt is not None:
        delivery = replace(delivery, scene=body.scene_prompt.strip() or None)
    if body.instructions and body.instructions.strip() and described is None:
        parts = [delivery.scene, body.instructions.strip()]
        delivery = replace(delivery, scene="\n".join(filter(None, parts)))
    if body.system_prompt and body.system_prompt.strip():
        delivery = replace(delivery, system=body.system_prompt)
    elif settings.default_system_prompt:
        delivery = replace(delivery, system=settings.default_system_prompt)
    if body.normalization is not None:
        delivery = replace(delivery, normalization=body.normalization)
    return replace(delivery, language=_language(body.language))


def _language(language: str | None) -> str | None:
    """The code of a language given by its name or code; None for one to be guessed."""
    code = code_of(language or "auto")
    return None if code == "auto" else code


def _mode(body: SpeakingBody) -> Mode:
    if body.stream is False:
        if body.stream_format is not None:
            raise bad("stream is false and stream_format was given.", "stream_format")
        return "whole"
    if body.stream_format is not None:
        return body.stream_format
    return "sse" if body.stream else "audio"
