"""What POST /v1/audio/speech may be asked: every field that a known client sends.

The fields are those of OpenAI's SDK, of vLLM-Omni, of the original vLLM image and of sglang-omni,
and our own. Knows nothing of what they do; order.py does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator

from faster_higgs.delivery import Normalization
from faster_higgs.server.errors import Refusal, bad

TaskType = Literal["CustomVoice", "VoiceDesign", "Base"]
StreamFormat = Literal["audio", "sse"]


class Strict(BaseModel):
    """A body in which every key is known and every number is one."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        refuse_halves(given)
        return given

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_true(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic would take true as 1."""
        if not isinstance(value, bool):
            return value
        assert info.field_name is not None
        kind = str(cls.model_fields[info.field_name].annotation)
        return str(value) if re.search(r"\b(int|float)\b", kind) else value


def refuse_halves(given: Any) -> None:
    """Raises ValueError for half a character, which no answer could repeat."""
    if isinstance(given, str) and not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError:
            raise ValueError(
                "A text holds half a character; \\u escapes for it come in pairs."
            ) from None
    if isinstance(given, Mapping):
        given = [*given.keys(), *given.values()]
    for one in given if isinstance(given, list) else ():
        refuse_halves(one)


class VoiceId(Strict):
    """OpenAI's custom voices are named by an object."""

    id: str


class Reference(Strict):
    """A clip, and what is said in it."""

    audio_path: str
    text: str = ""


class Drawing(Strict):
    """How codes are drawn; vLLM-Omni's clients send these in `extra_params` as well."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    ras_win_len: int | None = None
    ras_win_max_num_repeat: int | None = None
    max_new_tokens: int | None = None
    max_tokens: int | None = None
    seed: int | None = None


class SpeakingBody(Drawing):
    """What every endpoint that speaks may be asked."""

    model: str | None = None
    instructions: str | None = None
    response_format: str | None = None
    speed: float | None = None
    sample_rate: int | None = None
    stream_format: StreamFormat | None = None
    stream: bool | None = None
    utterance_events: bool | None = None
    language: str | None = None
    scene_prompt: str | None = None
    system_prompt: str | None = None
    normalization: Normalization | None = None
    timeout: float | None = None
    stop: str | list[str] | None = None
    extra_params: dict[str, Any] | None = None


class SharedBody(SpeakingBody):
    """What one text may be asked with."""

    voice: str | VoiceId | None = None
    speaker: str | None = None
    ref_audio: str | list[str] | None = None
    ref_text: str | list[str] | None = None
    references: list[Reference] | None = None
    task_type: TaskType | None = None

    audio_chunk_size: int | None = None
    audio_chunk_overlap_size: int | None = None
    initial_codec_chunk_frames: int | None = None
    non_streaming_mode: bool | None = None

    word_timestamps: bool | None = None
    x_vector_only_mode: bool | None = None
    speaker_embedding: list[float] | None = None
    ref_audio_2: str | list[str] | None = None
    ambient_sound: str | None = None
    duration_seconds: float | None = None
    token_count: int | None = None
    repetition_penalty: float | None = None


class SpeechBody(SharedBody):
    """The body of POST /v1/audio/speech."""

    input: str


# Accepted, and told in X-Ignored-Params: they ask how other servers cut their streams.
WITHOUT_EFFECT = (
    *("audio_chunk_size", "audio_chunk_overlap_size"),
    *("initial_codec_chunk_frames", "non_streaming_mode"),
)
# Refused, but for the values that mean "no".
MEANINGLESS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "word_timestamps": ((False,), "there is no aligner here; leave it out"),
    "x_vector_only_mode": ((False,), "this model reads clips; give ref_audio and ref_text"),
    "speaker_embedding": (([],), "this model reads clips; give ref_audio and ref_text"),
    "ref_audio_2": (("", []), "give several clips in references"),
    "ambient_sound": (("",), "describe it in scene_prompt"),
    "duration_seconds": ((), "the text says how long it is; limit it with max_new_tokens"),
    "token_count": ((), "the text says how long it is; limit it with max_new_tokens"),
    "repetition_penalty": ((1, 0), "this model has ras_win_len and ras_win_max_num_repeat"),
}


def refuse_meaningless(body: SharedBody) -> None:
    """Raises Refusal for a field that this model cannot follow."""
    refuse(body, MEANINGLESS)


def refuse(body: Strict, table: Mapping[str, tuple[tuple[Any, ...], str]]) -> None:
    """Raises Refusal for a field of the table that says more than "no"."""
    for name, (neutral, cure) in table.items():
        value = getattr(body, name)
        if value is not None and value not in neutral:
            raise bad(f"{name} cannot be followed: {cure}.", name, "unsupported_parameter")


def without_effect(body: SharedBody) -> list[str]:
    """The fields that were given and change nothing."""
    return [name for name in WITHOUT_EFFECT if getattr(body, name) is not None]


# Where the words of pydantic are for who programs with it.
_PLAIN: Mapping[str, str] = {
    "model_attributes_type": "Input should be a JSON object",
    "model_type": "Input should be a JSON object",
    "dict_type": "Input should be a JSON object",
    "list_type": "Input should be a list",
    "string_type": "Input should be a text",
    "int_parsing": "Input should be a whole number",
    "int_type": "Input should be a whole number",
    "int_from_float": "Input should be a whole number",
    "float_parsing": "Input should be a number",
    "float_type": "Input should be a number",
    "bool_parsing": "Input should be true or false",
    "bool_type": "Input should be true or false",
}


def invalid(errors: Sequence[Mapping[str, Any]], inside: str = "") -> Refusal:
    """The answer to a body that is not of this form: its first fault, by name."""
    first = errors[0]
    whole = first["loc"][:1] in (("body",), ("query",), ("path",))
    place = [str(part) for part in first["loc"][whole:]]
    kinds = {kind.__name__ for kind in (VoiceId, Reference)} | {"str", "list[str]"}
    param = ".".join([*filter(None, [inside]), *(part for part in place if part not in kinds)])
    if first["type"] == "extra_forbidden":
        return bad(f"There is no parameter '{param}'.", param, "unknown_parameter")
    if first["type"] == "missing" and param:
        return bad(f"'{param}' is missing.", param, "missing_required_parameter")
    if first["type"] == "value_error" and "UploadFile" in str(first["ctx"]["error"]):
        return bad(f"{param} is a text; send it as a file.", param)
    if first["type"] == "value_error":
        return bad(str(first["ctx"]["error"]), param or None)
    if first["type"] in ("json_invalid", "missing") or not param:
        return bad("The body is not a JSON object.", None, "invalid_json")
    return bad(f"{param}: {_PLAIN.get(first['type'], first['msg'])}.", param)
