"""GET /: the page for people, and what it is made of. Files as they lie in `page/`, read once.

Knows nothing of what the page does; it asks the same endpoints as everyone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from faster_higgs.audio.encode import FORMATS
from faster_higgs.audio.shape import FASTEST, SLOWEST
from faster_higgs.delivery import Delivery
from faster_higgs.server.body import Drawing
from faster_higgs.server.errors import Refusal
from faster_higgs.server.order import sampling_of
from faster_higgs.server.service import Here

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("page")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        "media-src 'self' blob:",
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors")),
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked for again each time, sent again only when changed
}


@dataclass(frozen=True)
class Asset:
    """One file."""

    data: bytes
    type: str
    tag: str


@cache
def assets() -> dict[str, Asset]:
    """Every file of the page, by its path in the folder."""
    return {
        path.relative_to(FOLDER).as_posix(): _asset(path)
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in TYPES
    }


@router.get("/")
async def index(request: Request) -> Response:
    """The page."""
    return _sent(request, "index.html")


@router.get("/page/settings.json")
async def settings(service: Here) -> dict[str, Any]:
    """What the page has to know before it asks: defaults and limits of this server."""
    own = service.settings
    sampling = asdict(sampling_of(Drawing(), own))
    drawing = ("temperature", "top_k", "top_p", "min_p", "ras_window", "ras_repeats")
    return {
        "key_needed": bool(own.api_keys),
        "formats": list(FORMATS),
        "slowest": SLOWEST,
        "fastest": FASTEST,
        "max_text_chars": own.max_text_chars,
        "max_upload_bytes": own.max_upload_bytes,
        "defaults": {
            **{name: sampling[name] for name in (*drawing, "max_new_tokens")},
            "response_format": own.default_response_format,
            "voice": own.default_voice,
            "scene_prompt": Delivery().scene,
        },
    }


@router.get("/page/{path:path}")
async def asset(request: Request, path: str) -> Response:
    """One of its files."""
    return _sent(request, path)


def _asset(path: Path) -> Asset:
    data = path.read_bytes()
    return Asset(data, TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')


def _sent(request: Request, path: str) -> Response:
    """A file, or that it is still the same."""
    found = assets().get(path)
    if found is None:
        raise Refusal(404, "The page has no such file.", "not_found")
    headers = {**HEADERS, "ETag": found.tag}
    known = re.findall(r'"[^"]*"', request.headers.get("if-none-match", ""))
    if found.tag in known:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.type)
