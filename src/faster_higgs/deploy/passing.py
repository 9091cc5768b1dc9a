"""What front and replica of a fleet tell each other: a whole request, and how an answer begins.

Knows nothing of Ray.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

SPEAKER = "Speaker"  # what replicas are called
# What a prompt begins with: requests that share it go to the replica that has read it.
BEGINNING = (
    *("voice", "speaker", "ref_audio", "ref_text", "references", "task_type", "instructions"),
    *("scene_prompt", "system_prompt", "voice_id", "reference_audio_base64", "reference_text"),
    "speakers",
)
_LASTING = ("/v1/audio/voices",)  # a change made twice is not the same as one made once


class Asked(NamedTuple):
    """A request, whole."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def repeatable(self) -> bool:
        """Whether another replica may be asked after one that died over it."""
        return self.method == "GET" or not self.path.startswith(_LASTING)

    @property
    def beginning(self) -> str:
        """What stands for the beginning of its prompt; nothing where none is known."""
        if self.method != "POST" or not self.body.lstrip().startswith(b"{"):
            return ""
        try:
            body = json.loads(self.body)
        except ValueError:
            return ""
        shared = {name: body[name] for name in BEGINNING if body.get(name)}
        if not shared:
            return ""
        return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]


class Head(NamedTuple):
    """How an answer begins."""

    status: int
    headers: list[tuple[bytes, bytes]]
