"""Any sound file to mono samples, with limits checked before anything large is decoded.

Does not know what the samples are for, or whether they are speech; reference.py judges that.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from faster_higgs.errors import AudioError

if TYPE_CHECKING:
    from av import AudioStream
    from av.container import InputContainer

Samples = NDArray[np.float32]
Source = str | os.PathLike[str] | bytes | BinaryIO

_VALUES_PER_BLOCK = 1 << 18  # of all channels together: many channels must not mean much memory
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's answer where no length is told; it cannot read those


@dataclass(frozen=True)
class Bounds:
    """What a file may be, beside its size."""

    lowest_rate: int = 1_000
    highest_rate: int = 768_000
    channels: int = 1_024
    patience: float = 600.0  # seconds for decoding it


FROM_STRANGERS = Bounds(4_000, 192_000, 8, 20.0)


@dataclass
class _Decoder:
    rate: int
    channels: int
    seconds: float | None  # as the header says; None where it does not
    blocks: Iterator[Samples]  # mono


def read(
    source: Source,
    *,
    rate: int = 24_000,
    max_seconds: float = 600,
    max_bytes: int = 200_000_000,
    bounds: Bounds = Bounds(),
) -> Samples:
    """Mono samples at `rate`, levels untouched. Raises AudioError for what is not usable sound."""
    name = _name(source)
    with _opened(source, name, max_bytes) as file, _decoded(file, name) as decoder:
        _check_header(decoder, name, max_seconds, bounds)
        blocks = _checked(decoder, name, max_seconds, bounds.patience)
        samples = _resampled(blocks, decoder.rate, rate)
    if not samples.size:
        raise AudioError(f"{name} holds no sound: not one sample at {rate} Hz.")
    return samples


def _name(source: Source) -> str:
    if isinstance(source, bytes):
        return "The audio given"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    found = getattr(source, "name", None)
    return found if isinstance(found, str) else "The audio given"


@contextmanager
def _opened(source: Source, name: str, max_bytes: int) -> Iterator[BinaryIO]:
    """The source as a file that can seek, no larger than `max_bytes`."""
    if isinstance(source, bytes):
        _check_size(len(source), name, max_bytes)
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with _opened_path(Path(source), name) as file:
            if file.seekable():
                _check_size(file.seek(0, io.SEEK_END), name, max_bytes)
                file.seek(0)
                yield file
            else:
                yield _held(file, name, max_bytes)
    else:
        yield _held(source, name, max_bytes)


def _opened_path(path: Path, name: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except IsADirectoryError:
        raise AudioError(f"{name} is a folder; give the sound file inside it.") from None
    except FileNotFoundError:
        raise AudioError(f"There is no file {name}; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name} cannot be opened: {reason}.") from None


def _held(file: BinaryIO, name: str, max_bytes: int) -> BinaryIO:
    """What a pipe or an upload yields, held in memory."""
    content = file.read(max_bytes + 1)
    _check_size(len(content), name, max_bytes)
    return io.BytesIO(content)


def _check_size(size: int, name: str, max_bytes: int) -> None:
    if size == 0:
        raise AudioError(f"{name} is empty: 0 bytes.")
    if size > max_bytes:
        found = f"has {size / 1e6:.1f} MB" if size != max_bytes + 1 else "is larger"
        raise AudioError(f"{name} {found}; at most {max_bytes / 1e6:.1f} MB are read. Cut it.")


@contextmanager
def _decoded(file: BinaryIO, name: str) -> Iterator[_Decoder]:
    """libsndfile where it knows the format and the length, FFmpeg for everything else."""
    sound = _soundfile(file)
    if sound is None:
        with _ffmpeg(file, name) as decoder:
            yield decoder
        return
    with sound:
        seconds = sound.frames / max(sound.samplerate, 1)
        blocks = _soundfile_blocks(sound, name)
        yield _Decoder(sound.samplerate, sound.channels, seconds, blocks)


class _Seekable:
    """A file as libsndfile may see it: without the name whose suffix it would trust more than the
    content, and with seeks to before the start, which broken headers cause, ending at the start."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError):
            return self._seek(0)


def _soundfile(file: BinaryIO) -> soundfile.SoundFile | None:
    head = file.read(2)
    file.seek(0)
    if head.startswith((b"ID", b"\xff")):  # MP3, whose every flaw libsndfile would print on stderr
        return None
    try:
        sound = soundfile.SoundFile(_Seekable(file))
    except soundfile.LibsndfileError:
        sound = None
    if sound is None or sound.frames >= _UNKNOWN_FRAMES:
        file.seek(0)
        return None
    return sound


def _soundfile_blocks(sound: soundfile.SoundFile, name: str) -> Iterator[Samples]:
    frames = max(1, _VALUES_PER_BLOCK // sound.channels)
    try:
        while len(block := sound.read(frames, dtype="float32", always_2d=True)):
            yield _mono(block)
    except soundfile.LibsndfileError:
        raise _damaged(name) from None


@contextmanager
def _ffmpeg(file: BinaryIO, name: str) -> Iterator[_Decoder]:
    import av

    try:
        # No protocols: a playlist must not make the reader open other files or addresses.
        container = av.open(
            file, mode="r", metadata_errors="ignore", options={"protocol_whitelist": "none"}
        )
    except (av.error.FFmpegError, ValueError, OSError):
        raise AudioError(f"{name} is not a sound file of a known format.") from None
    with container:
        if not container.streams.audio:
            raise AudioError(f"{name} has no sound in it ({container.format.long_name}).")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(f"{name} holds sound of a kind that cannot be decoded here.")
        # These have no header; FFmpeg's figure can be a guess from the first frames' bit rate.
        guessed = container.format.name in ("aac", "mp3")
        known = stream.duration and stream.time_base and not guessed
        seconds = float(stream.duration * stream.time_base) if known else None  # type: ignore[operator]
        blocks = _ffmpeg_blocks(container, stream, name)
        yield _Decoder(stream.rate or 0, stream.channels, seconds, blocks)


def _ffmpeg_blocks(container: InputContainer, stream: AudioStream, name: str) -> Iterator[Samples]:
    import av

    # Interleaved: of separate channels PyAV can only hold eight, and crashes beyond.
    resampler = av.AudioResampler(format="flt", rate=stream.rate)
    try:
        for frame in chain(container.decode(stream), [None]):
            for piece in resampler.resample(frame):
                yield _mono(piece.to_ndarray().reshape(-1, piece.layout.nb_channels))
    except (av.error.FFmpegError, ValueError, OSError):
        raise _damaged(name) from None


def _mono(channels: NDArray[Any]) -> Samples:
    """[S, channels] -> [S]. Overflow turns into infinity, which the caller refuses."""
    with np.errstate(over="ignore", invalid="ignore"):
        mono: Samples = channels.mean(axis=1, dtype=np.float32)
    return mono


def _damaged(name: str) -> AudioError:
    return AudioError(f"{name} is damaged and cannot be decoded to its end.")


def _check_header(decoder: _Decoder, name: str, max_seconds: float, bounds: Bounds) -> None:
    if not bounds.lowest_rate <= decoder.rate <= bounds.highest_rate:
        raise AudioError(
            f"{name} claims a sample rate of {decoder.rate} Hz; "
            f"rates from {bounds.lowest_rate} to {bounds.highest_rate} Hz are read."
        )
    if decoder.channels > bounds.channels:
        raise AudioError(
            f"{name} has {decoder.channels} channels; at most {bounds.channels} are read."
        )
    if decoder.seconds is not None and decoder.seconds > max_seconds:
        raise AudioError(
            f"{name} is {decoder.seconds:.1f} s long; at most {max_seconds:g} s are read. Cut it."
        )


def _checked(
    decoder: _Decoder, name: str, max_seconds: float, patience: float
) -> Iterator[Samples]:
    """The blocks, as long as they are finite and within the limits, whatever the header said."""
    frames, end = 0, time.monotonic() + patience
    for block in decoder.blocks:
        if time.monotonic() > end:
            raise AudioError(f"{name} takes longer than {patience:g} s to decode.")
        finite = np.isfinite(block)
        if not finite.all():
            at = (frames + int(np.argmin(finite))) / decoder.rate
            raise AudioError(f"{name} holds values that are not numbers, first at {at:.2f} s.")
        frames += len(block)
        if frames > max_seconds * decoder.rate:
            told = "no length" if decoder.seconds is None else f"{decoder.seconds:.1f} s"
            raise AudioError(
                f"{name} goes on past {max_seconds:g} s, the most that is read; "
                f"its header tells {told}. Cut it."
            )
        yield block


def _resampled(blocks: Iterator[Samples], source_rate: int, rate: int) -> Samples:
    if source_rate == rate:
        pieces = list(blocks)
    else:
        stream = soxr.ResampleStream(source_rate, rate, 1, dtype="float32", quality="HQ")
        pieces = [stream.resample_chunk(block) for block in blocks]
        pieces.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
