"""What every request passes before anything is done for it: host, origin, key, size.

It also gives each a number, which all answers carry. Knows nothing of speech.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faster_higgs.server.accounts import Account, Accounts, asking
from faster_higgs.server.errors import Refusal
from faster_higgs.server.ledger import Ledger
from faster_higgs.server.settings import ServerSettings, is_loopback

OPEN = ("/health/live", "/")  # answers whoever asks, as do the files of the page
PAGE = "/page/"
METRICS = "/metrics"
READING = ("GET", "HEAD", "OPTIONS")  # they make nothing
KEY_PROTOCOL = "higgs-key."  # and the key: a subprotocol that is never spoken
SWITCHED = 101  # the status of a socket that was opened
_BEGINNINGS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
PLAIN_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Gate:
    """The outermost layer of the application."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        ledger: Ledger,
        refuse_new: Callable[[], None] = lambda: None,
    ) -> None:
        """`refuse_new` raises Refusal while nothing new is taken."""
        self.inner, self._settings, self._ledger = app, settings, ledger
        self._accounts = Accounts(settings.api_keys, settings.admin_keys, settings.each_key)
        self._refuse_new = refuse_new

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.inner(scope, receive, send)
            return
        if scope.get("method") == "HEAD":  # the server sends what GET sends, without its body
            scope = {**scope, "method": "GET"}
        headers = Headers(scope=scope)
        number = headers.get("x-request-id", "")
        if not PLAIN_ID.fullmatch(number):
            number = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = number
        send = self._numbered(scope, number, send)
        try:
            account = self._check(scope, headers)
            if scope.get("method") not in READING:  # as opening a socket is not
                if account is None or not account.admin:
                    self._refuse_new()
                self._count(account)
            if scope["type"] == "http":  # what comes through a socket is counted there
                receive = _counted(receive, headers, self._settings)
        except Refusal as refused:
            await refused.answer(scope["path"])(scope, receive, send)
            return
        asking.set(account)
        await self.inner(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> Account | None:
        """Whose request it is. Raises Refusal."""
        if scope["server"] and scope["server"][1] == self._settings.metrics_port:
            check_metrics(scope["path"])
            return None
        if not self._settings.api_keys:  # with keys a foreign page cannot ask: it does not know one
            check_host(headers.get("host", ""), self._settings)
        if "origin" in headers:
            check_origin(headers["origin"], headers.get("host", ""), self._settings.cors_origins)
        account = self._accounts.of(_key(scope, headers, self._settings.socket_keys))
        if account is None and not _open(scope["path"]) and scope.get("method") != "OPTIONS":
            raise Refusal(
                401,
                "This server needs an API key: send Authorization: Bearer KEY.",
                "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return account

    def _count(self, account: Account | None) -> None:
        try:
            if account is not None:
                account.ask()
        except Refusal:
            self._ledger.rejected("rate_limit")
            raise

    def _numbered(self, scope: Scope, number: str, send: Send) -> Send:
        async def numbered(message: Message) -> None:
            if message["type"] in _BEGINNINGS:
                told = MutableHeaders(scope=message)
                told["X-Request-Id"] = number
                told["X-Content-Type-Options"] = "nosniff"
                route = scope.get("route")
                status = message.get("status", SWITCHED)
                self._ledger.answered(getattr(route, "path", "other"), status)
            await send(message)

        return numbered


def check_metrics(path: str) -> None:
    """Raises Refusal for anything else: there no key is asked for."""
    if path != METRICS:
        raise Refusal(404, f"Only {METRICS} is answered at this port.", "not_found")


def _key(scope: Scope, headers: Headers, elsewhere: Sequence[str]) -> str | None:
    """The key that was sent: in its header or, because pages cannot give a socket headers, in the
    other places that are allowed."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    if scope["type"] != "websocket":
        return None
    offered: Sequence[str] = scope["subprotocols"]
    places: Mapping[str, Sequence[str]] = {
        "subprotocol": [
            one[len(KEY_PROTOCOL) :] for one in offered if one.startswith(KEY_PROTOCOL)
        ],
        "query": QueryParams(scope["query_string"]).getlist("api_key"),
    }
    return next((given for place in elsewhere for given in places[place]), None)


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
