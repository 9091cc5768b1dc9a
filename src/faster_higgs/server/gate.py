"""What every request passes before anything is done for it: host, origin, key, size.

It also gives each a number, which all answers carry. Knows nothing of speech.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faster_higgs.server.errors import Refusal
from faster_higgs.server.ledger import Ledger
from faster_higgs.server.settings import ServerSettings, is_loopback

OPEN = ("/health/live", "/")  # answers whoever asks, as do the files of the page
PAGE = "/page/"
PLAIN_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, ledger: Ledger) -> None:
        self.inner, self._settings, self._ledger = app, settings, ledger
        self._keys = [_digest(key.encode()) for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        headers = Headers(scope=scope)
        number = headers.get("x-request-id", "")
        if not PLAIN_ID.fullmatch(number):
            number = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = number
        send = self._numbered(scope, number, send)
        try:
            self._check(scope, headers)
            receive = _counted(receive, headers, self._settings)
        except Refusal as refused:
            await refused.answer(scope["path"])(scope, receive, send)
            return
        await self.inner(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if not self._keys:  # with keys a foreign page cannot ask: it does not know one
            check_host(headers.get("host", ""), self._settings)
        if "origin" in headers:
            check_origin(headers["origin"], headers.get("host", ""), self._settings.cors_origins)
        if self._keys and not _open(scope["path"]) and scope["method"] != "OPTIONS":
            self._check_key(headers.get("authorization", ""))

    def _check_key(self, given: str) -> None:
        """All keys are compared, each in constant time."""
        scheme, _, key = given.partition(" ")
        digest = _digest(key.strip().encode())
        known = [hmac.compare_digest(digest, own) for own in self._keys]
        if scheme.lower() != "bearer" or not any(known):
            raise Refusal(
                401,
                "This server needs an API key: send Authorization: Bearer KEY.",
                "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _numbered(self, scope: Scope, number: str, send: Send) -> Send:
        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                told["X-Request-Id"] = number
                told["X-Content-Type-Options"] = "nosniff"
                route = scope.get("route")
                self._ledger.answered(getattr(route, "path", "other"), message["status"])
            await send(message)

        return numbered


def check_host(host: str, settings: ServerSettings) -> None:
    """Raises Refusal for a name that is not ours: a page elsewhere may have made it mean us."""
    name = _name(host)
    allowed = {"localhost", settings.host.lower(), *map(str.lower, settings.allowed_hosts)}
    if "*" in allowed or name in allowed or is_loopback(name) or _is_address(name):
        return
    raise Refusal(
        403,
        f"This server does not go by the name '{name[:100]}'; "
        "its operator can allow it with HIGGS_ALLOWED_HOSTS.",
        "host_not_allowed",
    )


def check_origin(origin: str, host: str, allowed: Iterable[str]) -> None:
    """Raises Refusal for a page of another site that was not allowed."""
    if origin.partition("://")[2].lower() == host.lower() != "":
        return
    if "*" in allowed or origin in allowed:
        return
    raise Refusal(
        403,
        "Pages of other sites may not ask this server; "
        "its operator can allow one with HIGGS_CORS_ORIGINS.",
        "origin_not_allowed",
    )


def _open(path: str) -> bool:
    return path in OPEN or path.startswith(PAGE)


def _name(host: str) -> str:
    """A host without its port; nothing where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _counted(receive: Receive, headers: Mapping[str, str], settings: ServerSettings) -> Receive:
    """The same body, unless it is too large, also where it does not say so, or too slow."""
    most = settings.max_body_bytes
    too_large = Refusal(413, f"The body is larger than {most:,} bytes.", "body_too_large")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length[:20]) > most:
        raise too_large
    seen, whole, deadline = 0, False, anyio.current_time() + settings.body_timeout_s

    async def counted() -> Message:
        nonlocal seen, whole
        if whole:
            return await receive()
        try:
            with anyio.fail_after(max(0.0, deadline - anyio.current_time())):
                message = await receive()
        except TimeoutError:
            raise Refusal(408, "The body did not arrive in time.", "body_too_slow") from None
        seen += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if seen > most:
            raise too_large
        return message

    return counted
