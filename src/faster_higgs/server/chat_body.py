"""What POST /v1/chat/completions may be asked: every field that OpenAI's SDK sends.

Knows nothing of what they do; chat.py does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from faster_higgs.server.body import Drawing, Strict, VoiceId, refuse
from faster_higgs.server.errors import bad

AudioFormat = Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]


class Sound(Strict):
    """A clip in base64."""

    data: str
    format: str | None = None


class ContentPart(Strict):
    """A piece of a message."""

    type: Literal["text", "input_audio"]
    text: str = ""
    input_audio: Sound | None = None


class SpokenBefore(Strict):
    """An answer of this server; its id is that of a take. The rest comes along with it."""

    id: str
    data: str | None = None
    expires_at: int | None = None
    transcript: str | None = None


def _as_parts(content: Any) -> Any:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [] if content is None else content


Content = Annotated[
    list[ContentPart],
    BeforeValidator(_as_parts, json_schema_input_type=str | list[ContentPart] | None),
]


class ChatMessage(Strict):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content = Field(default_factory=list)
    audio: SpokenBefore | None = None
    name: str | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        """Its words."""
        return "\n".join(part.text for part in self.content if part.text)

    @property
    def sounds(self) -> list[str]:
        """Its clips."""
        return [part.input_audio.data for part in self.content if part.input_audio]


class AudioBody(Strict):
    """How the answer sounds."""

    format: AudioFormat
    voice: str | VoiceId | None = None


class StreamOptions(Strict):
    """What a stream ends with."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatBody(Drawing):
    """The body of POST /v1/chat/completions."""

    messages: list[ChatMessage]
    model: str | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: AudioBody | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    n: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    response_format: Any = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, Any] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    prediction: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    web_search_options: Any = None
    moderation: Any = None
    store: bool | None = None

    user: str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


_SPEAKS = "this model speaks its text and writes none; leave it out"
_REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "one answer is made; ask again for another"),
    "tools": (([],), _SPEAKS),
    "tool_choice": (("none", "auto"), _SPEAKS),
    "functions": (([],), _SPEAKS),
    "function_call": (("none", "auto"), _SPEAKS),
    "response_format": (({"type": "text"},), _SPEAKS),
    "logprobs": ((False,), _SPEAKS),
    "top_logprobs": ((0,), _SPEAKS),
    "logit_bias": (({},), _SPEAKS),
    "frequency_penalty": ((0,), "this model has ras_win_len and ras_win_max_num_repeat"),
    "presence_penalty": ((0,), "this model has ras_win_len and ras_win_max_num_repeat"),
    "prediction": ((), _SPEAKS),
    "reasoning_effort": (("none",), _SPEAKS),
    "verbosity": ((), _SPEAKS),
    "web_search_options": ((), _SPEAKS),
    "moderation": ((), _SPEAKS),
    "store": ((False,), "nothing is stored here; leave it out"),
}
_NO_EFFECT = (
    *("user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention", "prompt_cache_options", "parallel_tool_calls"),
)


def refuse_unspeakable(body: ChatBody) -> None:
    """Raises Refusal for a field that a model without text cannot follow."""
    refuse(body, _REFUSED)
    if body.modalities is not None and "audio" not in body.modalities:
        raise bad("This model speaks; modalities must name audio.", "modalities")
    if body.stream_options and not body.stream:
        raise bad("stream_options belongs to a stream; leave it out.", "stream_options")


def no_effect(body: ChatBody) -> list[str]:
    """The fields that were given and change nothing."""
    found = [name for name in _NO_EFFECT if getattr(body, name) is not None]
    found += ["messages.name"] * any(message.name is not None for message in body.messages)
    if body.stream_options and body.stream_options.include_obfuscation is not None:
        found.append("stream_options.include_obfuscation")
    return found
