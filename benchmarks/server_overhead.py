"""What the server itself costs: milliseconds of a request, and of a core for a stream that plays.

    python benchmarks/server_overhead.py --json benchmarks/results/server_overhead.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import statistics
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import uvicorn

from benchmarks.apart import Apart
from benchmarks.report import carry_out, limit
from faster_higgs.audio.encode import encoder_for
from faster_higgs.cli.ports import bound
from faster_higgs.engine.request import FrameEvent
from faster_higgs.errors import Aborted
from faster_higgs.server.app import create_app
from faster_higgs.server.settings import ServerSettings
from faster_higgs.testing import FakeHiggs

MOST_MS, MOST_PERCENT = 2.0, 1.0
SHORT = "Hello there."
LONG = "This is a sentence that goes on for as long as anybody listens to it. " * 50
FRAME = 0.04  # seconds
PACES = {"twice as fast": FRAME / 2, "just in time": FRAME}  # of an engine, beside what is heard
KINDS: dict[str, dict[str, Any]] = {
    "pcm": {"response_format": "pcm"},
    "mp3": {"response_format": "mp3"},
    "opus": {"response_format": "opus"},
    "events": {"response_format": "pcm", "stream_format": "sse"},
    "whole": {"response_format": "wav", "stream": False},
}
STREAMED = ("pcm", "mp3", "opus", "events")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = parser.add_argument
    flag("--json", type=Path, help="where the result is written")
    flag("--streams", type=int, default=24, help="at once; default: %(default)s")
    flag("--rounds", type=int, default=3, help="of each; default: %(default)s")
    flag("--tiny", action="store_true", help="few requests, to try")
    return carry_out(lambda: parser.parse_args(arguments), measured, rows)


def measured(settings: argparse.Namespace) -> dict[str, Any]:
    """All kinds of answers, one after the other."""
    requests, seconds = (10, 0.1) if settings.tiny else (200, 3.0)
    streams = min(settings.streams, 3) if settings.tiny else settings.streams
    with Apart(Served) as apart:
        port = apart.ask("port")
        asked = {kind: request_ms(apart, port, kind, requests, settings.rounds) for kind in KINDS}
        rounds = range(settings.rounds)
        live = {
            name: live_costs(apart, port, pace, streams, seconds, rounds)
            for name, pace in PACES.items()
        }
    return {
        "must": {"request_ms": MOST_MS, "percent_of_a_core": MOST_PERCENT},
        "requests": asked,
        "streams": streams,
        "percent_of_a_core": live,
    }


def live_costs(
    apart: Apart, port: int, pace: float, streams: int, seconds: float, rounds: range
) -> dict[str, float]:
    """Percent of a core for a second of sound that is heard: of the engine, and of the rest."""
    heard = 100 * pace / FRAME / streams
    alone = statistics.median(apart.ask("alone", streams, seconds, pace) for _ in rounds)
    costs = {"engine": heard * alone}
    for kind in STREAMED:
        cores = [
            asyncio.run(stream_cost(apart, port, kind, streams, seconds, pace)) for _ in rounds
        ]
        costs[kind] = heard * (statistics.median(cores) - alone)
    return costs


def request_ms(apart: Apart, port: int, kind: str, count: int, rounds: int) -> dict[str, float]:
    """Medians: all of a short request, of that engine and encoder, and the rest."""
    whole, engine, encoder, worked = [], [], [], []
    format = KINDS[kind]["response_format"]
    waits(port, kind, count)  # to warm up
    for _ in range(rounds):
        before = apart.ask("worked")
        whole.append(statistics.median(waits(port, kind, count)))
        worked.append((apart.ask("worked") - before) / count)
        engine.append(apart.ask("engine", count))
        encoder.append(apart.ask("encoder", format, count))
    total, model, codec = (1000 * statistics.median(part) for part in (whole, engine, encoder))
    return {
        "total_ms": total,
        "engine_ms": model,
        "encoder_ms": codec,
        "server_ms": total - model - codec,
        "processor_ms": 1000 * statistics.median(worked),
    }


def waits(port: int, kind: str, count: int) -> list[float]:
    """Seconds that each of several requests took, one after the other on one connection."""
    asked, found = request(SHORT, kind), []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for _ in range(count):
            begin = time.perf_counter()
            connection.sendall(asked)
            read_answer(connection)
            found.append(time.perf_counter() - begin)
    return found


def request(text: str, kind: str) -> bytes:
    """What a client sends."""
    body = json.dumps({"input": text, "seed": 1, **KINDS[kind]}).encode()
    head = "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def read_answer(connection: socket.socket) -> None:
    """Read to its end; little else, because the client's time is counted, too."""
    data = connection.recv(1 << 18)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(1 << 18)
    length = re.search(rb"(?i)content-length: (\d+)", data[:end])
    while not (
        len(data) >= end + 4 + int(length[1]) if length else data.endswith(b"\r\n0\r\n\r\n")
    ):
        data += connection.recv(1 << 18)


async def stream_cost(
    apart: Apart, port: int, kind: str, streams: int, seconds: float, pace: float
) -> float:
    """Cores that the server's process kept busy while so many streams played."""
    apart.ask("pace", pace)
    listeners = [asyncio.create_task(listen(port, kind)) for _ in range(streams)]
    await asyncio.sleep(min(1.0, seconds))  # until all of them play
    before = apart.ask("worked")
    begin = time.perf_counter()
    await asyncio.sleep(seconds)
    cores = (apart.ask("worked") - before) / (time.perf_counter() - begin)
    for listener in listeners:
        listener.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)
    apart.ask("pace", 0.0)
    return float(cores)


async def listen(port: int, kind: str) -> None:
    """Read a stream until nobody wants it any more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(LONG, kind))
    try:
        while await reader.read(1 << 16):
            continue
    finally:
        writer.close()


class Paced(FakeHiggs):
    """Its frames come one by one, as often as `seconds` says."""

    seconds = 0.0

    def frames(self, *asked: Any, on_stop: Any = None, **more: Any) -> Generator[FrameEvent]:
        """As a model that keeps up makes them."""
        if not self.seconds:
            yield from super().frames(*asked, **more)
            return
        stopped = threading.Event()
        if on_stop is not None:
            on_stop(stopped.set)
        due = time.monotonic()
        for event in super().frames(*asked, **more):
            for i in range(event.frames.shape[1]):
                due += self.seconds
                if stopped.wait(max(0.0, due - time.monotonic())):
                    raise Aborted("Nobody listens.")
                yield FrameEvent(1, event.frames[:, i : i + 1])
            if event.result is not None:
                yield event


class Served:
    """The server, in this process."""

    def __init__(self) -> None:
        self._higgs = Paced()
        app = create_app(self._higgs, ServerSettings(max_running=256))
        config = uvicorn.Config(app, log_level="error")
        self._server = uvicorn.Server(config)
        self._listening = bound("127.0.0.1", 0)
        serve = {"sockets": [self._listening]}
        threading.Thread(target=self._server.run, kwargs=serve, daemon=True).start()
        while not self._server.started:
            time.sleep(0.01)

    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getsockname()[1])

    def worked(self) -> float:
        """Seconds that processors worked for this process."""
        return time.process_time()

    def pace(self, seconds: float) -> None:
        """A frame every so often from now on; 0 for at once."""
        self._higgs.seconds = seconds

    def engine(self, count: int) -> float:
        """Seconds that a short speech takes without a server; the median of so many."""
        found = []
        for _ in range(count):
            begin = time.perf_counter()
            for _ in self._higgs.pieces(SHORT):
                continue
            found.append(time.perf_counter() - begin)
        return statistics.median(found)

    def encoder(self, format: str, count: int) -> float:
        """Seconds that its samples take to become bytes; the median of so many."""
        pieces = [piece.samples for piece in self._higgs.pieces(SHORT)]
        found = []
        for _ in range(count):
            begin = time.perf_counter()
            encoder = encoder_for(format)
            for samples in pieces:
                encoder.encode(samples)
            encoder.finish()
            found.append(time.perf_counter() - begin)
        return statistics.median(found)

    def alone(self, streams: int, seconds: float, pace: float) -> float:
        """Cores that so many streams keep busy without a server."""
        over = threading.Event()

        def play() -> None:
            with closing(iter(self._higgs.pieces(LONG))) as pieces:  # type: ignore[type-var]
                for _ in pieces:
                    if over.is_set():
                        return

        self.pace(pace)
        threads = [threading.Thread(target=play) for _ in range(streams)]
        for thread in threads:
            thread.start()
        time.sleep(min(1.0, seconds))
        begin, before = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        cores = (time.process_time() - before) / (time.perf_counter() - begin)
        over.set()
        for thread in threads:
            thread.join()
        self.pace(0.0)
        return cores


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    live = result["percent_of_a_core"]
    heads = [part for name in live for part in (f"a stream {name}, % of a core", "")]
    lines: list[tuple[object, ...]] = [("", "a request, ms", "", *heads)]
    for kind, one in result["requests"].items():
        shares = [costs.get(kind) for costs in live.values()]
        judged = [
            part
            for share in shares
            for part in (share, "" if share is None else limit(share, MOST_PERCENT))
        ]
        lines.append((kind, one["server_ms"], limit(one["server_ms"], MOST_MS), *judged))
    return lines


if __name__ == "__main__":
    sys.exit(main())
