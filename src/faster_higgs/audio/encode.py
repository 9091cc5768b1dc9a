"""Samples to bytes, whole or piece by piece; the one place that clips.

Does not know paths (save.py) or where the samples come from.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from os import PathLike
from pathlib import PurePath
from types import MappingProxyType
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from faster_higgs.errors import AudioError, SettingError

Samples = NDArray[np.float32]
Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Format:
    """A file format, and which parts of FFmpeg make it (none for wav and pcm)."""

    suffix: str
    mime: str
    muxer: str = ""
    codec: str = ""
    bit_rate: int | None = None
    rates: tuple[int, ...] = ()  # empty: any
    options: Mapping[str, str] = field(default_factory=dict)  # of the file
    effort: int | None = None  # FFmpeg's compression_level; more is no closer to speech, and slower


_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_PAGES = {"page_duration": "60000"}  # microseconds: an Ogg page is the least that can be sent
_OPUS = Format(".opus", "audio/ogg", "ogg", "libopus", 64_000, _OPUS_RATES, _PAGES, effort=5)

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "wav": Format(".wav", "audio/wav"),
        "pcm": Format(".pcm", "audio/pcm"),
        "flac": Format(".flac", "audio/flac", "flac", "flac"),
        "mp3": Format(".mp3", "audio/mpeg", "mp3", "libmp3lame", 128_000, _MPEG_RATES, effort=7),
        "opus": _OPUS,
        "ogg": replace(_OPUS, suffix=".ogg"),
        "aac": Format(".aac", "audio/aac", "adts", "aac", 96_000, _MPEG_RATES),
    }
)


def format_of(path: str | PathLike[str]) -> str:
    """The format a file name asks for by its suffix."""
    suffix = PurePath(path).suffix.lower()
    for name, known in FORMATS.items():
        if known.suffix == suffix:
            return name
    known_suffixes = ", ".join(known.suffix for known in FORMATS.values())
    found = f"the suffix {suffix}" if suffix else "no suffix"
    raise SettingError(f"{path} has {found}; give it one of {known_suffixes}.")


def checked_format(name: str, rate: int) -> Format:
    """The format of that name, if it can hold sound of that rate."""
    if name not in FORMATS:
        raise SettingError(
            f"There is no audio format '{name}'; choose one of {', '.join(FORMATS)}."
        )
    known = FORMATS[name]
    if known.rates and rate not in known.rates:
        allowed = ", ".join(map(str, known.rates))
        raise SettingError(
            f"{name} cannot hold sound at {rate} Hz; it takes {allowed} Hz, or use wav."
        )
    return known


def to_int16(samples: Samples) -> Pcm:
    """16-bit samples, rounded; what lies outside [-1, 1] is clipped."""
    if samples.ndim != 1:
        raise ValueError(f"samples must be one row of mono sound, not of shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise AudioError("The sound holds values that are not numbers; nothing was encoded.")
    scaled = samples.astype(np.float32, copy=False) * np.float32(32_768)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32_768, 32_767, out=scaled)
    return scaled.astype(np.int16)


class Encoder:
    """Samples in, bytes out; the pieces joined are one valid file, as `encode` would make it.

    Only lengths in headers differ: a stream cannot know them, so wav says 0xFFFFFFFF, flac nothing.
    """

    def __init__(self, format: str, rate: int, note: str = "") -> None:
        self._pipe = _Pipe()
        self._writer = open_writer(self._pipe, format, rate, note)

    def encode(self, samples: Samples) -> bytes:
        """The bytes that are ready after these samples; may be empty."""
        self._writer.add(to_int16(samples))
        return self._pipe.take()

    def finish(self) -> bytes:
        """The last bytes. After this the encoder is used up."""
        self._writer.close()
        return self._pipe.take()


def encoder_for(format: str, rate: int = 24_000, note: str = "") -> Encoder:
    """A streaming encoder for one sound."""
    return Encoder(format, rate, note)


def encode(samples: Samples, format: str, rate: int = 24_000, note: str = "") -> bytes:
    """A whole sound as one file, with exact lengths in its header."""
    file = io.BytesIO()
    writer = open_writer(file, format, rate, note)
    writer.add(to_int16(samples))
    writer.close()
    return file.getvalue()


class Writer(Protocol):
    """Writes one sound into an open file; `close` ends the sound, not the file."""

    def add(self, pcm: Pcm) -> None: ...

    def close(self) -> None: ...


def open_writer(file: IO[bytes] | _Pipe, format: str, rate: int, note: str = "") -> Writer:
    """A writer from the file's beginning; a file that can seek gets exact lengths in its header.

    The `note` is kept as the file's comment; pcm and aac have no place for one.
    """
    known = checked_format(format, rate)
    if known.muxer:
        return _FfmpegWriter(file, known, rate, note)
    return _WavWriter(file, rate, note) if format == "wav" else _PcmWriter(file)


class _Pipe:
    """Where a streaming encoder writes: bytes go in at one end and are taken at the other."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def seekable(self) -> bool:
        return False

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


class _PcmWriter:
    def __init__(self, file: IO[bytes] | _Pipe) -> None:
        self._file = file

    def add(self, pcm: Pcm) -> None:
        self._file.write(pcm.astype("<i2", copy=False).tobytes())

    def close(self) -> None:
        pass


class _WavWriter:
    _UNKNOWN = 0xFFFFFFFF

    def __init__(self, file: IO[bytes] | _Pipe, rate: int, note: str) -> None:
        self._file, self._rate, self._data_bytes = file, rate, 0
        self._note = _info(note) if note else b""
        file.write(self._header(self._UNKNOWN, self._UNKNOWN))

    def add(self, pcm: Pcm) -> None:
        self._data_bytes += self._file.write(pcm.astype("<i2", copy=False).tobytes())

    def close(self) -> None:
        rest = 36 + len(self._note) + self._data_bytes
        fits = rest < self._UNKNOWN
        if fits and not isinstance(self._file, _Pipe) and self._file.seekable():
            self._file.seek(0)
            self._file.write(self._header(rest, self._data_bytes))
            self._file.seek(0, io.SEEK_END)

    def _header(self, riff_bytes: int, data_bytes: int) -> bytes:
        number = _number
        kind, channels, width = 1, 1, 2  # uncompressed, mono, 16 bit
        return b"".join(
            [
                *(b"RIFF", number(riff_bytes, 4), b"WAVE"),
                *(b"fmt ", number(16, 4), number(kind, 2), number(channels, 2)),
                *(number(self._rate, 4), number(self._rate * width, 4)),
                *(number(width, 2), number(8 * width, 2)),
                self._note,
                *(b"data", number(data_bytes, 4)),
            ]
        )


def _info(comment: str) -> bytes:
    """The chunk of a WAV file that holds a comment."""
    text = comment.encode() + b"\0"
    text += b"\0" * (len(text) % 2)
    inside = b"INFOICMT" + _number(len(text), 4) + text
    return b"LIST" + _number(len(inside), 4) + inside


def _number(value: int, width: int) -> bytes:
    return value.to_bytes(width, "little")


class _FfmpegWriter:
    _SECONDS_PER_FRAME = 1

    def __init__(self, file: IO[bytes] | _Pipe, known: Format, rate: int, note: str) -> None:
        import av

        self._frame = av.AudioFrame.from_ndarray
        self._rate, self._samples = rate, 0
        # Each packet is passed on at once: a listener must not wait for a buffer to fill.
        options = {"flush_packets": "1", **known.options}
        if isinstance(file, _Pipe):
            plain = {"write_xing": "0"} if note else {"write_xing": "0", "id3v2_version": "0"}
            options |= plain if known.muxer == "mp3" else {}
        self._container = av.open(file, "w", format=known.muxer, options=options)
        if note:
            self._container.metadata["comment"] = note
        stream = self._container.add_stream(known.codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if known.bit_rate:
            stream.bit_rate = known.bit_rate
        if known.effort is not None:
            stream.options = {"compression_level": str(known.effort)}
        self._stream = stream
        # Container and stream hold each other, and FLAC's 7 MB, until it is closed.
        weakref.finalize(self, self._container.close).atexit = False

    def add(self, pcm: Pcm) -> None:
        step = self._SECONDS_PER_FRAME * self._rate
        for start in range(0, len(pcm), step):
            piece = np.ascontiguousarray(pcm[None, start : start + step])
            frame = self._frame(piece, format="s16", layout="mono")
            frame.sample_rate, frame.pts = self._rate, self._samples
            frame.time_base = Fraction(1, self._rate)
            self._samples += piece.size
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._samples:
            self._container.mux(self._stream.encode(None))
        else:
            self._container.start_encoding()
        self._container.close()
