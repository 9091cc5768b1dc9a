"""A listener who plays what arrives from its first byte on: when it began, whether it ran dry.

Knows nothing of HTTP. How long wav and pcm play is known while they arrive; of other formats the
bytes are kept and measured at the end.
"""

from __future__ import annotations

import struct

from faster_higgs.audio.files import read

RATE = 24_000  # of pcm, where the answer does not say
GAP = 0.005  # seconds without sound that are noticed
LONGEST = 3600.0  # seconds of one answer
_PCM = 1
_EXTENSIBLE = 0xFFFE


class Listener:
    """One answer as it is heard. `first`, `dry` and `seconds` are in seconds."""

    def __init__(self, format: str, rate: int = RATE) -> None:
        self.first: float | None = None  # when the first sound came
        self.size = 0  # bytes of the file
        self.underruns: int | None = None  # None where it cannot be told
        self.dry = 0.0
        self._format, self._held, self._sound = format, bytearray(), 0  # the sound in bytes
        self._bytes_per_second = 0  # once it is known
        if format.startswith("pcm"):
            self._bytes_per_second, self.underruns = 2 * rate, 0

    def feed(self, data: bytes, now: float) -> None:
        """The next bytes of the file."""
        if not data:
            return
        self.size += len(data)
        if not self._bytes_per_second:
            data = self._opened(data)
        if not data:
            return
        if self.first is None:
            self.first = now
        self._play(now)
        self._sound += len(data)

    @property
    def seconds(self) -> float:
        """How long it plays. Raises AudioError for what is no sound file."""
        if self._bytes_per_second:
            return self._sound / self._bytes_per_second
        return len(read(bytes(self._held), rate=RATE, max_seconds=LONGEST)) / RATE

    def _play(self, now: float) -> None:
        """Note it when all that came has been played by now."""
        if self.underruns is None or not self._sound:
            return
        assert self.first is not None
        missing = now - self.first - self.dry - self._sound / self._bytes_per_second
        if missing > GAP:
            self.underruns += 1
            self.dry += missing

    def _opened(self, data: bytes) -> bytes:
        """The sound behind a wav file's header, once it is there; of other formats all."""
        self._held += data
        if self._format != "wav":
            return data
        try:
            found = _header(self._held)
        except struct.error:  # it goes on
            return b""
        if found is None:
            self._format = "other"
            return bytes(self._held)
        self._bytes_per_second, begin = found
        self.underruns = 0
        sound, self._held = bytes(self._held[begin:]), bytearray()
        return sound


def _header(data: bytearray) -> tuple[int, int] | None:
    """Bytes a second, and where the sound begins; None for what is no plain wav file.

    Raises struct.error while it is not all there.
    """
    riff, wave = struct.unpack_from("<4s4x4s", data)
    if (riff, wave) != (b"RIFF", b"WAVE"):
        return None
    at, speed = 12, 0
    while True:
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            return (speed, at + 8) if speed else None
        if name == b"fmt ":
            kind, speed = struct.unpack_from("<H6xI", data, at + 8)
            if kind not in (_PCM, _EXTENSIBLE):
                return None
        at += 8 + size + size % 2
