"""What /metrics and /stats read when they are asked: engine, memory, card, desk.

Also the names that vLLM-Omni gives the same quantities, for who has boards that know those.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from faster_higgs.server.engine import Engine

GIGABYTE = 1e9
_OMNI = "vllm:omni_"
NAMES: Mapping[str, str] = {
    "higgs_time_to_first_audio_seconds": _OMNI + "audio_ttfp_s",
    "higgs_real_time_factor": _OMNI + "audio_rtf",
    "higgs_speech_duration_seconds": _OMNI + "audio_duration_s",
    "higgs_samples": _OMNI + "audio_frames",
    "higgs_underrun_seconds": _OMNI + "audio_underrun_s",
    "higgs_continuity_ok": _OMNI + "audio_continuity_ok",
    "higgs_speeches_failed": _OMNI + "audio_skipped_requests",
    "higgs_aborted": _OMNI + "speech_stream_aborted",
    "higgs_streams": _OMNI + "speech_stream_completed",
    "higgs_speech_seconds": _OMNI + "e2e_request_latency_s",
    "higgs_running": _OMNI + "num_requests_running",
    "higgs_queue_depth": _OMNI + "num_requests_waiting",
}


class Watched(Collector):
    """The engine and the machine, as they are when they are asked."""

    def __init__(self, higgs: Engine, facts: Callable[[], Mapping[str, Any]]) -> None:
        self._higgs, self._facts = higgs, facts

    def collect(self) -> Iterator[Metric]:
        engine, facts = self._higgs.stats(), self._facts()
        yield _gauge("engine_running", "Requests that the engine works on.", engine.running)
        yield _gauge("engine_waiting", "Requests that wait for the engine.", engine.waiting)
        yield _gauge("engine_batch", "Requests that decoded in the latest step.", engine.last_batch)
        yield _gauge("cache_pages", "Pages of the cache.", engine.pages_total)
        yield _gauge("cache_pages_used", "Those that requests hold.", engine.pages_used)
        yield _counter("engine_steps", "Steps of the engine.", engine.steps)
        yield _counter("engine_step_seconds", "Seconds in those steps.", engine.step_seconds)
        yield _counter("engine_columns", "Columns that were decoded.", engine.columns)
        yield _counter("engine_prompts", "Prompts that began to be read.", engine.admitted)
        yield _counter("prefix_hits", "Those whose beginning was known.", engine.prefix_hits)
        for name, bytes_ in memory(facts).items():
            yield _gauge(f"memory_{name}", "Memory of this process, or of its card.", bytes_)
        if (share := facts.get("gpu_utilization")) is not None:
            yield _gauge("gpu_utilization_ratio", "How busy the card is.", share)


class Twins(Collector):
    """What a registry holds, once more under the names of `NAMES`."""

    def __init__(self, registry: CollectorRegistry, model: str) -> None:
        self._registry, self._model = registry, model

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            if (name := NAMES.get(family.name)) is None:
                continue
            twin = Metric(name, family.documentation, family.type)
            for one in family.samples:
                labels = {"model_name": self._model, **one.labels}
                twin.add_sample(name + one.name.removeprefix(family.name), labels, one.value)
            yield twin

    def text(self) -> bytes:
        """For Prometheus."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


def memory(facts: Mapping[str, Any]) -> dict[str, int]:
    """Bytes: of this process, and of the card if there is one."""
    told = {}
    with suppress(OSError):  # not every system tells
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        told["rss_bytes"] = pages * os.sysconf("SC_PAGE_SIZE")
    for name in ("gpu_memory_used", "gpu_memory_total"):
        if f"{name}_gb" in facts:
            told[f"{name}_bytes"] = round(facts[f"{name}_gb"] * GIGABYTE)
    return told


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"higgs_{name}", help, value=value)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"higgs_{name}", help, value=value)
