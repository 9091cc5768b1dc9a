"""Many clients of one real server for minutes: what they got, and how the server fared.

    python -m tests.soak.load --clients 64 --seconds 300 --json benchmarks/results/soak.json

The server is `higgs serve` with pico; the clients are OpenAI's own; /health is asked from a process
of its own, so that what is measured is the server's delay and not the clients'.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai

from benchmarks.report import carry_out, limit
from faster_higgs.audio.files import read
from faster_higgs.errors import AudioError
from tests.soak.process import Server, higgs_serve

TEXTS = (
    "Good morning.",
    "The rain has stopped at last, and the streets are quiet.",
    "She opened the old wooden box, looked inside for a moment, and then she laughed out loud.",
)
FORMATS = ("wav", "mp3", "opus", "pcm", "flac", "aac")
WAYS = ("whole", "stream", "sse", "leave")  # the last goes away in the middle
WARM = 0.4  # of the time: what is taken once, such as the cache, is taken then
SLOPE, HEALTH = 1.0, 50.0  # MB a minute, milliseconds


@dataclass
class Found:
    """What all clients got together."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)  # seconds to the first bytes
    seconds: float = 0.0  # of sound that was heard


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    flag = parser.add_argument
    flag("--clients", type=int, default=64)
    flag("--seconds", type=float, default=300.0)
    flag("--json", type=Path, help="where the result is written")
    flag("--probe", type=int, metavar="PORT", help=argparse.SUPPRESS)
    settings = parser.parse_args(arguments)
    if settings.probe:
        sys.stdout.write(json.dumps(asyncio.run(probed(settings.probe, settings.seconds))))
        return 0
    return carry_out(lambda: settings, measured, rows)


def measured(settings: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    with tempfile.TemporaryDirectory() as folder, higgs_serve(Path(folder)) as server:
        return asyncio.run(loaded(server, settings.clients, settings.seconds))


async def loaded(server: Server, clients: int, seconds: float) -> dict[str, Any]:
    """Clients, the one who asks /health, and the one who watches memory, all at once."""
    end, found = time.monotonic() + seconds, Found()
    probe = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.load"),
        *("--probe", str(server.port), "--seconds", str(seconds)),
        stdout=subprocess.PIPE,
    )
    watching = asyncio.create_task(watched(server, end))
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0, timeout=120
    ) as client:
        await asyncio.gather(*(talk(client, i, end, found) for i in range(clients)))
    told, _ = await probe.communicate()
    memory = await watching
    kept = [(when, rss) for when, rss in memory if when > WARM * seconds]
    health = sorted(1000 * one for one in json.loads(told))
    return {
        "clients": clients,
        "seconds": seconds,
        "outcomes": dict(found.outcomes),
        "faults": found.faults[:20],
        "sound_s": round(found.seconds, 1),
        "first_bytes_ms": {
            "p50": 1000 * quantile(found.first, 0.5),
            "p95": 1000 * quantile(found.first, 0.95),
        },
        "health_ms": {
            "asked": len(health),
            "p50": quantile(health, 0.5),
            "p99": quantile(health, 0.99),
            "max": health[-1],
            "over": sum(one > HEALTH for one in health),
        },
        "memory": {
            "first_mb": memory[0][1] / 1e6,
            "warm_mb": kept[0][1] / 1e6,
            "last_mb": kept[-1][1] / 1e6,
            "mb_per_minute": 60 * slope(kept) / 1e6,
            "threads": server.threads,
            "course_mb": [round(rss / 1e6) for _, rss in memory[:: max(1, len(memory) // 30)]],
        },
    }


async def talk(client: openai.AsyncOpenAI, number: int, end: float, found: Found) -> None:
    """One client: one speech after the other, of all kinds."""
    own = random.Random(number)
    while time.monotonic() < end:
        way, format = own.choice(WAYS), own.choice(FORMATS)
        try:
            await speak(client, own.choice(TEXTS), way, format, found)
            found.outcomes[way] += 1
        except openai.RateLimitError as refused:
            found.outcomes["429"] += 1
            await asyncio.sleep(float(refused.response.headers["retry-after"]))
        except (openai.OpenAIError, AudioError, AssertionError) as fault:
            found.outcomes["fault"] += 1
            found.faults.append(f"{way} {format}: {type(fault).__name__}: {fault}"[:300])
        except Exception as fault:  # noqa: BLE001  told in the result
            found.outcomes["broken"] += 1
            found.faults.append(f"{way} {format}: {type(fault).__name__}: {fault}"[:300])


async def speak(client: openai.AsyncOpenAI, text: str, way: str, format: str, found: Found) -> None:
    """One speech, and what came of it."""
    asked: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "input": text}
    asked |= {"response_format": format, "extra_body": {"stream": False} if way == "whole" else {}}
    if way == "sse":
        asked["stream_format"] = "sse"
    data, begin = bytearray(), time.perf_counter()
    async with client.audio.speech.with_streaming_response.create(**asked) as answer:
        async for piece in answer.iter_bytes():
            if not data:
                found.first.append(time.perf_counter() - begin)
            data += piece
            if way == "leave":
                return
    if way == "sse":
        assert b"speech.audio.done" in data, "the events have no end"
    elif format == "pcm":
        found.seconds += len(data) / 48_000
    else:
        found.seconds += await asyncio.to_thread(length, bytes(data))


def length(data: bytes) -> float:
    """Seconds of a sound file. Raises AudioError."""
    return len(read(data, rate=24_000)) / 24_000


async def probed(port: int, seconds: float) -> list[float]:
    """Seconds that each GET /health took, ten of them a second."""
    found, end = [], time.monotonic() + seconds
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        begin = time.perf_counter()
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(int(x[15:]) for x in head.lower().split(b"\r\n") if b"content-length:" in x)
        await reader.readexactly(size)
        found.append(time.perf_counter() - begin)
        assert b" 200 " in head
        await asyncio.sleep(0.1)
    writer.close()
    return found


async def watched(server: Server, end: float) -> list[tuple[float, int]]:
    """The server's memory, every half second."""
    found, begin = [], time.monotonic()
    while time.monotonic() < end:
        found.append((time.monotonic() - begin, server.rss))
        await asyncio.sleep(0.5)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which so many are."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """What is added each second."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    health, memory = result["health_ms"], result["memory"]
    return [
        ("", "", ""),
        *((f"answers: {kind}", count, "") for kind, count in result["outcomes"].items()),
        ("seconds of sound", result["sound_s"], ""),
        ("first bytes p50, ms", result["first_bytes_ms"]["p50"], ""),
        ("/health p50, ms", health["p50"], ""),
        ("/health p99, ms", health["p99"], limit(health["p99"], HEALTH)),
        ("/health max, ms", health["max"], limit(health["max"], HEALTH)),
        ("memory, MB", memory["last_mb"], ""),
        ("memory, MB a minute", memory["mb_per_minute"], limit(memory["mb_per_minute"], SLOPE)),
    ]


if __name__ == "__main__":
    sys.exit(main())
