"""What an operator says about the server. Every default is written here, and only here.

Does not read the environment: the command line does, and hands it over.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from faster_higgs.audio.encode import FORMATS
from faster_higgs.errors import SettingError

PREFIX = "HIGGS_"
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class ServerSettings:
    """Each may be set in the environment, as HIGGS_ and its name in capitals; lists by commas."""

    host: str = "127.0.0.1"
    port: int = 8000
    ui_port: int = 8501  # a second port for the page, with the same answers; 0 for none
    compat_port: int = 0  # a second port with the same answers; 0 for none
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()  # names by which the server may be asked; * for any
    cors_origins: tuple[str, ...] = ()
    max_running: int = 32  # speeches that are made at once
    max_queue: int = 64  # speeches that wait for a place
    queue_timeout_s: float = 30.0
    request_timeout_s: float = 600.0
    body_timeout_s: float = 60.0  # for all of a request to arrive
    drain_timeout_s: float = 60.0
    max_body_bytes: int = 16 * MEGABYTE
    max_upload_bytes: int = 10 * MEGABYTE
    max_text_chars: int = 4096
    max_new_tokens_cap: int = 8192
    max_references: int = 8
    max_batch_items: int = 32
    max_voices: int = 1000
    default_voice: str | None = None  # None: as the model wants
    default_response_format: str = "mp3"
    default_temperature: float | None = None  # None: as `Sampling` has it
    warmup: bool = True

    def __post_init__(self) -> None:
        for name in ("port", "ui_port", "compat_port"):
            _within(name, getattr(self, name), 0, 65_535)
        for name, least in _LEAST.items():
            _within(name, getattr(self, name), least, float("inf"))
        if self.default_response_format not in FORMATS:
            raise SettingError(
                f"default_response_format is '{self.default_response_format}'; "
                f"use one of {', '.join(FORMATS)}."
            )
        if not all(len(key) >= 8 and key.isascii() and key.isprintable() for key in self.api_keys):
            raise SettingError("An API key needs 8 or more characters, letters and digits.")

    @property
    def local(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)

    @classmethod
    def given(cls, environment: Mapping[str, str]) -> dict[str, Any]:
        """The settings that an environment holds, by name. Raises SettingError."""
        types = get_type_hints(cls)
        names = {PREFIX + one.name.upper(): one.name for one in fields(cls)}
        found = {variable: name for variable, name in names.items() if environment.get(variable)}
        return {
            name: _read(variable, environment[variable], types[name])
            for variable, name in found.items()
        }


_LEAST: Mapping[str, float] = {
    "max_running": 1,
    "max_queue": 0,
    "queue_timeout_s": 0,
    "request_timeout_s": 1,
    "body_timeout_s": 0.01,
    "drain_timeout_s": 0,
    "max_body_bytes": 1024,
    "max_upload_bytes": 1024,
    "max_text_chars": 1,
    "max_new_tokens_cap": 1,
    "max_references": 0,
    "max_batch_items": 1,
    "max_voices": 0,
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
    if kind is bool:
        if text.lower() not in (*_YES, *_NO):
            raise SettingError(f"{variable} is '{text}'; use 1 or 0.")
        return text.lower() in _YES
    number = float if "float" in str(kind) else int if kind is int else None
    if number is None:
        return text
    try:
        return number(text)
    except ValueError:
        raise SettingError(f"{variable} is '{text}'; use a number.") from None
