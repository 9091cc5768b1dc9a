"""What is asked of a server under load. Every default of a load test is written here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlsplit

from faster_higgs.errors import SettingError
from faster_higgs.loadtest.endpoints import Endpoint

TEXTS = (
    "Good morning.",
    "The library opens at nine today.",
    "Could you pass me the salt, please?",
    "He counted the stairs twice and found one missing.",
    "The train to the coast leaves from the far platform, and the last one is always full.",
    "When the rain stopped, everyone came out at once, as if somebody had rung a bell.",
    "We measured the field again in the evening, and this time both of us got the same number, "
    "which pleased the old man very much.",
    "She had promised to write every week, and for a year she did, in a small round hand that "
    "filled the paper from edge to edge.",
)
_SCENE = "Generate audio following instruction.\n\n<|scene_desc_start|>\n{}\n<|scene_desc_end|>"
SYSTEM_PROMPTS = (
    None,
    _SCENE.format("The speaker is cheerful."),
    _SCENE.format("The speaker is tired and quiet."),
    _SCENE.format("An actor on a stage."),
)
OF_SEEDS = 0.5  # the temperature that scripts for other Higgs servers ask /generate for


@dataclass(frozen=True)
class LoadSettings:
    """One test. With `rate`, requests arrive at random, so many a second on average, whatever the
    server does; without it, `concurrent` clients each wait for their answer before they ask again.
    """

    url: str = "http://localhost:8000"
    requests: int = 10
    concurrent: int = 5
    rate: float | None = None
    endpoint: Endpoint = "generate"
    stream: bool = False
    format: str = "wav"
    voice: str | None = None
    model: str | None = None
    temperature: float | None = None  # None: 0.5 for /generate, the server's own elsewhere
    seed: int | None = None  # of the arrivals, and of each speech its number more
    warm_up: int = 1
    timeout: float = 120.0
    key: str | None = None
    texts: tuple[str, ...] = TEXTS
    fields: Mapping[str, Any] = field(default_factory=dict)  # more of the body

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingError(f"url is '{self.url}'; use one such as http://localhost:8000.")
        for name, least in (("requests", 1), ("concurrent", 1), ("warm_up", 0)):
            if getattr(self, name) < least:
                raise SettingError(f"{name} is {getattr(self, name)}; use {least} or more.")
        for name in ("rate", "timeout"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise SettingError(f"{name} is {value}; use more than 0.")
        if self.endpoint not in get_args(Endpoint):
            known = ", ".join(get_args(Endpoint))
            raise SettingError(f"endpoint is '{self.endpoint}'; use one of {known}.")
        if self.endpoint == "generate" and (self.stream or self.format != "wav"):
            raise SettingError(
                "/generate answers with a whole wav file; use --endpoint speech to stream, "
                "or for another format."
            )
        if self.endpoint == "generate" and self.model is not None:
            raise SettingError("/generate takes no model; use --endpoint speech to name one.")
        if not any(text.strip() for text in self.texts):
            raise SettingError("There is no text to speak; give a file with one a line.")

    def body(self, number: int) -> dict[str, Any]:
        """What the request of that number asks for."""
        return {**_BODIES[self.endpoint](self, number), **_seed(self, number), **self.fields}


def _seed(settings: LoadSettings, number: int) -> dict[str, Any]:
    return {} if settings.seed is None else {"seed": settings.seed + number}


def _generate(settings: LoadSettings, number: int) -> dict[str, Any]:
    temperature = OF_SEEDS if settings.temperature is None else settings.temperature
    system = SYSTEM_PROMPTS[number % len(SYSTEM_PROMPTS)]
    body = {"text": _text(settings, number), "temperature": temperature}
    return body | _there({"system_prompt": system, "voice_id": settings.voice})


def _speech(settings: LoadSettings, number: int) -> dict[str, Any]:
    how = {"stream_format": "audio"} if settings.stream else {"stream": False}
    body = {"input": _text(settings, number), "response_format": settings.format, **how}
    told = {"voice": settings.voice, "temperature": settings.temperature}
    return body | _there({"model": settings.model, **told})


def _chat(settings: LoadSettings, number: int) -> dict[str, Any]:
    system = SYSTEM_PROMPTS[number % len(SYSTEM_PROMPTS)]
    messages = [{"role": "system", "content": system}] if system else []
    audio = {"format": settings.format, **_there({"voice": settings.voice})}
    return {
        "messages": [*messages, {"role": "user", "content": _text(settings, number)}],
        "modalities": ["text", "audio"],
        "audio": audio,
        "stream": settings.stream,
        **_there({"model": settings.model, "temperature": settings.temperature}),
    }


_BODIES = {"generate": _generate, "speech": _speech, "chat": _chat}


def _text(settings: LoadSettings, number: int) -> str:
    return settings.texts[number % len(settings.texts)]


def _there(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
