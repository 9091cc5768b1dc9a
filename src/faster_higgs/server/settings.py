"""What an operator says about the server. Every default is written here, and only here.

Does not read the environment: the command line does, and hands it over.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from faster_higgs.audio.encode import FORMATS
from faster_higgs.errors import SettingError
from faster_higgs.fetch import Elsewhere

SYNTHETIC = "Synthetic speech, made by Faster Higgs."
PREFIX = "HIGGS_"
SOCKET_KEYS = ("subprotocol", "query")
MEGABYTE = 1 << 20
LOG_LEVELS = ("debug", "info", "warning", "error")
SHORTEST_KEY = 8
# Names that other servers for this model have for the same.
ALIASES: Mapping[str, str] = {
    "HIGGS_AUDIO_TEMPERATURE": "default_temperature",
    "HIGGS_AUDIO_TOP_P": "default_top_p",
    "HIGGS_AUDIO_TOP_K": "default_top_k",
    "HIGGS_AUDIO_RAS_WIN_LEN": "default_ras_win_len",
    "HIGGS_AUDIO_RAS_WIN_MAX_REPEAT": "default_ras_win_max_num_repeat",
    "HIGGS_AUDIO_MAX_NEW_TOKENS": "default_max_new_tokens",
    "HIGGS_AUDIO_SYSTEM_PROMPT": "default_system_prompt",
    "HIGGS_AUDIO_RESPONSE_FORMAT": "default_response_format",
    "HIGGS_AUDIO_DOWNLOAD_TIMEOUT": "download_timeout_s",
    "HIGGS_AUDIO_LOG_LEVEL": "log_level",
}
_OFF = {"HIGGS_AUDIO_TOP_P": "1", "HIGGS_AUDIO_TOP_K": "0"}  # what they mean when empty
COMPATIBLE = ("vllm_omni",)  # what metrics_compat may be


@dataclass(frozen=True)
class Limits:
    """What one key may ask; 0 is no limit."""

    requests_per_minute: float = 0
    audio_seconds_per_day: float = 0  # a day of UTC
    concurrent: float = 0  # speeches that are made or wait

    def __post_init__(self) -> None:
        for one in fields(self):
            if not 0 <= getattr(self, one.name) < float("inf"):
                raise SettingError(f"{one.name} is {getattr(self, one.name)}; use 0 or more.")


@dataclass(frozen=True)
class ServerSettings:
    """Each may be set in the environment, as HIGGS_ and its name in capitals; lists by commas."""

    host: str = "127.0.0.1"
    port: int = 8000
    ui_port: int = 8501  # a second port for the page, with the same answers; 0 for none
    compat_port: int = 0  # a second port with the same answers; 0 for none
    api_keys: tuple[str, ...] = ()  # behind each may stand limits of its own
    admin_keys: tuple[str, ...] = ()  # those open /v1/admin as well
    key_requests_per_minute: float = 0  # of each key without one of its own; 0 is no limit
    key_audio_seconds_per_day: float = 0
    key_concurrent: float = 0
    allowed_hosts: tuple[str, ...] = ()  # names by which the server may be asked; * for any
    cors_origins: tuple[str, ...] = ()
    max_running: int = 32  # speeches that are made at once
    max_queue: int = 64  # speeches that wait for a place
    queue_timeout_s: float = 30.0
    request_timeout_s: float = 600.0
    body_timeout_s: float = 60.0  # for all of a request to arrive
    drain_timeout_s: float = 60.0
    socket_config_timeout_s: float = 10.0  # for the first message of a session
    socket_idle_timeout_s: float = 30.0  # of silence on both sides
    socket_keys: tuple[str, ...] = ()  # where else a socket's key may stand: subprotocol, query
    max_sockets: int = 256
    max_socket_config_bytes: int = 4 * MEGABYTE  # of a message
    max_socket_text_bytes: int = MEGABYTE // 8
    max_socket_waiting_chars: int = 65_536  # that were sent to a session and are not spoken yet
    max_body_bytes: int = 16 * MEGABYTE
    max_upload_bytes: int = 10 * MEGABYTE
    max_unread_bytes: int = 256 * MEGABYTE  # of sound that waits for slow readers
    max_text_chars: int = 4096
    max_new_tokens_cap: int = 8192
    max_references: int = 8
    max_reference_s: float = 30.0  # of one clip
    max_batch_items: int = 32
    max_voices: int = 1000
    jobs_dir: str | None = None  # where jobs are kept; None: nowhere, and there are none
    max_jobs: int = 100  # that are kept, finished ones too
    max_jobs_running: int = 1
    max_job_chars: int = 200_000
    allow_url_references: bool = False  # fetch clips from public addresses
    allowed_media_hosts: tuple[str, ...] = ()  # from these alone; .example.com: all below
    allowed_media_path: str | None = None  # a folder whose clips may be named by their path
    download_timeout_s: float = 30.0
    default_voice: str | None = None  # None: as the model wants
    default_response_format: str = "mp3"
    default_temperature: float | None = None  # None: as `Sampling` has it
    default_top_p: float | None = None
    default_top_k: int | None = None
    default_ras_win_len: int | None = None
    default_ras_win_max_num_repeat: int | None = None
    default_max_new_tokens: int | None = None
    default_system_prompt: str | None = None  # None: the usual one
    mark_synthetic: bool = False  # files say that nobody spoke them
    log_level: str = "warning"
    warmup: bool = True
    idle_unload_s: float = 0  # let the weights go after so long without a speech; 0: never
    metrics_port: int = 0  # /metrics alone, without a key; 0 for none
    metrics_compat: str | None = None  # vllm_omni: its names as well
    engine: str | None = None  # address of a server that speaks in place of a model here
    engine_dialect: str | None = None  # None: it is asked
    engine_model: str | None = None  # None: the first it lists
    engine_key: str | None = field(default=None, repr=False)
    engine_timeout_s: float = 120.0  # of silence

    def __post_init__(self) -> None:
        for name in ("port", "ui_port", "compat_port", "metrics_port"):
            _within(name, getattr(self, name), 0, 65_535)
        for name, least in _LEAST.items():
            _within(name, getattr(self, name), least, float("inf"))
        if self.default_response_format not in FORMATS:
            raise SettingError(
                f"default_response_format is '{self.default_response_format}'; "
                f"use one of {', '.join(FORMATS)}."
            )
        for place in self.socket_keys:
            if place not in SOCKET_KEYS:
                raise SettingError(
                    f"socket_keys is '{place}'; use {' and '.join(SOCKET_KEYS)}, or neither."
                )
        if self.engine is None and (self.engine_dialect or self.engine_model):
            raise SettingError("engine_dialect and engine_model need --engine; name the server.")
        if self.log_level not in LOG_LEVELS:
            raise SettingError(
                f"log_level is '{self.log_level}'; use one of {', '.join(LOG_LEVELS)}."
            )
        if self.metrics_compat not in (None, *COMPATIBLE):
            raise SettingError(
                f"metrics_compat is '{self.metrics_compat}'; use {', '.join(COMPATIBLE)}."
            )
        _check_keys("API", self.api_keys)
        _check_keys("admin", self.admin_keys)

    @property
    def each_key(self) -> Limits:
        """What each key may ask."""
        return Limits(
            self.key_requests_per_minute, self.key_audio_seconds_per_day, self.key_concurrent
        )

    @property
    def elsewhere(self) -> Elsewhere:
        """Where clips may be fetched."""
        folder = self.allowed_media_path
        return Elsewhere(
            self.allow_url_references,
            self.allowed_media_hosts,
            None if folder is None else Path(folder),
            self.max_upload_bytes,
            self.download_timeout_s,
        )

    @property
    def note(self) -> str:
        """What stands in files about the speech in them."""
        return SYNTHETIC if self.mark_synthetic else ""

    @property
    def local(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)

    @classmethod
    def given(cls, environment: Mapping[str, str]) -> dict[str, Any]:
        """The settings that an environment holds, by name. Raises SettingError."""
        types = get_type_hints(cls)
        off = {name: value for name, value in _OFF.items() if environment.get(name) == ""}
        told = {**environment, **off}
        return {
            name: _read(variable, told[variable], types[name])
            for variable, name in cls.variables().items()
            if told.get(variable)
        }

    @classmethod
    def variables(cls) -> dict[str, str]:
        """All there are in the environment, and the setting each means; the later one counts."""
        own = {PREFIX + one.name.upper(): one.name for one in fields(cls)}
        return {**ALIASES, **own}


def _check_keys(kind: str, lines: Sequence[str]) -> None:
    """Raises SettingError, which tells the place of the key and not the key."""
    for number, line in enumerate(lines, 1):
        try:
            key_and_limits(line)
        except SettingError as error:
            raise SettingError(f"{kind} key {number} of {len(lines)}: {error}") from None


def key_and_limits(line: str, each: Limits = Limits()) -> tuple[str, Limits]:
    """A key, and what may stand behind it: `KEY concurrent=2 requests_per_minute=60`.

    Raises SettingError, in which no key is told.
    """
    key, *words = line.split()
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable():
        raise SettingError("a key needs 8 or more characters, letters and digits.")
    names = [one.name for one in fields(Limits)]
    told: dict[str, float] = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            told[name] = float(value)
        except ValueError:
            name = ""
        if name not in names:
            raise SettingError(
                "behind the key stands what is no limit; "
                f"use {', '.join(f'{one}=N' for one in names)}."
            )
    return key, replace(each, **told)


_LEAST: Mapping[str, float] = {
    "max_running": 1,
    "max_queue": 0,
    "queue_timeout_s": 0,
    "request_timeout_s": 1,
    "body_timeout_s": 0.01,
    "drain_timeout_s": 0,
    "engine_timeout_s": 0.01,
    "socket_config_timeout_s": 0.01,
    "socket_idle_timeout_s": 0.01,
    "max_sockets": 0,
    "max_socket_config_bytes": 1024,
    "max_socket_text_bytes": 1024,
    "max_socket_waiting_chars": 1,
    "max_body_bytes": 1024,
    "max_upload_bytes": 1024,
    "max_unread_bytes": 1024,
    "max_text_chars": 1,
    "max_new_tokens_cap": 1,
    "max_references": 0,
    "max_reference_s": 1,
    "max_batch_items": 1,
    "max_voices": 0,
    "max_jobs": 0,
    "max_jobs_running": 1,
    "max_job_chars": 1,
    "download_timeout_s": 0.01,
    "idle_unload_s": 0,
    "key_requests_per_minute": 0,
    "key_audio_seconds_per_day": 0,
    "key_concurrent": 0,
}
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine, and no other can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        end = f" to {high:g}" if high != float("inf") else " or more"
        raise SettingError(f"{name} is {value}; use {low:g}{end}.")


def _read(variable: str, text: str, kind: Any) -> Any:
    """A value as the setting's type has it."""
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if variable.endswith("LOG_LEVEL"):
        return text.lower()
    if kind is bool:
        if text.lower() not in (*_YES, *_NO):
            raise SettingError(f"{variable} is '{text}'; use 1 or 0.")
        return text.lower() in _YES
    number = float if "float" in str(kind) else int if "int" in str(kind) else None
    if number is None:
        return text
    try:
        return number(text)
    except ValueError:
        raise SettingError(f"{variable} is '{text}'; use a number.") from None
