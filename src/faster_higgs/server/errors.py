"""What a client sees when something goes wrong: a status, a sentence, a code. No path, no text.

OpenAI's shape for its endpoints, the shape of the seeds' servers for theirs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

from faster_higgs.errors import (
    Aborted,
    AudioError,
    DeadlinePassed,
    EngineError,
    GenerationError,
    HiggsError,
    InputError,
    OutputError,
    QueueFull,
    SettingError,
    TextError,
    UpstreamError,
    UpstreamTimeout,
    VoiceError,
    VoiceNotFound,
)
from faster_higgs.server.shelf import Damaged

INVALID, SERVER = "invalid_request_error", "server_error"
GONE = 499  # the client went away; nobody reads it


@dataclass(frozen=True)
class Kind:
    """How an error is told."""

    status: int
    code: str
    param: str | None = None


# The first that fits counts.
KINDS: tuple[tuple[type[HiggsError], Kind], ...] = (
    (TextError, Kind(400, "invalid_input", "input")),
    (VoiceNotFound, Kind(400, "invalid_voice", "voice")),
    (VoiceError, Kind(400, "invalid_voice", "voice")),
    (AudioError, Kind(400, "invalid_audio", "ref_audio")),
    (SettingError, Kind(400, "invalid_value")),
    (InputError, Kind(500, "model_unusable")),
    (QueueFull, Kind(429, "queue_full")),
    (DeadlinePassed, Kind(504, "deadline_passed")),
    (Aborted, Kind(GONE, "aborted")),
    (UpstreamTimeout, Kind(504, "upstream_timeout")),
    (UpstreamError, Kind(502, "upstream_failed")),
    (EngineError, Kind(503, "engine_unavailable")),
    (GenerationError, Kind(500, "no_audio")),
    (OutputError, Kind(507, "not_saved")),
    (Damaged, Kind(500, "job_damaged")),
)
UNKNOWN = Kind(500, "internal_error")
UNEXPECTED = "Something went wrong here; the request id finds it in the log."

LONGEST_VALUE = 300  # characters of what was sent, as an answer repeats it
_VALUE = re.compile(rf"'([^']{{{LONGEST_VALUE}}})[^']+'")
_LONGEST_MESSAGE = 4 * LONGEST_VALUE

# An absolute path of two parts or more, and what it stands in.
_PATH = re.compile(r"(?:(?<=[\s'\"(=])|^)(?:[A-Za-z]:\\|/)(?!v1/)(?:[^\s'\"/\\:;,)]+[/\\])+")


@dataclass(eq=False)
class Refusal(Exception):
    """An answer that is no sound. `retry_after` is in seconds."""

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after: float | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """What OpenAI calls the family."""
        if self.status == 429:
            return "rate_limit_error"
        return SERVER if self.status >= 500 else INVALID

    def body(self) -> dict[str, Any]:
        """OpenAI's envelope."""
        param = None if self.param is None else _writable(self.param[:LONGEST_VALUE])
        message = shortened(self.message)
        return {"error": {"message": message, "type": self.type, "param": param, "code": self.code}}

    def answer(self, path: str) -> JSONResponse:
        """The response, in the shape of who is asked."""
        body = self.body() if path.startswith("/v1/") else {"detail": shortened(self.message)}
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return JSONResponse(body, self.status, headers)


def bad(message: str, param: str | None = None, code: str = "invalid_value") -> Refusal:
    """A request that has to be mended."""
    return Refusal(400, message, code, param)


def refusal(error: Exception) -> Refusal:
    """The answer for any error."""
    if isinstance(error, Refusal):
        return error
    if not isinstance(error, HiggsError):
        return Refusal(UNKNOWN.status, UNEXPECTED, UNKNOWN.code)
    kind = next((kind for family, kind in KINDS if isinstance(error, family)), UNKNOWN)
    message = without_paths(str(error))
    if isinstance(error, GenerationError) and "max_new_tokens" in message:
        kind = Kind(400, "invalid_value", "max_new_tokens")  # too few were asked for
    param = kind.param
    if param is None and isinstance(error, SettingError):
        param = _setting(message)
    retry = 1.0 if kind.status in (429, 503) else None
    return Refusal(kind.status, message, kind.code, param, retry)


# Where a setting's name in the API is not ours.
_NAMES: Mapping[str, str] = {
    "ras_window": "ras_win_len",
    "ras_repeats": "ras_win_max_num_repeat",
    "system": "system_prompt",
    "deadline": "timeout",
}


def _setting(message: str) -> str | None:
    """The setting that a sentence such as "top_p is 7; use ..." begins with."""
    found = re.match(r"([a-z_]+) is ", message)
    return _NAMES.get(found[1], found[1]) if found else None


def shortened(message: str) -> str:
    """The sentence with the beginning of each long value in place of the value."""
    short = _VALUE.sub(r"'\1…'", _writable(message))
    return short if len(short) <= _LONGEST_MESSAGE else f"{short[:_LONGEST_MESSAGE]}…"


def _writable(text: str) -> str:
    """With '?' for what JSON can write and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def without_paths(message: str) -> str:
    """The sentence with file names alone where it had paths."""
    return _PATH.sub("", message)
