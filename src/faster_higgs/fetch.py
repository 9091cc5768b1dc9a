"""Clips that lie elsewhere: at a public address on the web, or in the one folder that is allowed.

Whoever names such a place must not reach anything else with it: no machine of this network, no
other file. Knows nothing of servers, nor of what a clip is for.
"""

from __future__ import annotations

import errno
import http.client
import io
import ipaddress
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from faster_higgs.errors import AudioError

Resolve = Callable[[str, int], Sequence[str]]
Dial = Callable[[str, int, float], socket.socket]

PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 3
LONGEST_ADDRESS = 4096
_AT_ONCE = 1 << 16
_HEAD = 12  # bytes that tell what a file is
_PRINTABLE = "/:?=&%~+,;!$'()*@[]"

# Public by their number, and still ways into a network: of Azure's own machine, and of tunnels.
_INWARD = tuple(
    map(
        ipaddress.ip_network,
        ("168.63.129.16/32", "192.88.99.0/24", "2001::/23", "2002::/16"),
    )
)
_GLOBAL_SIX = ipaddress.ip_network("2000::/3")


def public_resolver(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def plain_dial(address: str, port: int, seconds: float) -> socket.socket:
    """A connection to an address. Raises OSError."""
    return socket.create_connection((address, port), timeout=seconds)


@dataclass(frozen=True)
class Elsewhere:
    """What may be fetched; nothing unless it is said. `resolve` and `dial` are the network."""

    web: bool = False
    hosts: tuple[str, ...] = ()  # that may be asked; .example.com means all below; empty: any
    folder: Path | None = None  # whose files may be read
    max_bytes: int = 10 << 20
    seconds: float = 30.0  # for all of it
    resolve: Resolve = public_resolver
    dial: Dial = plain_dial

    def read(self, place: str) -> bytes:
        """The bytes of a sound file. Raises AudioError, also for a place that is not allowed."""
        if not is_web(place):
            return _inside(self.folder, place, self.max_bytes)
        if not self.web:
            raise AudioError("Addresses are not fetched here; send the clip itself.")
        return _Fetch(self).read(place)


def is_web(place: str) -> bool:
    """Whether a place has a scheme, and so is not a path; whether it may be fetched comes later."""
    head = place[:64]
    return "://" in head or head.lower().startswith(("http:", "https:", "file:", "ftp:"))


def is_public(address: str) -> bool:
    """Whether an address belongs to the whole world, and leads nowhere else by its form."""
    try:
        one = ipaddress.ip_address(address)
    except ValueError:
        return False  # with a zone, for one
    if not one.is_global or one.is_multicast or one.is_reserved:
        return False
    if one.version == 6 and one not in _GLOBAL_SIX:
        return False  # IPv4 in disguise
    return not any(one in inward for inward in _INWARD if inward.version == one.version)


class _Fetch:
    """One clip, by one deadline, whatever it is that takes the time."""

    def __init__(self, rules: Elsewhere) -> None:
        self._rules = rules
        self._deadline = time.monotonic() + rules.seconds

    def read(self, place: str) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            url = _checked(place, self._rules.hosts)
            try:
                found = self._ask(url)
            except TimeoutError:
                seconds = self._rules.seconds
                raise _refused(url, f"it took longer than {seconds:g} s") from None
            except ssl.SSLError:
                raise _refused(url, "its certificate or its encryption is not valid") from None
            except (OSError, http.client.HTTPException):
                raise _refused(url, "it cannot be reached, or answers nonsense") from None
            if isinstance(found, bytes):
                return found
            place = urljoin(url.geturl(), found.place)
        raise _refused(url, f"it is moved more than {MOST_REDIRECTS} times")

    def _ask(self, url: SplitResult) -> bytes | _Moved:
        """The body, or where it is now. Raises AudioError, OSError, HTTPException."""
        with self._connected(url) as one:
            talk = _Talk(url.hostname or "", url.port)
            talk.default_port = PORTS[url.scheme]
            talk.sock = _Timely(one, self._left)
            target = quote(url.path or "/", safe=_PRINTABLE)
            if url.query:
                target += "?" + quote(url.query, safe=_PRINTABLE)
            one.settimeout(self._left())
            talk.request("GET", target, headers=_HEADERS)
            answer = talk.getresponse()
            if answer.status in REDIRECTS:
                return _Moved(answer.getheader("Location", ""))
            if answer.status != 200:
                raise _refused(url, f"it answers with status {answer.status}")
            return self._body(url, answer)

    def _connected(self, url: SplitResult) -> socket.socket:
        """A connection to an address that was looked up once and found to be public."""
        host, port = url.hostname or "", url.port or PORTS[url.scheme]
        addresses = self._addresses(host, port)
        if not addresses or not all(map(is_public, addresses)):
            raise _refused(url, "it is not a public address")
        fault: OSError = ConnectionError()
        for address in addresses:
            try:
                one = self._rules.dial(address, port, self._left())
            except TimeoutError:
                raise
            except OSError as error:
                fault = error
                continue
            return self._encrypted(one, host) if url.scheme == "https" else one
        raise fault

    def _encrypted(self, one: socket.socket, host: str) -> socket.socket:
        one.settimeout(self._left())
        try:
            return ssl.create_default_context().wrap_socket(one, server_hostname=host)
        except BaseException:
            one.close()
            raise

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        """As the resolver tells; the system's cannot be hurried, and is left behind if late."""
        found: list[Sequence[str] | OSError] = []

        def ask() -> None:
            try:
                found.append(self._rules.resolve(host, port))
            except (OSError, UnicodeError) as error:
                found.append(error if isinstance(error, OSError) else OSError())

        asking = threading.Thread(target=ask, name="higgs-resolve", daemon=True)
        asking.start()
        asking.join(self._left())
        if not found:
            raise TimeoutError
        if isinstance(found[0], OSError):
            raise found[0]
        return found[0]

    def _body(self, url: SplitResult, answer: http.client.HTTPResponse) -> bytes:
        most = self._rules.max_bytes
        for header in ("Content-Encoding", "Transfer-Encoding"):
            if answer.getheader(header, "identity").lower() not in ("identity", "chunked"):
                raise _refused(url, "it is sent compressed")
        too_large = _refused(url, f"it is larger than {most:,} bytes")
        if (answer.length or 0) > most:
            raise too_large
        body = bytearray()
        while piece := answer.read(min(_AT_ONCE, most + 1 - len(body))):
            body += piece
            if len(body) > most:
                raise too_large
            if len(body) >= _HEAD and not is_sound(body):
                raise _refused(url, "it is not a sound file")
        if answer.length:
            raise _refused(url, "it ends too early")
        return bytes(body)

    def _left(self) -> float:
        """Seconds. Raises TimeoutError."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Moved(NamedTuple):
    place: str


_HEADERS = {"Accept": "audio/*", "Accept-Encoding": "identity", "User-Agent": "faster-higgs"}


class _Talk(http.client.HTTPConnection):
    """Over a connection that is there; it never makes one, and knows no proxy."""

    auto_open = 0


class _Timely:
    """A socket as http.client may see it: each read has only the time that is left of all."""

    def __init__(self, one: socket.socket, left: Callable[[], float]) -> None:
        self._one, self._left = one, left

    def sendall(self, data: bytes) -> None:
        self._one.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self._one, self._left))

    def close(self) -> None:
        pass  # whoever opened it closes it


class _Raw(io.RawIOBase):
    def __init__(self, one: socket.socket, left: Callable[[], float]) -> None:
        self._one, self._left = one, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._one.settimeout(self._left())
        return self._one.recv_into(buffer)


def _checked(place: str, hosts: Sequence[str]) -> SplitResult:
    """An address by its parts. Raises AudioError for one that is not asked."""
    try:
        url = urlsplit(place if len(place) <= LONGEST_ADDRESS else "")
        port, host = url.port, (url.hostname or "").rstrip(".")
        host.encode("idna")
    except ValueError:
        raise AudioError("The address of the clip is not valid.") from None
    if url.scheme not in PORTS or not host or port == 0 or not place.isprintable():
        raise AudioError("The address of a clip must begin with http:// or https:// and a name.")
    if url.username is not None or url.password is not None:
        raise _refused(url, "names and passwords are not sent")
    if hosts and not any(_allowed(host, one.lower()) for one in hosts):
        raise _refused(url, "that host is not allowed")
    return url


def _allowed(host: str, allowed: str) -> bool:
    return host == allowed or (allowed.startswith(".") and host.endswith(allowed))


def _refused(url: SplitResult, why: str) -> AudioError:
    """Names the host alone: the rest of an address can be a secret."""
    return AudioError(f"The clip at {(url.hostname or '')[:100]} cannot be fetched: {why}.")


def is_sound(head: bytes | bytearray) -> bool:
    """Whether a file begins as sound files do; whatever its name or sender says."""
    if len(head) < _HEAD:
        return False
    kind = bytes(head[8:12])
    if head[:4] in (b"RIFF", b"RF64", b"FORM"):
        return kind in (b"WAVE", b"AIFF", b"AIFC")
    if head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # MPEG, ADTS
        return True
    return bytes(head[4:8]) == b"ftyp" or bytes(head).startswith(_BEGINNINGS)


_BEGINNINGS = (b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3", b"caff", b".snd")


def _inside(folder: Path | None, place: str, most: int) -> bytes:
    """A file below the folder. Raises AudioError."""
    if folder is None:
        raise AudioError("Files of this machine are not read; send the clip itself.")
    outside = AudioError("That file is not in the folder that is allowed, or cannot be read.")
    try:
        home = folder.resolve(strict=True)
        parts = (home / place).resolve(strict=True).relative_to(home).parts
        with _opened(home, parts) as file:
            data = file.read(most + 1)
    except (OSError, ValueError, RuntimeError):
        raise outside from None
    if len(data) > most:
        raise AudioError(f"The clip is larger than {most:,} bytes.")
    return data


def _opened(home: Path, parts: Sequence[str]) -> BinaryIO:
    """A file, step by step and through no link: none may appear after the place was checked."""
    if os.open not in os.supports_dir_fd:
        return open(home.joinpath(*parts), "rb")  # such systems have no pipes by name either
    with ExitStack() as folders:
        at = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
        for part in parts:
            folders.callback(os.close, at)
            at = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
        if not stat.S_ISREG(os.fstat(at).st_mode):
            os.close(at)
            raise OSError(errno.EINVAL, "not a file")
        return open(at, "rb")
