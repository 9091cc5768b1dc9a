"""The bytes of a file in one number. Knows nothing of what they mean."""

from __future__ import annotations

import hashlib
from pathlib import Path

_CHUNK = 1 << 20  # bytes


def sha256(path: Path) -> str:
    """Of a file, which is not mapped: a map would count as memory of ours. Raises OSError."""
    found, buffer = hashlib.sha256(), bytearray(_CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            found.update(view[:count])
    return found.hexdigest()
