"""A server elsewhere, asked over HTTP: its answers as they come, its failures as our errors.

Knows nothing of speech but how lists of voices are written, nor which server it is.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from faster_higgs.errors import (
    Aborted,
    DeadlinePassed,
    EngineError,
    HiggsError,
    QueueFull,
    SettingError,
    UpstreamError,
    UpstreamTimeout,
)

OnStop = Callable[[Callable[[], None]], None]
MOST = 4 << 20  # bytes of an answer that is no sound
_BLOCK = 1 << 16


class NotThere(UpstreamError):
    """It has no such endpoint."""


@dataclass(frozen=True)
class Upstream:
    """Where it is; `patience` is how many seconds it may be silent."""

    url: str
    key: str | None = field(default=None, repr=False)
    patience: float = 120.0

    @classmethod
    def at(cls, address: str, key: str | None = None, patience: float = 120.0) -> Upstream:
        """From an address as people write it, with or without /v1. Raises SettingError."""
        url = address.strip().rstrip("/").removesuffix("/v1")
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and not parts.username
            good = good and (parts.port or 1) > 0 and not (parts.query or parts.fragment)
        except ValueError:
            good = False
        if not good:
            raise SettingError(
                f"engine is '{address}'; use an address such as http://localhost:8000."
            )
        return cls(url, key, patience)

    def ask(self, path: str, *, patience: float | None = None) -> Any:
        """What it tells at a path: JSON, or None where it tells nothing. Raises EngineError."""
        data = b""
        try:
            with closing(Call(self, patience=patience)) as call:
                call.send("GET", path)
                for piece in call.pieces():
                    data += piece
                    if len(data) > MOST:
                        raise UpstreamError("The upstream answers with more than can be read.")
        except NotThere:
            return None
        except SettingError as error:
            raise UpstreamError(str(error)) from None
        try:
            return json.loads(data) if data else None
        except ValueError:
            return None

    @contextmanager
    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        deadline: float | None = None,
        on_stop: OnStop | None = None,
    ) -> Generator[Call]:
        """Its answer, from the first byte on; leaving hangs up. `deadline` is monotonic time.

        Raises Aborted, DeadlinePassed, EngineError, and SettingError for what it refuses.
        """
        call = Call(self, deadline=deadline)
        if on_stop is not None:
            on_stop(call.stop)
        with closing(call):
            call.send("POST", path, body)
            yield call


class Call:
    """One request, and its answer."""

    def __init__(
        self, upstream: Upstream, *, patience: float | None = None, deadline: float | None = None
    ) -> None:
        self._upstream, self._deadline = upstream, deadline
        self._patience = patience or upstream.patience
        self._socket: socket.socket | None = None
        self._answer: HTTPResponse | None = None
        self._stopped = False
        parts = urlsplit(upstream.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._line = kind(parts.hostname or "", parts.port)
        self._root = parts.path

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Until the head of the answer is there, and good."""
        told = {"Accept": "*/*", "Connection": "close"}
        if self._upstream.key:
            told["Authorization"] = f"Bearer {self._upstream.key}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            told["Content-Type"] = "application/json"
        with self._told():
            self._line.timeout = self._left()
            self._line.connect()
            self._socket = self._line.sock
            if self._stopped:
                raise OSError
            self._line.request(method, self._root + path, data, told)
            self._answer = self._line.getresponse()
            if self._answer.status != 200:
                said = _said(self._answer.read(_BLOCK))
                raise _refused(self._answer.status, said)

    def header(self, name: str) -> str:
        """One of the answer's headers, or nothing."""
        return (self._answer.getheader(name) or "") if self._answer else ""

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Raises UpstreamError where it breaks off."""
        read, promised = 0, self.header("Content-Length")
        while piece := self._read():
            read += len(piece)
            yield piece
        if promised.isdigit() and read < int(promised):
            raise UpstreamError("The upstream broke off in the middle of its answer.")

    def stop(self) -> None:
        """Hang up; from any thread."""
        self._stopped = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        if self._answer is not None:
            self._answer.close()
        self._line.close()

    def _read(self) -> bytes:
        assert self._answer is not None and self._socket is not None
        with self._told():
            self._socket.settimeout(self._left())
            piece = self._answer.read1(_BLOCK)
            if not piece and self._stopped:
                raise OSError
            return piece

    def _left(self) -> float:
        """Seconds that may pass in silence."""
        if self._deadline is None:
            return self._patience
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self._patience)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong on the line, as our errors."""
        try:
            yield
        except TimeoutError:
            if self._deadline is not None and time.monotonic() >= self._deadline:
                raise DeadlinePassed("The deadline passed before the upstream answered.") from None
            raise UpstreamTimeout(
                f"The upstream was silent for {self._patience:g} s and was given up."
            ) from None
        except (OSError, HTTPException) as error:
            if self._stopped:
                raise Aborted("The speech was stopped.") from None
            logging.getLogger(__name__).warning(
                "%s does not answer: %s", self._upstream.url, str(error) or type(error).__name__
            )
            if self._answer is None:
                raise UpstreamError("The upstream cannot be reached.") from None
            raise UpstreamError("The upstream broke off in the middle of its answer.") from None


def _refused(status: int, said: str) -> HiggsError:
    """The error for an answer that is not what was asked for."""
    told = f": {said}" if said else "."
    if status in (400, 413, 422):
        return SettingError(f"The upstream refuses this{told}")
    if status in (401, 403):
        return UpstreamError(f"The upstream wants another key ({status}); set HIGGS_ENGINE_KEY.")
    if status == 429:
        return QueueFull(f"The upstream is full{told}")
    if status == 503:
        return EngineError(f"The upstream cannot speak now{told}")
    if status in (408, 504):
        return UpstreamTimeout(f"The upstream gave up ({status}){told}")
    family = NotThere if status in (404, 405) else UpstreamError
    return family(f"The upstream failed ({status}){told}")


def _said(data: bytes) -> str:
    """The sentence in an error, in any of the forms servers have for one."""
    text = data.decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
    except ValueError:
        return ""  # a page of some proxy
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return " ".join(found.split())[:300] if isinstance(found, str) else ""


def voice_names(voices: Any) -> list[str]:
    """The names in an answer of /v1/audio/voices, in any of the forms there are."""
    rows = voices
    if isinstance(voices, dict):
        rows = voices.get("voices") or voices.get("data")
    found: list[str] = []
    for row in rows if isinstance(rows, list) else ():
        name = (row.get("id") or row.get("name")) if isinstance(row, dict) else row
        if isinstance(name, str) and name:
            found.append(name)
    return found
