"""How fast a sound is spoken, and at which rate it is told; whole or piece by piece, the same.

Knows nothing of bytes or models.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import soxr

from faster_higgs.audio.levels import Samples
from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from av.filter import Graph

SLOWEST, FASTEST = 0.25, 4.0
LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
_BLOCK = 960  # samples
_TAIL = 0.25  # seconds of silence after the last sound: FFmpeg keeps the end of its input back


class Shape:
    """Samples at `rate` in; out, at `to` a second and `speed` times as fast, the pitch kept."""

    def __init__(self, rate: int, *, speed: float = 1.0, to: int | None = None) -> None:
        check_speed(speed)
        self.rate = check_rate(rate if to is None else to)
        self._speed = speed
        self._graph = _tempo(rate, speed) if speed != 1.0 else None
        self._resampler = soxr.ResampleStream(rate, to, 1) if to not in (None, rate) else None
        self._given = rate
        self._held = np.zeros(0, np.float32)
        self._ahead = np.zeros(0, np.float32)
        self._fed = self._pushed = self._told = 0  # samples

    def feed(self, samples: Samples) -> Samples:
        """What can be told after these samples; may be empty."""
        return self._resampled(self._paced(samples), last=False)

    def finish(self) -> Samples:
        """The rest."""
        if self._graph is None:
            return self._resampled(np.zeros(0, np.float32), last=True)
        self._push(self._held)
        self._push(np.zeros(round(_TAIL * self._given), np.float32))
        self._graph.push(None)
        return self._resampled(self._due(self._graph), last=True)

    def _paced(self, samples: Samples) -> Samples:
        """FFmpeg's stretch depends on how its input is cut, so it is always cut alike."""
        if self._graph is None:
            return samples
        self._fed += samples.size
        held = np.concatenate([self._held, samples])
        whole = len(held) // _BLOCK * _BLOCK
        self._held = held[whole:]
        for start in range(0, whole, _BLOCK):
            self._push(held[start : start + _BLOCK])
        return self._due(self._graph)

    def _due(self, graph: Graph) -> Samples:
        """What was stretched, as far as the sound is long; the rest waits, or is the tail's."""
        ready = np.concatenate([self._ahead, _waiting(graph)])
        end = max(0, round(self._fed / self._speed) - self._told)
        self._told += ready[:end].size
        self._ahead = ready[end:]
        return ready[:end]

    def _push(self, samples: Samples) -> None:
        from av import AudioFrame

        if self._graph is None or not samples.size:
            return
        row = np.ascontiguousarray(samples[None], np.float32)
        frame = AudioFrame.from_ndarray(row, format="flt", layout="mono")
        frame.sample_rate, frame.pts = self._given, self._pushed
        frame.time_base = Fraction(1, self._given)
        self._pushed += samples.size
        self._graph.push(frame)

    def _resampled(self, samples: Samples, last: bool) -> Samples:
        if self._resampler is None:
            return samples
        return np.asarray(self._resampler.resample_chunk(samples, last=last), np.float32)


def check_speed(speed: float) -> float:
    """The same. Raises SettingError."""
    if not SLOWEST <= speed <= FASTEST:  # also refuses NaN
        raise SettingError(f"speed is {speed}; use a value from {SLOWEST:g} to {FASTEST:g}.")
    return speed


def check_rate(rate: int) -> int:
    """The same. Raises SettingError."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise SettingError(f"sample_rate is {rate}; use {LOWEST_RATE} to {HIGHEST_RATE} Hz.")
    return rate


def _tempo(rate: int, speed: float) -> Graph:
    """FFmpeg's stretch; one step of it does no more than double or halve."""
    from av.filter import Graph

    graph = Graph()
    time = Fraction(1, rate)
    nodes = [graph.add_abuffer(sample_rate=rate, format="flt", layout="mono", time_base=time)]
    nodes += [graph.add("atempo", str(step)) for step in _steps(speed)]
    nodes.append(graph.add("abuffersink"))
    for one, next in pairwise(nodes):
        one.link_to(next)
    graph.configure()
    return graph


def _steps(speed: float) -> list[float]:
    if 0.5 <= speed <= 2.0:
        return [speed]
    return [speed**0.5, speed**0.5]


def _waiting(graph: Graph) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *_frames(graph)])


def _frames(graph: Graph) -> Iterator[Samples]:
    while True:
        try:
            yield graph.pull().to_ndarray()[0]
        except (BlockingIOError, EOFError):
            return
