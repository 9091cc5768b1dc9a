"""What the server counts, once: /stats and /health read it as numbers, /metrics as Prometheus text.

Knows nothing of requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
_FACTORS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_GAPS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
CONTINUOUS_MS = (0, 100, 500)  # gaps that a stream may have and still count as continuous


class Playback:
    """What a listener hears who plays a stream from its first sound on. Times are in seconds."""

    def __init__(self) -> None:
        self.gaps = 0.0  # silence because nothing was there, all together
        self._until: float | None = None  # all that came will have been played

    def heard(self, seconds: float, now: float) -> None:
        """So much more sound came."""
        if self._until is not None and now > self._until:
            self.gaps += now - self._until
        self._until = max(now, self._until or now) + seconds


@dataclass
class Ledger:
    """Counters of one server."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    seconds: float = 0.0  # of making, all speeches together
    running: int = 0
    peak: int = 0
    audio_seconds: float = 0.0  # of speech that were made
    ending: bool = False
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._counter(
            "requests", "Answers, by endpoint and status.", "path status"
        )
        self._rejected = self._counter("rejected", "Speeches sent away, by reason.", "reason")
        self._aborted = self._counter(
            "aborted", "Speeches that were not wanted to their end, by reason.", "reason"
        )
        self._frames = self._counter("frames", "Frames of the codec that were made.")
        self._samples = self._counter("samples", "Samples of sound that were made.")
        self._streams = self._counter("streams", "Streams that came to their end.")
        self._gaps = self._histogram(
            "underrun_seconds", "Silence in a stream because sound came too late.", _GAPS
        )
        self._continuous = self._counter(
            "continuity_ok", "Streams whose gaps were no longer, all together.", "threshold_ms"
        )
        self._took = self._histogram("speech_seconds", "From the order to its end.", _SECONDS)
        self._duration = self._histogram("speech_duration_seconds", "Of the sound.", _SECONDS)
        self._references = self._counter(
            "reference_cache", "Clips that were sent, and whether they were known.", "result"
        )
        self._audio = self._counter("audio_seconds", "Seconds of speech that were made.")
        self._made = self._counter("speeches", "Speeches that came to their end.")
        self._failed = self._counter("speeches_failed", "Speeches that did not.")
        self._wait = self._histogram("queue_wait_seconds", "Wait for a place.", _SECONDS)
        self._first = self._histogram(
            "time_to_first_audio_seconds", "To the first sound.", _SECONDS
        )
        self._factor = self._histogram("real_time_factor", "Seconds of making for one.", _FACTORS)

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(f"higgs_{name}", help, registry=self.registry).set_function(value)

    def begin(self) -> None:
        """A speech was asked for."""
        with self._lock:
            self.total += 1
            self.running += 1
            self.peak = max(self.peak, self.running)

    def end(self, seconds: float, audio: float, first: float | None, *, well: bool) -> None:
        """It is over, after so many seconds; the first sound came `first` seconds after it was
        asked for."""
        with self._lock:
            self.running -= 1
            self.successful += well
            self.failed += not well
            self.seconds += seconds if well else 0.0
            self.audio_seconds += audio
        (self._made if well else self._failed).inc()
        self._audio.inc(audio)
        if first is not None:
            self._first.observe(first)
        if well and audio:
            self._factor.observe(seconds / audio)
            self._took.observe(seconds)
            self._duration.observe(audio)

    def made(self, frames: int, samples: int) -> None:
        """So much more came out."""
        self._frames.inc(frames)
        self._samples.inc(samples)

    def streamed(self, playback: Playback) -> None:
        """A stream came to its end."""
        self._streams.inc()
        self._gaps.observe(playback.gaps)
        for threshold in CONTINUOUS_MS:
            self._continuous.labels(threshold).inc(playback.gaps * 1000 <= threshold)

    def answered(self, path: str, status: int) -> None:
        """An answer went out."""
        self._requests.labels(path, status).inc()

    def rejected(self, reason: str) -> None:
        """A speech was not even begun."""
        self._rejected.labels(reason).inc()

    def reference(self, *, known: bool) -> None:
        """A clip was sent; it was `known` if its codes were kept."""
        self._references.labels("hit" if known else "miss").inc()

    def aborted(self) -> None:
        """Nobody wants a speech any more: its client went away, or the server ends."""
        self._aborted.labels("shutdown" if self.ending else "client_gone").inc()

    def late(self) -> None:
        """A speech was cut off by its deadline."""
        self._aborted.labels("deadline").inc()

    def waited(self, seconds: float) -> None:
        """A speech got its place."""
        self._wait.observe(seconds)

    @property
    def mean(self) -> float:
        """Seconds that a speech took, on average."""
        return self.seconds / self.successful if self.successful else 0.0

    def stats(self) -> dict[str, float]:
        """As the seeds' servers have it."""
        return {
            "total_requests": self.total,
            "successful_requests": self.successful,
            "failed_requests": self.failed,
            "total_generation_time": round(self.seconds, 6),
            "concurrent_requests": self.running,
            "peak_concurrent": self.peak,
        }

    def text(self) -> bytes:
        """For Prometheus."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help: str, labels: str = "") -> Counter:
        return Counter(f"higgs_{name}", help, labels.split(), registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"higgs_{name}", help, buckets=buckets, registry=self.registry)
