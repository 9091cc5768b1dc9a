"""The ports of `higgs serve`: taken before anything is loaded, and told. Knows nothing of HTTP."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from faster_higgs.server.settings import ServerSettings

EVERYWHERE = "0.0.0.0"
PORTS = ("port", "ui_port", "compat_port", "metrics_port")  # the first always, the others unless 0
FLAGGED = ("port", "ui_port", "compat_port")  # those with a flag; the others are variables


def bound(host: str, port: int, name: str = "port") -> socket.socket:
    """A socket that has the port; nobody is answered yet. Raises SettingError, which names the
    setting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small pieces at once instead of after 40 ms.
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((host.strip("[]"), port))
        one.listen(1)  # two on one port would otherwise only meet later
    except OSError as error:
        one.close()
        raise SettingError(_unbound(error, host, port, name)) from None
    return one


def _unbound(error: OSError, host: str, port: int, name: str) -> str:
    flag = f"--{name.replace('_', '-')}"
    if name not in FLAGGED:
        flag = f"HIGGS_{name.upper()}"
    if error.errno == errno.EADDRINUSE:
        zero = "a free one" if name == "port" else "none"
        return f"Port {port} is taken; choose another with {flag}, or {zero} with {flag} 0."
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights; choose one above 1023 with {flag}."
    return f"'{host}' is not an address of this machine; give one with --host."


def sockets_of(settings: ServerSettings) -> dict[str, socket.socket]:
    """All ports by their settings, or none. Raises SettingError."""
    with ExitStack() as taken:
        sockets = {
            name: taken.enter_context(bound(settings.host, port, name))
            for name in PORTS
            if (port := getattr(settings, name)) or name == "port"
        }
        taken.pop_all()
    return sockets


def lines(sockets: Mapping[str, socket.socket]) -> Iterator[str]:
    """Where it listens, and for whom."""
    for name in ("port", "compat_port"):
        if name in sockets:
            url = _address(sockets[name])
            yield f"Listening on {url}; OpenAI clients: {url}/v1"
    yield f"The page: {_address(sockets.get('ui_port', sockets['port']), here=True)}"
    if "metrics_port" in sockets:
        yield f"Metrics at {_address(sockets['metrics_port'])}/metrics"


def _address(one: socket.socket, *, here: bool = False) -> str:
    """Its URL; `here`: as a person at this machine types it."""
    host, port = one.getsockname()[:2]
    if here and host in ("127.0.0.1", EVERYWHERE):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
