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


@dataclass
class Ledger:
    """Counters of one server."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    seconds: float = 0.0  # of making, all speeches together
    running: int = 0
    peak: int = 0
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._counter(
            "requests", "Answers, by endpoint and status.", "path status"
        )
        self._rejected = self._counter("rejected", "Speeches sent away, by reason.", "reason")
        self._aborted = self._counter("aborted", "Speeches whose client went away.")
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
        (self._made if well else self._failed).inc()
        self._audio.inc(audio)
        if first is not None:
            self._first.observe(first)
        if well and audio:
            self._factor.observe(seconds / audio)

    def answered(self, path: str, status: int) -> None:
        """An answer went out."""
        self._requests.labels(path, status).inc()

    def rejected(self, reason: str) -> None:
        """A speech was not even begun."""
        self._rejected.labels(reason).inc()

    def aborted(self) -> None:
        """A client went away before its speech was over."""
        self._aborted.inc()

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
