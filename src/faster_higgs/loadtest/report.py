"""A load test as lines for people and as numbers for machines. Knows nothing of HTTP.

The lines up to "Server Stats" are those that scripts for other Higgs servers print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from faster_higgs.loadtest.load import LoadTest, Sample
from faster_higgs.loadtest.settings import LoadSettings

LINE = "=" * 60
SHOWN = 5  # failures
Figures = Mapping[str, Any]


def heading(settings: LoadSettings, started: str) -> Iterator[str]:
    """What stands above everything."""
    loop = settings.concurrent if settings.rate is None else f"open, {settings.rate:g} a second"
    yield from (LINE, "Higgs Audio v2 Benchmark", LINE)
    yield f"URL: {settings.url}"
    yield f"Total Requests: {settings.requests}"
    yield f"Concurrency: {loop}"
    yield f"Started: {started}"
    yield from (LINE, "")


def backend(test: LoadTest) -> Iterator[str]:
    """What the server told of itself."""
    yield f"Backend Status: {test.health.get('status', 'unknown')}"
    yield f"vLLM Healthy: {test.health.get('vllm_healthy', 'unknown')}"
    how = f"concurrency {test.settings.concurrent}"
    if test.settings.rate is not None:
        how = f"{test.settings.rate:g} arrivals a second"
    yield from ("", f"Starting {test.settings.requests} requests with {how}...", "")


def results(test: LoadTest, found: Figures) -> Iterator[str]:
    """What was measured."""
    yield from ("", LINE, "RESULTS", LINE)
    yield f"Total Requests: {found['requests']}"
    yield f"Successful: {found['successful']}"
    yield f"Failed: {found['failed']}"
    yield f"Success Rate: {found['success_rate'] * 100:.1f}%"
    yield f"Total Time: {found['seconds']:.2f}s"
    yield f"Throughput: {found['requests_per_second']:.2f} requests/sec"
    if found["successful"]:
        yield from _spread("Generation Time (server-side)", found["generation_time"], 5)
        yield from _spread("Round-Trip Time (including network)", found["round_trip_time"], 3)
        yield from ("", "Audio Output:")
        yield f"  Total: {found['audio_bytes'] / 1024 / 1024:.2f} MB"
        yield f"  Avg per request: {found['audio_bytes'] / found['successful'] / 1024:.1f} KB"
    yield from _failures([one for one in test.samples if one.error is not None])
    if test.stats:
        yield from ("", "Server Stats:")
        peak = test.stats.get("peak_concurrent", "N/A")
        yield f"  Peak Concurrent: {int(peak) if isinstance(peak, float) else peak}"
        yield f"  Avg Generation Time: {test.stats.get('avg_generation_time', 'N/A')}s"
    if found["successful"]:
        yield from _heard(found)
    yield from ("", LINE, "Benchmark Complete", LINE, "")


def figures(test: LoadTest) -> dict[str, Any]:
    """The numbers; times are in seconds."""
    good = [one for one in test.samples if one.error is None]
    told = [one for one in good if test.settings.stream and one.underruns is not None]
    done, seconds = len(test.samples), max(test.seconds, 1e-9)
    audio = sum(one.seconds for one in good)
    return {
        "requests": done,
        "successful": len(good),
        "failed": done - len(good),
        "success_rate": len(good) / done if done else 0.0,
        "seconds": test.seconds,
        "requests_per_second": done / seconds,
        "generation_time": _summary(one.making for one in good),
        "round_trip_time": _summary(one.total for one in good),
        "time_to_first_audio": _summary(one.first for one in good),
        "real_time_factor": _summary(one.factor for one in good),
        "audio_bytes": sum(one.size for one in good),
        "audio_seconds": audio,
        "audio_seconds_per_second": audio / seconds,
        "continuous": sum(not one.underruns for one in told),
        "streamed": test.settings.stream,
        "watched": len(told),
        "underruns": sum(one.underruns or 0 for one in told),
        "longest_gap": max((one.dry for one in told), default=0.0),
    }


def report(test: LoadTest, found: Figures, **facts: Any) -> dict[str, Any]:
    """Everything, for machines; the key stays with us."""
    asked = {name: value for name, value in asdict(test.settings).items() if name != "key"}
    server = {"health": test.health, "stats": test.stats}
    samples = [asdict(one) for one in sorted(test.samples, key=lambda one: one.number)]
    return {**facts, "settings": asked, "server": server, "results": found, "samples": samples}


def _percentile(q: int, values: Sequence[float]) -> float:
    return float(np.percentile(values, q))


_MEASURES: tuple[tuple[str, Callable[[Sequence[float]], float]], ...] = (
    ("min", min),
    ("max", max),
    ("mean", mean),
    ("median", median),
    ("std_dev", lambda values: stdev(values) if len(values) > 1 else 0.0),
    *((f"p{q}", partial(_percentile, q)) for q in (50, 90, 99)),
)
_NAMES = {"min": "Min", "max": "Max", "mean": "Mean", "median": "Median", "std_dev": "Std Dev"}


def _summary(values: Iterator[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    return {name: float(measure(known)) for name, measure in _MEASURES} if known else {}


def _spread(title: str, found: Mapping[str, float], count: int) -> Iterator[str]:
    if not found:
        return
    yield from ("", f"{title}:")
    for name in list(_NAMES)[:count]:
        yield f"  {_NAMES[name]}: {found[name]:.2f}s"


def _heard(found: Figures) -> Iterator[str]:
    first, factor = found["time_to_first_audio"], found["real_time_factor"]
    yield from ("", "Time to First Audio:")
    yield from (f"  {q}: {first[q]:.3f}s" for q in ("p50", "p90", "p99"))
    if factor:
        yield from ("", "Real-Time Factor (seconds of waiting for one of audio):")
        yield f"  Mean: {factor['mean']:.3f}"
        yield from (f"  {q}: {factor[q]:.3f}" for q in ("p50", "p90", "p99"))
    yield from ("", "Listening:")
    yield f"  Audio: {found['audio_seconds']:.1f}s"
    yield f"  Audio per second: {found['audio_seconds_per_second']:.2f}s"
    if not found["streamed"]:
        yield "  Underruns: nothing was streamed"
    elif found["watched"]:
        yield f"  Without a gap: {found['continuous']} of {found['watched']}"
        gap = found["longest_gap"]
        yield f"  Underruns: {found['underruns']}, at most {gap:.3f}s in one answer"
    else:
        yield "  Underruns: not known for this format; use pcm or wav"


def _failures(failed: Sequence[Sample]) -> Iterator[str]:
    if not failed:
        return
    yield from ("", "Failed Requests:")
    for one in sorted(failed, key=lambda one: one.number)[:SHOWN]:
        yield f"  Request {one.number}: {one.error}"
    if len(failed) > SHOWN:
        yield f"  ... and {len(failed) - SHOWN} more failures"
